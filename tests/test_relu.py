"""Rules for the way back through ReLU: every spelling is seen, and the redirected rule is Lucid's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizwidgets.core.relu import NotInGraphError, guide, guided, redirected, relu_backward

SPELLINGS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "result ignored": lambda x: (x.relu_(), x)[1],
}
SIX = {
    "module": nn.ReLU6(),
    "module in place": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "F.relu6 in place": lambda x: F.relu6(x, inplace=True),
    "F.hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
}


def ten_times(grad: Tensor, output: Tensor, top: float | None) -> Tensor:
    return 10 * grad.masked_fill((output <= 0) | (output >= (top or torch.inf)), 0)


def passed(call, x: Tensor, weights: Tensor, rule) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    with relu_backward(rule):
        y = call(x * 1)
    (grad,) = torch.autograd.grad((y * weights).sum(), x)
    return y.detach(), grad


@pytest.mark.parametrize("call", [*SPELLINGS.values(), *SIX.values()], ids=[*SPELLINGS, *(f"6 {n}" for n in SIX)])
def test_every_spelling_is_seen(call) -> None:
    x, w = (torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(s)) * 4 for s in (0, 1))
    plain = (x * 1).requires_grad_()
    value = call(plain * 1)
    (usual,) = torch.autograd.grad((value * w).sum(), plain)
    y, grad = passed(call, x, w, ten_times)
    assert torch.equal(y, value)
    assert torch.equal(grad, 10 * usual)
    again = (x * 1).requires_grad_()
    assert torch.equal(torch.autograd.grad((call(again * 1) * w).sum(), again)[0], usual), "nothing is left behind"


@pytest.mark.parametrize("call", [*SPELLINGS.values(), *SIX.values()], ids=[*SPELLINGS, *(f"6 {n}" for n in SIX)])
def test_the_graph_shows_every_spelling(call) -> None:
    x, w = (torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(s)) * 4 for s in (0, 1))
    leaf = x.clone().requires_grad_()
    score = (call(leaf * 1) * w).sum()
    guide(score)
    (grad,) = torch.autograd.grad(score, leaf)
    assert torch.equal(grad, passed(call, x, w, guided)[1])
    again = x.clone().requires_grad_()
    assert not torch.equal(torch.autograd.grad((call(again * 1) * w).sum(), again)[0], grad), "it is not the plain gradient"


OTHERS = {
    "GELU": F.gelu, "SiLU": F.silu, "Mish": F.mish, "ELU": F.elu, "ELU in place": F.elu_, "SELU": F.selu, "SELU in place": torch.selu_,
    "CELU": F.celu, "leaky ReLU": F.leaky_relu, "RReLU": F.rrelu, "PReLU": lambda x: F.prelu(x, torch.tensor([0.1])),
    "softplus": F.softplus, "hardswish": F.hardswish, "tanh": torch.tanh, "hardtanh": F.hardtanh,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_the_graph_shows_other_activations(name: str) -> None:
    said = name.removesuffix(" in place")
    x = torch.linspace(-1, 1, 8).requires_grad_()
    with pytest.raises(TypeError, match=rf"the network also computes .*\b{said}"):
        guide(OTHERS[name](torch.relu(x) * 1).sum())
    with pytest.raises(TypeError, match=f"the network also computes {said}"), relu_backward(guided, only=True):
        OTHERS[name](torch.relu(x) * 1)


def test_what_the_graph_does_not_show_is_said() -> None:
    class Twice(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: 2 * x)
        backward = staticmethod(lambda ctx, grad: 2 * grad)

    with pytest.raises(NotInGraphError):
        guide(Twice.apply(torch.ones(3, requires_grad=True)).sum())


def test_other_activations_are_left_alone() -> None:
    x, w = torch.linspace(-8, 8, 40).view(1, -1), torch.ones(1, 40)
    for call in (F.gelu, F.leaky_relu, torch.sigmoid, F.hardtanh, F.silu):
        plain = x.clone().requires_grad_()
        (usual,) = torch.autograd.grad(call(plain).sum(), plain)
        assert torch.equal(passed(call, x, w, ten_times)[1], usual)


def test_redirected_moves_only_what_is_stuck() -> None:
    # Image 0 is shut everywhere, image 1 is open at one place.
    x = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -2.0, 3.0]])
    w = torch.tensor([[1.0, -1.0, 2.0], [1.0, -1.0, 2.0]])
    _, grad = passed(torch.relu, x, w, redirected)
    # A rising output would raise the score at places 0 and 2; at place 1 the way further down stays closed.
    assert grad.tolist() == [[1.0, 0.0, 2.0], [0.0, 0.0, 2.0]]


def test_redirected_at_both_ends_of_relu6() -> None:
    x = torch.tensor([[-1.0, 7.0, -1.0, 7.0], [-1.0, 7.0, 3.0, 7.0]])
    w = torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
    _, grad = passed(F.relu6, x, w, redirected)
    assert grad.tolist() == [[1.0, 0.0, 0.0, -1.0], [0.0, 0.0, -1.0, 0.0]]


def test_an_image_is_stuck_or_not_whatever_else_is_in_the_batch() -> None:
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)) - torch.tensor([0.0, 9, 0, 9]).view(4, 1, 1, 1)
    w = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    _, together = passed(torch.relu, x, w, redirected)
    for i in range(4):
        assert torch.equal(passed(torch.relu, x[i : i + 1], w[i : i + 1], redirected)[1], together[i : i + 1])
    assert together[1].abs().max() > 0
