"""A pass as the list of its operations, done again without the code that called them and without an autograd graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .modes import submodules

_aten = torch.ops.aten
# What tells numbers to the code that calls, which may then go another way, and what is drawn at random.
_UNREPEATABLE = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.nondeterministic_seeded}
_SMALL = 2**21  # numbers
_ALIASES = (_aten.detach.default, _aten.alias.default)

Pass = Callable[..., Sequence[Tensor]]


class Programmed:
    """Passes that are the same but for the numbers: two are written down, and those after them are read off.

    A pass is read off without the network's own code, and its convolutions do the ReLU after them, both ways by the operations
    that PyTorch's compiler uses on processors. Passes go on as usual where the two are not the same operations in the same order,
    look at numbers, draw some, or write into what they have not made, and where the program gives other numbers than the pass.
    """

    def __init__(self) -> None:
        self._written: list[_Op] | None = None
        self._program: _Program | None = None
        self._refused = False

    def __call__(self, do: Pass, *inputs: Tensor) -> Sequence[Tensor]:
        """What ``do(*inputs)`` gives, outside of the autograd graph once it is read off."""
        if self._program is not None and self._program.shapes == _shapes(inputs):
            return self._program(*inputs)
        if self._refused or self._program is not None:
            return do(*inputs)
        try:
            with _Recorder(inputs) as recorder:
                found = do(*inputs)
            ops = recorder.ending_with(found)
        except Exception:
            self._refused = True
            return do(*inputs)  # which fails again if it was not for being written down
        if ops is None:
            self._refused = True
        elif self._written is None:
            self._written = ops
        else:
            self._program = _program(ops, inputs, found) if _alike(self._written, ops) else None
            self._refused, self._written = self._program is None, None
        return found


def free_of_hooks(module: nn.Module) -> bool:
    """Whether nobody watches the passes of a module; who does would not see those that are read off."""
    return not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in submodules(module))


class _Slot(int):
    """The number of a tensor: first the inputs, then the others in the order in which they are made."""


@dataclass(frozen=True)
class _Op:
    """A line of a program: a function, with slots in place of what other lines make; no function where it ends."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outs: tuple[_Slot | None, ...]
    several: bool  # in a tuple or list
    shapes: tuple[torch.Size | None, ...]  # of its arguments

    @property
    def reads(self) -> Iterator[_Slot]:
        return _found(_Slot, (self.args, self.kwargs))

    @property
    def writes(self) -> bool:
        return self.func is None or self.func._schema.is_mutable


def _found(kind: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for v in value.values() if isinstance(value, dict) else value:
            yield from _found(kind, v)


def _mapped(kind: Any, value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {k: _mapped(kind, v, change) for k, v in value.items()}
    return type(value)(_mapped(kind, v, change) for v in value) if type(value) in (tuple, list) else value


class _Recorder(TorchDispatchMode):
    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._ops: list[_Op] = []
        self._count, self._key = 0, object()
        self._repeatable = True
        self._own: set[int] = set()  # addresses of what is made here
        for x in inputs:
            self._numbered(x)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {of.name: v for of, v in zip(func._schema.arguments, args, strict=False)} | kwargs
        written = [given.get(of.name) for of in func._schema.arguments if of.alias_info is not None and of.alias_info.is_write]
        if _UNREPEATABLE & set(func.tags) or any(_address(v) not in self._own for v in _found(Tensor, written)):
            self._repeatable = False
        reads, named = _mapped(Tensor, (tuple(args), kwargs), self._slot)
        shapes = tuple(a.shape if isinstance(a, Tensor) else None for a in args)
        out = func(*args, **kwargs)
        held = {_address(v) for v in _found(Tensor, (args, kwargs))}
        several = isinstance(out, (tuple, list))
        outs = tuple(self._made(o, held) for o in (out if several else (out,)))
        self._ops.append(_Op(func, reads, named, outs, several, shapes))
        return out

    def ending_with(self, found: Sequence[Tensor]) -> list[_Op] | None:
        """The program that makes these tensors, or None if what was done cannot be done by one."""
        if not self._repeatable:
            return None
        return _needed(_without_aliases([*self._ops, _Op(None, _mapped(Tensor, tuple(found), self._slot), {}, (), True, ())]))

    def _slot(self, x: Tensor) -> Any:
        """The number of what was made here; others stay what they are."""
        key, slot = getattr(x, "_programmed", (None, None))
        return slot if key is self._key else x

    def _numbered(self, x: Tensor) -> _Slot:
        # Written on the tensor itself: to tell it by its identity, all tensors of a pass would have to be kept.
        slot = _Slot(self._count)
        x._programmed = self._key, slot  # type: ignore[attr-defined]
        self._count += 1
        return slot

    def _made(self, out: Any, held: set[int]) -> _Slot | None:
        if not isinstance(out, Tensor):
            return None
        if isinstance(slot := self._slot(out), _Slot):
            return slot
        if _address(out) not in held:
            self._own.add(_address(out))
        return self._numbered(out)


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _shapes(tensors: Iterable[Tensor]) -> list[tuple[torch.Size, torch.dtype]]:
    return [(x.shape, x.dtype) for x in tensors]


def _without_aliases(ops: list[_Op]) -> list[_Op]:
    """Without what gives a tensor another name, as autograd does."""
    same: dict[_Slot, _Slot] = {}
    kept = []
    for op in ops:
        args, kwargs = _mapped(_Slot, (op.args, op.kwargs), lambda s: same.get(s, s))
        if op.func in _ALIASES and isinstance(args[0], _Slot):
            same[op.outs[0]] = args[0]  # type: ignore[index]
        else:
            kept.append(replace(op, args=args, kwargs=kwargs))
    return kept


def _needed(ops: list[_Op]) -> list[_Op]:
    """Without what nobody reads."""
    read: set[_Slot] = set()
    kept = []
    for op in reversed(ops):
        if op.writes or not read.isdisjoint(op.outs):
            kept.append(op)
            read.update(op.reads)
    return kept[::-1]


def _alike(a: Any, b: Any) -> bool:
    """Whether two passes are the same, and what they read beside their inputs as well."""
    if isinstance(a, Tensor):
        return a is b or (isinstance(b, Tensor) and _shapes([a]) == _shapes([b]) and torch.equal(a, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, _Op):
        return a.func is b.func and a.outs == b.outs and _alike((a.args, a.kwargs), (b.args, b.kwargs))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_alike(a[k], b[k]) for k in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_alike, a, b))
    return bool(a == b)


def _program(ops: list[_Op], inputs: Sequence[Tensor], expected: Sequence[Tensor]) -> _Program | None:
    """The quickest program that gives what was found."""
    for way in (lambda ops: _in_place(_packed(ops)), list):
        try:
            program = _Program(way(ops), inputs)
            if all(map(_close, program(*inputs), expected)):
                return program
        except Exception:
            continue  # the operations do not exist, or not for this type of numbers
    return None


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    return bool((found - expected).abs().max() <= 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max())


def _packed(ops: list[_Op]) -> list[_Op]:
    """With convolutions whose weights are laid out beforehand, and which do the ReLU after them."""
    readers: dict[_Slot, list[int]] = {}
    for number, op in enumerate(ops):
        for slot in set(op.reads):
            readers.setdefault(slot, []).append(number)
    done: set[int] = set()
    changed = []
    for number, op in enumerate(ops):
        if number in done:
            continue
        if op.func is _aten.convolution.default and isinstance(op.args[1], Tensor) and not op.args[6]:
            image, weight, bias, stride, padding, dilation, _, _, groups = op.args
            relu = _relu_after(ops, readers.get(op.outs[0], []))  # type: ignore[arg-type]
            outs = op.outs if relu is None else ops[relu].outs
            done.update([] if relu is None else [relu])
            op = _convolution(op, image, weight, bias, padding, stride, dilation, groups, "none" if relu is None else "relu", outs)
        elif op.func is _aten.convolution_backward.default and _to_image_alone(op):
            slope, _, weight, _, _, padding, *_ = op.args
            back = weight.detach().flip(2, 3).transpose(0, 1)
            padding = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
            op = _convolution(op, slope, back, None, padding, [1, 1], [1, 1], 1, "none", op.outs[:1])
        changed.append(op)
    return changed


def _in_place(ops: list[_Op]) -> list[_Op]:
    """With gradients of pooling in memory of their own: while they are small, to ask for some takes longer than to fill it with zeros."""
    reads_only = {_aten.convolution_backward.default, _aten.threshold_backward.default, _pointwise()}
    others = {slot for op in ops if op.func not in reads_only for slot in op.reads}

    def suits(op: _Op) -> bool:
        if op.func is not _aten.max_pool2d_with_indices_backward.default or op.outs[0] in others:
            return False
        pooled = op.shapes[1]
        return pooled is not None and pooled.numel() <= _SMALL

    return [replace(op, func=_PoolBack()) if suits(op) else op for op in ops]


class _PoolBack:
    def __init__(self) -> None:
        self._found: Tensor | None = None

    def __call__(self, slope: Tensor, images: Tensor, *how: Any) -> Tensor:
        if self._found is None:
            self._found = torch.empty_like(images)
        return _aten.max_pool2d_with_indices_backward.grad_input(slope, images, *how, grad_input=self._found)


def _pointwise() -> Any:
    return torch.ops.mkldnn._convolution_pointwise.default


def _relu_after(ops: list[_Op], readers: list[int]) -> int | None:
    """The line with the ReLU of a convolution's output, if nobody sees what that was before."""
    first = next(iter(readers), None)
    if first is None or not (ops[first].func is _aten.relu_.default or (ops[first].func is _aten.relu.default and len(readers) == 1)):
        return None
    return first


def _to_image_alone(op: _Op) -> bool:
    """Whether this is the way back through a plain convolution, which is a convolution with the weights turned round."""
    _, _, weight, _, stride, padding, dilation, transposed, _, groups, wanted = op.args
    plain = isinstance(weight, Tensor) and list(stride) == list(dilation) == [1, 1] and not transposed and groups == 1
    return plain and list(wanted) == [True, False, False] and all(p < k for p, k in zip(padding, weight.shape[2:], strict=True))


def _convolution(
    op: _Op, image: Any, weight: Tensor, bias: Any, padding: Any, stride: Any, dilation: Any, groups: int, after: str, outs: Any
) -> _Op:
    how = list(padding), list(stride), list(dilation), groups
    weight = weight.detach().contiguous(memory_format=torch.channels_last)
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *how, list(op.shapes[0]))  # type: ignore[arg-type]
    return _Op(_pointwise(), (image, packed, bias, *how, after, [], ""), {}, outs, False, op.shapes)


class _Program:
    """What plays the lines, each tensor being let go as soon as nobody reads it any more."""

    def __init__(self, ops: list[_Op], inputs: Sequence[Tensor]) -> None:
        self.shapes = _shapes(inputs)
        *lines, end = ops
        self._end: Sequence[Any] = end.args
        last = {slot: number for number, op in enumerate(ops) for slot in (*op.outs, *op.reads) if slot is not None}
        self._lines = []
        for number, op in enumerate(lines):
            # Nearly all operations are given what they read one by one, and not in lists.
            places = [(i, a) for i, a in enumerate(op.args) if isinstance(a, _Slot)]
            simple = len(places) == len(list(op.reads))
            free = [slot for slot in {*op.outs, *op.reads} if slot is not None and last[slot] == number]
            self._lines.append((op.func, list(op.args), op.kwargs, places if simple else None, op.outs, op.several, free))
        self._count = 1 + max(last, default=0)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """What the pass that was written down gave, of other inputs."""
        held: list[Any] = [*inputs, *[None] * self._count]
        with torch.no_grad():
            for func, args, kwargs, places, outs, several, free in self._lines:
                if places is None:
                    made = func(*_mapped(_Slot, args, held.__getitem__), **_mapped(_Slot, kwargs, held.__getitem__))
                else:
                    args = args.copy()
                    for place, slot in places:
                        args[place] = held[slot]
                    made = func(*args, **kwargs)
                for out, tensor in zip(outs, made if several else (made,), strict=False):
                    if out is not None:
                        held[out] = tensor
                for done in free:
                    held[done] = None
            return _mapped(_Slot, list(self._end), held.__getitem__)
