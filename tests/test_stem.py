"""The gradient through a first convolution is PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vizwidgets.core.stem import Stem


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), [
    (3, 2, 0, (33, 40)), (7, 2, 3, (32, 45)), (11, 4, 2, (63, 70)), (4, 4, 0, (30, 33)), (3, 2, (1, 0), (20, 21)), (2, 3, 0, (19, 20)), (1, 2, 0, (9, 8)),
])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_values_and_gradients(kernel, stride, padding, size, channels):
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(channels, 6, kernel, stride, padding).double().requires_grad_(False)
    assert Stem.suits(conv)
    x = torch.randn(2, channels, *size, generator=generator, dtype=torch.float64).requires_grad_()
    expected, found = conv(x), Stem(conv)(x)
    slope = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    (wanted,), (came,) = (torch.autograd.grad(y, x, slope) for y in (expected, found))
    torch.testing.assert_close(came, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("conv", [
    nn.Conv2d(3, 4, 3), nn.Conv2d(8, 4, 3, 2), nn.Conv2d(4, 4, 3, 2, groups=2), nn.Conv2d(3, 4, 3, (2, 1)), nn.Conv2d(3, 4, (3, 5), 2),
    nn.Conv2d(3, 4, 3, 2, dilation=2), nn.Conv2d(3, 4, 3, 2, padding=1, padding_mode="reflect"), nn.Conv2d(3, 4, 3, 1, padding="same"),
])  # fmt: skip
def test_others_are_left(conv):
    assert not Stem.suits(conv)
