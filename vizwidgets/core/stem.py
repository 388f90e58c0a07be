"""The way back through the first convolution of a network, to the few channels of an image."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .hooks import on_pass_through

# Of each convolution a copy of its weights, its stride, and the groups that they make.
_KEPT: WeakKeyDictionary[nn.Conv2d, tuple[Tensor, int, Tensor]] = WeakKeyDictionary()


class Stem(nn.Module):
    """A convolution of an image with a stride, whose gradient to the image takes half the time or less.

    On processors the usual one is slow for so few channels. Here all pixels at the same place between the strides are one
    group, and each group is an ordinary convolution of the gradient that comes back, with some of the weights (Shi and others,
    Is the deconvolution layer the same as a convolutional layer?, 2016).

    Parameters
    ----------
    conv : torch.nn.Conv2d
        One for which `Stem.suits` holds.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._stride, self._padding = _geometry(conv)
        self._groups = _groups(conv)

    @staticmethod
    def suits(conv: nn.Module) -> bool:
        """Whether it is a plain convolution of a few channels with a stride, and square, that nobody watches."""
        return (
            type(conv) is nn.Conv2d and conv.in_channels <= 4 and conv.groups == 1 and conv.stride[0] == conv.stride[1] > 1
            and conv.kernel_size[0] == conv.kernel_size[1] and conv.dilation == (1, 1)
            and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
            and not conv._forward_hooks and not conv._forward_pre_hooks
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """What the convolution gives."""
        with torch.no_grad():
            y = F.conv2d(x, self.weight, self.bias, self._stride, self._padding)
        return _way_back(x, y, self._groups, self._stride, self._padding)


def quick_way_back(module: nn.Module) -> AbstractContextManager[None]:
    """In the body, and in this thread, gradients pass the first convolution of a network as they pass a `Stem`."""
    conv = _first(module)
    if conv is None or not Stem.suits(conv) or conv.weight.device.type != "cpu":
        return nullcontext()
    groups = _kept_groups(conv)
    return on_pass_through(conv, lambda x, y: _way_back(x, y, groups, *_geometry(conv)))


def _first(module: nn.Module | None) -> nn.Conv2d | None:
    """Not by `modules()`, which takes several times as long."""
    if module is None or isinstance(module, nn.Conv2d):
        return module
    return next((found for m in module._modules.values() if (found := _first(m)) is not None), None)


def _geometry(conv: nn.Conv2d) -> tuple[int, tuple[int, int]]:
    """Stride and padding."""
    return conv.stride[0], (int(conv.padding[0]), int(conv.padding[1]))


def _kept_groups(conv: nn.Conv2d) -> Tensor:
    weight, stride, kept = conv.weight.detach(), conv.stride[0], _KEPT.get(conv)
    # The numbers themselves tell whether they have changed: what is written by `.data` leaves no trace.
    if kept is None or kept[1] != stride or kept[0].dtype != weight.dtype or not torch.equal(kept[0], weight):
        kept = _KEPT[conv] = weight.clone(), stride, _groups(conv)
    return kept[2]


def _groups(conv: nn.Conv2d) -> Tensor:
    stride, weight = conv.stride[0], conv.weight.detach()
    taps = -(-conv.kernel_size[0] // stride)
    missing = taps * stride - conv.kernel_size[0]
    groups = F.pad(weight, (0, missing, 0, missing)).view(*weight.shape[:2], taps, stride, taps, stride)
    groups = groups.permute(3, 5, 1, 0, 2, 4).reshape(-1, weight.shape[0], taps, taps).flip(2, 3)
    return groups.contiguous(memory_format=torch.channels_last)


def _way_back(x: Tensor, y: Tensor, groups: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """The output `y` with another way back to the input `x`."""
    if not x.requires_grad or not torch.is_grad_enabled():
        return y
    # In a tuple, so that it comes out as something new, which what follows may write over.
    found: Tensor = _Strided.apply(x, (y.data,), groups, stride, padding)
    return found


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, made: tuple[Tensor], groups: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(groups)
        ctx.stride, ctx.padding, ctx.shape = stride, padding, x.shape
        return made[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (groups,) = ctx.saved_tensors
        found = _shuffled(F.conv2d(grad, groups, padding=groups.shape[2] - 1), ctx.stride)
        (top, left), (height, width) = ctx.padding, ctx.shape[2:]
        found = found[:, :, top : top + height, left : left + width]
        h, w = found.shape[2:]
        if (h, w) != (height, width):  # pixels that no window reached
            found = F.pad(found, (0, width - w, 0, height - h))
        # As images lie in memory: what follows (the normalisation's way back, a map of three channels) takes a fifth of the time.
        return found.contiguous(), None, None, None, None


def _shuffled(x: Tensor, stride: int) -> Tensor:
    """Each pixel's channels as pixels of their own, in rows and columns: three times as fast as `F.pixel_shuffle`, for it moves longer pieces."""
    b, _, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(b, h, w, stride, -1).transpose(2, 3)
    return rows.reshape(b, h * stride, w * stride, -1).permute(0, 3, 1, 2)
