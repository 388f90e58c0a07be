"""FlowerNet: a small residual network with readable stage names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them; `stride` 2 halves height and width, rounding up."""

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            # Averaging before the 1x1 convolution lets every pixel through: no checkerboard in gradients.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),
                nn.Conv2d(channels, width, 1, bias=False),
                nn.BatchNorm2d(width),
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(y)) + self.shortcut(x))


@torch.no_grad()
def _start(filters: Tensor, blur: float = 1.1, window: float = 2.2, size: float = 0.1) -> Tensor:
    """Filters (C_out, C_in, h, w) blurred, faded out towards the border, without mean, and `size` times as long.

    Training hardly touches the fine noise that filters start with, so it starts without. A normalisation follows, so their
    length does not matter to the network, but short filters turn faster: what they end as is learned.
    """
    offset = torch.arange(filters.shape[-1], dtype=filters.dtype) - (filters.shape[-1] - 1) / 2
    blurring = torch.exp(-0.5 * ((offset[:, None] - offset) / blur) ** 2)
    fading = torch.exp(-0.5 * (offset / window) ** 2)
    smooth = (blurring @ filters @ blurring) * fading * fading[:, None]
    smooth -= smooth.mean(dim=(2, 3), keepdim=True)
    return size * smooth * (filters.square().sum((1, 2, 3), keepdim=True) / smooth.square().sum((1, 2, 3), keepdim=True)).sqrt()


class FlowerNet(nn.Module):
    """A classifier for normalised images (B, 3, H, W), H and W at least 32, giving logits (B, classes).

    Parameters
    ----------
    classes : int
        Number of logits.
    widths : sequence of int
        Channels after stage 1 to 4; the stem has as many as stage 1. The stem and stages 2 to 4 halve the resolution.
    seed : int
        Of the initial weights; the global random generator is left as it was.

    Examples
    --------
    >>> FlowerNet()(torch.zeros(1, 3, 96, 96)).shape
    torch.Size([1, 12])
    """

    def __init__(self, classes: int = 12, widths: Sequence[int] = (24, 40, 64, 96), seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            one, two, three, four = widths
            self.stem = nn.Sequential(OrderedDict(
                conv=nn.Conv2d(3, one, 7, stride=2, padding=3, bias=False),
                norm=nn.BatchNorm2d(one),
                relu=nn.ReLU(),
            ))
            conv = self.stem.get_submodule("conv")
            conv.weight = nn.Parameter(_start(conv.get_parameter("weight")))
            self.stage1 = nn.Sequential(Block(one, one))
            self.stage2 = nn.Sequential(Block(one, two, stride=2))
            self.stage3 = nn.Sequential(Block(two, three, stride=2))
            self.stage4 = nn.Sequential(Block(three, four, stride=2))
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(four, classes)

    def forward(self, x: Tensor) -> Tensor:
        for stage in (self.stem, self.stage1, self.stage2, self.stage3, self.stage4):
            x = stage(x)
        return self.head(self.pool(x).flatten(1))
