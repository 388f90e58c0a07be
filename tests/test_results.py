"""Results: pictures on an honest scale, and recipes that make them again."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import make, net, picture
from PIL import Image as PILImage
from torch import Tensor

import vizwidgets as vw
from vizwidgets.core import picture as pictures
from vizwidgets.core.recipe import FORMAT, KEY, dumps, loads
from vizwidgets.core.results import ActivationMaps, sheet


def pixels(maps: Tensor) -> np.ndarray:
    return np.asarray(ActivationMaps(maps, "layer").picture()).astype(int)


def sampled(shown: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The middle of each of the fields of one map shown enlarged."""
    h, w = shown.shape[0] // rows, shown.shape[1] // columns
    return shown[h // 2 :: h, w // 2 :: w][:rows, :columns]


def test_not_a_number_is_magenta_and_nothing_else_is() -> None:
    maps = torch.rand(1, 4, 24, 24) - 0.5
    maps[0, 1, 3, 5] = torch.nan
    shown = pixels(maps)
    tile = (len(shown) - 2) // 2  # four tiles, two pixels between them
    factor = tile // 24
    assert shown.shape == (2 * tile + 2, 2 * tile + 2, 3)
    magenta = (shown == (255, 0, 255)).all(-1)
    assert magenta.sum() == factor**2
    assert magenta[3 * factor, tile + 2 + 5 * factor]


def test_signed_maps_are_white_at_zero_blue_below_and_red_above() -> None:
    maps = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, 2.0]).view(1, 1, 2, 3)
    low, half_low, zero, half_high, high, _ = sampled(pixels(maps), 2, 3).reshape(6, 3)
    assert zero.min() > 240
    assert low[2] > low[0] + 60
    assert half_low[2] > half_low[0]
    assert half_high[0] > half_high[2]
    # One scale for both signs: half as strong is as far from white on either side.
    assert abs(int(np.ptp(half_low)) - int(np.ptp(half_high))) < 60
    assert low.sum() < half_low.sum() < zero.sum() > half_high.sum() > high.sum()
    assert high[0] > high[2] + 60


def test_unsigned_maps_go_from_dark_to_bright_on_one_scale() -> None:
    maps = torch.tensor([[0.0, 1.0], [0.0, 4.0]]).view(1, 2, 1, 2)
    colours = pictures.colourise(maps[0])
    light = colours.astype(int).sum(-1)
    assert light[0, 0, 0] == light[1, 0, 0]
    assert light[0, 0, 0] < light[0, 0, 1] < light[1, 0, 1]
    assert tuple(colours[1, 0, 1]) == tuple(pictures.colour_table("sequential")[255])
    assert tuple(colours[0, 0, 1]) == tuple(pictures.colour_table("sequential")[64])
    # A channel alone stays on the scale of its layer.
    result = ActivationMaps(torch.tensor([[0.0, 1.0], [4.0, 4.0]]).view(1, 2, 1, 2), "layer")
    assert np.array_equal(np.asarray(result.channel(0))[0, -1], pictures.colour_table("sequential")[64])


def test_a_peak_leaves_the_rest_visible_and_is_marked() -> None:
    for sign, mark in ((1, (255, 255, 255)), (-1, (0, 0, 0))):
        maps = sign * torch.linspace(0, 1, 10_000).view(1, 1, 100, 100)
        maps[0, 0, 0, 0] = sign * 50
        low, high = pictures.readable_limits(maps)
        assert high == pytest.approx(0.995, abs=0.001)
        assert low == (0 if sign > 0 else -high)
        shown = pixels(maps)
        assert tuple(shown[0, 0]) == mark
        assert 1 <= (shown == mark).all(-1).sum() <= 51
        assert np.ptp(shown[:, :, 1]) > 150


def test_limits() -> None:
    assert pictures.limits(torch.tensor([0.0, 3.0])) == (0, 3)
    assert pictures.limits(torch.tensor([1.0, 3.0])) == (0, 3)
    assert pictures.limits(torch.tensor([-1.0, 3.0])) == (-3, 3)
    assert pictures.limits(torch.tensor([-5.0, 3.0, torch.nan, torch.inf])) == (-5, 5)
    assert pictures.limits(torch.zeros(3)) == (0, 1)
    assert pictures.limits(torch.tensor([torch.nan])) == (0, 1)
    assert pictures.to_bytes(torch.tensor([-9.0, -1.0, 0.0, 1.0, torch.inf]), -1, 1).tolist() == [0, 0, 128, 255, 255]


def test_colours_can_be_told_apart_by_light_alone() -> None:
    sequential = pictures.colour_table("sequential").astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(sequential) > -0.5).all()
    diverging = pictures.colour_table("diverging").astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(diverging[:128]) > -0.5).all()
    assert (np.diff(diverging[128:]) < 0.5).all()


def test_tiles_are_in_reading_order() -> None:
    tiles = np.stack([np.full((2, 3, 3), i, np.uint8) for i in range(5)])
    sheet = pictures.tile(tiles, columns=3, gap=1, background=9)
    assert sheet.shape == (5, 11, 3)
    assert sheet[0, ::4, 0].tolist() == [0, 1, 2]
    assert sheet[3, ::4, 0].tolist() == [3, 4, 9]
    assert (sheet[2] == 9).all()
    large = pictures.enlarge(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), 5)
    assert min(large.shape[:2]) >= 4
    assert len(large) % 2 == 0
    half = len(large) // 2
    assert all((large[y * half : (y + 1) * half, x * half : (x + 1) * half] == [6 * y + 3 * x + c for c in range(3)]).all()
               for y in (0, 1) for x in (0, 1))  # fmt: skip


@pytest.mark.parametrize(("count", "size", "wanted"), [(1, (40, 8), (40, 8)), (1, (8, 40), (8, 40)), (2, (40, 8), (40, 18)), (5, (8, 8), (18, 28))])
def test_sheets_have_no_empty_columns(count: int, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert sheet(torch.zeros(count, 3, *size)).size == wanted[::-1]


def test_pictures_of_images() -> None:
    image = torch.zeros(3, 2, 2)
    image[0, 0, 1] = 1
    image[2, 1, 0] = 0.5
    shown = pictures.to_pixels(image)
    assert shown[0, 1].tolist() == [255, 0, 0]
    assert shown[1, 0].tolist() == [0, 0, 128]
    assert pictures.to_pixels(torch.ones(1, 2, 2)).tolist() == np.full((2, 2, 3), 255).tolist()
    assert pictures.to_pixels(torch.rand(5, 2, 2)).shape == (2, 2, 3)
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    assert (pictures.overlay(white, black, 0.6) == 102).all()
    assert PILImage.open(io.BytesIO(pictures.jpeg(PILImage.fromarray(white)))).size == (8, 8)


def test_activation_maps_are_what_plain_hooks_see(flowers: vw.Net) -> None:
    x = picture(flowers, batch=2)
    maps: list[Tensor] = []
    handle = flowers.module.stage2.register_forward_hook(lambda m, i, o: maps.append(o.clone()))
    flowers(x)
    handle.remove()
    result = vw.activation_maps(flowers, x, "stage2")
    torch.testing.assert_close(result.maps, maps[0].detach())
    assert (result.maps.device.type, result.maps.dtype, result.maps.requires_grad) == ("cpu", torch.float32, False)
    assert not result.maps.is_inference()
    assert repr(result) == f"ActivationMaps(maps {'×'.join(map(str, maps[0].shape))}, layer='stage2')"
    assert torch.equal(vw.activation_maps(flowers, vw.Image(x), "stage2").maps, result.maps)
    assert torch.equal(vw.activation_maps(flowers, x[0], "stage2").maps[0], vw.activation_maps(flowers, x[:1], "stage2").maps[0])
    with pytest.raises(LookupError, match="did you mean 'stage2'"):
        vw.activation_maps(flowers, x, "stag2")
    with pytest.raises(TypeError, match=r"vizwidgets\.image\(source, net\)"):
        vw.activation_maps(flowers, "photo.jpg", "stage2")


@pytest.mark.parametrize("name", ["half", "double"])
def test_results_are_float32_unless_they_are_float64(name: str) -> None:
    of = net(name)
    maps = vw.activation_maps(of, picture(of), "4").maps
    assert maps.dtype == (torch.float32 if name == "half" else torch.float64)


@pytest.mark.parametrize("name", ["resnet", "vit", "convnext", "five_channels", "double", "half"])
def test_saved_and_made_again_bit_for_bit(name: str, tmp_path: Path) -> None:
    of = net(name)
    x = picture(of, batch=2)
    layer = list(of.layers.order)[len(of.layers.order) // 3]
    result = vw.activation_maps(of, x, layer)
    path = result.save(tmp_path / "maps.png")
    assert path == tmp_path / "maps.png"
    for recipe in (path, str(path), result, result.recipe, loads(dumps(result.recipe))):
        again = vw.rerun(recipe, of)
        assert torch.equal(again.maps, result.maps)
        assert again.maps.dtype == result.maps.dtype
        assert dumps(again.recipe) == dumps(result.recipe)
    shown = PILImage.open(path)
    assert np.array_equal(np.asarray(shown), np.asarray(result.picture()))
    assert result._repr_png_()[:4] == b"\x89PNG"


def test_bundled_nets_are_found_by_name(flowers: vw.Net, tmp_path: Path) -> None:
    result = vw.activation_maps(flowers, picture(flowers), "stem")
    assert result.recipe["net"]["name"] == "flowers"
    if flowers.name in vw.load.__globals__["bundled"].NAMES:
        assert torch.equal(vw.rerun(result.save(tmp_path / "a.png")).maps, result.maps)


def test_a_recipe_says_everything() -> None:
    of = net("resnet")
    x = picture(of)
    recipe = vw.activation_maps(of, x, "layer1").recipe
    assert recipe["format"] == FORMAT
    assert recipe["net"]["sha256"] == of.sha256
    assert recipe["method"] == "activation_maps"
    assert recipe["options"] == {"layer": "layer1"}
    assert recipe["threads"] == torch.get_num_threads()
    assert recipe["versions"]["torch"] == torch.__version__.partition("+")[0] or recipe["versions"]["torch"] == torch.__version__
    assert recipe["changes"] == []
    assert torch.equal(recipe["inputs"]["images"], x)
    x.zero_()
    assert recipe["inputs"]["images"].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8, torch.int64, torch.bool])
def test_tensors_survive_json(dtype: torch.dtype) -> None:
    for shape in ((2, 3), (), (0, 2)):
        value = (torch.rand(shape) * 9).to(dtype)
        recipe = {"format": FORMAT, "method": "m", "inputs": {"x": value, "nested": [value]}}
        text = dumps(recipe)
        json.loads(text)
        back = loads(text)["inputs"]
        assert back["x"].dtype == dtype
        assert back["x"].shape == value.shape
        assert torch.equal(back["x"], value)
        assert torch.equal(back["nested"][0], value)


def test_the_preprocessing_is_part_of_the_recipe() -> None:
    module = make("in_place")
    x = torch.rand(1, 3, 32, 32)
    result = vw.activation_maps(vw.as_net(module, size=32, mean=0.5, std=0.2), x, "conv1")
    other = vw.as_net(module, size=32)
    assert not torch.equal(vw.activation_maps(other, x, "conv1").maps, result.maps)
    assert torch.equal(vw.rerun(result, other).maps, result.maps)


def test_what_cannot_be_made_again(tmp_path: Path) -> None:
    of = net("in_place")
    result = vw.activation_maps(of, picture(of), "conv1")
    with pytest.raises(ValueError, match="has other weights than the recipe's InPlace"):
        vw.rerun(result, net("functional"))
    other = make("in_place")
    with torch.no_grad():
        other.fc.bias[0] += 0.5
    with pytest.raises(ValueError, match="other weights"):
        vw.rerun(result, vw.as_net(other, size=32))
    with pytest.raises(LookupError, match=r"'InPlace' cannot be loaded by name: give it"):
        vw.rerun(result)
    newer = {**result.recipe, "format": FORMAT + 1}
    path = tmp_path / "newer.png"
    path.write_bytes(pictures.png(result.picture(), {KEY: dumps(newer)}))
    for recipe in (newer, path):
        with pytest.raises(ValueError, match=rf"has format {FORMAT + 1}; this version reads up to {FORMAT}: update"):
            vw.rerun(recipe, of)
    with pytest.raises(ValueError, match="no method 'dream' in this version; it has .*activation_maps"):
        vw.rerun({**result.recipe, "method": "dream"}, of)
    for nothing in ({}, {"format": 1}, {"method": "activation_maps"}):
        with pytest.raises(ValueError, match="no recipe of vizwidgets"):
            vw.rerun(nothing, of)


def test_pictures_without_a_recipe(tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    PILImage.new("RGB", (4, 4)).save(plain)
    with pytest.raises(ValueError, match=r"plain\.png holds no recipe"):
        vw.rerun(plain)
    result = vw.activation_maps(net("in_place"), picture(net("in_place")), "conv1")
    for name in ("maps.jpg", "maps", "maps.png.gz"):
        with pytest.raises(ValueError, match=r"saved as \.png"):
            result.save(tmp_path / name)
        assert not (tmp_path / name).exists()
    assert result.save(str(tmp_path / "MAPS.PNG")).exists()


def test_plot() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    result = vw.activation_maps(net("in_place"), picture(net("in_place")), "conv1")
    ax = result.plot()
    assert np.array_equal(ax.images[0].get_array(), np.asarray(result.picture()))
    assert result.plot(ax) is ax
    plt.close("all")
