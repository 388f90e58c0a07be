"""Which pixels of the image an activation can see, exactly, whatever the branches between.

Every operation of one forward pass is watched, functional ones too, and the interval of pixels behind each position is
carried from its inputs to its output. What mixes all positions (attention, global pooling, squeeze-and-excitation, an
operation that is not known here) sees the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten


@dataclass(frozen=True)
class ReceptiveField:
    """The window of pixels behind one position of a layer; each entry is (y, x), in pixels.

    Position (i, j) sees rows ``offset[0] + i * stride[0]`` and the `size[0] - 1` after it, columns likewise. A negative
    offset lies in the padding.
    """

    size: tuple[int, int]
    stride: tuple[float, float]
    offset: tuple[float, float]

    def box(self, y: int, x: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The pixels behind position (y, x) of an image of this height and width: y0, x0, y1, x1, the ends exclusive.

        Pixels at the lower and right edge that a stride leaves over, before padding is put around the maps, are counted in.

        Examples
        --------
        >>> ReceptiveField((7, 7), (2, 2), (-3, -3)).box(0, 1, 96, 96)
        (0, 0, 4, 6)
        """
        low = [self.offset[a] + (y, x)[a] * self.stride[a] for a in (0, 1)]
        high = [low[a] + self.size[a] for a in (0, 1)]
        y0, y1 = (min(height, max(0, int(v))) for v in (low[0], high[0]))
        x0, x1 = (min(width, max(0, int(v))) for v in (low[1], high[1]))
        return y0, x0, y1, x1

    def __str__(self) -> str:
        """Size in pixels, rows by columns."""
        h, w = self.size
        return f"{h}×{w}"


@dataclass(frozen=True)
class _Axis:
    """Position i sees pixels low + i * stride ... high + i * stride."""

    low: float
    high: float
    stride: float

    def union(self, other: _Axis) -> _Axis:
        if self.stride != other.stride:
            raise _Unknown
        return _Axis(min(self.low, other.low), max(self.high, other.high), self.stride)

    def window(self, size: int, stride: int, padding: int, dilation: int) -> _Axis:
        low = self.low - padding * self.stride
        return _Axis(low, self.high + (dilation * (size - 1) - padding) * self.stride, self.stride * stride)


@dataclass(frozen=True)
class _Field:
    """Rows at dimension `y`, columns at dimension `x` of a tensor; merged into one dimension where y == x."""

    y: int
    x: int
    rows: _Axis
    columns: _Axis
    size: tuple[int, int]

    def at(self, y: int, x: int) -> _Field:
        return _Field(y, x, self.rows, self.columns, self.size)

    def through(self, rows: _Axis, columns: _Axis, shape: torch.Size) -> _Field:
        return _Field(self.y, self.x, rows, columns, (shape[self.y], shape[self.x]))


class _Unknown(Exception):
    """Raised by a rule that cannot say which positions an output sees: the whole image, then."""


WHOLE = "whole image"


def _pair(value: Any, default: int | None = None) -> tuple[int, int]:
    if value is None or (isinstance(value, (list, tuple)) and not value):
        if default is None:
            raise _Unknown
        return default, default
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


def _spatial(f: _Field) -> None:
    if (f.y, f.x) != (2, 3):
        raise _Unknown


def _windowed(f: _Field, out: Tensor, size: Any, stride: Any, padding: Any, dilation: Any = 1) -> _Field:
    _spatial(f)
    k, p, d = _pair(size), _pair(padding), _pair(dilation)
    s = _pair(stride, None) if stride else k
    rows, columns = (a.window(k[i], s[i], p[i], d[i]) for i, a in enumerate((f.rows, f.columns)))
    return f.through(rows, columns, out.shape)


def _convolution(f: _Field, out: Tensor, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any,
                 dilation: Any, transposed: bool = False, *_: Any) -> _Field:  # fmt: skip
    if transposed or weight.dim() != 4:
        raise _Unknown
    return _windowed(f, out, list(weight.shape[2:]), stride, padding, dilation)


def _max_pool(f: _Field, out: Tensor, x: Tensor, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
              *_: Any) -> _Field:  # fmt: skip
    return _windowed(f, out, size, stride, padding, dilation)


def _avg_pool(f: _Field, out: Tensor, x: Tensor, size: Any, stride: Any = (), padding: Any = 0, *_: Any) -> _Field:
    return _windowed(f, out, size, stride, padding)


def _adaptive_pool(f: _Field, out: Tensor, x: Tensor, size: Any) -> _Field:
    _spatial(f)
    if tuple(out.shape[2:]) == (1, 1) or any(x.shape[i] % out.shape[i] for i in (2, 3)):
        raise _Unknown
    window = [x.shape[i] // out.shape[i] for i in (2, 3)]
    return _windowed(f, out, window, window, 0)


def _same(f: _Field, out: Tensor, *_: Any, **__: Any) -> _Field:
    expected = f.size if f.y != f.x else (prod(f.size),) * 2
    if (out.shape[f.y], out.shape[f.x]) != expected:
        raise _Unknown
    return f


def _layer_norm(f: _Field, out: Tensor, x: Tensor, normalized: Any, *_: Any) -> _Field:
    if max(f.y, f.x) >= x.dim() - len(normalized):
        raise _Unknown
    return f


def _batch_norm(f: _Field, out: Tensor, x: Tensor, weight: Any, bias: Any, mean: Any = None, *_: Any) -> _Field:
    if not isinstance(mean, Tensor):
        raise _Unknown  # without running statistics, those of the image itself
    return _same(f, out)


def _matrix(f: _Field, out: Tensor, *_: Any) -> _Field:
    if max(f.y, f.x) >= out.dim() - 1:
        raise _Unknown
    return f


def _permute(f: _Field, out: Tensor, x: Tensor, dims: Any) -> _Field:
    order = [d % x.dim() for d in dims]
    return f.at(order.index(f.y), order.index(f.x))


def _transpose(f: _Field, out: Tensor, x: Tensor, a: int = 0, b: int = 1) -> _Field:
    order = list(range(x.dim()))
    order[a], order[b] = order[b], order[a]
    return _permute(f, out, x, order)


def _reshape(f: _Field, out: Tensor, x: Tensor, *_: Any) -> _Field:
    (h, w), before = f.size, prod(x.shape[: f.y])
    if f.x not in (f.y, f.y + 1):
        raise _Unknown
    for d in range(out.dim()):
        if prod(out.shape[:d]) == before:
            if tuple(out.shape[d : d + 2]) == (h, w):
                return f.at(d, d + 1)
            if out.shape[d] == h * w:
                return f.at(d, d)
    raise _Unknown


def _unsqueeze(f: _Field, out: Tensor, x: Tensor, dim: int) -> _Field:
    d = dim % out.dim()
    return f.at(f.y + (f.y >= d), f.x + (f.x >= d))


def _mean(f: _Field, out: Tensor, x: Tensor, dims: Any = None, keepdim: bool = False, **_: Any) -> _Field:
    gone = sorted(d % x.dim() for d in (dims if dims else range(x.dim())))
    if f.y in gone or f.x in gone:
        raise _Unknown
    return f if keepdim else f.at(*(a - sum(d < a for d in gone) for a in (f.y, f.x)))


def _slice(f: _Field, out: Tensor, x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> _Field:
    d = dim % x.dim()
    if d not in (f.y, f.x) or out.shape[d] == x.shape[d]:
        return f
    if f.y == f.x:
        raise _Unknown
    begin = (start or 0) % x.shape[d] if (start or 0) < 0 else (start or 0)

    def cut(axis: _Axis) -> _Axis:
        shift = begin * axis.stride
        return _Axis(axis.low + shift, axis.high + shift, axis.stride * step)

    return f.through(cut(f.rows) if d == f.y else f.rows, cut(f.columns) if d == f.x else f.columns, out.shape)


def _pad(f: _Field, out: Tensor, x: Tensor, pad: Any, *_: Any) -> _Field:
    def shifted(axis: _Axis, dim: int) -> _Axis:
        i = 2 * (x.dim() - 1 - dim)
        by = pad[i] * axis.stride if i < len(pad) else 0
        return _Axis(axis.low - by, axis.high - by, axis.stride)

    if f.y == f.x:
        raise _Unknown
    return f.through(shifted(f.rows, f.y), shifted(f.columns, f.x), out.shape)


def _nearest(f: _Field, out: Tensor, x: Tensor, *_: Any) -> _Field:
    _spatial(f)

    def up(axis: _Axis, dim: int) -> _Axis:
        factor, rest = divmod(out.shape[dim], x.shape[dim])
        if rest:
            raise _Unknown
        # Output i copies input floor(i / factor): the hull over one period.
        return _Axis(axis.low - axis.stride * (factor - 1) / factor, axis.high, axis.stride / factor)

    return f.through(up(f.rows, 2), up(f.columns, 3), out.shape)


_RULES: dict[Any, Callable[..., _Field]] = {
    **dict.fromkeys([aten.convolution, aten.conv2d], _convolution),
    **dict.fromkeys([aten.max_pool2d_with_indices, aten.max_pool2d], _max_pool),
    **dict.fromkeys([aten.avg_pool2d], _avg_pool),
    **dict.fromkeys([aten._adaptive_avg_pool2d, aten.adaptive_avg_pool2d, aten.adaptive_max_pool2d], _adaptive_pool),
    **dict.fromkeys([aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten.cudnn_batch_norm,
                     aten._batch_norm_with_update, aten.batch_norm, aten._native_batch_norm_legit,
                     aten._batch_norm_no_update], _batch_norm),
    **dict.fromkeys([aten.clone, aten._to_copy, aten.detach, aten.alias, aten.contiguous, aten.dropout,
                     aten.native_dropout, aten.split, aten.split_with_sizes, aten.chunk, aten.narrow,
                     aten.lift_fresh, aten.expand, aten.glu, aten.channel_shuffle, aten.native_channel_shuffle], _same),
    # PyTorch before 2.8 has no fused RMS norm.
    **dict.fromkeys([aten.native_layer_norm, aten.layer_norm, aten.rms_norm, getattr(aten, "_fused_rms_norm", None)], _layer_norm),
    **dict.fromkeys([aten.mm, aten.addmm, aten.linear, aten.matmul], _matrix),
    **dict.fromkeys([aten.view, aten._unsafe_view, aten.reshape, aten._reshape_alias, aten.squeeze], _reshape),
    **dict.fromkeys([aten.transpose, aten.t], _transpose),
    **dict.fromkeys([aten.mean, aten.sum, aten.amax], _mean),
    **dict.fromkeys([aten.upsample_nearest2d], _nearest),
    aten.permute: _permute, aten.unsqueeze: _unsqueeze, aten.slice: _slice, aten.constant_pad_nd: _pad,
}  # fmt: skip


# Elementwise operations that PyTorch does not tag as such, or did not at first.
_POINTWISE = {
    aten.hardtanh_, aten.relu6_, aten.hardsigmoid_, aten.elu_, aten.celu_, aten.selu_, aten.leaky_relu, aten.leaky_relu_,
    aten.hardswish, aten.hardswish_, aten.mish_, aten.gelu_, aten.prelu, aten._prelu_kernel, aten.threshold_,
    aten.rrelu_with_noise, aten.rrelu_with_noise_, aten.log_sigmoid_forward, aten.abs_, aten.rsub, aten.where,
    aten.masked_fill, aten.masked_fill_, aten.copy_, aten.fill_, aten.zero_,
}  # fmt: skip


# What takes only shape and type from its input.
_FRESH = {
    aten.empty_like, aten.zeros_like, aten.ones_like, aten.full_like, aten.rand_like, aten.randn_like,
    aten.new_empty, aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty_strided,
}  # fmt: skip


class FieldTracker(TorchDispatchMode):
    """Follow the receptive field through everything that runs in the body; see `field`."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._known: Any = WeakTensorKeyDictionary()
        pixel = _Axis(0, 0, 1)
        self._known[image] = _Field(2, 3, pixel, pixel, (image.shape[2], image.shape[3])) if image.dim() == 4 else WHOLE

    def field(self, tensor: Tensor) -> ReceptiveField | None:
        """The receptive field of a tensor made in the body; None stands for the whole image."""
        f = self._known.get(tensor)
        if not isinstance(f, _Field):
            return None
        y, x = f.rows, f.columns
        return ReceptiveField(
            (round(y.high - y.low + 1), round(x.high - x.low + 1)),
            (_whole(y.stride), _whole(x.stride)),
            (_whole(y.low), _whole(x.low)),
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        part = args[0] if args and isinstance(args[0], Tensor) and func._schema.is_mutable else None
        before = None if part is None else self._known.get(part)
        out = func(*args, **(kwargs or {}))
        tensors = [t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, Tensor)]
        sources = [(t, self._known[t]) for t in tensors if t in self._known]
        if sources and func.overloadpacket not in _FRESH:
            for o in out if isinstance(out, (list, tuple)) else (out,):
                if isinstance(o, Tensor):
                    self._known[o] = self._follow(func, o, sources, args, kwargs or {})
        if part is not None and part._is_view() and self._known.get(part) != before:
            self._known[part._base] = WHOLE  # other pixels were written into a part of it
        return out

    def _follow(self, func: Any, out: Tensor, sources: list[Any], args: Any, kwargs: Any) -> _Field | str:
        if any(f == WHOLE for _, f in sources):
            return WHOLE
        try:
            if func.overloadpacket in (aten.cat, aten.stack):
                return self._joined(func, out, sources, args)
            if torch.Tag.pointwise in func.tags or func.overloadpacket in _POINTWISE:
                return _pointwise(out, sources)
            rule = _RULES.get(func.overloadpacket)
            x = 1 if func.overloadpacket is aten.addmm else 0
            if rule is None or len(sources) != 1 or sources[0][0] is not args[x]:
                return WHOLE
            return rule(sources[0][1], out, *args, **kwargs)
        except (_Unknown, IndexError, TypeError, ValueError):
            return WHOLE

    @staticmethod
    def _joined(func: Any, out: Tensor, sources: list[Any], args: Any) -> _Field | str:
        dim = (args[1] if len(args) > 1 else 0) % out.dim()
        field = sources[0][1]
        if func.overloadpacket is aten.stack:
            return WHOLE
        return WHOLE if dim in (field.y, field.x) else _pointwise(out, sources, same_rank=True)


def _pointwise(out: Tensor, sources: list[Any], same_rank: bool = False) -> _Field | str:
    """The union over inputs of one shape; a map broadcast over positions (a gate) has seen all of them."""
    result: _Field | None = None
    for t, f in sources:
        by = 0 if same_rank else out.dim() - t.dim()
        f = f.at(f.y + by, f.x + by)
        if (out.shape[f.y], out.shape[f.x]) != (t.shape[f.y - by], t.shape[f.x - by]):
            return WHOLE
        if result is None:
            result = f
        elif (result.y, result.x) != (f.y, f.x):
            return WHOLE
        else:
            result = _Field(f.y, f.x, result.rows.union(f.rows), result.columns.union(f.columns), f.size)
    return result or WHOLE


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value
