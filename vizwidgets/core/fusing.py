"""Convolutions that add and rectify in the same operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_RELUS = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_ADDS = {torch.add, Tensor.add, Tensor.add_}
_NEW = {F.conv2d, F.max_pool2d, *_RELUS, *_ADDS}  # what they give is no part of another tensor


class Fused(nn.Module):
    """A module whose convolutions do the addition and the ReLU that follow them, which saves passes over memory.

    They are computed by the operations that PyTorch's compiler uses on processors. What follows what is learned from an ordinary
    pass of the first image given; a pass that then goes another way is done as usual, and so are those with gradients.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode; its weights do not change any more.
    at_once : int
        Images in a pass for which weights are laid out; other passes only take longer.

    Raises
    ------
    AttributeError, RuntimeError
        At the first call, where these operations do not exist or not for the type of the weights.
    """

    def __init__(self, module: nn.Module, at_once: int) -> None:
        super().__init__()
        self.module, self._at_once = module, at_once
        self._plan: _Plan | None = None

    def forward(self, images: Tensor) -> Any:
        """What the module gives."""
        if torch.is_grad_enabled():
            return self.module(images)
        if self._plan is None:
            one = images[:1]  # all outputs are held until it is known what reads them
            with _Recorder() as recorder:
                self.module(one)
            self._plan = _planned(recorder.calls, self._at_once)
        try:
            with _Replay(self._plan) as replay:
                out = self.module(images)
            replay.check_end()
        except _OtherWayError:
            self._plan = _Plan(0)
            return self.module(images)
        return out


class _OtherWayError(Exception):
    """The module has called other functions than it did before."""


@dataclass
class _Call:
    func: Any
    args: tuple[Any, ...]
    plain: bool  # without named arguments
    reads: list[int | None]  # for each of its tensors the call that gave it
    read_by: list[int] = field(default_factory=list)


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self._made_by: dict[int, int] = {}  # by a tensor's identity, its own for as long as it is kept
        self._kept: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        number = len(self.calls)
        reads = [self._made_by.get(id(v)) for v in _tensors((*args, *kwargs.values()))]
        self.calls.append(_Call(func, args, not kwargs, reads))
        for read in {r for r in reads if r is not None}:
            self.calls[read].read_by.append(number)
        for v in _tensors((out,)):
            self._made_by[id(v)] = number
            self._kept.append(v)
        return out


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for v in values:
        if isinstance(v, Tensor):
            yield v
        elif isinstance(v, (tuple, list)):
            yield from (w for w in v if isinstance(w, Tensor))


class _Convolution:
    """A convolution, what is added to it, written where that was, and the ReLU after it."""

    def __init__(self, call: _Call, at_once: int, other: int | None, relu: bool) -> None:
        self.func, self._other, self._relu = call.func, other, relu
        image, self._weight, self._bias, stride, padding, dilation, groups = call.args
        self._how = list(padding), list(stride), list(dilation), groups
        # Laid out as the operation reads it.
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(self._weight.detach(), *self._how, [at_once, *image.shape[1:]])

    def __call__(self, args: tuple[Any, ...], kept: dict[int, Tensor]) -> Tensor:
        if args[1] is not self._weight:
            raise _OtherWayError
        convolution = args[0], self._packed, self._bias, *self._how
        found: Tensor
        if self._other is None:
            found = torch.ops.mkldnn._convolution_pointwise(*convolution, "relu" if self._relu else "none", [], "")
        else:
            after = "relu" if self._relu else None
            found = torch.ops.mkldnn._convolution_pointwise_.binary(kept.pop(self._other), *convolution, "add", 1.0, after, [], None)
        return found


class _Done:
    """An addition or a ReLU that the convolution before it has done."""

    def __init__(self, call: _Call, before: int) -> None:
        self.func, self._before, self._place = call.func, before, call.reads.index(before)

    def __call__(self, args: tuple[Any, ...], kept: dict[int, Tensor]) -> Tensor:
        found = kept.pop(self._before)
        if args[self._place] is not found:
            raise _OtherWayError
        return found


@dataclass
class _Plan:
    calls: int
    steps: dict[int, _Convolution | _Done] = field(default_factory=dict)
    keep: set[int] = field(default_factory=set)  # results that a later step needs


class _Replay(TorchFunctionMode):
    def __init__(self, plan: _Plan) -> None:
        super().__init__()
        self._plan, self._number = plan, 0
        self._kept: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        number, self._number = self._number, self._number + 1
        step = self._plan.steps.get(number)
        if step is None:
            out = func(*args, **(kwargs or {}))
        elif func is not step.func:
            raise _OtherWayError
        else:
            out = step(args, self._kept)
        if number in self._plan.keep:
            self._kept[number] = out
        return out

    def check_end(self) -> None:
        if self._plan.calls not in (0, self._number):
            raise _OtherWayError


def _planned(calls: list[_Call], at_once: int) -> _Plan:
    plan = _Plan(len(calls))
    for number, call in enumerate(calls):
        if call.func is not F.conv2d or len(call.args) != 7 or not call.plain or isinstance(call.args[4], str):
            continue
        add = _only_reader(calls, number, _ADDS)
        other = None if add is None else _added(calls, number, add)
        add = None if other is None else add
        relu = _only_reader(calls, number if add is None else add, _RELUS)
        plan.steps[number] = _Convolution(call, at_once, other, relu is not None)
        if other is not None:
            plan.keep.add(other)
        before = number
        for done in (add, relu):
            if done is not None:
                plan.steps[done] = _Done(calls[done], before)
                plan.keep.add(before)
                before = done
    return plan


def _only_reader(calls: list[_Call], number: int, kind: set[Any]) -> int | None:
    """The call that reads what another gives, if it is the only one and of a kind."""
    readers = calls[number].read_by
    return readers[0] if len(readers) == 1 and calls[readers[0]].func in kind else None


def _added(calls: list[_Call], number: int, add: int) -> int | None:
    """The call whose result is added to a convolution's, if that is known by then and may be written over."""
    call = calls[add]
    if not call.plain or len(call.args) != 2 or len(call.reads) != 2 or call.args[0].shape != call.args[1].shape:
        return None
    other = call.reads[1 - call.reads.index(number)]
    if other is None or other >= number or calls[other].func not in _NEW:
        return None
    # What reads it earlier must not go on showing a part of it.
    free = all(r == add or (r < number and calls[r].func is F.conv2d) for r in calls[other].read_by)
    return other if free else None
