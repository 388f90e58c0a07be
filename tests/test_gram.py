"""Textures from Gram matrices: the loss and its gradient from the paper's formulas, the layers of any network, bad samples."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import MATRIX, double, net, nothing_left_behind, picture, readable
from PIL import Image as PILImage
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

import vizwidgets as vw
from vizwidgets.core import references
from vizwidgets.core.references import GramDistance, Reference, gram
from vizwidgets.methods.gram import gram_error, grams

G = torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def bricks() -> Tensor:
    return vw.data.swatch("bricks", 48)


def by_the_paper(of: vw.Net, x: Tensor, sample: Tensor, weights: dict[str, float]) -> Tensor:
    """Gatys 2015, with G = F F^T and E = sum (G - A)² / (4 N² M²); a layer's share of the loss is that of its own A²."""
    total = torch.zeros(())
    with vw.extract(of, *weights) as acts:
        of(sample)
        wanted = {name: maps.detach().flatten(2)[0] for name, maps in acts.items()}
        of(x)
    for name, weight in weights.items():
        found = acts[name].flatten(2)[0]
        (n, m), a = found.shape, wanted[name] @ wanted[name].T / wanted[name].shape[1] * found.shape[1]
        e = (found @ found.T - a).square().sum() / (4 * n**2 * m**2)
        total = total + weight * e * (4 * n**2 * m**2) / a.square().sum()
    return total / len(weights)


def test_gram_by_einsum() -> None:
    maps = torch.randn(2, 5, 4, 7, generator=G, dtype=torch.float64)
    expected = torch.einsum("bchw,bdhw->bcd", maps, maps) / 28
    torch.testing.assert_close(gram(maps), expected)
    channels_last = maps.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gram(channels_last), expected)
    of = double("squeezenet")
    with vw.extract(of, "features.4") as acts:
        of(picture(of).double())
    expected = torch.einsum("chw,dhw->cd", *[acts["features.4"][0].detach()] * 2) / acts["features.4"][0, 0].numel()
    torch.testing.assert_close(grams(of, picture(of).double(), ["features.4"])["features.4"].values, expected)


def test_where_something_is_does_not_matter() -> None:
    maps = torch.randn(1, 6, 8, 9, generator=G, dtype=torch.float64)
    moved = maps.flatten(2)[:, :, torch.randperm(72, generator=G)].unflatten(2, (8, 9))
    target = GramDistance("a", Reference(gram(maps)[0]))
    assert target({"a": moved}).item() < 1e-28
    swapped = maps.clone()
    swapped[:, 0] = maps[:, 0].flip(1)  # one channel moved against the others: not the same any more
    assert target({"a": swapped}).item() > 1e-3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("size", "dtype", "by_convolutions"), [
    ((4, 5), torch.float64, False), ((64, 64), torch.float64, False), ((63, 64), torch.float32, False), ((64, 64), torch.float32, True),
    ((50, 90), torch.float32, True),
])  # fmt: skip
def test_both_ways_for_all_sizes_and_memory_layouts(layout, symmetric, size, dtype, by_convolutions, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(references, "conv2d_weight", lambda *a: calls.append(a) or conv2d_weight(*a))
    maps = torch.randn(2, 64, *size, generator=G, dtype=dtype).to(memory_format=layout).requires_grad_()
    wanted = torch.randn(64, 64, generator=G, dtype=dtype)
    wanted = wanted + wanted.T if symmetric else wanted
    target = GramDistance("a", wanted)
    exact = maps.detach().double().requires_grad_()
    plain = (torch.einsum("bchw,bdhw->bcd", exact, exact) / (size[0] * size[1]) - wanted).square().mean((1, 2))
    weights = torch.tensor([1.0, -2.0], dtype=dtype)
    (expected,) = torch.autograd.grad((plain * weights).sum(), exact)
    scores = target({"a": maps})
    (found,) = torch.autograd.grad((scores * weights).sum(), maps)
    torch.testing.assert_close(scores, plain.to(dtype))
    near = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, expected.to(dtype), rtol=near, atol=near * float(expected.abs().max()))
    assert found.is_contiguous(memory_format=layout)
    assert len(calls) == (2 if by_convolutions else 0)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_the_loss_and_its_gradient_are_the_papers(size: tuple[int, int]) -> None:
    of, weights = double("squeezenet"), {"features.2": 1.0, "features.5": 0.3, "features.8": 2.0}
    x, sample = (picture(of, size=s, seed=i).double() for i, s in enumerate([size, (64, 64)]))
    x.requires_grad_()
    loss = by_the_paper(of, x, sample, weights)
    (expected,) = torch.autograd.grad(loss, x)
    score, found = vw.gradient(of, gram_error(grams(of, sample, weights), weights), x)
    assert score.item() == pytest.approx(loss.item(), rel=1e-9)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in MATRIX if name != "no_convolution"])
def test_every_network_has_layers_for_textures(name: str) -> None:
    of = net(name)
    for found in (vw.default_style_layers(of), vw.default_texture_layers(of), (vw.default_content_layer(of),)):
        assert found and set(found) <= set(readable(of)) and len(set(found)) == len(found)
        assert all(of.layers[layer].shape[1] * of.layers[layer].shape[2] > 1 for layer in found)
    order = [of.layers.order.index(layer) for layer in vw.default_style_layers(of)]
    assert order == sorted(order)


def test_layers_of_some_networks() -> None:
    expected = {
        "squeezenet": ("features.2", "features.5", "features.10"),
        "resnet": ("maxpool", "layer1", "layer2", "layer3", "layer4"),
        "googlenet": ("maxpool1", "maxpool2", "maxpool3", "inception5a"),
        "mobilenet_v2": ("features.1", "features.3", "features.6", "features.13", "features.16"),
    }
    assert {name: vw.default_style_layers(net(name)) for name in expected} == expected
    assert vw.default_style_layers(vw.load("flowers")) == ("stage1", "stage2", "stage3", "stage4")
    assert vw.default_content_layer(vw.load("flowers")) == "stage3"


class VGG(nn.Module):
    """Five blocks, as torchvision's, but narrow."""

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 3
        for convolutions in (2, 2, 3, 3, 3):
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(inplace=True)]
                channels = 4
            layers.append(nn.MaxPool2d(2, 2))
        self.features, self.avgpool, self.classifier = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def test_vgg_has_the_layers_of_the_papers() -> None:
    of = vw.as_net(VGG(), size=64)  # features.1 is relu1_1, features.4 the first pooling, as in torchvision's vgg16
    assert vw.default_texture_layers(of) == ("features.1", "features.4", "features.9", "features.16", "features.23")
    assert vw.default_style_layers(of) == ("features.1", "features.6", "features.11", "features.18", "features.25")
    assert vw.default_content_layer(of) == "features.20"  # relu4_2


def test_a_transformer_has_blocks_at_even_distances() -> None:
    from torchvision.models.vision_transformer import VisionTransformer

    of = vw.as_net(VisionTransformer(32, 8, 8, 2, 16, 32, num_classes=10), size=32)
    assert vw.default_style_layers(of) == tuple(f"encoder.layers.encoder_layer_{i}" for i in (1, 3, 5, 7))


def test_the_error_falls_and_no_step_shows_a_worse_image(flowers: vw.Net, bricks: Tensor) -> None:
    run = vw.gram_texture(flowers, bricks, steps=40)
    steps = list(run)
    error = gram_error(grams(flowers, bricks, weights := dict.fromkeys(vw.default_texture_layers(flowers), 1.0)), weights)
    with torch.no_grad():
        shown = torch.stack([vw.score(flowers, error, step.image) for step in steps])[:, 0]
    assert (shown.diff() <= 1e-6).all()
    assert shown[-1] < 0.05 * shown[0]
    named = steps[-1].scores
    assert set(named) == {"score", "style", *(f"style {layer}" for layer in weights)}
    assert named["style"].item() == pytest.approx(-named["score"].item(), rel=1e-5)
    assert named["style"].item() == pytest.approx(sum(named[f"style {layer}"].item() for layer in weights) / len(weights), rel=1e-5)


def test_weights_and_names_of_layers(flowers: vw.Net, bricks: Tensor) -> None:
    one = vw.gram_texture(flowers, bricks, layers=["stage1"], steps=3).result()
    assert torch.equal(vw.gram_texture(flowers, bricks, layers="stage1", steps=3).result().image, one.image)
    assert not torch.equal(vw.gram_texture(flowers, bricks, layers={"stage1": 1, "stage2": 2}, steps=3).result().image, one.image)
    step = next(vw.gram_texture(flowers, bricks, layers={"stage1": 1, "stage2": 0.5}, steps=3))
    a, b = (step.scores[f"style stage{i}"].item() for i in (1, 2))
    assert step.scores["score"].item() == pytest.approx(-(a + 0.5 * b) / 2, rel=1e-5)


@pytest.mark.parametrize("optimizer", [pytest.param("lbfgs", marks=pytest.mark.long), "adam"])
def test_images_of_a_batch_are_those_one_by_one(bricks: Tensor, optimizer: str) -> None:
    of = vw.as_net(copy.deepcopy(vw.load("flowers").module).double(), size=96, mean=0.5, std=0.25)
    together = vw.gram_texture(of, bricks.double(), size=(40, 56), batch=3, steps=6, seed=5, optimizer=optimizer).result().image
    assert together.shape == (3, 3, 40, 56)
    for i in range(3):
        alone = vw.gram_texture(of, bricks.double(), size=(40, 56), steps=6, seed=5 + i, optimizer=optimizer).result().image
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=0)


def test_made_again_from_its_recipe(flowers: vw.Net, bricks: Tensor, tmp_path) -> None:
    run = vw.gram_texture(flowers, bricks, steps=9, size=40, pooling="average", optimizer="adam", seed=3)
    for _ in range(4):
        next(run)
    run.stop()
    result = run.result()
    assert len(result.scores) == 4
    assert torch.equal(vw.rerun(result).image, result.image)
    assert torch.equal(vw.rerun(result.save(tmp_path / "texture.png")).image, result.image)


def test_average_pooling_is_for_the_sample_too(bricks: Tensor) -> None:
    of = net("squeezenet")
    module = copy.deepcopy(of.module)
    for i, m in enumerate(module.features):
        if isinstance(m, nn.MaxPool2d):
            module.features[i] = nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode, count_include_pad=False)
    layers = vw.default_texture_layers(of)
    with nothing_left_behind(of.module):
        found = vw.gram_texture(of, bricks, layers=layers, steps=3, pooling="average").result().image
    assert torch.equal(found, vw.gram_texture(vw.as_net(module, size=64), bricks, layers=layers, steps=3).result().image)
    assert not torch.equal(found, vw.gram_texture(of, bricks, layers=layers, steps=3).result().image)


# Bad samples and layers


def test_a_constant_sample_gives_its_colour(flowers: vw.Net) -> None:
    colour = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    result = vw.gram_texture(flowers, colour.expand(1, 3, 48, 48), steps=3).result()
    assert (result.image - colour).abs().max() < 0.03


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_samples_of_any_mode(flowers: vw.Net, mode: str) -> None:
    values = (vw.data.swatch("pebbles", 32)[0].permute(1, 2, 0) * 255).byte().numpy()
    rgb = PILImage.fromarray(values)
    given = PILImage.fromarray(values[..., 0].astype("uint16") * 257) if mode == "I;16" else rgb.convert(mode)
    assert vw.gram_texture(flowers, given, steps=2).result().image.shape == (1, 3, 32, 32)


def test_see_through_samples_are_on_white(flowers: vw.Net) -> None:
    clear = PILImage.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert vw.gram_texture(flowers, clear, steps=2).result().image.min() > 0.9


def test_a_wide_sample_is_made_smaller(flowers: vw.Net) -> None:
    wide = torch.rand(1, 3, 200, 4000, generator=torch.Generator().manual_seed(0))
    run = vw.gram_texture(flowers, wide, steps=1, size=32)
    assert run.result().recipe["inputs"]["sample"].shape == (1, 3, 26, 512)


@pytest.mark.parametrize(
    ("error", "match", "given"),
    [
        (LookupError, "did you mean 'stage1'", {"layers": ["stgae1"]}),
        (ValueError, "'head' has no spatial extent.*'stage1', 'stage2'", {"layers": ["stage1", "head"]}),
        (ValueError, "'pool' has no spatial extent", {"layers": {"pool": 1.0}}),
        (ValueError, "no layer is named", {"layers": []}),
        (ValueError, "weight of a layer is a number from 0, not -1", {"layers": {"stage1": -1}}),
        (ValueError, "weight of a layer", {"layers": {"stage1": float("nan")}}),
        (LookupError, "optimizer", {"optimizer": "sdg"}),
        (LookupError, "no pooling 'mean'", {"pooling": "mean"}),
        (ValueError, "lr is a number above 0", {"lr": 0}),
        (ValueError, "steps are a number", {"steps": 0}),
        (ValueError, "16×16 pixels is made, not 1 of 8×8", {"size": 8}),
        (ValueError, "at least one image", {"batch": 0}),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(flowers: vw.Net, bricks: Tensor, error, match: str, given: dict) -> None:
    with pytest.raises(error, match=match):
        vw.gram_texture(flowers, bricks, **given)


def test_a_sample_has_some_pixels_and_a_network_some_maps(flowers: vw.Net) -> None:
    with pytest.raises(ValueError, match="at least 16 pixels each way, not 40×3"):
        vw.gram_texture(flowers, torch.rand(1, 3, 3, 40))
    with pytest.raises(ValueError, match="more than one position"):
        vw.gram_texture(net("no_convolution"), torch.rand(1, 3, 16, 16))


class Overflows(nn.Module):
    """Gives no numbers any more once it has been told to."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x * self.scale).mean((2, 3)))


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_numbers_that_overflow_end_the_run_and_keep_the_best_picture(optimizer: str) -> None:
    of = vw.as_net(Overflows(), size=32)
    run = vw.gram_texture(of, vw.data.swatch("bricks", 32), layers=["conv"], steps=20, optimizer=optimizer)
    for _ in range(6):
        next(run)
    of.module.scale.fill_(1e30)
    with pytest.raises(ValueError, match="not finite in step 7"):
        next(run)
    kept = run.so_far()
    assert run.taken == 6 and kept.image.isfinite().all()
    of.module.scale.fill_(1)
    error = gram_error(grams(of, vw.data.swatch("bricks", 32), ["conv"]), {"conv": 1.0})
    with torch.no_grad():
        assert vw.score(of, error, kept.image).item() == pytest.approx(-kept.scores.max().item(), rel=1e-4)


def best_is_kept(of: vw.Net, sample: Tensor, result: vw.Rendering) -> None:
    error = gram_error(grams(of, sample, weights := dict.fromkeys(vw.default_texture_layers(of), 1.0)), weights)
    with torch.no_grad():
        assert vw.score(of, error, result.image).item() == pytest.approx(-result.scores.max().item(), rel=1e-3)


def test_steps_that_are_far_too_long_end_in_the_best_picture(flowers: vw.Net, bricks: Tensor) -> None:
    best_is_kept(flowers, bricks, vw.gram_texture(flowers, bricks, steps=12, optimizer="adam", lr=1e4).result())


@pytest.mark.parametrize("lr", [1e9, 1e8])
def test_lbfgs_that_diverges_says_so_and_the_best_picture_is_kept(flowers: vw.Net, bricks: Tensor, lr: float) -> None:
    run = vw.gram_texture(flowers, bricks, steps=64, lr=lr)
    with pytest.raises(ValueError, match="L-BFGS diverges: 16 steps in a row .* lr=.* is too large"):
        run.result()
    assert run.taken < 30
    best_is_kept(flowers, bricks, run.so_far())


def test_lbfgs_that_has_arrived_does_not_diverge(flowers: vw.Net, bricks: Tensor) -> None:
    result = vw.gram_texture(flowers, bricks, layers=["stem.relu"], size=16, steps=200).result()
    assert -result.scores.max() < 1e-3


@pytest.mark.long
@pytest.mark.parametrize("style", ["paintings/vangogh_starry_night_1889.jpg", "textures/gravel_gray.png", "textures/water.jpg"])
def test_the_gram_error_falls_below_a_hundredth_with_real_weights(shared_data, style: str) -> None:
    of = vw.load("squeezenet1_1", weights=shared_data / "models" / "squeezenet1_1.safetensors")
    sample = PILImage.open(shared_data / "styles" / style).convert("RGB").resize((128, 128), PILImage.Resampling.LANCZOS)
    errors = [step.scores["style"].item() for step in vw.gram_texture(of, sample, steps=256)]
    assert min(errors) < 0.01 * errors[0]
