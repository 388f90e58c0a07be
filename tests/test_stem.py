"""The gradient through a first convolution is PyTorch's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import vizwidgets as vw
from vizwidgets.core import stem
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


def first() -> nn.Module:
    """A network whose first convolution is one of these, and is written over."""
    return nn.Sequential(nn.Conv2d(3, 6, 7, 2, padding=3), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()


def plain(net: vw.Net, target: vw.Target, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(vw.score(net, target, x).sum(), x)
    return found


@pytest.mark.parametrize("target", [vw.Logit(1), vw.Channel("0", 2), vw.Channel("1", 2)])
def test_gradients_pass_it_by_this_way(target, monkeypatch):
    net, ways = vw.as_net(first(), size=24), []
    real = stem._Strided.backward
    monkeypatch.setattr(stem._Strided, "backward", staticmethod(lambda *a: ways.append(1) or real(*a)))
    x = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    for _ in range(2):
        ways.clear()
        scores, found = vw.core.optimize.gradient(net, target, x)
        assert ways
        torch.testing.assert_close(scores, vw.score(net, target, x), rtol=0, atol=1e-12)
        torch.testing.assert_close(found, plain(net, target.resolve(net), x), rtol=0, atol=1e-12)
        assert not net.module[0]._forward_hooks
        net.module[0].weight.data.mul_(-1)  # which leaves no trace in the tensor's version


def test_weights_of_another_precision_have_groups_of_their_own():
    net, x = vw.as_net(first().float(), size=24), torch.rand(2, 3, 24, 24)
    for precision in (torch.float32, torch.float64, torch.float32):
        net.module.to(precision)
        found = vw.core.optimize.gradient(net, vw.Logit(1), x.to(precision))[1]
        torch.testing.assert_close(found, plain(net, vw.Logit(1), x.to(precision)))


def test_another_stride_has_groups_of_its_own():
    net, x = vw.as_net(first(), size=24), torch.rand(2, 3, 24, 24, dtype=torch.float64)
    for stride in (2, 3, 2):
        net.module[0].stride = (stride, stride)
        found = vw.core.optimize.gradient(net, vw.Logit(1), x)[1]
        torch.testing.assert_close(found, plain(net, vw.Logit(1), x), rtol=0, atol=1e-12)


def test_a_convolution_that_somebody_watches_is_left():
    net = vw.as_net(first(), size=24)
    net.module[0].register_forward_hook(lambda m, i, o: o * 2)
    x = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(vw.core.optimize.gradient(net, vw.Logit(1), x)[1], plain(net, vw.Logit(1), x), rtol=0, atol=1e-12)


def test_other_threads_and_passes_without_gradients_go_the_usual_way(monkeypatch):
    net, x = vw.as_net(first(), size=24), torch.rand(2, 3, 24, 24, dtype=torch.float64)
    monkeypatch.setattr(stem._Strided, "forward", staticmethod(lambda *a: pytest.fail("it was used")))
    with stem.quick_way_back(net.module):
        with torch.no_grad():
            net(x)
        with ThreadPoolExecutor() as pool:
            pool.submit(plain, net, vw.Logit(1), x).result()
