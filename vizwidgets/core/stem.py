"""The way back through the first convolution of a network, to the few channels of an image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
        self._stride, self._padding = conv.stride[0], (int(conv.padding[0]), int(conv.padding[1]))
        stride, taps = self._stride, -(-conv.kernel_size[0] // self._stride)
        missing = taps * stride - conv.kernel_size[0]
        channels = conv.out_channels, conv.in_channels
        groups = F.pad(conv.weight.detach(), (0, missing, 0, missing)).view(*channels, taps, stride, taps, stride)
        groups = groups.permute(1, 3, 5, 0, 2, 4).reshape(-1, conv.out_channels, taps, taps).flip(2, 3)
        self._groups = groups.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def suits(conv: nn.Conv2d) -> bool:
        """Whether it is a plain convolution of a few channels with a stride, and square."""
        return (
            conv.in_channels <= 4 and conv.groups == 1 and conv.stride[0] == conv.stride[1] > 1
            and conv.kernel_size[0] == conv.kernel_size[1] and conv.dilation == (1, 1)
            and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """What the convolution gives."""
        y: Tensor = _Strided.apply(x, self.weight, self.bias, self._groups, self._stride, self._padding)
        return y


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, groups: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(groups)
        ctx.stride, ctx.padding, ctx.shape = stride, padding, x.shape
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (groups,) = ctx.saved_tensors
        found = F.pixel_shuffle(F.conv2d(grad, groups, padding=groups.shape[2] - 1), ctx.stride)
        (top, left), (height, width), (h, w) = ctx.padding, ctx.shape[2:], found.shape[2:]
        return F.pad(found, (-left, width + left - w, -top, height + top - h)), None, None, None, None, None
