"""Style transfer: its loss from the papers' formulas, its extremes, colours, sizes, and what is changed while it runs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from nets import double, net, picture
from PIL import Image as PILImage
from test_gram import Overflows, by_the_paper
from torch import Tensor

import vizwidgets as vw
from vizwidgets.methods.style import content_target, style_target

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def content() -> Tensor:
    return vw.data.Flowers(1, seed=9)[0][0][None]


@pytest.fixture(scope="module")
def style() -> Tensor:
    return vw.data.swatch("strokes", 64)


def errors(of: vw.Net, x: Tensor, content: Tensor, style: Tensor) -> tuple[float, float]:
    """Of a picture: how far its content is from one, and its style from the other."""
    with torch.no_grad():
        return vw.score(of, content_target(of, content), x).item(), vw.score(of, style_target(of, style), x).item()


def test_the_loss_and_its_gradient_are_the_papers() -> None:
    of, weights = double("squeezenet"), {"features.2": 1.0, "features.5": 0.5}
    x, photograph, painting = (picture(of, seed=i).double() for i in range(3))
    x.requires_grad_()
    with vw.extract(of, "features.7") as acts:
        of(photograph)
        p = acts["features.7"].detach()
        of(x)
        f = acts["features.7"]
    # Gatys 2016: L = a * 1/2 sum (F - P)² + b * sum of the layers' E; a and b such that each is a share of the whole.
    loss = 0.5 * (f - p).square().sum() * 2 / p.square().sum() + 10 * by_the_paper(of, x, painting, weights)
    (expected,) = torch.autograd.grad(loss, x)
    target = content_target(of, photograph, "features.7") + 10 * style_target(of, painting, weights)
    score, found = vw.gradient(of, target, x)
    assert score.item() == pytest.approx(loss.item(), rel=1e-9)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-14)


def test_the_scores_of_a_step_are_those_of_its_picture(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    run = vw.style_transfer(flowers, content, style, style_layers={"stage1": 1, "stage3": 0.5}, style_weight=7, steps=6)
    steps = list(run)
    assert set(steps[0].scores) == {"score", "content", "style", "style stage1", "style stage3"}
    for step in steps:
        s = {name: value.item() for name, value in step.scores.items()}
        assert s["style"] == pytest.approx((s["style stage1"] + s["style stage3"]) / 2, rel=1e-5)
        assert s["score"] == pytest.approx(-s["content"] - 7 * (s["style stage1"] + 0.5 * s["style stage3"]) / 2, rel=1e-4)
    with torch.no_grad():
        target = content_target(flowers, content) + 7 * style_target(flowers, style, {"stage1": 1, "stage3": 0.5})
        assert vw.score(flowers, target, steps[-1].image).item() == pytest.approx(-max(s.scores["score"].item() for s in steps), rel=1e-4)


@pytest.mark.long
def test_the_two_ends_of_the_weight(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    all_content = vw.style_transfer(flowers, content, style, style_weight=0, steps=24).result().image
    run = vw.style_transfer(flowers, content, style, steps=40)
    run.controls.content_weight = 0
    all_style = run.result().image
    between = vw.style_transfer(flowers, content, style, steps=24).result().image
    (c0, s0), (c1, s1), (c2, s2) = (errors(flowers, x, content, style) for x in (all_content, between, all_style))
    assert c0 < 0.01 and s2 < 0.05
    assert c0 < c1 < c2 and s0 > s1 > s2


def test_a_mix_of_one_is_that_one(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    other = vw.data.swatch("waves", 96)
    one = vw.style_transfer(flowers, content, style, steps=5).result().image
    for mix in ((1, 0), (7.5, 0)):
        assert torch.equal(vw.style_transfer(flowers, content, [style, other], mix=mix, steps=5).result().image, one)
    assert torch.equal(vw.style_transfer(flowers, content, [style], steps=5).result().image, one)
    assert not torch.equal(vw.style_transfer(flowers, content, [style, other], steps=5).result().image, one)


def test_mixed_statistics_are_the_mean_by_shares(flowers: vw.Net, style: Tensor) -> None:
    other = vw.data.swatch("waves", 96)
    both = style_target(flowers, [style, other], ["stage2"], mix=(3, 1))
    grams = [style_target(flowers, x, ["stage2"]).terms[0][1].reference.values for x in (style, other)]
    torch.testing.assert_close(both.terms[0][1].reference.values, 0.75 * grams[0] + 0.25 * grams[1])


def test_colours_are_those_of_the_content(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    muted = 0.3 + 0.4 * content
    steps = list(vw.style_transfer(flowers, muted, style, keep_colours=True, steps=12))
    for image in (steps[0].image, steps[-1].image):
        inside = ((image > 0) & (image < 1)).all(1)
        assert inside.float().mean() > 0.5
        chroma, wanted = (x - (x * LUMA).sum(1, keepdim=True) for x in (image, muted))
        assert (chroma - wanted).abs().amax(1)[inside].max() < 1e-6
    luma = ((steps[-1].image - muted) * LUMA).sum(1)
    assert luma.abs().max() > 0.05, "the brightness is painted"
    assert steps[-1].scores["style"] < 0.5 * steps[0].scores["style"]
    grey = net("one_channel")
    with pytest.raises(ValueError, match="3 channels; those of Sequential have 1"):
        vw.style_transfer(grey, picture(grey), picture(grey), keep_colours=True)


def test_levels_double_the_size_and_share_the_steps(flowers: vw.Net, style: Tensor) -> None:
    content = vw.data.swatch("mosaic", 160)[:, :, :130]
    run = vw.style_transfer(flowers, content, style, levels=3, steps=11)
    assert len(run) == 11
    sizes = [tuple(step.image.shape[2:]) for step in run]
    assert sizes == [(32, 40)] * 4 + [(65, 80)] * 4 + [(130, 160)] * 3
    assert [step.index for step in vw.style_transfer(flowers, content, style, levels=3, steps=5)] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="smallest of 4 levels would be 20×16 pixels"):
        vw.style_transfer(flowers, content, style, levels=4)
    with pytest.raises(ValueError, match=r"levels are a number from 1 to that of the steps \(2\)"):
        vw.style_transfer(flowers, content, style, levels=3, steps=2)


def test_a_finer_level_goes_on_from_the_coarser(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    steps = list(vw.style_transfer(flowers, content, style, levels=2, steps=20))
    first, coarse, fine = steps[0].image, steps[9].image, F.interpolate(steps[10].image, (48, 48), mode="area")
    assert (fine - coarse).abs().mean() < 0.3 * (fine - first).abs().mean()


@pytest.mark.parametrize("given", [
    {"levels": 2, "keep_colours": True},
    pytest.param({}, marks=pytest.mark.long),
    pytest.param({"optimizer": "adam", "init": "noise", "pooling": "average"}, marks=pytest.mark.long),
])  # fmt: skip
def test_changes_while_it_runs_are_in_the_recipe_and_made_again(flowers: vw.Net, content: Tensor, style: Tensor, given: dict, tmp_path) -> None:
    run = vw.style_transfer(flowers, content, [style, vw.data.swatch("waves", 48)], size=80, steps=12, seed=4, **given)
    for step in run:
        if step.index == 3:
            run.controls.style_weight = 2
        if step.index == 5:
            run.controls.layer_weights = {"stage2": 0}
            run.controls.mix = (1, 3)
        if step.index == 8:
            run.controls.lr, run.controls.content_weight = 0.4, 0.5
    result = run.result()
    weights = {f"stage{i}": 0.0 if i == 2 else 1.0 for i in range(1, 5)}
    assert result.recipe["changes"] == [
        [3, "style_weight", 2.0], [5, "mix", (1.0, 3.0)], [5, "layer_weights", weights], [8, "content_weight", 0.5], [8, "lr", 0.4]
    ]  # fmt: skip
    assert torch.equal(vw.rerun(result).image, result.image)
    assert torch.equal(vw.rerun(result.save(tmp_path / "painted.png")).image, result.image)
    unchanged = vw.style_transfer(flowers, content, [style, vw.data.swatch("waves", 48)], size=80, steps=12, seed=4, **given).result()
    assert not torch.equal(unchanged.image, result.image)


def test_a_rate_that_was_changed_holds_for_finer_levels_too(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    given = {"levels": 2, "steps": 6, "optimizer": "adam"}
    changed = vw.style_transfer(flowers, content, style, **given)
    changed.controls.lr = 0.01
    assert torch.equal(changed.result().image, vw.style_transfer(flowers, content, style, lr=0.01, **given).result().image)


def test_a_change_acts_from_the_next_step_on(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    run = vw.style_transfer(flowers, content, style, style_layers=["stage1", "stage2"], steps=4)
    next(run)
    run.controls.style_weight, run.controls.layer_weights = 3, {"stage2": 4}
    s = {name: value.item() for name, value in next(run).scores.items()}
    assert s["score"] == pytest.approx(-s["content"] - 3 * (s["style stage1"] + 4 * s["style stage2"]) / 2, rel=1e-4)
    assert s["style"] == pytest.approx((s["style stage1"] + s["style stage2"]) / 2, rel=1e-5)


def test_controls_take_what_makes_sense(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    controls = vw.style_transfer(flowers, content, [style, style], steps=2).controls
    assert controls.mix == (1.0, 1.0) and controls.content_weight == 1.0 and len(controls.style_images) == 2
    assert torch.equal(controls.content_image, content)
    for name, value, match in [
        ("style_weight", -1, "style_weight is a number from 0, not -1"), ("lr", 0, "lr is a number above 0"),
        ("mix", (1,), "for each of 2 styles"), ("mix", (0, 0), "not all 0"), ("mix", (1, -1), "from 0"),
        ("content_weight", float("inf"), "from 0"), ("layer_weights", {"stage1": None}, "weight of 'stage1'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=match):
            setattr(controls, name, value)
    with pytest.raises(LookupError, match="did you mean 'stage2'"):
        controls.layer_weights = {"stege2": 1}
    with pytest.raises(AttributeError, match="did you mean 'style_weight'"):
        controls.style_wieght = 1
    with pytest.raises(TypeError):
        controls.layer_weights["stage1"] = 2  # would not be seen
    assert not controls.changes


def test_stopped_in_the_middle(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    run = vw.style_transfer(flowers, content, style, levels=2, steps=10)
    for step in run:
        if step.index == 7:
            run.stop()
    result = run.result()
    assert len(result.scores) == 7 and result.image.shape == content.shape
    assert torch.equal(vw.rerun(result).image, result.image)


# Pictures of all kinds and sizes


def test_pictures_of_different_sizes(flowers: vw.Net, tmp_path) -> None:
    random = torch.Generator().manual_seed(0)
    wide = PILImage.fromarray((torch.rand(600, 4000, 3, generator=random) * 255).byte().numpy())
    wide.save(tmp_path / "wide.jpg")
    run = vw.style_transfer(flowers, tmp_path / "wide.jpg", torch.rand(1, 3, 700, 300, generator=random), steps=1)
    assert run.controls.content_image.shape == (1, 3, 77, 512)
    assert run.controls.style_images[0].shape == (1, 3, 512, 219)
    assert run.result().image.shape == (1, 3, 77, 512)
    small = vw.style_transfer(flowers, wide.crop((0, 0, 60, 40)), [wide, vw.data.swatch("knit", 32)], size=128, steps=1)
    assert [tuple(x.shape[2:]) for x in (small.controls.content_image, *small.controls.style_images)] == [(85, 128), (19, 128), (32, 32)]
    assert small.result().image.shape == (1, 3, 85, 128)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_grey_and_transparent_pictures(flowers: vw.Net, style: Tensor, mode: str) -> None:
    given = PILImage.fromarray((style[0].permute(1, 2, 0) * 255).byte().numpy()).convert(mode)
    assert vw.style_transfer(flowers, given, given, steps=1).result().image.shape == (1, 3, 64, 64)


def test_networks_of_other_channels() -> None:
    of = net("one_channel")
    assert vw.style_transfer(of, vw.data.swatch("bricks", 40), vw.data.swatch("waves", 40), steps=2).result().image.shape == (1, 1, 40, 40)
    of = net("five_channels")
    assert vw.style_transfer(of, picture(of), picture(of, seed=2), steps=2).result().image.shape == (1, 5, 32, 32)


def test_a_picture_that_does_not_fit_into_memory(flowers: vw.Net, content: Tensor, style: Tensor, monkeypatch) -> None:
    monkeypatch.setattr("vizwidgets.core.memory.available", lambda: 60_000_000)
    with pytest.raises(ValueError, match=r"512×512 pixels takes some 0\.\d GB in flowers.*size=\d+ would fit") as caught:
        vw.style_transfer(flowers, content, style, size=512)
    fits = int(str(caught.value).split("size=")[1].split()[0])
    assert vw.style_transfer(flowers, content, style, size=fits, steps=1).result().image.shape[3] == fits
    with pytest.raises(ValueError, match="would fit"):
        vw.style_transfer(flowers, content, style, size=fits + 32)


@pytest.mark.parametrize(
    ("error", "match", "given"),
    [
        (LookupError, "did you mean 'stage1'", {"style_layers": ["stge1"]}),
        (LookupError, "did you mean 'stage3'", {"content_layer": "stge3"}),
        (ValueError, "'head' has no spatial extent", {"content_layer": "head"}),
        (ValueError, "'pool' has no spatial extent", {"style_layers": ["stage1", "pool"]}),
        (ValueError, "init is 'content' or 'noise'", {"init": "style"}),
        (ValueError, "style_weight is a number from 0", {"style_weight": -2}),
        (ValueError, "mix has a share", {"mix": (1, 2)}),
        (ValueError, "size is the longest side", {"size": 8}),
        (LookupError, "optimizer", {"optimizer": "rmsprop"}),
        (LookupError, "no pooling", {"pooling": "none"}),
        (LookupError, "no effort", {"steps": "much"}),
        (ValueError, "lr is a number above 0", {"lr": -1.0}),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(flowers: vw.Net, content: Tensor, style: Tensor, error, match: str, given: dict) -> None:
    with pytest.raises(error, match=match):
        vw.style_transfer(flowers, content, style, **given)


def test_content_and_style_that_are_none(flowers: vw.Net, content: Tensor, style: Tensor) -> None:
    with pytest.raises(ValueError, match="there is no style"):
        vw.style_transfer(flowers, content, [])
    with pytest.raises(TypeError, match="an image is a path"):
        vw.style_transfer(flowers, content, None)
    with pytest.raises(ValueError, match="at least 16 pixels each way, not 40×8"):
        vw.style_transfer(flowers, content, torch.rand(1, 3, 8, 40))
    dead = vw.as_net(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()), size=32)
    with torch.no_grad():
        dead.module[0].bias.fill_(-100)
    with pytest.raises(ValueError, match="'1' sees nothing in the content"):
        vw.style_transfer(dead, content, style, content_layer="1", style_layers=["0"])


def test_a_constant_style_has_statistics_too(flowers: vw.Net, content: Tensor) -> None:
    flat = torch.tensor([0.1, 0.3, 0.8]).view(1, 3, 1, 1).expand(1, 3, 48, 48)
    steps = list(vw.style_transfer(flowers, content, flat, steps=30))
    assert steps[-1].image.isfinite().all()
    assert steps[-1].scores["style"] < 0.05 * steps[0].scores["style"]


def test_numbers_that_overflow_end_the_run_and_keep_the_best_picture(style: Tensor) -> None:
    of = vw.as_net(Overflows(), size=32)
    run = vw.style_transfer(of, vw.data.swatch("bricks", 32), style, style_layers=["conv"], content_layer="conv", steps=20)
    for _ in range(6):
        next(run)
    of.module.scale.fill_(1e30)
    with pytest.raises(ValueError, match="not finite in step 7"):
        run.result()
    assert run.taken == 6 and run.so_far().image.isfinite().all()
