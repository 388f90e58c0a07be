"""Flowers drawn in a second, by two processes."""

from __future__ import annotations

import time

from torch.utils.data import DataLoader

import vizwidgets as vw

from .timing import table


def measure() -> str:
    """The rate as a Markdown section."""
    count = 600
    loader = DataLoader(vw.data.Flowers(count, seed=4), batch_size=20, num_workers=2)
    batches = iter(loader)
    next(batches)  # the processes are up
    began = time.perf_counter()
    drawn = sum(len(images) for images, _ in batches)
    rate = drawn / (time.perf_counter() - began)
    return "## drawing flowers\n\n" + table(["size, px", "processes", "images a second", "at least"], [["96", "2", f"{rate:.0f}", "60"]])
