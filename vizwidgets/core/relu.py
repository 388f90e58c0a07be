"""Other rules for the way back through a ReLU, however the network spells it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import BackwardCFunction, once_differentiable
from torch.overrides import TorchFunctionMode

# rule(grad, output, top): the gradient of the score with respect to the output, the output, and where it ends (6 for ReLU6,
# else None). Gives the gradient with respect to the input.
Rule = Callable[[Tensor, Tensor, float | None], Tensor]

_RELU = {F.relu, torch.relu, Tensor.relu}
_RELU_IN_PLACE = {torch.relu_, Tensor.relu_}
# A sigmoid is not among them: in networks of ReLUs it weighs channels (squeeze and excitation), it is no activation there.
_OTHERS: dict[Any, str] = {
    f: name
    for name, spellings in {
        "GELU": (F.gelu,), "SiLU": (F.silu,), "Mish": (F.mish,), "ELU": (F.elu, F.elu_), "SELU": (F.selu, torch.selu, torch.selu_),
        "CELU": (F.celu, torch.celu, torch.celu_), "leaky ReLU": (F.leaky_relu, F.leaky_relu_), "RReLU": (F.rrelu, torch.rrelu),
        "PReLU": (F.prelu, torch.prelu, Tensor.prelu), "softplus": (F.softplus,), "hardswish": (F.hardswish,),
        "tanh": (F.tanh, torch.tanh, Tensor.tanh, torch.tanh_, Tensor.tanh_), "hardtanh": (F.hardtanh, F.hardtanh_),
    }.items()
    for f in spellings
}  # fmt: skip

# The same as the graph calls them, without the digits at the end.
_OTHER_NODES = {
    "GeluBackward": "GELU", "SiluBackward": "SiLU", "MishBackward": "Mish", "EluBackward": "ELU or SELU", "CeluBackward": "CELU",
    "LeakyReluBackward": "leaky ReLU", "RreluWithNoiseBackward": "RReLU", "PreluKernelBackward": "PReLU",
    "SoftplusBackward": "softplus", "HardswishBackward": "hardswish", "TanhBackward": "tanh",
}  # fmt: skip

_WATCHED = {*_RELU, *_RELU_IN_PLACE, F.relu6, F.hardtanh, *_OTHERS}


def redirected(grad: Tensor, output: Tensor, top: float | None) -> Tensor:
    """Let an image whose whole gradient is blocked here move towards where the ReLU opens; others pass as usual.

    At the start of an optimization all that a target reads may be off, and the plain gradient is zero then (Lucid).
    """
    plain = _open(grad, output, top)
    stuck = (plain == 0).flatten(1).all(1)
    if not stuck.any():
        return plain
    away = (output <= 0) & (grad < 0)
    if top is not None:
        away |= (output >= top) & (grad > 0)
    return torch.where(stuck.view(-1, *[1] * (grad.dim() - 1)), grad.masked_fill(away, 0), plain)


def guided(grad: Tensor, output: Tensor | None = None, top: float | None = None) -> Tensor:
    """Only what raises the score; of it the usual rule, which follows, lets through where the ReLU was open (guided backpropagation)."""
    return grad.clamp(min=0)


def deconvolved(grad: Tensor, output: Tensor, top: float | None) -> Tensor:
    """Only what raises the score, wherever the ReLU was open or not (deconvnet)."""
    return grad.clamp(min=0)


def _open(grad: Tensor, output: Tensor, top: float | None) -> Tensor:
    """The gradient where the ReLU was neither shut nor at its top."""
    passed = torch.ops.aten.threshold_backward(grad, output, 0)
    return passed if top is None else passed.masked_fill_(output >= top, 0)


class NotInGraphError(Exception):
    """Part of the way back is a function of somebody's own: the graph does not show what it computes."""


def guide(scores: Tensor) -> None:
    """Let the way back from `scores` pass each ReLU and ReLU6 by the rule `guided`; errors as of `relu_backward` with `only`.

    To look through the graph takes less time than to watch all functions.
    """
    found: list[Any] = []
    seen: set[Any] = {None}
    todo: list[Any] = [scores.grad_fn]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        name = node.name().rstrip("0123456789")
        if isinstance(node, BackwardCFunction) and name != "_StridedBackward":  # that is the quick way of `stem`
            raise NotInGraphError
        if name == "ReluBackward" or (name == "HardtanhBackward" and (node._saved_min_val, node._saved_max_val) == (0, 6)):
            found.append(node)
        elif name == "HardtanhBackward" or name in _OTHER_NODES:
            raise _refused(_OTHER_NODES.get(name, "hardtanh"))
        todo += [before for before, _ in node.next_functions]
    for node in found:
        node.register_prehook(lambda grads: (guided(grads[0]),))


def _refused(activation: str) -> TypeError:
    return TypeError(
        f"this rule for the way back holds for ReLU and ReLU6; the network also computes {activation}. "
        "Plain gradients (saliency, integrated gradients) work with any activation"
    )


def relu_backward(rule: Rule, *, only: bool = False) -> AbstractContextManager[Any]:
    """In the body, and in this thread, gradients pass ReLU and ReLU6 by `rule`; forward values are the usual ones.

    Modules (in place, shared or not), functions and methods of tensors are all seen. The backward pass may come after the
    body. With `only`, a network that computes another activation raises TypeError: the rule does not hold for it.
    """
    return _Mode(rule, only)


class _Mode(TorchFunctionMode):
    def __init__(self, rule: Rule, only: bool) -> None:
        super().__init__()
        self._rule, self._only = rule, only

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _WATCHED:
            return func(*args, **kwargs)
        relu = _as_relu(func, args, kwargs)
        if relu is None:
            if self._only and func in _OTHERS:
                raise _refused(_OTHERS[func])
            return func(*args, **kwargs)
        if self._rule is not guided:
            return _Ruled.apply(relu[0], self._rule, *relu[1:])
        # A function of its own takes several times as long as a hook before the usual rule.
        output = func(*args, **kwargs)
        if output.requires_grad:
            output.register_hook(guided)
        return output


def _as_relu(func: Any, args: Any, kwargs: Any) -> tuple[Tensor, float | None, bool] | None:
    """Input of a ReLU, where it ends, and whether it is in place; None for another function."""
    if func in _RELU or func in _RELU_IN_PLACE:
        x, inplace = _arguments(func in _RELU_IN_PLACE, *args, **kwargs)
        return x, None, inplace
    if func is F.relu6:
        x, inplace = _arguments(False, *args, **kwargs)
        return x, 6.0, inplace
    if func is F.hardtanh:
        x, low, high, inplace = _hardtanh(*args, **kwargs)
        return (x, 6.0, inplace) if (low, high) == (0, 6) else None
    return None


def _arguments(in_place: bool, input: Tensor, inplace: bool = False) -> tuple[Tensor, bool]:
    return input, inplace or in_place


def _hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> tuple[Tensor, float, float, bool]:
    return input, min_val, max_val, inplace


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Rule, top: float | None, inplace: bool) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
            output = x.clamp_(0, top)
        else:
            output = x.clamp(0, top)
        ctx.rule, ctx.top = rule, top
        ctx.save_for_backward(output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.rule(grad, *ctx.saved_tensors, ctx.top), None, None, None
