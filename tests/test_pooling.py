"""Average pooling in place of max pooling: against a network whose modules were replaced, and with nothing left behind."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from nets import net, nothing_left_behind, picture
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.core.pooling import pooled

X = torch.rand(2, 3, 13, 18, generator=torch.Generator().manual_seed(0)) - 0.5
SPELLINGS = {
    "module": lambda x: nn.MaxPool2d(3, 2, 1)(x),
    "module that rounds up": lambda x: nn.MaxPool2d(3, stride=2, ceil_mode=True)(x),
    "module, window not square": lambda x: nn.MaxPool2d((2, 3))(x),
    "function": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "function by keywords": lambda x: F.max_pool2d(input=x, kernel_size=2),
    "torch": lambda x: torch.max_pool2d(x, 2, padding=1),
    "adaptive module": lambda x: nn.AdaptiveMaxPool2d((3, 4))(x),
    "adaptive function": lambda x: F.adaptive_max_pool2d(x, 2),
}
ARGUMENTS = [
    {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}, {"kernel_size": (2, 3)},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, {"kernel_size": 2}, {"kernel_size": 2, "padding": 1},
]  # fmt: skip


def mean_by_hand(x: Tensor, like: Tensor, kernel_size, stride=None, padding=0, ceil_mode=False) -> Tensor:
    """The mean of what is in each window of the maximum."""
    pair = lambda n: n if isinstance(n, tuple) else (n, n)  # noqa: E731
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride or kernel_size), pair(padding)
    found = torch.empty_like(like)
    for i in range(like.shape[2]):
        for j in range(like.shape[3]):
            top, left = i * sh - ph, j * sw - pw
            found[:, :, i, j] = x[:, :, max(0, top) : top + kh, max(0, left) : left + kw].mean((2, 3))
    return found


@pytest.mark.parametrize(("call", "arguments"), [*zip([*SPELLINGS.values()][:6], ARGUMENTS, strict=True)], ids=[*SPELLINGS][:6])
def test_every_spelling_gives_the_mean_of_the_same_windows(call, arguments) -> None:
    usual = call(X)
    with pooled("average"):
        found = call(X)
    torch.testing.assert_close(found, mean_by_hand(X, usual, **arguments))
    assert torch.equal(call(X), usual), "nothing is left behind"


@pytest.mark.parametrize(("call", "size"), [(SPELLINGS["adaptive module"], (3, 4)), (SPELLINGS["adaptive function"], 2)])
def test_adaptive_windows(call, size) -> None:
    with pooled("average"):
        assert torch.equal(call(X), F.adaptive_avg_pool2d(X, size))


def test_a_network_against_one_with_other_modules() -> None:
    of = net("squeezenet")
    module = copy.deepcopy(of.module).eval()
    for i, m in enumerate(module.features):
        if isinstance(m, nn.MaxPool2d):
            module.features[i] = nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode, count_include_pad=False)
    x = picture(of)
    expected = vw.as_net(module, size=64)(x)
    with nothing_left_behind(of.module, x), pooled("average"):
        found = of(x)
    assert torch.equal(found, expected)
    assert not torch.allclose(of(x), expected)


@pytest.mark.parametrize(("optimizer", "rule"), [("adam", 0), ("adam", 4), ("lbfgs", 0)])
def test_the_optimizer_pools_as_it_is_told(optimizer: str, rule: int) -> None:
    of = net("one_channel")
    module = copy.deepcopy(of.module)
    module[3] = nn.AvgPool2d(2)
    target, start = vw.Channel("4", 1), picture(of)
    runs = [
        vw.ImageOptimizer(which, target, start, optimizer=optimizer, redirect=rule, pooling=kind)
        for which, kind in ((of, "average"), (vw.as_net(module, size=28), "max"), (of, "max"))
    ]
    found, expected, plain = ([run.step() for _ in range(3)][-1].image for run in runs)
    assert torch.equal(found, expected)
    assert not torch.equal(found, plain)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: F.max_pool2d(x, 2, return_indices=True), "where the maximum"),
        (lambda x: nn.MaxPool2d(2, return_indices=True)(x), "where the maximum"),
        (lambda x: nn.AdaptiveMaxPool2d(2, return_indices=True)(x), "where the maximum"),
        (lambda x: nn.MaxPool2d(2, dilation=2)(x), "dilation 2"),
    ],
)
def test_what_has_no_mean_is_refused(call, match: str) -> None:
    usual = call(X)
    with pytest.raises(TypeError, match=match), pooled("average"):
        call(X)
    assert len(call(X)) == len(usual)
    with pooled("max"):
        call(X)


def test_only_the_two_kinds() -> None:
    with pytest.raises(LookupError, match="did you mean 'average'"):
        pooled("averaged")
    with pytest.raises(LookupError, match="no pooling"):
        vw.ImageOptimizer(net("one_channel"), vw.Channel("4", 1), picture(net("one_channel")), pooling="median")
