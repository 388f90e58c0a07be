"""The Explorer's tabs about a set of images: passes that begin in view, halt, go on, and keep up with the layer."""

from __future__ import annotations

import threading

import pytest
import torch
from gated import LABELS, Gated, deeper, until
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw
from vizwidgets.methods import embedding
from vizwidgets.widgets import sets


@pytest.fixture
def net():
    return deeper()


@pytest.fixture(scope="module")
def images():
    return torch.rand(40, 3, 20, 20, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def explorer(net, images):
    made = vw.explore(net, images[:1], images=vw.image_set(images, labels=[i % 4 for i in range(40)]), layer="1")
    assert made.wait(10)
    yield made
    made.close()


def turn(explorer, name):
    explorer.tabs.index = list(explorer.panels).index(name)
    return explorer.panels[name]


def settled(tab):
    assert tab.wait(20)
    assert tab.error == tab.player.error == tab.grid.error == ""
    return tab.grid.frame


def test_only_with_images(net, images):
    assert not {"Patches", "Neighbours"} & set(vw.explore(net, images[:1]).panels)
    with pytest.raises(ValueError, match="at least one"):
        vw.explore(net, images[:1], images=[])
    with pytest.raises(FileNotFoundError, match="no folder"):
        vw.explore(net, images[:1], images="nowhere")


def test_what_is_offered_is_of_the_set(net, images, tmp_path):
    for i, x in enumerate(images[:18]):
        vw.Image(x).picture().save(tmp_path / f"{i:02}.png")
    (tmp_path / "02.png").write_bytes(b"no picture")
    explorer = vw.explore(net, images=tmp_path)
    assert [c["name"] for c in explorer.chooser.choices] == ["00.png", "04.png", "06.png", "08.png", "10.png", "12.png", "14.png"]
    assert explorer.image == vw.image_set(tmp_path).image(0, net)
    chosen = vw.explore(net, tmp_path / "04.png", images=tmp_path).chooser
    assert [c["name"] for c in chosen.choices][:3] == ["04.png", "00.png", "06.png"] and chosen.index == 0, "none is offered twice"
    many = [c["name"] for c in vw.explore(net, images=images).chooser.choices]
    assert many == [f"#{i}" for i in range(0, 40, 5)]
    assert "poppy" in [c["name"] for c in vw.explore(net).chooser.choices]


def test_patches_of_all_layers_by_one_pass(explorer, net, images):
    tab = explorer.patches
    assert (tab.status, tab.grid.frame, tab.player.images, tab.children) == ("idle", {}, 0, (tab.player,)), "nothing is computed before it is in view"
    assert turn(explorer, "Patches") is tab
    frame = settled(tab)
    assert tab.children == (tab.player, tab.grid), "which has nothing to show before"
    assert (tab.status, frame["layer"], frame["channel"]) == ("done", "1", 0) and tab.player.seen == tab.player.images == 40
    explorer.layer = "3"
    assert settled(tab)["layer"] == "3"
    explorer.target = vw.Channel("0", 4)
    frame = settled(tab)
    assert (explorer.layer, frame["layer"], frame["channel"]) == ("0", "0", 4)
    wanted = vw.top_patches(net, images, "0").result()
    assert [t["index"] for t in frame["tiles"]] == wanted.sources_index[4].tolist() and tab.player.total == 3, "that was the only pass"
    Wire(tab.grid).receive({"cmd": "select", "index": 7})
    assert torch.equal(explorer.image.pixels[0], images[7])
    Wire(tab.grid).receive({"cmd": "set", "name": "channel", "value": 1})
    assert explorer.target == vw.Channel("0", 1)


def test_neighbours_with_pixels_and_other_layers(explorer, net, images):
    tab = turn(explorer, "Neighbours")
    frame = settled(tab)
    assert frame["query"]["source"] == "#0", "the Explorer's picture is one of the set"
    assert frame["rows"][0]["how"] == "by the last layer before the classes" and [len(r["cards"]) for r in frame["rows"]] == [8, 8]
    own = vw.NeighborGrid(vw.embed(net, images).result())
    assert [c["row"] for r in settled_grid(own)["rows"] for c in r["cards"]] == [c["row"] for r in frame["rows"] for c in r["cards"]]
    pixels = tab.grid.pixels
    Wire(tab.grid).receive({"cmd": "select", "row": 9})
    assert settled(tab)["query"]["source"] == "#9" and torch.equal(explorer.image.pixels[0], images[9])
    explorer.layer = "3"
    assert settled(tab)["rows"][0]["how"] == "by layer 3" and tab.grid.features.layer == "3" and tab.grid.pixels is pixels
    explorer.image = vw.Image(torch.rand(1, 3, 20, 20), "mine")
    assert settled(tab)["query"]["note"] == "not of the set"


def settled_grid(grid):
    assert grid.wait(10) and grid.error == ""
    return grid.frame


@pytest.fixture
def gated(images, monkeypatch):
    gated = Gated(deeper().module)
    net = vw.as_net(gated, size=20, labels=LABELS[:4], name="trees")
    explorer = vw.explore(net, images[:1], images=images, layer="module.1")
    assert explorer.wait(10)
    gated.gate = threading.Semaphore(0)
    yield explorer, gated
    gated.gate.release(10_000)
    explorer.close()


def test_pause_stop_and_again(gated):
    explorer, module = gated
    tab = turn(explorer, "Patches")
    wire = Wire(tab.player)
    module.gate.release(1)
    until(lambda: module.passes and module.begun > module.passes and tab.player.run.taken == 1)
    wire.receive({"cmd": "pause"})
    module.gate.release(1)
    until(lambda: tab.status == "paused")
    assert tab.wait(10) and tab.player.seen == 32
    assert max(t["index"] for t in tab.grid.frame["tiles"]) < 32, "what has been seen so far"
    half = [t["index"] for t in tab.grid.frame["tiles"]]
    wire.receive({"cmd": "play"})
    module.gate.release(10)
    settled(tab)
    assert tab.status == "done" and tab.player.seen == 40
    whole = vw.top_patches(explorer.net, tab.images, "module.1").result().sources_index[0].tolist()
    assert [t["index"] for t in tab.grid.frame["tiles"]] == whole != half


def test_stopped_it_can_begin_again(gated):
    explorer, module = gated
    tab = turn(explorer, "Neighbours")
    until(lambda: module.begun > module.passes)
    tab.stop()
    module.gate.release(1)
    until(lambda: tab.status == "stopped")
    module.gate.release(1)      # the query
    assert tab.wait(10) and len(tab.grid.features) == 16 and tab.grid.pixels is False
    module.gate.release(10_000)
    Wire(tab.player).receive({"cmd": "play"})
    assert len(settled(tab)["rows"]) == 2 and len(tab.grid.features) == 40 and tab.status == "done"


def test_half_of_the_pixels_are_not_compared(explorer, monkeypatch):
    gate, vectors = threading.Semaphore(0), embedding.vectors_of

    def slow(net, images, layer):
        if layer == "input":
            gate.acquire()
        return vectors(net, images, layer)

    monkeypatch.setattr(embedding, "vectors_of", slow)
    tab = turn(explorer, "Neighbours")
    try:
        gate.release()
        until(lambda: tab.player.aim == "Pixels" and tab.player.run.taken == 1)
        tab.pause()
        gate.release()
        until(lambda: tab.status == "paused")
        assert len(settled(tab)["rows"]) == 1 and tab.player.seen == 32
        gate.release(10)
        Wire(tab.player).receive({"cmd": "play"})
        assert len(settled(tab)["rows"]) == 2 and len(tab.grid.pixels) == 40
    finally:
        gate.release(100)


def test_out_of_view_it_halts(gated):
    explorer, module = gated
    tab = turn(explorer, "Patches")
    module.gate.release(1)
    until(lambda: tab.player.run and tab.player.run.taken == 1 and module.begun > module.passes)
    turn(explorer, "Visualize")
    module.gate.release(1)
    until(lambda: tab.status == "paused")
    module.gate.release(10_000)
    assert explorer.wait(10) and tab.player.run.taken == 2
    turn(explorer, "Patches")
    settled(tab)
    assert tab.status == "done"


def test_of_a_deep_network_one_layer_at_a_time(explorer, monkeypatch):
    monkeypatch.setattr(sets, "MOST_LAYERS", 3)
    tab = turn(explorer, "Patches")
    assert settled(tab)["layers"] == ["1"]
    explorer.layer = "3"
    assert settled(tab)["layer"] == "3" and set(tab.grid.frame["layers"]) == {"1", "3"}
    table = tab.grid.table["1"]
    explorer.layer = "1"
    assert settled(tab)["layer"] == "1" and tab.grid.table["1"] is table, "it has that already"


def test_what_cannot_be_read_is_told(net, images, tmp_path):
    for i in range(3):
        vw.Image(images[i]).picture().save(tmp_path / f"{i}.png")
    (tmp_path / "bad <b>.png").write_bytes(b"nothing")
    explorer = vw.explore(net, images[:1], images=tmp_path, layer="1")
    for name in ("Patches", "Neighbours"):
        tab = turn(explorer, name)
        settled(tab)
        assert [source for source, _ in tab.player.skipped] == ["bad <b>.png"] and "not an image" in tab.player.skipped[0][1]
    for path in tmp_path.glob("[0-9].png"):
        path.write_bytes(b"nothing")
    broken = vw.explore(net, images[:1], images=tmp_path, layer="1")
    for name in ("Patches", "Neighbours"):
        tab = turn(broken, name)
        assert tab.wait(10) and "none of the 4 images could be read" in tab.player.error
        assert tab.status == "failed" and tab.grid.frame == {}
    assert broken.wait(10) and isinstance(broken.still(), PILImage.Image)


def test_a_network_that_fails_does_not_take_the_explorer_with_it(images, monkeypatch):
    explorer = vw.explore(deeper(), images[:1], images=images, layer="1")
    monkeypatch.setattr(sets, "embed", lambda *a: (_ for _ in ()).throw(LookupError("no last layer")))
    tab = turn(explorer, "Neighbours")
    assert tab.wait(10) and tab.player.error == "no last layer"
    turn(explorer, "Patches")
    settled(explorer.patches)


def test_closed_in_the_middle(gated):
    explorer, module = gated
    tab = turn(explorer, "Patches")
    until(lambda: module.begun > module.passes)
    passes = module.passes
    tab.close()
    module.gate.release(10_000)
    assert tab.player.wait(10) and module.passes <= passes + 1
