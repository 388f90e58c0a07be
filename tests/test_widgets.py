"""The widgets without a page: traits, errors, what goes over the wire."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image as PILImage
from torch import nn
from wire import Wire

import vizwidgets as vw
from vizwidgets.widgets.image_chooser import ImageChooser
from vizwidgets.widgets.top_classes import TopClasses
from vizwidgets.widgets.worker import worker


@pytest.fixture(scope="module")
def net():
    return vw.load("flowers")


@pytest.fixture(scope="module")
def x(net):
    return vw.image(vw.data.photograph("flower"), net)


def decoded(frame):
    """The maps (C, H, W) that the page can work out from a frame."""
    values = np.frombuffer(frame["values"], np.uint8).reshape(frame["count"], frame["height"], frame["width"])
    low, high = (np.frombuffer(frame[k], "<f4")[:, None, None] for k in ("lows", "highs"))
    return low + values / 255 * (high - low)


WIDGETS = {
    "ChannelGrid": lambda net, x: vw.ChannelGrid(net, x, "stage2"),
    "FilterGrid": lambda net, x: vw.FilterGrid(net, x),
    "LayerPicker": lambda net, x: vw.LayerPicker(net, "stage2"),
    "Explorer": lambda net, x: vw.Explorer(net, x),
    "ImageChooser": lambda net, x: ImageChooser(net),
    "TopClasses": lambda net, x: TopClasses(net, x),
    "StyleMixer": lambda net, x: vw.StyleMixer(net, x, size=64),
}


@pytest.mark.parametrize("name", WIDGETS)
def test_contract(name, net, x):
    widget = WIDGETS[name](net, x)
    assert repr(widget) == repr(WIDGETS[name](net, x))
    assert repr(widget).startswith(f"{name}(")
    assert len(repr(widget)) < 80
    assert widget.error == ""
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    still = PILImage.open(io.BytesIO(data["image/png"])).convert("L")
    assert still.size[0] > 50
    assert np.asarray(still).std() > 10, "an empty picture"
    with pytest.raises(TypeError, match="no option 'colour'"):
        type(widget)(net, colour="red")
    assert widget.wait(5)


def test_the_page_gets_the_values(net, x):
    grid = vw.ChannelGrid(net, x, "stage2.0.conv1")
    maps = vw.activation_maps(net, x, "stage2.0.conv1").maps[0].numpy()
    span = maps.max((1, 2)) - maps.min((1, 2))
    assert (np.abs(decoded(grid.frame) - maps).max((1, 2)) <= span / 255 * 0.51 + 1e-6).all()
    assert grid.frame["low"] == pytest.approx(-max(-maps.min(), maps.max()))
    np.testing.assert_allclose(np.frombuffer(grid.frame["means"], "<f4"), maps.mean((1, 2)), atol=1e-5)
    assert torch.equal(grid.maps.maps[0], torch.from_numpy(maps))


def test_a_layer_costs_one_message_of_its_raw_size(net, x):
    grid = vw.ChannelGrid(net, x, "stage1")
    wire = Wire(grid)
    grid.layer = "stage3"
    assert grid.wait(10)
    frames = [s for s in wire.states if "frame" in s]
    assert len(frames) == 1
    count, h, w = net.layers["stage3"].shape
    assert count * h * w <= wire.size <= count * h * w + 12 * count + 1000


def test_a_click_makes_the_channel_the_target(net, x):
    grid = vw.ChannelGrid(net, x, "stage2")
    wire = Wire(grid)
    wire.receive({"cmd": "select", "index": 7, "layer": "stage2"})
    assert grid.target == vw.Channel("stage2", 7)
    assert grid._selected == 7
    wire.receive({"cmd": "select", "index": 3, "layer": "stage1"})  # from before the layer changed
    assert grid.target == vw.Channel("stage2", 7)
    wire.receive({"cmd": "set", "name": "sort", "value": "response"})
    assert grid.sort == "response"
    wire.receive({"cmd": "set", "name": "sort", "value": "alphabet"})
    assert "alphabet" in grid.error


def test_a_target_elsewhere_moves_the_grid_there(net, x):
    grid = vw.ChannelGrid(net, x, "stage2")
    grid.target = vw.Channel("stage1", 5)
    assert grid.wait(10)
    assert (grid.layer, grid._selected, grid.frame["layer"]) == ("stage1", 5, "stage1")
    grid.target = vw.Logit("rose")
    assert (grid.layer, grid._selected) == ("stage1", -1)


def test_targets_and_images_link(net, x):
    a, b = vw.ChannelGrid(net, x, "stage2"), vw.ChannelGrid(net, x, "stage2")
    traitlets.link((a, "target"), (b, "target"))
    traitlets.link((a, "image"), (b, "image"))
    a.target = vw.Neuron("stage2", 3, 1, 1)
    a.image = vw.Image(torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)), "noise")
    assert b.target == a.target
    assert b.image is a.image
    assert b.wait(10)
    assert a.wait(10)
    assert b.frame["values"] == a.frame["values"]


def test_errors_stand_in_the_widget_and_go_when_all_is_well_again(net, x):
    explorer = vw.Explorer(net, x)
    explorer.layer = "stage22"
    explorer.wait(10)
    assert "did you mean 'stage2'" in explorer.picker.error
    assert "did you mean 'stage2'" in explorer.grid.error
    explorer.layer = "stage3"
    assert explorer.wait(10)
    assert (explorer.picker.error, explorer.grid.error, explorer.grid.frame["layer"]) == ("", "", "stage3")


class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head, self.broken = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), False

    def forward(self, images):
        y = self.conv(images)
        if self.broken:
            raise RuntimeError("out of order")
        return self.head(y.mean((2, 3)))


def test_a_network_that_raises_leaves_everything_else_alive(net, x):
    module = Breaks()
    grid = vw.ChannelGrid(vw.as_net(module, size=32), torch.rand(3, 32, 32), "conv")
    module.broken = True
    grid.layer = "head"
    grid.wait(10)
    assert grid.error == "out of order"
    assert not module.conv._forward_hooks
    assert not module.head._forward_hooks
    other = vw.ChannelGrid(net, x, "stage1")
    other.layer = "stage2"
    assert other.wait(10)
    assert other.frame["layer"] == "stage2"
    module.broken = False
    grid.layer = "conv"
    grid.wait(10)
    assert (grid.error, grid.frame["layer"]) == ("", "conv")


def test_a_cell_may_call_the_network_while_the_worker_does(net, x):
    grid = vw.ChannelGrid(net, x, "stage1")
    expected, wrong = net(x), []

    def cell():
        for _ in range(20):
            with vw.extract(net, "stage4") as acts:
                wrong.extend([] if torch.equal(net(x), expected) and set(acts) == {"stage4"} else ["cell"])

    thread = threading.Thread(target=cell)
    thread.start()
    layers = ["stem", "stage1", "stage2", "stage3"]
    for i in range(20):
        grid.layer = layers[i % 4]
        grid.wait(10)
        wrong.extend([] if grid.frame["layer"] == layers[i % 4] and not grid.error else [grid.error])
    thread.join()
    assert wrong == []


def test_two_explorers_do_not_touch_each_other(net, x):
    a, b = vw.Explorer(net, x), vw.Explorer(net, x)
    before = b.grid.frame
    a.layer = "stage4"
    a.target = vw.Channel("stage4", 2)
    assert a.wait(10)
    assert (b.layer, b.target, b.grid.frame) == ("stage2", None, before)


def test_wrong_arguments_raise_at_once(net, x, tmp_path):
    with pytest.raises(LookupError, match="did you mean 'stage2'"):
        vw.explore(net, x, layer="stagee2")
    with pytest.raises(LookupError, match="did you mean 'flowers'"):
        vw.explore("flower")
    with pytest.raises(FileNotFoundError, match="no image"):
        vw.explore(net, tmp_path / "none.jpg")
    with pytest.raises(TypeError, match="Module"):
        vw.explore(3)


def test_vectors_and_tokens_are_shown(x):
    net = vw.load("flowers")
    grid = vw.ChannelGrid(net, x, "head")
    assert grid.frame["vector"] is True
    assert grid.frame["names"] == list(net.labels)
    assert grid.frame["count"] == 12
    pool = vw.ChannelGrid(net, x, "pool")
    assert (pool.frame["names"], pool.frame["count"]) == ([], 96)


def test_large_layers_are_averaged_down():
    module = nn.Sequential(nn.Conv2d(3, 300, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    grid = vw.ChannelGrid(vw.as_net(module, size=160), torch.rand(3, 160, 160), "0")
    frame = grid.frame
    assert frame["pooled"] == 2
    assert len(frame["values"]) == 300 * 80 * 80
    maps = grid.maps.maps[0].numpy().reshape(300, 80, 2, 80, 2).mean((2, 4))
    np.testing.assert_allclose(decoded(frame), maps, atol=np.ptp(maps, (1, 2)).max() / 255)


def test_nan_is_told():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = vw.as_net(module, size=16)
    with torch.no_grad():
        module[0].bias[1] = float("nan")
    grid = vw.ChannelGrid(net, torch.rand(3, 16, 16), "0")
    assert "256 values are NaN" in grid.frame["caption"]


def test_filters_follow_target_and_layer(net, x):
    grid = vw.FilterGrid(net, x)
    weights = net.module.stem.conv.weight.detach()
    values = np.frombuffer(grid.frame["values"], np.uint8).reshape(24, 7, 7, 3)
    expected = 127.5 + 127.5 * weights.permute(0, 2, 3, 1).numpy() / weights.abs().max().item()
    assert np.abs(values - expected).max() <= 0.51
    Wire(grid).receive({"cmd": "select", "index": 3, "layer": "stem.conv"})
    assert grid.wait(10)
    assert (grid.target, grid.index, grid.response["index"]) == (vw.Channel("stem.conv", 3), 3, 3)
    maps = vw.activation_maps(net, x, "stem.conv").maps[0, 3]
    shown = np.frombuffer(grid.response["values"], np.uint8).reshape(maps.shape) / 255
    low, high = grid.response["low"], grid.response["high"]
    np.testing.assert_allclose(low + shown * (high - low), maps, atol=(high - low) / 255)
    grid.layer = "stage2"  # has no weights itself
    assert grid.wait(10)
    assert (grid.frame["layer"], grid.frame["asked"]) == ("stage2.0.conv1", "stage2")
    shown = np.frombuffer(grid.frame["values"], np.uint8).reshape(24, 3, 3) / 127.5 - 1
    weights = net.module.stage2[0].conv1.weight.detach()[3]
    np.testing.assert_allclose(shown * grid.frame["top"], weights, atol=grid.frame["top"] / 127)
    grid.layer = "stage22"
    grid.wait(10)
    assert "did you mean 'stage2'" in grid.error


def test_a_tab_that_is_not_in_view_computes_nothing(net, x):
    explorer = vw.Explorer(net, x)
    assert explorer.filters.frame == {}
    explorer.layer = "stage3"
    assert explorer.wait(10)
    assert explorer.filters.frame == {}
    explorer.tabs.index = 1
    assert explorer.wait(10)
    assert explorer.filters.frame["layer"] == "stage3.0.conv1"
    shown = explorer.grid.frame
    explorer.layer = "stage4"
    assert explorer.wait(10)
    assert (explorer.filters.frame["layer"], explorer.grid.frame) == ("stage4.0.conv1", shown)
    explorer.tabs.index = 0
    assert explorer.wait(10)
    assert explorer.grid.frame["layer"] == "stage4"


def test_tabs_turn_by_message_and_refuse_what_is_not_there(net, x):
    explorer = vw.Explorer(net, x)
    assert [explorer.grid.layout.display, explorer.filters.layout.display] == [None, "none"]
    explorer.tabs._receive(explorer.tabs, {"cmd": "turn", "index": 1}, [])
    assert (explorer.tabs.index, repr(explorer.tabs)) == (1, "Tabs(Filters)")
    assert [explorer.grid.layout.display, explorer.filters.layout.display] == ["none", None]
    explorer.tabs._receive(explorer.tabs, {"cmd": "turn", "index": 7}, [])
    assert explorer.tabs.index == 1
    with pytest.raises(ValueError, match="index 7 is out of range; there are 4 tabs, counted from 0"):
        explorer.tabs.index = 7


def test_reasons_are_made_when_they_are_first_in_view(net, x):
    explorer = vw.Explorer(net, x)
    assert explorer.wait(10) and explorer.why.parts == []
    explorer.layer = "stage3"
    explorer.tabs.index = 3
    assert explorer.wait(10)
    viewer, patch = explorer.why.parts
    assert viewer.results["Grad-CAM"].recipe["options"]["layer"] == "stage4", "it has found the layer itself"
    assert patch.patch == {}, "its tab is not in view"
    explorer.target, explorer.layer = vw.Logit("rose"), "stage2"
    assert explorer.wait(10)
    assert viewer.about["aim"] == "logit of rose" and viewer.results["Grad-CAM"].recipe["options"]["layer"] == "stage2"
    explorer.layer = "head"      # has no maps
    assert explorer.wait(10) and viewer.layer == "stage2"
    explorer.why.tabs.index = 1
    assert explorer.wait(10) and patch.about["aim"] == "logit of rose"
    assert (viewer.layout.display, patch.layout.display, viewer.active, patch.active) == ("none", None, False, True)
    patch.play()
    explorer.tabs.index = 0
    assert patch.wait(10) and patch.status not in ("waiting", "running") and not patch.active
    patch.target = vw.Logit("tulip")
    assert explorer.target == vw.Logit("tulip") == viewer.target
    explorer.tabs.index, explorer.why.tabs.index = 3, 0
    assert explorer.wait(10) and viewer.about["aim"] == "logit of tulip"


def test_only_slow_work_is_announced(net, x):
    grid = vw.ChannelGrid(net, x, "stage1")
    seen = []
    grid.observe(lambda change: seen.append(change.new), "busy")
    grid.layer = "stage2"
    assert grid.wait(10)
    grid._slow = True
    grid.layer = "stage3"
    assert grid.wait(10)
    assert seen == [True, False]


def test_a_closed_widget_does_nothing_more(net):
    gate, done, picker = threading.Event(), [], vw.LayerPicker(net)
    worker.submit("another", gate.wait)
    picker.later(lambda: done.append(1))
    picker.close()
    gate.set()
    assert worker.wait("another", 10) and worker.wait(picker, 10) and not done


def test_classes(net, x):
    classes = TopClasses(net, x)
    probability = net(x).detach().softmax(1)[0]
    assert [b["index"] for b in classes.bars] == probability.topk(5).indices.tolist()
    assert classes.bars[0]["probability"] == pytest.approx(float(probability.max()))
    Wire(classes).receive({"cmd": "pick", "index": 3})
    assert classes.target == vw.Logit(3)
    classes.target = vw.Logit("rose")
    assert classes._selected == net.labels.index("rose")
    classes.target = vw.Logit("roze")
    assert "did you mean 'rose'" in classes.error


def as_bytes(picture, kind="png"):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def test_a_picture_from_the_page(net):
    chooser = ImageChooser(net)
    wire = Wire(chooser)
    wire.receive({"cmd": "choose", "index": 2})
    assert (chooser.index, chooser.image.source) == (2, chooser.choices[2]["name"])
    picture = PILImage.new("RGBA", (200, 120), (255, 0, 0, 128))
    wire.receive({"cmd": "file", "name": "<b>red</b>.png"}, as_bytes(picture))
    assert chooser.image.source == "<b>red</b>.png"
    assert chooser.index == -1
    assert "transparent parts on white" in chooser.caption
    kept = chooser.image
    for content, said in ((b"", "empty"), (b"no picture at all", "not an image"), (as_bytes(picture)[:90], "damaged")):
        wire.receive({"cmd": "file", "name": "bad.png"}, content)
        assert said in chooser.error
        assert "bad.png" in chooser.error
        assert chooser.image is kept
    wire.receive({"cmd": "refused", "name": "film.mp4", "size": 4e9})
    assert "film.mp4 has 4000 MB" in chooser.error
    wire.receive({"cmd": "choose", "index": 0})
    assert chooser.error == ""


@pytest.mark.parametrize("channels", [1, 5])
def test_networks_of_other_channels_have_a_picture_at_hand(channels):
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    explorer = vw.explore(vw.as_net(module, size=24))
    assert explorer.image.pixels.shape == (1, channels, 24, 24)
    assert explorer.grid.frame["count"] == 4


def test_the_explorer_follows_the_picture(net):
    explorer = vw.Explorer(net)
    before = explorer.grid.frame
    Wire(explorer.chooser).receive({"cmd": "choose", "index": 3})
    assert explorer.wait(10)
    assert explorer.image is explorer.chooser.image is explorer.grid.image is explorer.classes.image
    assert explorer.grid.frame["values"] != before["values"]


def test_the_picker_lists_the_table(net):
    picker = vw.LayerPicker(net)
    assert [r["name"] for r in picker.rows] == list(net.layers)
    Wire(picker).receive({"cmd": "pick", "layer": "stage1"})
    assert picker.layer == "stage1"
    row = next(r for r in picker.rows if r["name"] == "stage2.0.conv1")
    assert (row["parent"], row["short"], row["shape"]) == ("stage2.0", "conv1", "40×24×24")


def test_modules_of_the_page_carry_the_shared_part_once():
    for kind in (vw.ChannelGrid, vw.FilterGrid, vw.LayerPicker, ImageChooser, TopClasses):
        text = str(kind._esm)
        assert text.count("function make(") == 1
        assert text.count("export default") == 1
        assert "innerHTML" not in text
        assert "import " not in "\n".join(line for line in text.splitlines() if not line.startswith("//"))
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text
