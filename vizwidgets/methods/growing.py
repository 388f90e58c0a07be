"""Growing a texture pixel by pixel: each is a copy of a sample pixel whose surroundings are like its own, as far as these are known.

The search over all windows of the sample is one matrix product for many pixels at once: sum g (s - v)² = sum g s² - 2 sum g v s +
sum g v², with g the weights of what is known, v its values and s those of a window. Pixels that are filled after the product was
made are added to it: each is a copy of a sample pixel, so that its squared differences from all others are added, shifted and weighted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]  # of pixels of the sample, counted row by row; -1 for none

TOLERANCE = 0.1  # windows up to this much worse than the best one are as good
ACCEPTED, RAISED = 0.3, 1.1  # the largest error with which a pixel is filled, and its growth when none could be
# Far above the rounding of sums of numbers in [0, 1] and far below what an eye can tell: rounding never decides about a window.
SLACK = 1e-10
HELD = 2**25  # numbers of windows that are kept, 256 MB; beyond that they are cut out again for each product
MOST = 2000  # pixels in one product: some tenths of a second for all that is done with them


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
        self.pixels = sample.reshape(len(sample), -1)
        self.weights = gaussian(window).ravel()
        width = sample.shape[2]
        self._cut = sliding_window_view(sample, (window, window), (1, 2))
        whole = np.ones(self._cut.shape[1:3], bool) if holes is None else whole_windows(holes, window)
        self._rows, self._columns = np.nonzero(whole)
        self.centres = (self._rows + self.reach) * width + self._columns + self.reach
        down, across = np.indices((window, window)).reshape(2, -1) - self.reach
        self._shifts = down * width + across
        numbers = len(self.centres) * window**2 * (1 + len(sample))
        self._held = self._features(slice(None)) if numbers <= HELD else None
        self.at_once = min(MOST, max(32, 2**30 // max(1, numbers)))

    def _features(self, part: slice) -> Array:
        """For each window what its errors are linear in (windows, (1 + C) * window²): sums of squares, then values."""
        cut = self._cut[:, self._rows[part], self._columns[part]].reshape(len(self.pixels), -1, self.window**2)
        return np.concatenate([(cut**2).sum(0)[None], cut]).transpose(1, 0, 2).reshape(cut.shape[1], -1)

    def errors(self, near: Numbers) -> tuple[Array, Array]:
        """Weighted sums of squared differences (P, windows) of surroundings `near` (P, window²), and the sums of weights (P,)."""
        channels = len(self.pixels)
        weights = np.where(near >= 0, self.weights, 0.0)
        values = self.pixels[:, near].transpose(1, 0, 2)
        linear = np.concatenate([weights[:, None], -2.0 * weights[:, None] * values], 1).reshape(len(near), -1) / channels
        constant = (weights * (values**2).mean(1)).sum(1, keepdims=True)
        if self._held is not None:
            found = linear @ self._held.T
        else:
            found = np.empty((len(near), len(self.centres)))
            step = HELD // linear.shape[1]
            for start in range(0, len(self.centres), step):
                part = slice(start, start + step)
                found[:, part] = linear @ self._features(part).T
        return found + constant, weights.sum(1)

    def add(self, errors: Array, weights: Array, rows: Numbers, places: Numbers, source: int) -> None:
        """Add a copy of pixel `source` to the surroundings of `rows`, of which it is the middle's neighbour at `places`."""
        apart = ((self.pixels - self.pixels[:, source, None]) ** 2).mean(0)
        heavy = self.weights[places]
        errors[rows] += heavy[:, None] * apart[self.centres + self._shifts[places, None]]
        weights[rows] += heavy


def grow(search: Search, board: Numbers, order: str, rng: np.random.Generator) -> Iterator[tuple[int, int, int, float]]:
    """Fill what is -1 on the board (h, w) of pixel numbers; gives row, column, number and error of each as it is filled.

    A pass of "onion" goes over all empty pixels beside filled ones, those with most of them first and else in random order; what fits
    too badly waits for the next pass. One of "scanline" takes the next row from left to right.
    """
    reach, window = search.reach, search.window
    around = np.pad(board, reach, constant_values=-1)
    inner = around[reach:-reach, reach:-reach]
    accepted = ACCEPTED if order == "onion" else np.inf
    while (inner < 0).any():
        rows, columns = ring(inner, rng) if order == "onion" else first_row(inner)
        progress = False
        for start in range(0, len(rows), search.at_once):
            ys, xs = rows[start : start + search.at_once], columns[start : start + search.at_once]
            errors, weights = search.errors(sliding_window_view(around, (window, window))[ys, xs].reshape(len(ys), -1))
            turn = np.full_like(around, -1)  # when it is whose
            turn[ys + reach, xs + reach] = np.arange(len(ys))
            for i, (y, x) in enumerate(zip(ys.tolist(), xs.tolist(), strict=True)):
                fit = errors[i]
                close = np.flatnonzero(fit <= (1.0 + TOLERANCE) * fit.min() + SLACK * weights[i])
                chosen = close[int(rng.random() * len(close))]
                error = max(0.0, float(fit[chosen] / weights[i])) if weights[i] else 0.0
                if error >= accepted:
                    continue
                inner[y, x] = source = int(search.centres[chosen])
                # The others see it where they are not: mirrored.
                later = turn[y : y + window, x : x + window][::-1, ::-1].ravel()
                places = np.flatnonzero(later > i)
                if len(places):
                    search.add(errors, weights, later[places], places, source)
                progress = True
                yield y, x, source, error
        if not progress:
            accepted *= RAISED


def ring(board: Numbers, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Rows and columns of the empty pixels beside filled ones, by number of filled neighbours, among equals in random order."""
    known = np.pad(board >= 0, 1)
    count = sliding_window_view(known, (3, 3)).sum((2, 3))
    rows, columns = np.nonzero((board < 0) & (count > 0))
    shuffled = rng.permutation(len(rows))
    chosen = shuffled[np.argsort(-count[rows, columns][shuffled], kind="stable")]
    return rows[chosen], columns[chosen]


def first_row(board: Numbers) -> tuple[Numbers, Numbers]:
    """Rows and columns of the empty pixels in the first row that has some."""
    rows, columns = np.nonzero(board < 0)
    return rows[rows == rows[0]], columns[rows == rows[0]]


def ring_sizes(empty: NDArray[np.bool_], order: str) -> list[int]:
    """How many pixels each pass fills if none has to wait."""
    if order == "scanline":
        return [int(n) for n in empty.sum(1) if n]
    sizes = []
    while empty.any():
        inside = sliding_window_view(np.pad(empty, 1, constant_values=True), (3, 3)).all((2, 3))
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
