"""What some images of a set have in common: the channels that are more active in them than in all."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

import torch

_ROWS = 4096  # at a time


def common_channels(features: Any, rows: Iterable[int], n: int = 5) -> list[tuple[int, float]]:
    """The channels that are most above their mean over the whole set, in the mean over some images.

    The measure is the mean of the channel's standard scores: its mean over `rows`, less its mean over the whole set, in units of its
    standard deviation over the whole set. Few images have large ones by chance: a single one in a thousand some channel at 3.

    Parameters
    ----------
    features : Features
        Vectors (N, D), as `vizwidgets.embed` gives them.
    rows : iterable of int
        Which of the N images.
    n : int
        How many channels at most; those that are not above the mean are left out.

    Returns
    -------
    list of (int, float)
        Channels from the highest, with how many standard deviations they are above the mean of all.

    Raises
    ------
    IndexError, ValueError
        For rows that there are not, no rows at all, and `n` below 1.

    Examples
    --------
    >>> common_channels(features, scatter.selection)
    [(12, 2.31), (40, 1.87), (3, 1.22), (88, 1.05), (61, 0.94)]
    """
    vectors, wanted = features.vectors, [index(r) for r in rows]
    if n < 1:
        raise ValueError(f"at least one channel is asked for, not {n}")
    if not wanted:
        raise ValueError("there are no rows: what should they have in common?")
    wrong = [r for r in wanted if not 0 <= r < len(vectors)]
    if wrong:
        raise IndexError(f"there is no row {wrong[0]}: there are {len(vectors)}, counted from 0")
    mean = vectors.mean(0, dtype=torch.float64)
    spread = sum((part.double() - mean).square().sum(0) for part in vectors.split(_ROWS)).div(len(vectors)).sqrt()
    steady = spread <= 1e-6 * mean.abs()  # what is the same everywhere but for rounding
    above = (vectors[torch.tensor(wanted)].mean(0, dtype=torch.float64) - mean) / spread.masked_fill(steady, torch.inf)
    best, channels = above.sort(descending=True, stable=True)
    return [(c, s) for c, s in zip(channels[:n].tolist(), best[:n].tolist(), strict=True) if s > 1e-6]
