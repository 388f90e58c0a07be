"""Timing side by side: all candidates in turn, round after round, so that a machine that drifts slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def side_by_side(candidates: dict[str, Callable[[], object]], rounds: int = 15, warmup: int = 2, calls: int = 1) -> dict[str, float]:
    """Median seconds of a call of each candidate, of which each makes `calls` in a row whenever it is its turn."""
    return {name: median(times) for name, times in in_turn(candidates, rounds, warmup, calls).items()}


def over(times: list[float], others: list[float]) -> float:
    """The median of the rounds' own ratios: a machine that has become slower halfway does not change them."""
    return median(a / b for a, b in zip(times, others, strict=True))


def in_turn(candidates: dict[str, Callable[[], object]], rounds: int = 15, warmup: int = 2, calls: int = 1) -> dict[str, list[float]]:
    """Seconds of a call of each candidate in each round."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(rounds + warmup):
        for name, call in candidates.items():
            began = time.perf_counter()
            for _ in range(calls):
                call()
            if i >= warmup:
                taken[name].append((time.perf_counter() - began) / calls)
    return taken


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
