"""Targets that compare activations with given ones: a direction, the activations of another image, its Gram matrix."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from .net import Net
from .optimize import joined
from .targets import Target, check_layer


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """A tensor that a target holds; equal by its values.

    Attributes
    ----------
    values : Tensor
        On the CPU, float32 (float64 stays); a copy.
    """

    values: Tensor

    def __post_init__(self) -> None:
        v = self.values.values if isinstance(self.values, Reference) else torch.as_tensor(self.values)
        dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
        # As maps lie in memory: to subtract one layout from the other takes five times as long.
        layout = torch.channels_last if v.dim() == 4 else torch.contiguous_format
        object.__setattr__(self, "values", v.detach().to("cpu", dtype, copy=True).contiguous(memory_format=layout))

    @cached_property
    def sha256(self) -> str:
        """Digest of shape and values."""
        head = f"{tuple(self.values.shape)}{self.values.dtype}".encode()
        return hashlib.sha256(head + self.values.numpy().tobytes()).hexdigest()

    @cached_property
    def mean_square(self) -> float:
        """Mean of the squared values."""
        return float(self.values.double().square().mean())

    @cached_property
    def symmetric(self) -> bool:
        """Whether it is a matrix that equals its transpose."""
        return self.values.dim() == 2 and bool((self.values == self.values.T).all())

    def like(self, other: Tensor) -> Tensor:
        """The values with dtype and device of `other`."""
        return self.values.to(other)

    def __eq__(self, other: object) -> bool:
        """Whether the values are the same."""
        return isinstance(other, Reference) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        """Of the values."""
        return hash(self.sha256)

    def __repr__(self) -> str:
        """Shape and the beginning of the digest."""
        return f"Reference({'×'.join(map(str, self.values.shape))}, {self.sha256[:8]})"


def gram(maps: Tensor) -> Tensor:
    """How the channels of maps (B, C, H, W) go together: their products, averaged over positions (B, C, C)."""
    flat = maps.flatten(2)
    return flat @ flat.mT / flat.shape[2]


@dataclass(frozen=True)
class _Compared(Target):
    layer: str
    reference: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", Reference(self.reference))

    def resolve(self, net: Net) -> Target:
        """Itself, once layer and shape are known to fit."""
        shape = check_layer(net, self.layer)
        wanted, came = self._wanted(shape[0]), tuple(self.reference.values.shape)
        if len(came) != len(wanted) or any(w not in (None, c) for w, c in zip(wanted, came, strict=True)):
            form = "×".join("any" if w is None else str(w) for w in wanted)
            raise ValueError(f"{type(self).__name__} of layer {self.layer!r} needs a reference {form}, not {'×'.join(map(str, came))}")
        return self

    def _wanted(self, channels: int) -> tuple[int | None, ...]:
        return (1, channels, None, None)

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return f"{type(self).__name__.lower()} at {self.layer}"

    def _both(self, acts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        maps = acts[self.layer]
        reference = self.reference.like(maps)
        if maps.shape[1:] != reference.shape[1:]:
            raise ValueError(
                f"the maps of {self.layer!r} are {'×'.join(map(str, maps.shape[1:]))}, those of the reference "
                f"{'×'.join(map(str, reference.shape[1:]))}: the images must have the same size"
            )
        return maps, reference


@dataclass(frozen=True, repr=True)
class Direction(_Compared):
    """How far the activations of a layer point along a vector (C,): their product with it, averaged over positions.

    A unit vector along one axis is that `Channel`.
    """

    def _wanted(self, channels: int) -> tuple[int | None, ...]:
        return (channels,)

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        maps = acts[self.layer]
        return torch.einsum("bchw,c->bhw", maps, self.reference.like(maps)).flatten(1).mean(1)


@dataclass(frozen=True)
class Distance(_Compared):
    """Squared distance of a layer's activations from those of another image (1, C, H, W), over their squared length.

    References
    ----------
    Mahendran, Vedaldi: Understanding deep image representations by inverting them, 2015.
    """

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,): 0 for the same activations, 1 for none at all."""
        square = self.reference.mean_square * self.reference.values.numel()
        return _Distance.apply(*self._both(acts), max(square, 1e-30))


@dataclass(frozen=True)
class Similarity(_Compared):
    """Product of a layer's activations with those of another image (1, C, H, W), times their cosine to a power.

    The product alone asks for more of everything; a higher power insists on the same direction. The cosine counts as at
    least 0.1.

    References
    ----------
    Mordvintsev's caricatures, in the notebooks of Lucid, 2018.
    """

    power: float = 1.0

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        a, b = (v.flatten(1) for v in self._both(acts))
        return (a * b).sum(1) * torch.cosine_similarity(a, b).clamp(min=0.1) ** self.power


@dataclass(frozen=True)
class GramDistance(_Compared):
    """Mean squared difference of a layer's Gram matrix from a given one (C, C); see `gram`.

    References
    ----------
    Gatys, Ecker, Bethge: Texture synthesis using convolutional neural networks, 2015.
    """

    def _wanted(self, channels: int) -> tuple[int | None, ...]:
        return (channels, channels)

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        maps = acts[self.layer]
        return _GramDistance.apply(maps, self.reference.like(maps), self.reference.symmetric)


# Both by hand: in fewer passes over memory, and in the memory layout of the maps.
class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, reference: Tensor, square: float) -> Tensor:
        off = maps - reference
        ctx.save_for_backward(off)
        ctx.square = square
        return torch.linalg.vector_norm(off, dim=(1, 2, 3)).square() / square

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (off,) = ctx.saved_tensors
        return off * (2 / ctx.square * grad)[:, None, None, None], None, None


class _GramDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, reference: Tensor, symmetric: bool) -> Tensor:
        flat = maps.flatten(2)
        if _large(maps):
            size = (maps.shape[1], maps.shape[1], 1, 1)
            products = joined([conv2d_weight(m, size, m) for m in maps.split(1)]).view(-1, *size[:2])
            off = products.div_(flat.shape[2]).sub_(reference)
        else:
            off = torch.baddbmm(reference.expand(len(maps), -1, -1), flat, flat.mT, beta=-1, alpha=1 / flat.shape[2])
        ctx.save_for_backward(maps, off)
        ctx.symmetric = symmetric
        return torch.linalg.vector_norm(off, dim=(1, 2)).square() / reference.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        maps, off = ctx.saved_tensors
        flat = maps.flatten(2)
        half = off if ctx.symmetric else (off + off.mT) / 2
        slope = half * (4 / (off.shape[1] ** 2 * flat.shape[2]) * grad)[:, None, None]
        if _large(maps):
            return joined([F.conv2d(m, s[:, :, None, None]) for m, s in zip(maps.split(1), slope, strict=True)]), None, None
        if maps.is_contiguous(memory_format=torch.channels_last):
            return torch.bmm(flat.mT, slope).mT.unflatten(2, maps.shape[2:]), None, None
        return torch.bmm(slope, flat).view(maps.shape), None, None


def _large(maps: Tensor) -> bool:
    """Whether products of these maps are better left to convolutions with windows of a single pixel.

    On processors these take two thirds of the time of a product of matrices that are so much longer than wide.
    """
    return maps.device.type == "cpu" and maps.dtype == torch.float32 and maps[0].numel() >= 2**18
