"""The loop that changes images: against loops written by hand, image by image, and what it leaves behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from nets import MATRIX, double, make, net, nothing_left_behind
from torch import nn

import vizwidgets as vw
from vizwidgets.core import memory, optimizer
from vizwidgets.core.lbfgs import Lbfgs
from vizwidgets.core.optimizer import OPTIMIZERS, ImageOptimizer
from vizwidgets.core.params import FourierImage, PixelImage
from vizwidgets.core.pixel_rules import ClipContribution, ClipNorm, Decay, PeriodicBlur
from vizwidgets.core.regularizers import L2, Diversity, TotalVariation


def start(of: vw.Net, batch: int = 1, kind=FourierImage, seed: int = 0):
    return kind(size=of.size, batch=batch, channels=of.channels, seed=seed, noise=0.05)


@pytest.mark.parametrize("name", MATRIX)
def test_nothing_is_left_behind(name: str) -> None:
    module = make(name)
    of = vw.as_net(module, size=MATRIX[name][1])
    with nothing_left_behind(module):
        run = ImageOptimizer(of, vw.Logit(1) - 0.1 * TotalVariation(), start(of, 2), transforms="default")
        for _ in range(2):
            step = run.step()
    assert step.image.isfinite().all()
    assert step.image.min() >= 0 and step.image.max() <= 1


def test_nothing_is_left_behind_when_the_network_raises() -> None:
    module = make("in_place")

    def fail(*_):
        raise RuntimeError("broken")

    handle = module.register_forward_hook(fail)
    of = vw.as_net(module, size=32)
    with nothing_left_behind(module), pytest.raises(RuntimeError, match="broken"):
        ImageOptimizer(of, vw.Logit(1), start(of)).step()
    handle.remove()


def test_a_linear_score_drives_pixels_to_the_sign_of_its_weights() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    run = ImageOptimizer(vw.as_net(module, size=8), vw.Logit(2), PixelImage(size=(8, 8)))
    for _ in range(60):
        step = run.step()
    expected = (module[1].weight[2] > 0).float().view(1, 3, 8, 8)
    assert torch.equal(step.image, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_a_plain_loop(name: str) -> None:
    of = double("functional")
    init = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    run = ImageOptimizer(of, vw.Logit(3) - 2 * TotalVariation(), PixelImage(init), optimizer=name, lr=0.01, redirect=0)
    values = init.clone().requires_grad_()
    plain = {"adam": lambda: torch.optim.Adam([values], lr=0.01), "sgd": lambda: torch.optim.SGD([values], lr=0.01, momentum=0.9),
             "lbfgs": lambda: Lbfgs([values], lr=0.01)}[name]()  # fmt: skip
    module = make("functional").eval().double()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (of.mean, of.std))

    def closure():
        values.grad = None
        right, down = values[..., :-1, 1:] - values[..., :-1, :-1], values[..., 1:, :-1] - values[..., :-1, :-1]
        loss = 2 * (right**2 + down**2 + 1e-8).sqrt().mean() - module((values - mean) / std)[0, 3]
        loss.backward()
        return loss

    for _ in range(8):
        step = run.step()
        loss = plain.step(closure)
        assert float(step.scores["score"]) == pytest.approx(-float(loss.detach()), rel=1e-9)
        with torch.no_grad():
            values.clamp_(0, 1)
    torch.testing.assert_close(step.image, values.detach(), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_batch_is_its_images_one_by_one(name: str, at_once: int, monkeypatch) -> None:
    monkeypatch.setattr(optimizer, "images_at_once", lambda *_: at_once)
    of = double("resnet")
    init = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"transforms": "default", "optimizer": name, "lr": 0.02, "normalize": True}
    together = ImageOptimizer(of, vw.Channel("layer2", 1), FourierImage(init), seed=7, **options)
    alone = [ImageOptimizer(of, vw.Channel("layer2", 1), FourierImage(init[i : i + 1]), seed=7 + i, **options) for i in range(3)]
    for _ in range(4):
        step, steps = together.step(), [a.step() for a in alone]
    torch.testing.assert_close(step.image, torch.cat([s.image for s in steps]), atol=1e-8, rtol=0)
    torch.testing.assert_close(step.scores["score"], torch.cat([s.scores["score"] for s in steps]), atol=1e-8, rtol=0)
    assert set(step.scores) == {"score", "Channel('layer2', 1)"}


def test_diversity_sees_the_whole_batch(monkeypatch) -> None:
    monkeypatch.setattr(optimizer, "images_at_once", lambda *_: 1)
    of = net("in_place")
    layer = next(n for n in of.layers.order if of.layers[n].kind == "Conv2d")
    same = ImageOptimizer(of, vw.Channel(layer, 0), start(of, 4), lr=0.1)
    diverse = ImageOptimizer(of, vw.Channel(layer, 0) + 5 * Diversity(layer), start(of, 4), lr=0.1)
    for _ in range(30):
        a, b = same.step(), diverse.step()
    score = Diversity(layer)
    with vw.extract(of, layer) as acts:
        of(a.image)
        plain = score(acts).mean()
        of(b.image)
        assert score(acts).mean() > plain + 0.01


def test_what_is_changed_between_steps_takes_effect() -> None:
    of = net("functional")
    run = ImageOptimizer(of, vw.Logit(0), PixelImage(size=of.size), lr=0.01)
    before = run.step().image
    run.lr = 0.0
    assert torch.equal(run.step().image, before)
    run.lr, run.target = 0.01, vw.Logit(1) - L2()
    assert set(run.step().scores) == {"score", "Logit(1)", "L2()"}
    run.transforms = "jitter"
    assert run.transforms
    run.step()


def test_scores_are_of_the_terms_before_weighting() -> None:
    of = net("functional")
    run = ImageOptimizer(of, 2 * vw.Logit(0) - 3 * L2(), PixelImage(size=of.size, noise=0.2))
    with torch.no_grad():
        image = run.image().clone()
    step = run.step()
    assert float(step.scores["Logit(0)"]) == pytest.approx(float(of(image)[0, 0].detach()), abs=1e-5)
    assert float(step.scores["L2()"]) == pytest.approx(float((image - 0.5).square().mean()), abs=1e-6)
    assert float(step.scores["score"]) == pytest.approx(float(2 * step.scores["Logit(0)"] - 3 * step.scores["L2()"]), abs=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.ReLU6(), F.relu])
def test_an_image_that_no_relu_lets_through_moves_at_first(activation) -> None:
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            nn.init.constant_(self.conv.bias, -0.8)

        def forward(self, x):
            return activation(self.conv(x)).mean((2, 3))

    torch.manual_seed(0)
    of = vw.as_net(Dead(), size=16)
    for redirect, moves in ((16, True), (0, False)):
        run = ImageOptimizer(of, vw.Logit(1), PixelImage(size=(16, 16)), lr=0.05, redirect=redirect)
        first = run.step().image
        for _ in range(39):
            last = run.step()
        assert bool((last.image != first).any()) == moves
        assert (float(last.scores["score"]) > 0) == moves


def test_rules_change_the_pixels() -> None:
    g = torch.Generator().manual_seed(0)
    x, gradient = torch.rand(2, 3, 16, 16, generator=g), torch.randn(2, 3, 16, 16, generator=g)
    torch.testing.assert_close(Decay(0.1)(x, gradient, 1), 0.5 + 0.9 * (x - 0.5))
    assert torch.equal(PeriodicBlur(1.0, 4)(x, gradient, 3), x)
    assert PeriodicBlur(1.0, 4)(x, gradient, 8).diff(dim=3).abs().mean() < x.diff(dim=3).abs().mean()
    small = ((x - 0.5).square().sum(1) < torch.quantile((x - 0.5).square().sum(1).flatten(1), 0.25, dim=1).view(2, 1, 1))
    clipped = ClipNorm(0.25)(x, gradient, 1)
    assert (clipped.movedim(1, -1)[small] == 0.5).all() and torch.equal(clipped.movedim(1, -1)[~small], x.movedim(1, -1)[~small])
    contribution = ((x - 0.5) * gradient).sum(1).abs()
    clipped = ClipContribution(0.5)(x, gradient, 1)
    gone = (clipped == 0.5).all(1)
    assert gone.float().mean() == pytest.approx(0.5, abs=0.01)
    assert contribution[gone].max() <= max(contribution[i][~gone[i]].min() for i in range(2))
    with pytest.raises(ValueError, match="PixelImage"):
        ImageOptimizer(net("functional"), vw.Logit(0), FourierImage(), rules=[Decay()])


def test_bad_input_is_refused_before_anything_is_computed() -> None:
    of = net("functional")
    with pytest.raises(LookupError, match="conv1"):
        ImageOptimizer(of, vw.Channel("layr", 0), PixelImage(size=of.size))
    with pytest.raises(LookupError, match="no class 99"):
        ImageOptimizer(vw.load("flowers"), vw.Logit(99), PixelImage())
    with pytest.raises(LookupError, match="adam"):
        ImageOptimizer(of, vw.Logit(0), PixelImage(), optimizer="adm")
    with pytest.raises(LookupError, match="gentle"):
        ImageOptimizer(of, vw.Logit(0), PixelImage(), transforms="gntle")


@pytest.mark.parametrize("make_net", [lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)), lambda: nn.Sequential(nn.Conv2d(3, 4, 13), nn.Conv2d(4, 2, 4))])  # fmt: skip
def test_a_size_that_the_network_cannot_take_is_refused_before_the_first_step(make_net) -> None:
    of = vw.as_net(make_net(), size=16, name="small")
    with pytest.raises(ValueError, match="small cannot take images of 14×14 pixels, its own size is 16×16: "):
        ImageOptimizer(of, vw.Logit(0), PixelImage(size=(14, 14)))
    with pytest.raises(ValueError, match="14×14"):
        vw.visualize(of, vw.Logit(0), size=14)


def test_a_size_that_a_layer_can_take_though_the_network_cannot() -> None:
    of = vw.as_net(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 4)), size=16)
    assert ImageOptimizer(of, vw.Channel("0", 1), PixelImage(size=(12, 12))).step().image.shape == (1, 3, 12, 12)


@pytest.mark.parametrize("kind", [PixelImage, FourierImage])
def test_values_that_are_changed_from_outside_are_seen(kind) -> None:
    of = net("functional")
    changed, fresh = (ImageOptimizer(of, vw.Logit(1), start(of, kind=kind, seed=s), optimizer="sgd") for s in (0, 5))
    changed.step()
    with torch.no_grad():
        changed.image.values.copy_(fresh.image.values)
    assert torch.equal(changed.step().scores["score"], fresh.step().scores["score"])


def test_weights_that_are_not_finite_are_named() -> None:
    module = make("functional")
    with torch.no_grad():
        next(module.parameters())[0] = torch.nan
    with pytest.raises(ValueError, match="not finite in step 1"):
        ImageOptimizer(vw.as_net(module, size=32), vw.Logit(0), PixelImage(size=(32, 32))).step()


def test_more_images_than_memory_are_split(monkeypatch) -> None:
    of = net("resnet")
    monkeypatch.setattr(memory, "available", lambda: 4_000_000_000)
    many = memory.images_at_once(of, of.size)
    assert many > 16
    assert memory.images_at_once(of, (of.size[0] * 8, of.size[1] * 8)) <= many / 50
    monkeypatch.setattr(memory, "available", lambda: 0)
    assert memory.images_at_once(of, of.size) == 1
