"""PatchGrid without a page: patches against crops made by hand, projections against the methods, targets, errors, the wire."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
import traitlets
from gated import deeper, until
from PIL import Image as PILImage
from torch import nn
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.picture import to_pixels
from vizwidgets.widgets.patch_grid import PROJECTIONS

LAYERS = ["1", "3", "6"]  # 5 and 7 pixels, and the whole picture
FIELD = {"1": 5, "3": 7}


@pytest.fixture(scope="module")
def net():
    return deeper()


@pytest.fixture(scope="module")
def images():
    return torch.rand(14, 3, 20, 20, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def tables(net, images):
    return vw.top_patches(net, vw.image_set(images, labels=[i % 3 for i in range(14)], classes=["oak", "pine", "yew"]), LAYERS).result()


def settled(grid):
    assert grid.wait(10)
    assert grid.error == ""
    return grid.frame


def pixels(data):
    return np.asarray(PILImage.open(io.BytesIO(data)).convert("RGB"))


def by_hand(net, images, layer, channel, order="top"):
    """Images, positions and values in order of the channel's maxima, without the package."""
    with torch.no_grad():
        maps = net.module[: int(layer) + 1](images)[:, channel]
    best, at = maps.flatten(1).max(1)
    ranks = best.argsort(descending=order == "top", stable=True)[:9].tolist()
    return [(i, divmod(int(at[i]), maps.shape[2]), best[i].item()) for i in ranks]


@pytest.mark.parametrize("layer", FIELD)
@pytest.mark.parametrize("order", ["top", "bottom"])
def test_the_patches_are_what_the_positions_see(net, images, tables, layer, order):
    grid = vw.PatchGrid(tables[layer], target=vw.Channel(layer, 2), order=order)
    frame, side = settled(grid), FIELD[layer]
    wanted = by_hand(net, images, layer, 2, order)
    for tile, (image, (y, x), value) in zip(frame["tiles"], wanted, strict=True):
        assert (tile["index"], tile["source"], tile["position"]) == (image, f"#{image}", [y, x])
        assert tile["label"] == ["oak", "pine", "yew"][image % 3]
        assert tile["score"] == pytest.approx(value, rel=1e-5)
        assert np.array_equal(pixels(tile["patch"]), to_pixels(images[image, :, y : y + side, x : x + side]))
        assert np.array_equal(pixels(tile["whole"]), to_pixels(images[image]))
        assert tile["box"] == pytest.approx([y / 20, x / 20, (y + side) / 20, (x + side) / 20])
    assert frame["caption"].startswith(f"each position sees {side}×{side} pixels;")
    assert (frame["name"], frame["channel"], frame["channels"]) == ("channel 2", 2, [6, 5][layer == "3"])


def test_spread_and_whole_pictures(tables):
    grid = vw.PatchGrid(tables["1"], order="spread")
    scores = [tile["score"] for tile in settled(grid)["tiles"]]
    top, bottom = tables["1"].scores[0], tables["1"].ordered("bottom").scores[0]
    assert scores == sorted(scores, reverse=True) and (scores[0], scores[-1]) == (top[0].item(), bottom[0].item())
    whole = vw.PatchGrid(tables["6"])
    tile = settled(whole)["tiles"][0]
    assert tile["box"] == [0, 0, 1, 1] and not tile["boxed"] and "whole picture" in whole.frame["caption"]
    assert whole.frame["name"] == "channel 0 (ash)", "the last layer's channels are classes"


@pytest.mark.parametrize("show", PROJECTIONS)
@pytest.mark.parametrize("layer", FIELD)
def test_projections_are_those_of_the_methods(net, images, tables, show, layer):
    grid = vw.PatchGrid(tables[layer], target=vw.Channel(layer, 2), show=show)
    frame = settled(grid)
    made = grid.projections
    assert (made["method"], made["seq"], made["done"]) == (show, frame["seq"], True)
    for tile, picture in zip(frame["tiles"], made["pictures"], strict=True):
        y, x = tile["position"]
        found = PROJECTIONS[show](net, images[tile["index"]][None], vw.Neuron(layer, 2, y, x)).values[0]
        cut = found[:, y : y + FIELD[layer], x : x + FIELD[layer]]
        assert float(cut.abs().sum()) == pytest.approx(float(found.abs().sum())), "nothing outside of what it sees"
        if not tile["score"]:
            continue
        assert np.array_equal(pixels(picture["data"]), to_pixels(0.5 + 0.5 * cut / cut.abs().max()))
        assert (np.abs(pixels(picture["data"]).astype(int) - 127.5).max() > 126) and picture["words"] == ""
    grid.show = "patch"
    grid.target = vw.Channel(layer, 1)
    settled(grid)
    assert grid.projections is made or grid.projections == made, "nothing is projected that is not asked for"


def test_a_table_in_another_order_and_masked(net, images):
    table = vw.top_patches(net, images, "3", order="bottom", mask=True).result()
    grid = vw.PatchGrid(table, target=vw.Channel("3", 1), show="deconvnet")
    frame, wanted = settled(grid), table[1]
    assert grid.order == "bottom" and [t["index"] for t in frame["tiles"]] == wanted.indices.tolist()
    assert all(np.array_equal(pixels(t["patch"]), to_pixels(x)) for t, x in zip(frame["tiles"], wanted.images, strict=True))
    assert vw.PatchGrid(table, order="top").order == "top" and all(p["size"] == [7, 7] for p in grid.projections["pictures"])


def test_a_silent_channel_says_so(net, images):
    module = nn.Sequential(*list(net.module))
    quiet = nn.Conv2d(3, 6, 5)
    quiet.load_state_dict(module[0].state_dict())
    with torch.no_grad():
        quiet.bias[0] = -100
    dead = vw.as_net(nn.Sequential(quiet, *list(module)[1:]), size=20)
    grid = vw.PatchGrid(vw.top_patches(dead, images, "1").result(), show="guided backprop")
    assert {t["score"] for t in settled(grid)["tiles"]} == {0}
    assert {p["words"] for p in grid.projections["pictures"]} == {"0 everywhere"}
    assert (pixels(grid.projections["pictures"][0]["data"]) == 128).all()


def test_the_channel_is_the_target(tables):
    grid = vw.PatchGrid(tables)
    assert (settled(grid)["layer"], grid.frame["channel"], grid.target) == ("1", 0, None)
    assert grid.layers == tuple(LAYERS) == tuple(grid.frame["layers"])
    grid.target = vw.Channel("3", 4)
    frame = settled(grid)
    assert (grid.layer, frame["layer"], frame["channel"], frame["note"]) == ("3", "3", 4, "")
    wire = Wire(grid)
    wire.receive({"cmd": "set", "name": "channel", "value": 2})
    assert grid.target == vw.Channel("3", 2) and settled(grid)["channel"] == 2
    wire.receive({"cmd": "set", "name": "layer", "value": "1"})
    assert settled(grid)["layer"] == "1" and grid.frame["channel"] == 0
    assert grid.frame["note"] == "The target is channel 2 of 3; these are patches of 1."
    grid.target = vw.Neuron("1", 5, 0, 0)
    assert settled(grid)["channel"] == 5 and grid.frame["note"] == ""
    grid.target = vw.Logit("birch")
    assert settled(grid)["channel"] == 5 and "logit of birch" in grid.frame["note"]


def test_another_layer_than_the_table_has(tables):
    grid = vw.PatchGrid(tables["3"], target=vw.Channel("1", 2))
    assert settled(grid)["note"] == "The target is channel 2 of 1; these are patches of 3." and grid.frame["layer"] == "3"
    before = [t["patch"] for t in grid.frame["tiles"]]
    grid.layer = "5"
    assert settled(grid)["note"] == "There are no patches of 5; these are of 3."
    assert [t["patch"] for t in grid.frame["tiles"]] == before
    grid.layer, grid.target = "3", vw.Channel("3", 5)
    assert grid.wait(10) and grid.error == "3 has the channels 0 to 4; there is no channel 5"
    grid.target = vw.Channel("3", 4)
    assert settled(grid)["channel"] == 4
    with pytest.raises(LookupError, match="no layer '7'; did you mean|no layer '7'; there are: 1, 3, 6"):
        vw.PatchGrid(tables, layer="7")


def test_a_click_hands_the_image_on(net, images, tables):
    grid, other = vw.PatchGrid(tables["1"]), vw.ChannelGrid(net, images[:1], "1")
    traitlets.link((grid, "image"), (other, "image"))
    traitlets.link((grid, "target"), (other, "target"))
    wire = Wire(grid)
    chosen = settled(grid)["tiles"][3]["index"]
    wire.receive({"cmd": "select", "index": chosen})
    assert grid.index == chosen and torch.equal(grid.image.pixels[0], images[chosen]) and grid.image.source == f"#{chosen}"
    assert other.image == grid.image and other.wait(10)
    other.target = vw.Channel("1", 3)
    assert settled(grid)["channel"] == 3
    grid.index = -1
    assert grid.index is None
    wire.receive({"cmd": "select", "index": "x"})
    assert "invalid literal" in grid.error


@pytest.mark.parametrize("show", PROJECTIONS)
def test_without_relu_it_says_so_and_goes_on(images, show):
    net = deeper(activation=nn.GELU)
    grid = vw.PatchGrid(vw.top_patches(net, images, "1").result(), show=show)
    assert grid.wait(10) and "GELU" in grid.error and grid.projections["failed"] and grid.projections["done"]
    assert len(grid.frame["tiles"]) == 9 and grid.still() is not None
    grid.show = "image"
    assert settled(grid)["channel"] == 0
    grid.target = vw.Channel("1", 1)
    assert settled(grid)["channel"] == 1


def test_projections_are_made_in_turns_and_old_ones_are_dropped(tables, monkeypatch):
    gate, begun = threading.Semaphore(0), []

    def slow(net, image, target):
        begun.append(target.index)
        gate.acquire()
        return vw.guided_backprop(net, image, target)

    monkeypatch.setitem(PROJECTIONS, "guided backprop", slow)
    grid = vw.PatchGrid(tables["1"], show="guided backprop", active=False)
    assert begun == [] and grid.frame == {}
    grid.active = True
    until(lambda: begun == [0])
    grid.show = "patch"
    gate.release()
    assert grid.wait(10) and begun == [0], "nobody wants the others now"
    grid.show = "guided backprop"
    until(lambda: begun == [0, 0])
    grid.target = vw.Channel("1", 4)
    gate.release()
    until(lambda: begun == [0, 0, 4])
    assert grid.frame["channel"] == 4, "the patches do not wait for projections"
    grid.active = False
    gate.release()
    assert grid.wait(10) and begun == [0, 0, 4]
    gate.release(100)
    grid.active = True
    assert settled(grid)["channel"] == 4 and grid.projections["done"] and begun == [0, 0] + [4] * 9
    assert all(p["data"] for p in grid.projections["pictures"])


def test_odd_sets(net, tmp_path, images):
    names = ["a \"quoted\".png", "<script>alert(1)<_script>.png", "two\nlines.png", "broken.png", "empty.jpg"]
    for i, name in enumerate(names[:3]):
        vw.Image(images[i]).picture().save(tmp_path / name)
    (tmp_path / names[3]).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / names[4]).write_bytes(b"")
    grid = vw.PatchGrid(vw.top_patches(net, tmp_path, "1").result())
    tiles = settled(grid)["tiles"]
    assert {t["source"] for t in tiles} == set(names[:3]) and {t["label"] for t in tiles} == {None}
    one = vw.PatchGrid(vw.top_patches(net, images[:1], "3").result(), order="spread", show="deconvnet")
    assert len(settled(one)["tiles"]) == 1 and one.still() is not None
    (tmp_path / names[2]).unlink()
    gone = vw.PatchGrid(grid.table, show="guided backprop")
    frame = settled(gone)
    lost = next(i for i, t in enumerate(frame["tiles"]) if t["source"] == names[2])
    assert "no image" in frame["tiles"][lost]["lost"] and gone.projections["pictures"][lost] == {} and gone.projections["done"]
    wire = Wire(gone)
    wire.receive({"cmd": "select", "index": frame["tiles"][lost]["index"]})
    assert "no image" in gone.error and gone.still() is not None


def test_what_goes_over_the_wire(tables):
    grid = vw.PatchGrid(tables)
    settled(grid)
    wire = Wire(grid)
    grid.show = "image"
    settled(grid)
    assert wire.size == 0, "the page has both already"
    grid.target = vw.Channel("1", 1)
    settled(grid)
    assert 1000 < wire.size < 60_000
    sent = len(wire.states)
    grid.target = vw.Channel("1", 1)
    settled(grid)
    assert len(wire.states) == sent


def test_in_a_notebook_and_wrong_use(tables):
    grid = vw.PatchGrid(tables["3"], target=vw.Channel("3", 1), show="image")
    assert repr(grid) == "PatchGrid(channel 1 of 3, top)" and repr(vw.PatchGrid()) == "PatchGrid()"
    assert grid.still().size[0] > 9 * 90 and vw.PatchGrid().still() is None
    data, _ = grid._repr_mimebundle_()
    assert data["text/plain"] == repr(grid) and data["image/png"]
    with pytest.raises(TypeError, match="order"):
        vw.PatchGrid(tables["3"], ordr="top")
    for wrong in (3, {"1": 3}, [tables["1"]]):
        with pytest.raises(TypeError, match="top_patches"):
            vw.PatchGrid(wrong)
    with pytest.raises(TypeError, match="by .result"):
        vw.PatchGrid(vw.top_patches(tables["1"].net, tables["1"].images, "1"))
    with pytest.raises(traitlets.TraitError):
        vw.PatchGrid(tables["3"], order="best")


def test_nothing_is_left_in_the_network(net, tables):
    state = {k: v.clone() for k, v in net.module.state_dict().items()}
    noise = torch.get_rng_state()
    net.module.train()
    settled(vw.PatchGrid(tables, show="guided backprop"))
    assert net.module.training and torch.equal(noise, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in net.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.module.parameters())
    net.module.eval()
