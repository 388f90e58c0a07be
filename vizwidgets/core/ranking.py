"""Which images a channel answers to most, least, and in between: exact, part by part, the earlier image first among equals."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .errors import unknown

ORDERS = ("top", "bottom", "spread")
_LOW = 2**32 - 1


def ranked(parts: Iterable[tuple[int, Tensor]], skipped: Iterable[int], k: int, order: str = "top") -> tuple[Tensor, Tensor]:
    """The values of `k` images for each channel, and which images they are.

    Parameters
    ----------
    parts : iterable of (int, Tensor)
        Number of the first image, and the values (images, C) of it and those after it.
    skipped : iterable of int
        Images that do not count.
    k : int
        Fewer come back where there are fewer images.
    order : {"top", "bottom", "spread"}
        From the highest on; from the lowest on; from the highest to the lowest at even distances in rank, both among them.

    Returns
    -------
    tuple of Tensor
        Values (C, k), float32, and images (C, k).
    """
    if order not in ORDERS:
        raise LookupError(unknown("order", order, ORDERS))
    left_out, best = torch.tensor(sorted(skipped), dtype=torch.long), None
    sign = -1 if order == "bottom" else 1
    for first, values in parts:
        index = torch.arange(first, first + len(values))
        counts = ~torch.isin(index, left_out)
        keys = _keys(sign * values[counts].float(), index[counts])
        best = keys if best is None else torch.cat([best, keys], 1)
        if order != "spread":
            best = best.topk(min(k, best.shape[1]), dim=1).values
    if best is None or not best.shape[1]:
        raise ValueError("there are no images to rank")
    if order == "spread":
        places = torch.linspace(0, best.shape[1] - 1, min(k, best.shape[1]), dtype=torch.float64).round().long()
        best = best.sort(dim=1, descending=True).values[:, places]
    return sign * _values(best), _LOW - (best & _LOW)


def _keys(values: Tensor, index: Tensor) -> Tensor:
    """Whole numbers (C, images) in the order of the values (images, C) and, among equals, against that of the index."""
    bits = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).add(0.0).view(torch.int32).long()  # -0.0 + 0.0 is 0.0
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).mul(2**32).add(_LOW - index[:, None]).T.contiguous()


def _values(keys: Tensor) -> Tensor:
    ordered = keys >> 32
    values = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).to(torch.int32).view(torch.float32)
    return torch.where(values == -torch.inf, torch.nan, values)
