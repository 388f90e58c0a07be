"""The ways to bring a model of one's own, each from what a user types to maps and a working Explorer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import make, nothing_left_behind, seeded, small
from safetensors.torch import save_file
from torch import nn

import vizwidgets as vw
from vizwidgets.widgets.image_chooser import ImageChooser

timm = pytest.importorskip("timm")

TINY = "shufflenet_v2_x0_5"


@pytest.fixture(autouse=True)
def _nothing_fetched(no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: None)


def of_timm(name: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return seeded(timm.create_model(name, **options))


# A layer in the middle, its shape for an image of the given size, and its layout in the module.
KINDS: dict[str, tuple[Callable[[], nn.Module], int, str, tuple[int, int, int], str]] = {
    "resnet": (lambda: make("resnet"), 64, "layer2", (128, 8, 8), "NCHW"),
    "mobilenet": (lambda: make("mobilenet_v2"), 64, "features.4", (8, 8, 8), "NCHW"),
    "convnext": (lambda: make("convnext"), 64, "features.1.0.block.2", (16, 16, 16), "NHWC"),
    "swin": (lambda: make("swin"), 64, "features.1", (24, 16, 16), "NHWC"),
    "vit": (lambda: make("vit"), 64, "encoder.layers.encoder_layer_0", (32, 4, 4), "tokens"),
    "timm resnet": (lambda: of_timm("test_resnet"), 160, "layer2", (48, 20, 20), "NCHW"),
    "timm vit": (lambda: of_timm("test_vit"), 160, "blocks.2", (64, 10, 10), "tokens"),
    "timm vit without a class token": (lambda: of_timm("test_vit3"), 160, "blocks.2", (96, 10, 10), "tokens"),
    "timm NHWC": (lambda: of_timm("test_mambaout"), 160, "stages.1", (32, 20, 20), "NHWC"),
    "timm convnext": (lambda: of_timm("test_convnext"), 160, "stages.1.blocks.0.norm", (32, 20, 20), "NHWC"),
    "grey": (lambda: make("one_channel"), 28, "5", (12, 14, 14), "NCHW"),
    "five channels": (lambda: make("five_channels"), 32, "5", (12, 16, 16), "NCHW"),
    "five channels, timm": (lambda: of_timm("test_resnet", in_chans=5), 160, "layer2", (48, 20, 20), "NCHW"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_layers_maps_and_the_explorer(kind: str) -> None:
    build, size, layer, shape, layout = KINDS[kind]
    module = build()
    of = vw.as_net(module, size=size)
    with nothing_left_behind(module):
        row = of.layers[layer]
        assert (row.shape, row.layout) == (shape, layout)
        x = torch.rand(1, of.channels, size, size, generator=torch.Generator().manual_seed(0))
        with vw.extract(of, layer) as acts, torch.no_grad():
            scores = of(x)
        assert scores.isfinite().all()
        assert torch.equal(vw.activation_maps(of, x, layer).maps, acts[layer])
        assert tuple(acts[layer].shape) == (1, *shape)
        explorer = vw.explore(of, x, layer=layer)
        assert explorer.wait(60)
        assert (explorer.error, explorer.grid.error, explorer.classes.error) == ("", "", "")
        assert explorer.grid.maps.maps.shape[1:] == shape
        assert explorer.still().width > 300


@pytest.mark.parametrize("kind", ["vit", "timm vit", "timm NHWC", "swin"])
def test_maps_lie_where_the_picture_changed(kind: str) -> None:
    # Tokens and NHWC are put back in place: what changes most in an early layer is where the picture was changed.
    build, size, _, _, _ = KINDS[kind]
    of = vw.as_net(build(), size=size)
    first = {"vit": "encoder.dropout", "timm vit": "pos_drop", "timm NHWC": "stem", "swin": "features.0"}[kind]
    x = torch.full((1, 3, size, size), 0.5)
    changed = x.clone()
    changed[..., : size // 8, -size // 8 :] = torch.rand(3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    difference = (vw.activation_maps(of, changed, first).maps - vw.activation_maps(of, x, first).maps)[0].abs().sum(0)
    height, width = difference.shape
    assert divmod(int(difference.argmax()), width) < (height // 4, width)
    assert int(difference.argmax()) % width >= width * 3 // 4


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", [TINY, "timm/test_resnet"])
def test_a_weights_file(name: str, suffix: str, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        builder = timm.create_model if name.startswith("timm/") else importlib.import_module("torchvision").models.get_model
        module = seeded(builder(name.removeprefix("timm/"), num_classes=3), 3)
    path = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(module.state_dict(), path)
    of = vw.load(name, weights=path, labels=["cat", "dog", "fish"])
    assert (of.name, of.labels, of.channels) == (name, ("cat", "dog", "fish"), 3)
    assert of.sha256 == vw.as_net(module).sha256
    assert of.mean == (pytest.approx((0.485, 0.456, 0.406)) if name == TINY else (0.5, 0.5, 0.5))
    assert not of.module.training
    with pytest.raises(ValueError, match="2 labels for the 3 classes"):
        vw.load(name, weights=path, labels=["cat", "dog"])
    with pytest.raises(ValueError, match=rf"mine\{suffix} does not belong to squeezenet1_1"):
        vw.load("squeezenet1_1", weights=path)


def test_real_weights_by_file(shared_data: Path) -> None:
    of = vw.load("squeezenet1_1", weights=shared_data / "models" / "squeezenet1_1.safetensors")
    for file, name in (("n01440764_tench.jpg", "tench"), ("n01537544_indigo_bunting.jpg", "indigo bunting")):
        x = vw.image(shared_data / "photos" / file, of)
        assert of.label(int(of(x).argmax())) == name


def test_timm_says_how_its_models_were_trained() -> None:
    of = vw.as_net(of_timm("test_vit"))
    assert (of.size, of.resize, of.interpolation, of.mean) == ((160, 160), 168, "bicubic", (0.5, 0.5, 0.5))
    assert (len(of.labels), of.labels[1]) == (1000, "goldfish")
    assert len(set(of.labels)) == 1000
    assert vw.Logit("goldfish").resolve(of) == vw.Logit(1)
    for classes in (7, 11821):  # the latter is the size of another ImageNet
        assert vw.as_net(of_timm("test_vit", num_classes=classes)).labels == ()
    assert vw.as_net(of_timm("test_vit"), labels=()).labels == ()
    assert vw.as_net(of_timm("test_vit", img_size=96)).size == (96, 96)
    grey = vw.as_net(of_timm("test_resnet", in_chans=1))
    assert (grey.channels, grey.size, grey.mean) == (1, (160, 160), (0.0,))
    assert "not normalised" in repr(grey)


def test_published_weights_of_timm(tmp_path: Path) -> None:
    name, place = "timm/test_resnet.r160_in1k", tmp_path / "hub" / "hub" / "checkpoints" / "timm-test_resnet.r160_in1k.safetensors"
    for asked in (name, "timm/test_resnet"):
        with pytest.raises(ConnectionError) as e:
            vw.load(asked)
        assert str(place) in str(e.value)
        assert "timm/test_resnet.r160_in1k/resolve/main/model.safetensors" in str(e.value)
    module = of_timm("test_resnet")
    save_file(module.state_dict(), place)
    of = vw.load(name)
    assert of.sha256 == vw.as_net(module).sha256
    assert (of.name, of.size, of.labels[0]) == (name, (160, 160), "tench")
    assert not of.module.training
    assert "state_dict" not in of.module.pretrained_cfg
    place.write_bytes(place.read_bytes()[:5000])
    with pytest.raises(ValueError, match="is damaged; delete it"):
        vw.load(name)


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = of_timm("test_resnet")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"'timm/resnet18' is a model of timm, which is not installed: pip install timm"):
        vw.load("timm/resnet18")
    with pytest.raises(LookupError, match="did you mean 'resnet50'"):
        vw.load("resnet5")
    assert vw.as_net(module, labels=["a"]).size == (160, 160)


@pytest.mark.parametrize(("name", "message"), [
    ("timm/resnt18", "no network 'timm/resnt18'; did you mean 'timm/resnet18'"),
    ("timm/resnet18.a2", "did you mean 'timm/resnet18.a2_in1k'"),
    ("resnet10t", "timm has one of this name: 'timm/resnet10t'"),
    ("timm/", "no network 'timm/'"),
])  # fmt: skip
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        vw.load(name)


def test_a_model_of_timm_without_weights() -> None:
    with pytest.raises(ValueError, match=r"no weights of timm/test_mambaout to download; .*as_net\(timm.create_model\('test_mambaout'\)\)"):
        vw.load("timm/test_mambaout")


def test_pictures_of_other_channels() -> None:
    grey, five = vw.as_net(small(1), size=28), vw.as_net(small(5), size=32, name="bands")
    colour = np.zeros((40, 50, 3), np.uint8)
    colour[..., 1] = 255
    x = vw.image(colour, grey)
    assert x.notes[0] == "colour to grey"
    torch.testing.assert_close(x, torch.full((1, 1, 28, 28), 0.587))  # green's share of the luma
    bands = np.random.default_rng(0).random((32, 32, 5))
    for source in (bands, torch.from_numpy(bands).permute(2, 0, 1)):
        torch.testing.assert_close(vw.image(source, five)[0].double(), torch.from_numpy(bands).permute(2, 0, 1))
    assert "grey repeated in 5 channels" in vw.image(np.zeros((32, 32)), five).notes
    with pytest.raises(ValueError, match="bands takes images of 5 channels; this one has 3"):
        vw.image(torch.zeros(3, 32, 32), five)


def test_normalised_by_hand_is_refused() -> None:
    of = vw.as_net(make("resnet"), size=64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (of.mean, of.std))
    with pytest.raises(ValueError, match="do not normalise: the network does that itself"):
        vw.image((torch.rand(3, 64, 64) - mean) / std, of)


def test_a_layout_of_ones_own_overrides() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(216, 4))
    x = torch.rand(1, 3, 12, 12)
    maps = vw.activation_maps(vw.as_net(module, size=12), x, "1").maps
    other = vw.as_net(module, size=12, layouts={"1": "NHWC"})
    assert other.layers["1"].layout == "NHWC"
    torch.testing.assert_close(vw.activation_maps(other, x, "1").maps, maps.permute(0, 3, 1, 2))
    with pytest.raises(ValueError, match="did you mean 'NHWC'"):
        _ = vw.as_net(module, size=12, layouts={"1": "NHCW"}).layers
    with pytest.raises(LookupError, match="no layer '9'"):
        _ = vw.as_net(module, size=12, layouts={"9": "NHWC"}).layers


def test_what_is_seen_of_many_channels_is_said() -> None:
    chooser = ImageChooser(vw.as_net(small(5), size=32))
    assert chooser.caption == "noise in 5 channels; shown: the mean of its 5 channels"
    assert ImageChooser(vw.as_net(small(1), size=28)).caption.startswith("poppy")
