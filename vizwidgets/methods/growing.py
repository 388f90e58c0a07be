"""Growing a texture pixel by pixel: each is a copy of a sample pixel whose surroundings are like its own, as far as these are known.

The search over all windows of the sample is one matrix product: sum g (s - v)² = sum g s² - 2 sum g v s + sum g v², with g the weights
of what is known, v its values and s those of a window. It is made for many pixels at once, those that do not see each other; so the
result is the same as if one had been filled after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]  # of pixels of the sample, counted row by row; -1 for none

TOLERANCE = 0.1  # windows up to this much worse than the best one are as good
ACCEPTED, RAISED = 0.3, 1.1  # the largest error with which a pixel is filled, and its growth when none could be
# Far above the rounding of sums of numbers in [0, 1] and far below what an eye can tell: rounding never decides about a window.
SLACK = 1e-10
SMALL = 2**22  # numbers of windows up to which a product is made by one thread
AT_ONCE = 2**30  # multiplications between two looks at what there is: some tenths of a second


class Search:
    """The windows of a sample.

    Parameters
    ----------
    sample : ndarray
        (C, H, W) in [0, 1], float64.
    window : int
        Odd; at most H and W.
    holes : ndarray, optional
        (H, W) bool: windows with a pixel of these are left out.
    """

    def __init__(self, sample: Array, window: int, holes: NDArray[np.bool_] | None = None) -> None:
        self.window, self.reach = window, window // 2
        self.weights = gaussian(window).ravel()
        cut = sliding_window_view(sample, (window, window), (1, 2))
        rows, columns = np.nonzero(np.ones(cut.shape[1:3], bool) if holes is None else whole_windows(holes, window))
        self.centres = (rows + self.reach) * sample.shape[2] + columns + self.reach
        # For each pixel 1, -2 v and the mean of v², and zeros for -1, which is the last; so what is not known weighs nothing.
        flat = sample.reshape(len(sample), -1)
        terms = np.concatenate([np.ones_like(flat[:1]), -2.0 * flat, (flat**2).sum(0)[None]]) / len(sample)
        self._terms = np.pad(terms, ((0, 0), (0, 1)))
        # What errors are linear in, (1 + C) * window² numbers of each window: sums of squares, then values.
        self._features = np.zeros((1 + len(sample), window**2, len(rows)))
        for values, found in zip(cut, self._features[1:], strict=True):
            found[:] = values[rows, columns].reshape(len(rows), -1).T
            self._features[0] += found**2
        self.at_once = max(16, AT_ONCE // max(1, self._features.size))

    def threads(self) -> AbstractContextManager[object]:
        """Within, small products are made by one thread: for two they are too short, and these wait for each other."""
        return libraries().limit(limits=1) if self._features.size <= SMALL else nullcontext()

    def pick(self, near: Numbers, luck: Array) -> tuple[Numbers, Array]:
        """For surroundings `near` (P, window²) the middle of a window that fits, drawn by `luck` (P,) in [0, 1), and its error (P,)."""
        terms = self._terms[:, near] * self.weights
        linear = terms[:-1].transpose(1, 0, 2).reshape(len(near), -1)
        errors = linear @ self._features.reshape(linear.shape[1], -1)
        errors += terms[-1].sum(1, keepdims=True)
        total = terms[0].sum(1, keepdims=True) * (len(terms) - 2)
        close = errors <= (1.0 + TOLERANCE) * errors.min(1, keepdims=True) + SLACK * total
        count = np.count_nonzero(close, axis=1)
        chosen = close.nonzero()[1][count.cumsum() - count + (luck * count).astype(np.int64)]
        found = errors[np.arange(len(near)), chosen] / np.maximum(total[:, 0], 1e-300)
        return self.centres[chosen], np.maximum(found, 0.0)


@cache
def libraries() -> ThreadpoolController:
    """Those that make products of matrices; to look for them takes longer than to grow a small texture."""
    return ThreadpoolController().select(user_api="blas")


def grow(search: Search, board: Numbers, order: str, rng: np.random.Generator) -> Iterator[tuple[int, int, int, float]]:
    """Fill what is -1 on the board (h, w) of pixel numbers; gives row, column, number and error of one after the other.

    A pass of "onion" goes over all empty pixels beside filled ones, those with most of them first and else in random order; what fits
    too badly waits for the next pass. "scanline" takes them row by row, from left to right.
    """
    reach, window, onion = search.reach, search.window, order == "onion"
    around = np.pad(board, reach, constant_values=-1)
    inner, near = around[reach:-reach, reach:-reach], sliding_window_view(around, (window, window))
    accepted = ACCEPTED if onion else np.inf
    while (inner < 0).any():
        all_rows, all_columns = ring(inner, rng) if onion else np.nonzero(inner < 0)
        all_luck, progress = rng.random(len(all_rows)), False
        at_once = search.at_once if onion else len(all_rows)
        for start in range(0, len(all_rows), at_once):
            part = slice(start, start + at_once)
            rows, columns, luck = all_rows[part], all_columns[part], all_luck[part]
            turns = blind_turns(rows, columns, window) if onion else columns + (reach + 1) * rows
            sources, errors = np.full(len(rows), -1), np.full(len(rows), np.nan)
            ready = 0
            for group in grouped(turns, search.at_once):
                y, x = rows[group], columns[group]
                found, errors[group] = search.pick(near[y, x].reshape(len(y), -1), luck[group])
                sources[group] = inner[y, x] = np.where(errors[group] < accepted, found, -1)
                while ready < len(rows) and not np.isnan(errors[ready]):
                    if sources[ready] >= 0:
                        progress = True
                        yield int(rows[ready]), int(columns[ready]), int(sources[ready]), float(errors[ready])
                    ready += 1
        if not progress:
            accepted *= RAISED


def blind_turns(rows: Numbers, columns: Numbers, window: int) -> Numbers:
    """A number for each pixel, larger than that of all before it which lie within its window: those with the same see none of them."""
    table = np.full((int(rows.max()) + window, int(columns.max()) + window), -1)
    table[rows + window // 2, columns + window // 2] = np.arange(len(rows))
    near = sliding_window_view(table, (window, window))[rows, columns].reshape(len(rows), -1)
    later, places = np.nonzero((near >= 0) & (near < np.arange(len(rows))[:, None]))
    turns = [0] * len(rows)
    for i, j in zip(later.tolist(), near[later, places].tolist(), strict=True):
        turns[i] = max(turns[i], turns[j] + 1)
    return np.array(turns)


def grouped(turns: Numbers, most: int) -> Iterator[Numbers]:
    """The positions of equal numbers, the lowest first, at most so many together."""
    in_order = np.argsort(turns, kind="stable")
    for group in np.split(in_order, np.flatnonzero(np.diff(turns[in_order])) + 1):
        yield from (group[start : start + most] for start in range(0, len(group), most))


def ring(board: Numbers, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Rows and columns of the empty pixels beside filled ones, by number of filled neighbours, among equals in random order."""
    known = np.pad(board >= 0, 1)
    count = sliding_window_view(known, (3, 3)).sum((2, 3))
    rows, columns = np.nonzero((board < 0) & (count > 0))
    shuffled = rng.permutation(len(rows))
    chosen = shuffled[np.argsort(-count[rows, columns][shuffled], kind="stable")]
    return rows[chosen], columns[chosen]


def ring_sizes(empty: NDArray[np.bool_], order: str) -> list[int]:
    """How many pixels each pass fills if none has to wait."""
    if order == "scanline":
        return [int(n) for n in empty.sum(1) if n]
    sizes = []
    while empty.any():
        inside: NDArray[np.bool_] = np.asarray(sliding_window_view(np.pad(empty, 1, constant_values=True), (3, 3)).all((2, 3)))
        sizes.append(int(empty.sum() - inside.sum()))
        empty = inside
    return sizes


def gaussian(window: int) -> Array:
    """Weights (window, window) with the paper's deviation, window / 6.4; their sum is 1."""
    profile = np.exp(-0.5 * ((np.arange(window) - window // 2) / (window / 6.4)) ** 2)
    weights = np.outer(profile, profile)
    return weights / weights.sum()


def whole_windows(holes: NDArray[np.bool_], window: int) -> NDArray[np.bool_]:
    """Where a window has no hole, (H - window + 1, W - window + 1) by its first pixel."""
    sums = np.pad(holes.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return sums[window:, window:] - sums[:-window, window:] - sums[window:, :-window] + sums[:-window, :-window] == 0
