"""Images as vectors: against layers read otherwise, and against what the classifier makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import MATRIX, net, picture, plain_outputs
from PIL import Image as PILImage
from torch import nn

import vizwidgets as vw
from vizwidgets.core.image import open_image
from vizwidgets.core.penultimate import classifier
from vizwidgets.methods import embedding
from vizwidgets.methods.embedding import vectors_of

# Their last linear layer gives the logits as they are.
LINEAR = [n for n in MATRIX if n not in ("squeezenet", "half", "compiled")]


@pytest.mark.parametrize("name", LINEAR)
def test_the_classifier_makes_the_logits_of_the_penultimate_vectors(name: str) -> None:
    of = net(name)
    x = picture(of, batch=3)
    x = x.double() if name == "double" else x
    features = vw.embed(of, x, batch_size=2).result()
    head = of.module.get_submodule(classifier(of))
    with torch.no_grad():
        logits = features.vectors @ head.weight.flatten(1).T + head.bias
        torch.testing.assert_close(logits, of(x), atol=1e-4, rtol=1e-4)
    assert features.layer == "penultimate"


def test_a_convolution_may_be_the_classifier() -> None:
    of = net("squeezenet")
    x = picture(of, batch=2)
    before = plain_outputs(of, x)[0]["features.12"]
    torch.testing.assert_close(vw.embed(of, x).result().vectors, before.mean((2, 3)))


def test_vectors_are_the_means_of_a_layers_maps() -> None:
    of = net("resnet")
    x = picture(of, batch=5)
    maps = plain_outputs(of, x)[0]["layer2.0.conv2"]
    run = vw.embed(of, x, "layer2.0.conv2", batch_size=2)
    steps = list(run)
    assert [s.done for s in steps] == [2, 4, 5] and len(run) == 3 and [s.index for s in steps] == [1, 2, 3]
    torch.testing.assert_close(run.result().vectors, maps.flatten(2).mean(2), atol=1e-5, rtol=1e-5)


def test_pixels_are_averaged_over_areas() -> None:
    of = vw.as_net(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)), size=(64, 96))
    x = torch.rand(2, 3, 64, 96)
    wanted = x.view(2, 3, 32, 2, 32, 3).mean((3, 5)).flatten(1)
    torch.testing.assert_close(vw.embed(of, x, "input").result().vectors, wanted)
    small = torch.rand(2, 3, 8, 8)
    assert vw.embed(vw.as_net(of.module, size=8), small, "input").result().vectors.equal(small.flatten(1))


def test_what_cannot_be_read_is_left_out_and_listed(tmp_path: Path, flowers: vw.Net) -> None:
    for name in ("rose", "daisy"):
        (tmp_path / name).mkdir()
    for i in range(5):
        PILImage.fromarray(np.full((96, 96, 3), 40 * i, np.uint8)).save(tmp_path / ("rose" if i % 2 else "daisy") / f"{i}.png")
    (tmp_path / "daisy" / "0 broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "rose" / "2 <script>.jpg").write_bytes(b"")
    features = vw.embed(flowers, tmp_path, batch_size=2).result()
    assert features.sources == ("daisy/0.png", "daisy/2.png", "daisy/4.png", "rose/1.png", "rose/3.png")
    assert features.rows.tolist() == [1, 2, 3, 4, 6] and [features.images.sources[i] for i in features.rows] == list(features.sources)
    assert [s for s, _ in features.skipped] == ["daisy/0 broken.png", "rose/2 <script>.jpg"] and "empty" in features.skipped[1][1]
    assert [features.label_name(i) for i in range(5)] == ["daisy"] * 3 + ["rose"] * 2
    assert repr(features) == "Features(5 × 96, layer 'penultimate', 2 classes, 2 images skipped)"
    alone = vw.embed(flowers, [tmp_path / "rose" / "3.png"]).result()
    torch.testing.assert_close(alone.vectors[0], features.vectors[4], atol=1e-5, rtol=1e-5)


def test_images_to_compare_are_opened_some_at_a_time(flowers: vw.Net, monkeypatch: pytest.MonkeyPatch) -> None:
    features = vw.embed(flowers, vw.data.Flowers(3)).result()
    given = [vw.data.Flowers(20, seed=4).flower(i).picture() for i in range(20)]
    opened, most = 0, []

    def counted(source: object, net: vw.Net) -> object:
        nonlocal opened
        opened += 1
        return open_image(source, net)

    def vectors(net: vw.Net, images: torch.Tensor, layer: str) -> torch.Tensor:
        most.append((opened, len(images)))
        return vectors_of(net, images, layer)

    monkeypatch.setattr(embedding, "AT_ONCE", 8)
    monkeypatch.setattr(embedding, "open_image", counted)
    monkeypatch.setattr(embedding, "vectors_of", vectors)
    found = features.of(given)
    assert most == [(8, 8), (16, 8), (20, 4)]  # none is opened before those before it are done
    torch.testing.assert_close(found, vw.embed(flowers, given).result().vectors, atol=1e-5, rtol=1e-5)


def test_nothing_to_read_or_nothing_finite_is_an_error(tmp_path: Path, flowers: vw.Net) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    run = vw.embed(flowers, tmp_path)
    with pytest.raises(ValueError, match=r"none of the 1 images could be read; the first, 'a.png': a.png is not an image"):
        run.result()
    broken = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    broken[0].bias.data[1] = torch.nan
    with pytest.raises(ValueError, match="gives NaN or infinity for '#0'"):
        vw.embed(vw.as_net(broken, size=8), torch.rand(2, 3, 8, 8)).result()


def test_stopped_gives_the_images_so_far(flowers: vw.Net) -> None:
    run = vw.embed(flowers, vw.data.Flowers(6), batch_size=2)
    next(run), next(run)
    run.stop()
    features = run.result()
    assert len(features) == 4 and features.labels.tolist() == [vw.data.Flowers(6).label(i) for i in range(4)]
    assert run.last.picture().size[0] > 96


@pytest.mark.parametrize(("arguments", "options", "message"), [
    (("stgae2",), {}, "did you mean 'stage2'"),
    ((), {"batch_size": 0}, "batch_size is a whole number from 1"),
])  # fmt: skip
def test_wrong_options_are_told_before_anything_is_computed(flowers: vw.Net, arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises((LookupError, ValueError), match=message):
        vw.embed(flowers, torch.rand(2, 3, 96, 96), *arguments, **options)


def test_a_batch_is_as_large_as_asked_for_or_as_fits(flowers: vw.Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "images_at_once", lambda _net, size: 2 * 96 * 96 * 96 // size[0] ** 2)
    assert embedding.batch_of(flowers, 100) == 100 and embedding.batch_of(flowers, None) == embedding.AT_ONCE == 16
    assert embedding.batch_of(flowers, None, (384, 384)) == 12
    for wrong in (0, -1, True, 2.0, "2"):
        with pytest.raises(ValueError, match=f"batch_size is a whole number from 1, not {wrong!r}"):
            embedding.batch_of(flowers, wrong)


def test_a_network_without_a_linear_layer_needs_a_name() -> None:
    of = vw.as_net(nn.Sequential(nn.MaxPool2d(4), nn.Flatten()), size=8, channels=3)
    with pytest.raises(LookupError, match="name a layer"):
        vw.embed(of, torch.rand(2, 3, 8, 8))
    assert vw.embed(of, torch.rand(2, 3, 8, 8), "0").result().vectors.shape == (2, 3)


def test_features_of_numbers() -> None:
    features = vw.Features(np.arange(6).reshape(3, 2), labels=[0, 1, 1], classes=["a", "b"])
    assert features.vectors.dtype == torch.float32 and features.label_name(2) == "b" and len(features) == 3
    assert features.thumbnail(0) is None and features.sources == ()
    assert vw.Features(torch.rand(2, 3, dtype=torch.float64)).vectors.dtype == torch.float64
    read_only = np.ones((2, 2), np.float32)
    read_only.flags.writeable = False
    assert vw.Features(read_only).vectors.sum() == 4
    flowers = vw.data.Flowers(4)
    features = vw.Features(torch.rand(2, 3), images=flowers, rows=[3, 1])
    assert features.labels.tolist() == [flowers.label(3), flowers.label(1)] and features.sources == ("#3", "#1")
    assert features.thumbnail(0, 32).size == (32, 32) and repr(features) == "Features(2 × 3, 12 classes)"
    assert vw.Features(torch.rand(4, 3), labels=[0, 1, 0, 1]).picture().size == (300, 300)


@pytest.mark.parametrize(("vectors", "options", "message"), [
    (torch.rand(3), {}, r"vectors are \(N, D\)"),
    (torch.rand(0, 3), {}, r"vectors are \(N, D\)"),
    (torch.tensor([[1.0, 2.0], [torch.nan, 1.0], [torch.inf, 1.0]]), {}, "2 of 3 are not, the first in row 1"),
    (["a", "b"], {}, "vectors are numbers"),
    (torch.rand(3, 2), {"labels": [0, 1]}, "labels are 3 whole numbers"),
    (torch.rand(2, 2), {"labels": [0, -1]}, "labels are 2 whole numbers from 0"),
    (torch.rand(2, 2), {"labels": [0.5, 1]}, "labels are 2 whole numbers"),
    (torch.rand(2, 2), {"images": torch.rand(3, 3, 8, 8)}, "3 images for 2 vectors: rows="),
])  # fmt: skip
def test_features_that_do_not_fit(vectors: object, options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        vw.Features(vectors, **options)


def test_vectors_of_other_images(flowers: vw.Net) -> None:
    drawings = vw.data.Flowers(4)
    features = vw.embed(flowers, drawings).result()
    one = drawings[2][0]
    for given in (one, one[None], vw.Image(one), [one], drawings.flower(2).image):
        torch.testing.assert_close(features.of(given), features.vectors[2:3], atol=1e-5, rtol=1e-5)
    assert features.of(features.vectors[1]).equal(features.vectors[1:2])
    assert features.of(features) is features.vectors
    with pytest.raises(ValueError, match=r"finite and \(Q, 96\)"):
        features.of(torch.rand(2, 5))
    with pytest.raises(ValueError, match="know no network"):
        vw.Features(torch.rand(3, 2)).of(one)


def test_the_recipe_does_not_pretend_to_hold_the_images(flowers: vw.Net) -> None:
    features = vw.embed(flowers, torch.rand(2, 3, 96, 96)).result()
    assert features.recipe["options"] == {"layer": "penultimate", "batch_size": None}
    with pytest.raises(ValueError, match="does not hold them"):
        vw.rerun(features)
