"""L-BFGS: PyTorch's own where all goes downhill, and what it does where it does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import vizwidgets as vw
from vizwidgets.core.lbfgs import Lbfgs, _Pairs


def bowl(size: int = 30, steep: float = 100.0):
    """A convex function of `size` numbers whose curvatures go from 1 to `steep`, and its gradient."""
    curvature = torch.logspace(0, torch.tensor(steep).log10().item(), size, dtype=torch.float64)
    return lambda v: 0.5 * (curvature * v.square()).sum() + 0.01 * v.pow(4).sum()


def descend(loss, optimizer, values, steps, after=lambda i: None):
    """Losses of so many steps, each of the values before it."""
    found = []
    for i in range(steps):
        with torch.enable_grad():
            (values.grad,) = torch.autograd.grad(value := loss(values), values)
        optimizer.step(lambda value=value: value.detach())
        found.append(value.item())
        after(i)
    return found


def start(size: int = 30) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(("size", "threads", "pieces"), [(30, 1, 1), (30, 2, 2), (30, 4, 2), (31, 2, 1), (30, 3, 3)])
def test_downhill_it_is_that_of_pytorch(size: int, threads: int, pieces: int, monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    ours, theirs = start(size), start(size)
    optimizer = Lbfgs([ours], lr=0.3)
    a = descend(bowl(size), optimizer, ours, 40)
    assert len(optimizer._pairs._pieces) == pieces
    plain = torch.optim.LBFGS([theirs], lr=0.3, max_iter=1, max_eval=1, history_size=10, tolerance_grad=0, tolerance_change=0)
    b = descend(bowl(size), plain, theirs, 40)
    assert a == sorted(a, reverse=True), "a fair comparison: it never went uphill"
    assert a == pytest.approx(b, rel=1e-6)
    assert a[-1] < 1e-3 * a[0]


def test_a_leap_is_taken_back() -> None:
    values = start()
    optimizer, kept = Lbfgs([values]), []

    def leap(i: int) -> None:
        if i % 7 == 6:
            with torch.no_grad():
                kept.append((i, values.clone()))
                values.add_(1e3)

    losses = descend(bowl(), optimizer, values, 120, leap)
    assert kept and all(losses[i + 1] > 1e3 for i, _ in kept if i + 1 < len(losses))
    assert min(losses) < 1e-6 * losses[0]


@pytest.mark.parametrize("after", [1, 6])
def test_a_leap_is_cut_short_once_enough_is_known(after: int, monkeypatch) -> None:
    calls, usual = [], _Pairs.newton

    def newton(pairs: _Pairs, gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return usual(pairs, gradient) * (1e4 if len(calls) == after else 1)

    monkeypatch.setattr(_Pairs, "newton", newton)
    values = start()
    seen = [values.detach().clone()]
    descend(bowl(), Lbfgs([values], lr=0.3), values, 8, lambda i: seen.append(values.detach().clone()))
    far = [float((b - a).norm()) for a, b in pairwise(seen)]  # the first step is along the slope, and asks no pairs
    if after == 1:
        assert far[after] > 1e3 * far[0], "so early it may be right"
    else:
        assert far[after] == pytest.approx(Lbfgs.LEAP * max(far[:after]))


def test_where_the_slope_grows_it_takes_longer_and_longer_steps() -> None:
    values = torch.full((1000,), 1e-2, dtype=torch.float64, requires_grad=True)
    losses = descend(lambda v: v.square().mul(-0.1).exp().sum(), Lbfgs([values]), values, 20)  # the top of a hill
    assert losses[-1] < 0.01 * losses[0]


def test_after_a_restart_another_loss_counts() -> None:
    values = start()
    optimizer = Lbfgs([values])
    losses = descend(bowl(), optimizer, values, 40)
    optimizer.restart()
    assert bowl()(values).item() == min(losses)
    shifted = descend(lambda v: 1e6 + bowl()(v - 3), optimizer, values, 80)
    assert (values - 3).abs().max() < 1e-3 and shifted[-1] < shifted[0]


def test_an_image_optimizer_starts_again_when_the_target_changes() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    of = vw.as_net(module, size=8)
    image = vw.PixelImage(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    run = vw.ImageOptimizer(of, vw.Logit(0), image, optimizer="lbfgs", lr=1.0)
    for _ in range(5):
        run.step()
    run.target = -1000.0 * vw.L2()  # far below what was reached, which must not count any more
    assert [run.step() for _ in range(5)][-1].scores["score"] > -1


@pytest.mark.long
@pytest.mark.parametrize("layer", ["stem", "head"])
def test_an_inversion_never_shows_a_worse_image_than_before(layer: str) -> None:
    net = vw.load("flowers")
    x = vw.image(vw.data.Flowers(8, seed=3, size=96).flower(1).image, net)
    with vw.extract(net, layer) as acts, torch.no_grad():
        net(x)
    target = -vw.Distance(layer, acts[layer]) - 0.05 * vw.TotalVariation()
    images = torch.cat([step.image for step in vw.invert(net, x, layer, steps=60)])
    with torch.no_grad():
        scores = vw.score(net, target, images)
    assert (scores.diff() >= -1e-5).all()
    assert scores[-1] > scores[0]
