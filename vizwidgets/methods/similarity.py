"""How alike two maps are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MEASURES = ("Spearman", "Spearman of absolute values", "SSIM", "HOG")


def similarity(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """How alike maps are, by four measures: 1 is equal, 0 unrelated.

    "Spearman" is the rank correlation of the maps as they are, "Spearman of absolute values" of their sizes. "SSIM" (Wang et
    al. 2004, windows of 7 pixels) and "HOG", the correlation of histograms of oriented gradients (Dalal and Triggs 2005, cells of
    1/14 of the map), compare sizes after each map was divided by its maximum.

    Parameters
    ----------
    a, b : Tensor
        (B, H, W), at least 7 pixels high and wide.

    Returns
    -------
    dict of str to Tensor
        (B,) for each of `MEASURES`. NaN where one of the maps is constant: it has no ranks.

    Raises
    ------
    ValueError
        For maps of different shapes, or with values that are not finite.

    Examples
    --------
    >>> similarity(maps, maps)["SSIM"]
    tensor([1.])
    """
    if a.shape != b.shape or a.ndim != 3 or min(a.shape[1:]) < 7:
        raise ValueError(f"maps to compare are (B, H, W), both alike, of at least 7×7 pixels, not {tuple(a.shape)} and {tuple(b.shape)}")
    if not bool(a.isfinite().all() and b.isfinite().all()):
        raise ValueError("the maps have values that are NaN or infinite, which cannot be compared")
    sizes = [m.abs() / m.abs().amax((1, 2), keepdim=True).clamp(min=1e-30) for m in (a, b)]
    values = (spearman(a, b), spearman(*sizes), _each(_ssim, *sizes), _each(_hog, *sizes))
    return dict(zip(MEASURES, values, strict=True))


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """The rank correlation of maps (B, H, W): (B,), NaN where one is constant."""
    return _each(lambda u, v: _correlation(_ranks(u), _ranks(v)), a, b)


def _each(measure: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor) -> Tensor:
    """A measure of each pair of maps (B, H, W): (B,)."""
    constant = [bool(u.min() == u.max() or v.min() == v.max()) for u, v in zip(a, b, strict=True)]
    found = [float("nan") if c else measure(u, v) for u, v, c in zip(a, b, constant, strict=True)]
    return torch.tensor(found, dtype=a.dtype)


def _ranks(values: Tensor) -> Tensor:
    """Ranks, equal values sharing their mean rank."""
    _, which, counts = values.flatten().unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[which]


def _ssim(a: Tensor, b: Tensor) -> float:
    from skimage.metrics import structural_similarity

    return float(structural_similarity(a.numpy(), b.numpy(), data_range=1.0))


def _hog(a: Tensor, b: Tensor) -> float:
    from skimage.feature import hog

    cell = max(1, min(a.shape) // 14)
    return _correlation(*(torch.from_numpy(hog(m.numpy(), pixels_per_cell=(cell, cell))) for m in (a, b)))


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = (v.double() - v.double().mean() for v in (a, b))
    return float((a @ b) / (a.norm() * b.norm()))
