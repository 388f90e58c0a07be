"""Average pooling where a network takes the maximum, without touching the network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .errors import unknown

POOLING = ("max", "average")


def pooled(kind: str) -> AbstractContextManager[Any]:
    """In the body, and in this thread, a network pools by `kind`: "max" as it does itself, "average" the mean of each window.

    Modules and functions are both seen. Padding is not part of the mean, as it never is the maximum. A network that wants to
    know where the maximum was (`return_indices`), or whose windows have gaps (`dilation`), raises TypeError under "average".

    References
    ----------
    Gatys, Ecker, Bethge: Texture synthesis using convolutional neural networks, 2015.
    """
    if kind not in POOLING:
        raise LookupError(unknown("pooling", kind, POOLING))
    return _Average() if kind == "average" else nullcontext()


class _Average(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))


def _mean(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    if return_indices:
        return _refuse()
    if dilation not in (1, (1, 1), [1, 1]):
        raise TypeError(f"average pooling has windows without gaps; this network pools with dilation {dilation}: take pooling='max'")
    return F.avg_pool2d(input, kernel_size, stride or None, padding, ceil_mode, count_include_pad=False)


def _adaptive_mean(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    return _refuse() if return_indices else F.adaptive_avg_pool2d(input, output_size)


def _refuse(*_args: Any, **_kwargs: Any) -> Tensor:
    raise TypeError("the network asks where the maximum of a window was (return_indices); a mean is nowhere: take pooling='max'")


_REPLACED: dict[Any, Callable[..., Tensor]] = {
    F.max_pool2d: _mean, torch.max_pool2d: _mean, F.adaptive_max_pool2d: _adaptive_mean,
    F.max_pool2d_with_indices: _refuse, F.adaptive_max_pool2d_with_indices: _refuse,
}  # fmt: skip
