"""Images made by optimisation: an independent truth per method, recipes, and what is refused."""

from __future__ import annotations

import pytest
import torch
from nets import double, net
from PIL import Image as PILImage
from torch import nn

import vizwidgets as vw
from vizwidgets.methods.deepdream import _resized
from vizwidgets.methods.rendering import MOST_FRAMES


@pytest.fixture(scope="module")
def flowers():
    net = vw.load("flowers")
    assert net.layers  # made once, by a pass of its own
    return net


@pytest.fixture(scope="module")
def x(flowers):
    return vw.image(vw.data.Flowers(8, seed=3, size=96).flower(1).image, flowers)


RUNS = {
    "visualize": lambda net, x, **o: vw.visualize(net, vw.Logit("rose"), steps=5, batch=2, **o),
    "each": lambda net, x, **o: vw.visualize(net, [vw.Channel("stage2", i) for i in (1, 5, 9)], steps=4, **o),
    "penalty": lambda net, x, **o: vw.visualize(net, vw.Logit("rose"), steps=4, preset="total variation", **o),
    "clipping": lambda net, x, **o: vw.visualize(net, vw.Logit("rose"), steps=4, preset="contribution clipping", **o),
    "caricature": lambda net, x, **o: vw.caricature(net, x, "stage3", steps=4, **o),
    "invert": lambda net, x, **o: vw.invert(net, x, "stage2", steps=4, **o),
    "deepdream": lambda net, x, **o: vw.deepdream(net, x, "stage3", steps=2, octaves=2, zoom=1, **o),
    "pgd": lambda net, x, **o: vw.pgd(net, x, -vw.Logit("rose"), steps=4, **{"seed": 0, **o}),
    "fool": lambda net, x, **o: vw.fool(net, vw.Logit("rose"), steps=4, batch=2, **o),
}


def linear(classes: int = 4, side: int = 8, seed: int = 0) -> tuple[vw.Net, torch.Tensor]:
    """A linear network in double precision, and its weights (classes, 3, side, side)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, classes)).double()
    return vw.as_net(module, size=side), module[1].weight.detach().view(classes, 3, side, side)


@pytest.mark.parametrize("name", RUNS)
def test_the_same_seed_gives_the_same_and_another_does_not(name, flowers, x) -> None:
    before = torch.get_rng_state()
    a, b, c = (RUNS[name](flowers, x, seed=s).result() for s in (0, 0, 3))
    assert torch.equal(a.image, b.image) and torch.equal(a.scores, b.scores)
    assert not torch.equal(a.image, c.image)
    assert torch.equal(torch.get_rng_state(), before)
    assert a.image.isfinite().all() and a.image.min() >= 0 and a.image.max() <= 1


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("kind", ["png", "gif", "webp"])
def test_what_is_saved_makes_it_again(name, kind, flowers, x, tmp_path) -> None:
    result = RUNS[name](flowers, x).result()
    path = result.save(tmp_path / f"it.{kind}")
    with PILImage.open(path) as opened:
        assert getattr(opened, "n_frames", 1) == (1 if kind == "png" else len(result.frames))
        if kind == "png":
            assert opened.size == result.picture().size
    again = vw.rerun(path)
    assert torch.equal(again.image, result.image)
    assert torch.equal(again.scores, result.scores)


def test_changes_in_the_middle_and_a_stop_are_in_the_recipe(flowers, x, tmp_path) -> None:
    run = vw.visualize(flowers, vw.Logit("rose"), steps=50, seed=2)
    for step in run:
        if step.index == 3:
            run.controls.lr = 0.2
        if step.index == 5:
            run.controls.target = vw.Logit("poppy") - 3 * vw.TotalVariation()
            run.controls.transforms = "gentle"
        if step.index == 8:
            run.stop()
    result = run.result()
    assert len(result.scores) == 8
    assert [c[:2] for c in result.recipe["changes"]] == [[3, "lr"], [5, "target"], [5, "transforms"]]
    again = vw.rerun(result.save(tmp_path / "it.png"))
    assert torch.equal(again.image, result.image)
    plain = vw.visualize(flowers, vw.Logit("rose"), steps=8, seed=2).result()
    assert not torch.equal(plain.image, result.image)


def test_a_long_way_is_thinned_out() -> None:
    of, _ = linear()
    result = vw.visualize(of, vw.Logit(0), steps=3 * MOST_FRAMES, preset="none").result()
    assert MOST_FRAMES / 2 <= len(result.frames) <= MOST_FRAMES + 1
    assert torch.equal(result.frames[-1], (result.image * 255).round().to(torch.uint8))


def test_a_zoom_shows_finished_dreams_only(flowers, x) -> None:
    run = vw.deepdream(flowers, x, "stage2", steps=3, octaves=3, zoom=2)
    dreams = [step.image for step in run if step.index % 9 == 0]
    frames = run.result().frames
    assert len(frames) == len(dreams) == 3
    assert all(torch.equal(f, (d * 255).round().to(torch.uint8)) for f, d in zip(frames, dreams, strict=True))


@pytest.mark.long
@pytest.mark.parametrize("name", vw.PRESETS)
def test_every_preset_raises_the_score(name, flowers) -> None:
    result = vw.visualize(flowers, vw.Logit("tulip"), steps=40, preset=name, batch=2).result()
    with torch.no_grad():
        start = vw.visualize(flowers, vw.Logit("tulip"), steps=1, preset=name, batch=2, lr=0.0).result().image
        assert (flowers(result.image) - flowers(start))[:, vw.core.targets.class_index(flowers, "tulip")].min() > 1


def test_each_image_has_the_target_of_its_place() -> None:
    of = double("resnet")
    units = [vw.Channel("layer2", i) for i in (3, 11, 30)]
    init = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = vw.visualize(of, units, steps=6, init=init).result()
    for i, unit in enumerate(units):
        alone = vw.visualize(of, unit, steps=6, seed=i, init=init).result()
        torch.testing.assert_close(together.image[i : i + 1], alone.image, atol=1e-9, rtol=0)


def test_a_run_starts_from_an_image(flowers, x) -> None:
    for preset in ("none", "fourier"):
        first = vw.visualize(flowers, vw.Logit("rose"), steps=1, init=x, preset=preset, lr=1e-6).result()
        assert (first.image - x).abs().max() < 1 / 255


@pytest.mark.long
def test_an_orthogonal_layer_is_inverted_exactly() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixing = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.orthogonal_(mixing.weight)
    module = nn.Sequential(mixing, nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    of = vw.as_net(module, size=16)
    x = 0.1 + 0.8 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = vw.invert(of, x, "0", steps=600, smooth=0).result()  # noise is the hardest: as much fine detail as broad areas
    assert (found.image - x).abs().max() < 1e-3


@pytest.mark.long
def test_early_layers_keep_more_of_an_image_than_late_ones(flowers, x) -> None:
    error = [(vw.invert(flowers, x, layer, steps=120).result().image - x).square().mean().item() for layer in ("stem.conv", "stage4")]
    assert error[0] < error[1] / 10


@pytest.mark.long
def test_a_middle_layer_gives_back_colours_and_brightness(flowers, x) -> None:
    # On the pixels the same loss ends in as small a distance of the activations, with both of them lost.
    found = vw.invert(flowers, x, "stage2", steps=120).result().image
    assert (found - x).square().mean() < 0.2 * x.var()


def test_a_caricature_goes_where_the_activations_point(flowers, x) -> None:
    result = vw.caricature(flowers, x, "stage3", steps=60).result()
    with vw.extract(flowers, "stage3") as acts, torch.no_grad():
        flowers(x)
        own = acts["stage3"].flatten()
        flowers(result.image)
        grown = acts["stage3"].flatten()
    assert torch.cosine_similarity(own, grown, dim=0) > 0.4
    assert own @ grown > own @ own


def test_deepdream_is_ascent_on_the_energy_written_out(flowers) -> None:
    of = double("functional")
    layer = next(n for n in of.layers.order if of.layers[n].kind == "Conv2d")
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    steps = list(vw.deepdream(of, x, layer, steps=3, octaves=2, scale=2.0, lr=0.02, seed=4))
    random, detail = torch.Generator().manual_seed(4), None
    index = 0
    for size in ((16, 16), (32, 32)):
        plain = _resized(x, size)
        dreamt = plain if detail is None else (plain + _resized(detail, size)).clamp(0, 1)
        reach = min(32, size[0])
        for _ in range(3):
            dy, dx = torch.randint(-reach, reach + 1, (2,), generator=random).tolist()
            rolled = dreamt.roll((dy, dx), (2, 3)).requires_grad_()
            with vw.extract(of, layer) as acts:
                of(rolled)
            # The gradient of half the sum of squares is the activations themselves.
            (g,) = torch.autograd.grad(acts[layer], rolled, acts[layer].detach())
            g = g.roll((-dy, -dx), (2, 3))
            dreamt = (dreamt + 0.02 * g / g.abs().mean()).clamp(0, 1)
            torch.testing.assert_close(steps[index].image, dreamt, atol=1e-9, rtol=0)
            index += 1
        detail = dreamt - plain
    assert index == len(steps) == 6


def test_fgsm_is_optimal_for_a_linear_network() -> None:
    of, w = linear()
    x = 0.3 + 0.4 * torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = vw.Logit(1) - vw.Logit(0)
    result = vw.fgsm(of, x, target, eps=0.05)
    gain = vw.score(of, target, result.image) - vw.score(of, target, x)
    best = 0.05 * (w[1] - w[0]).abs().sum()
    assert gain.tolist() == pytest.approx([best.item()] * 2, rel=1e-9)
    assert vw.pgd(of, x, target, eps=0.05).result().image.sub(result.image).abs().max() < 1e-12


def test_pgd_in_a_ball_is_optimal_for_a_linear_network() -> None:
    of, w = linear()
    x = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    result = vw.pgd(of, x, vw.Logit(2), eps=0.3, norm="2", steps=8).result()
    torch.testing.assert_close(result.image, x + 0.3 * w[2:3] / w[2].norm(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_the_bound_holds_after_every_step(norm, flowers, x) -> None:
    eps = 4 / 255 if norm == "inf" else 1.5
    for step in vw.pgd(flowers, torch.cat([x, 1 - x]), -vw.Logit("rose"), eps=eps, norm=norm, steps=6, seed=1):
        change = (step.image - torch.cat([x, 1 - x])).double()
        size = change.abs().amax((1, 2, 3)) if norm == "inf" else change.flatten(1).norm(dim=1)
        assert size.max() <= eps + (1e-7 if norm == "inf" else 1e-5)
        assert step.image.min() >= 0 and step.image.max() <= 1


def test_a_saved_picture_differs_by_at_most_k_levels(flowers, tmp_path) -> None:
    import numpy as np

    source = vw.data.Flowers(8, seed=3, size=96).flower(1).image
    levels = (vw.image(source)[0] * 255).round()
    result = vw.pgd(flowers, levels[None] / 255, -vw.Logit("rose"), eps=3 / 255).result()
    saved = torch.from_numpy(np.array(PILImage.open(result.save(tmp_path / "it.png")))).permute(2, 0, 1)
    assert (saved.float() - levels).abs().max() == 3


def test_only_what_the_mask_allows_changes(flowers, x) -> None:
    mask = torch.zeros(96, 96)
    mask[10:20, 30:50] = 1
    result = vw.pgd(flowers, x, -vw.Logit("rose"), eps=0.2, mask=mask, seed=0).result()
    changed = (result.image != x).any(1)[0]
    assert changed.any() and not changed[mask == 0].any()
    assert torch.equal(vw.rerun(result).image, result.image)


@pytest.mark.long
def test_fooling_images_reach_their_confidence_and_then_rest(flowers) -> None:
    run = vw.fool(flowers, vw.Logit("daisy"), batch=2, steps=150)
    steps = list(run)
    index = vw.core.targets.class_index(flowers, "daisy")
    assert len(steps) < 150
    probability = flowers(run.result().image).softmax(1)[:, index]
    assert probability.min() >= 0.99
    assert torch.allclose(steps[-1].scores["probability"], probability)


BAD = {
    "an unknown layer": (lambda n, x: vw.invert(n, x, "stge2"), LookupError, "stage2"),
    "a channel out of range": (lambda n, x: vw.visualize(n, vw.Channel("stage2", 400)), LookupError, "it has 40"),
    "an unknown preset": (lambda n, x: vw.visualize(n, vw.Logit(0), preset="furier"), LookupError, "fourier"),
    "an unknown effort": (lambda n, x: vw.visualize(n, vw.Logit(0), steps="nrmal"), LookupError, "normal"),
    "no steps": (lambda n, x: vw.visualize(n, vw.Logit(0), steps=0), ValueError, "from 1"),
    "a tiny size": (lambda n, x: vw.visualize(n, vw.Logit(0), size=4), ValueError, "8×8"),
    "two images": (lambda n, x: vw.caricature(n, x.expand(2, -1, -1, -1), "stage2"), ValueError, "not 2"),
    "no target": (lambda n, x: vw.visualize(n, []), ValueError, "no target"),
    "a word for a target": (lambda n, x: vw.visualize(n, ["rose"]), TypeError, "'rose'"),
    "too many octaves": (lambda n, x: vw.deepdream(n, x, "stage2", octaves=9), ValueError, "take fewer"),
    "a scale that shrinks": (lambda n, x: vw.deepdream(n, x, "stage2", scale=0.7), ValueError, "above 1"),
    "no bound": (lambda n, x: vw.pgd(n, x, vw.Logit(0), eps=0), ValueError, "above 0"),
    "another norm": (lambda n, x: vw.pgd(n, x, vw.Logit(0), norm="1"), LookupError, "'inf' or '2'"),
    "a mask of another size": (lambda n, x: vw.pgd(n, x, vw.Logit(0), mask=torch.ones(5, 5)), ValueError, "96×96"),
    "a channel to fool": (lambda n, x: vw.fool(n, vw.Channel("stage2", 0)), TypeError, "Logit"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_is_computed(case, flowers, x, monkeypatch) -> None:
    call, error, text = BAD[case]
    calls = []
    handle = flowers.module.register_forward_hook(lambda *_: calls.append(1))
    try:
        with pytest.raises(error, match=text):
            call(flowers, x)
    finally:
        handle.remove()
    assert not calls


def test_a_run_that_ends_early_on_the_notebooks_interrupt_keeps_what_there_is(flowers) -> None:
    run = vw.visualize(flowers, vw.Logit("rose"), steps=50)
    with pytest.raises(KeyboardInterrupt):
        for step in run:
            if step.index == 4:
                raise KeyboardInterrupt
    run.stop()
    assert len(run.result().scores) == 4


@pytest.mark.parametrize("name", ["one_channel", "five_channels", "half", "vit", "swin"])
def test_networks_of_other_kinds(name) -> None:
    of = net(name)
    result = vw.visualize(of, vw.Logit(1), steps=3, batch=2).result()
    assert result.image.shape == (2, of.channels, *of.size)
    assert result.image.dtype == torch.float32
