"""Other rules for the way back through a ReLU, however the network spells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

# rule(grad, below, above): the gradient of the score with respect to the output, and where the input was not above 0, or
# (of a ReLU6, else None) not below 6. Gives the gradient with respect to the input.
Rule = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_RELU = {F.relu, torch.relu, Tensor.relu}
_RELU_IN_PLACE = {torch.relu_, Tensor.relu_}


def redirected(grad: Tensor, below: Tensor, above: Tensor | None) -> Tensor:
    """Let an image whose whole gradient is blocked here move towards where the ReLU opens; others pass as usual.

    At the start of an optimization all that a target reads may be off, and the plain gradient is zero then (Lucid).
    """
    shut = below if above is None else below | above
    plain = grad.masked_fill(shut, 0)
    stuck = (plain == 0).flatten(1).all(1)
    if not stuck.any():
        return plain
    away = below & (grad < 0)
    if above is not None:
        away |= above & (grad > 0)
    return torch.where(stuck.view(-1, *[1] * (grad.dim() - 1)), grad.masked_fill(away, 0), plain)


@contextmanager
def relu_backward(rule: Rule) -> Iterator[None]:
    """In the body, and in this thread, gradients pass ReLU and ReLU6 by `rule`; forward values are the usual ones.

    Modules (in place, shared or not), functions and methods of tensors are all seen. The backward pass may come after the
    body.
    """
    with _Mode(rule):
        yield


class _Mode(TorchFunctionMode):
    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self._rule = rule

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _RELU or func in _RELU_IN_PLACE:
            x, inplace = _arguments(func in _RELU_IN_PLACE, *args, **kwargs)
            return self._ruled(x, None, inplace)
        if func is F.relu6:
            x, inplace = _arguments(False, *args, **kwargs)
            return self._ruled(x, 6.0, inplace)
        if func is F.hardtanh:
            x, low, high, inplace = _hardtanh(*args, **kwargs)
            if (low, high) == (0, 6):
                return self._ruled(x, 6.0, inplace)
        return func(*args, **kwargs)

    def _ruled(self, x: Tensor, top: float | None, inplace: bool) -> Tensor:
        return _Ruled.apply(x, self._rule, top, inplace)


def _arguments(in_place: bool, input: Tensor, inplace: bool = False) -> tuple[Tensor, bool]:
    return input, inplace or in_place


def _hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> tuple[Tensor, float, float, bool]:
    return input, min_val, max_val, inplace


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Rule, top: float | None, inplace: bool) -> Tensor:
        ctx.rule = rule
        ctx.save_for_backward(x <= 0, None if top is None else x >= top)
        if inplace:
            ctx.mark_dirty(x)
            return x.clamp_(0, top)
        return x.clamp(0, top)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.rule(grad, *ctx.saved_tensors), None, None, None
