"""SanitySlider without a page: its maps against sanity_check's, turns, the slider while it runs, failures, curves."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
import traitlets
from gated import LABELS, deeper, until
from PIL import Image as PILImage
from torch import nn
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.picture import colourise, readable_limits
from vizwidgets.core.results import Attribution
from vizwidgets.methods.sanity import sanity_check
from vizwidgets.methods.similarity import MEASURES
from vizwidgets.widgets.sanity_view import LONGEST, in_turns, tile

METHODS = ("saliency", "Grad-CAM")


@pytest.fixture
def net():
    return deeper()


@pytest.fixture
def x():
    return vw.Image(torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(3)), "noise")


def aim(net, x):
    return vw.Logit(int(net(x.pixels).argmax()))


def pixels(shown):
    return np.frombuffer(shown["pixels"], np.uint8).reshape(shown["height"], shown["width"], 3)


def done(slider):
    assert slider.wait(20) and slider.error == "" and slider.status == "done"


@pytest.mark.parametrize("options", [{}, {"order": "bottom-up", "seed": 4}, {"order": "independent", "layers": ["6", "0"]}], ids=str)
def test_it_shows_what_sanity_check_finds(net, x, options):
    slider = vw.SanitySlider(net, x, methods=METHODS, block=True, **options)
    done(slider)
    reports = {m: sanity_check(m, net, x, aim(net, x), **options).result() for m in METHODS}
    assert list(slider.results) == list(METHODS)
    layers = reports["saliency"].layers
    assert tuple(slider.player.about["layers"]) == layers
    for name, report in reports.items():
        mine = slider.results[name]
        assert mine.layers == report.layers and torch.equal(mine.maps, report.maps)
        assert all(torch.equal(mine.similarity[m].nan_to_num(9), report.similarity[m].nan_to_num(9)) for m in MEASURES)
    assert slider.position == len(layers), "it has followed the run"
    for position in range(len(layers), -1, -1):
        slider.position = position
        done(slider)
        state = slider.player.state
        assert state["position"] == position
        for name, report in reports.items():
            values, shown = report.maps[position], state["tiles"][name]
            assert np.array_equal(pixels(shown), colourise(values, *readable_limits(values))[0])
            first = report.maps[0]
            assert np.array_equal(pixels(slider.player.first[name]), colourise(first, *readable_limits(first))[0])
            for m in MEASURES:
                wanted = report.similarity[m][position, 0].item()
                assert shown["alike"][m] == (pytest.approx(wanted) if np.isfinite(wanted) else None)
    assert state["says"]["chance"] == pytest.approx(net(x.pixels).softmax(1).max().item())


def test_a_position_that_is_given_is_kept(net, x):
    for block in (True, False):
        slider = vw.SanitySlider(net, x, methods="saliency", position=2, block=block)
        done(slider)
        assert slider.position == slider.player.state["position"] == 2


def test_it_tells_what_the_destroyed_network_says(net, x):
    slider = vw.SanitySlider(net, x, vw.Logit("cedar"), methods="saliency", order="independent", layers=["6"], block=True)
    done(slider)
    seen = []
    sanity_check(_watching(seen), net, x, vw.Logit(2), order="independent", layers=["6"]).result()
    for position, chance in enumerate(seen):
        slider.position = position
        done(slider)
        says = slider.player.state["says"]
        assert says["first"] == LABELS[int(chance.argmax())] and says["chance"] == pytest.approx(chance.max().item())
        assert says["wanted"] == "cedar" and says["its"] == pytest.approx(chance[2].item()) and says["by chance"] == 0.25
    assert not torch.allclose(seen[0], seen[1])
    slider.target = vw.Channel("2", 1)
    done(slider)
    assert "wanted" not in slider.player.state["says"]


def _watching(seen):
    def watching(net, images, target):
        seen.append(net(images).softmax(1)[0].detach())
        return vw.saliency(net, images, target)

    return watching


def test_the_curves_and_the_line(net, x):
    slider = vw.SanitySlider(net, x, methods=METHODS, block=True)
    done(slider)
    curves = slider.player.curves
    lines = dict(zip(METHODS, curves.figure.marks[1:], strict=True))
    for measure in MEASURES:
        slider.measure = measure
        done(slider)
        for name, report in slider.results.items():
            values = report.similarity[measure][:, 0].numpy()
            kept = np.isfinite(values)
            assert np.allclose(lines[name].y, values[kept]) and np.array_equal(lines[name].x, np.arange(len(values))[kept])
            assert curves.figure.axes[1].scale.min <= min(values[kept].min(), 0)
    assert [line.colors[0] for line in lines.values()] == list(slider.player.about["colours"].values())
    slider.position = 2
    done(slider)
    assert list(curves.figure.marks[0].x) == [2, 2]
    assert curves.figure.axes[0].scale.max == len(slider.player.about["layers"]) == 3


def test_the_methods_take_turns():
    runs = {"a": vw.Run((i for i in range(3)), 3), "b": vw.Run((1 / (2 - i) for i in range(5)), 5), "c": vw.Run(iter([7]), 1)}
    steps = list(in_turns(runs))
    assert [(s.method, s.step) for s in steps] == [("a", 0), ("b", 0.5), ("c", 7), ("a", 1), ("b", 1), ("a", 2), ("b", None)]
    assert steps[-1].error == "division by zero" and [s.index for s in steps] == list(range(1, 8))


def test_a_method_that_fails_leaves_the_others_alone(x):
    def late(net, images, target, _calls=[]):  # noqa: B006
        _calls.append(1)
        if len(_calls) > 2:
            raise ValueError("enough")
        return vw.saliency(net, images, target)

    slider = vw.SanitySlider(deeper(activation=nn.GELU), x, methods=("saliency", "guided backprop", late), block=True)
    done(slider)
    assert list(slider.results) == ["saliency"]
    assert "GELU" in slider.player.first["guided backprop"]["error"]
    assert slider.player.state["tiles"]["late"] == {"error": "enough"} and "pixels" in slider.player.first["late"]
    assert slider.position == 3 and "pixels" in slider.player.state["tiles"]["saliency"]
    assert slider.still().size[0] > 600


class Gated:
    """A method that waits before each map until it may go on."""

    def __init__(self):
        self.gate, self.calls = threading.Semaphore(0), 0

    def __call__(self, net, images, target):
        self.gate.acquire()
        self.calls += 1
        return vw.saliency(net, images, target)


@pytest.fixture
def gated(net, x, monkeypatch):
    monkeypatch.setattr("vizwidgets.widgets.sanity_slider.PAUSE", 0)
    method = Gated()
    slider = vw.SanitySlider(net, x, methods=(method,))
    yield slider, method
    method.gate.release(10_000)
    slider.close()


def test_the_slider_works_while_it_runs(gated):
    slider, method = gated
    player = slider.player
    method.gate.release(2)
    until(lambda: player.state.get("position") == 1)
    assert (slider.position, player.status, player.index < player.total) == (1, "running", True)
    wire = Wire(player)
    wire.receive({"cmd": "set", "name": "position", "value": 1})      # there it is, and there it shall stay
    method.gate.release(1)      # the worker is at a map; after it the slider has its turn
    until(lambda: len(player.taken["Gated"]) == 3)
    wire.receive({"cmd": "set", "name": "position", "value": 0})
    method.gate.release(1)
    until(lambda: player.state["position"] == 0)
    done(slider)
    assert slider.position == 0
    method.gate.release(10)
    slider.restart()
    done(slider)
    assert slider.position == 0
    wire.receive({"cmd": "set", "name": "position", "value": 3})
    done(slider)
    assert slider.position == 3 and "pixels" in player.state["tiles"]["Gated"]


def test_pause_go_on_stop_and_again(gated):
    slider, method = gated
    player, wire = slider.player, Wire(slider.player)
    method.gate.release(1)
    until(lambda: method.calls == 1)
    wire.receive({"cmd": "pause"})
    method.gate.release(1)      # what is under way is finished
    assert slider.wait(10) and slider.status == "paused" and method.calls <= 2
    assert player.state["tiles"]["Gated"]["height"] == 20
    calls = method.calls
    wire.receive({"cmd": "play"})
    method.gate.release(1)
    until(lambda: method.calls == calls + 1)
    wire.receive({"cmd": "stop"})
    method.gate.release(10_000)
    assert slider.wait(10) and slider.status == "stopped" and len(slider.results["Gated"].maps) < 4
    wire.receive({"cmd": "play"})
    done(slider)
    assert len(slider.results["Gated"].maps) == 4


def test_a_new_picture_begins_anew_and_the_newest_wins(gated, net, x):
    slider, method = gated
    method.gate.release(10_000)
    done(slider)
    calls = method.calls
    for i in range(10):
        slider.target = vw.Logit(i % 4)
    slider.image = vw.Image(1 - x.pixels, "negative")
    done(slider)
    wanted = sanity_check("saliency", net, 1 - x.pixels, vw.Logit(1)).result()
    assert torch.equal(slider.results["Gated"].maps, wanted.maps)
    assert method.calls - calls < 5 * 4
    slider.position = 1
    slider.order = "bottom-up"
    done(slider)
    assert slider.position == 1, "a slider that was set stays where it is"
    assert slider.results["Gated"].layers == ("0", "2", "6")


def test_closed_in_the_middle(gated):
    slider, method = gated
    method.gate.release(2)
    until(lambda: method.calls == 2)
    slider.close()
    method.gate.release(10_000)
    assert slider.player.wait(10) and method.calls <= 4


def test_out_of_view_nothing_is_made(net, x):
    method = Gated()
    slider = vw.SanitySlider(net, x, methods=(method,), active=False)
    assert (slider.status, slider.player.about, len(slider.children)) == ("idle", {}, 1)
    slider.active = True
    method.gate.release(1)
    until(lambda: method.calls == 1)
    slider.active = False
    method.gate.release(1)
    assert slider.wait(10) and slider.status == "paused"
    method.gate.release(10_000)
    slider.active = True
    done(slider)
    assert len(slider.children) == 2


def test_what_the_page_sends(net, x):
    slider = vw.SanitySlider(net, x, methods="saliency", block=True)
    wire = Wire(slider.player)
    wire.receive({"cmd": "set", "name": "measure", "value": "SSIM"})
    wire.receive({"cmd": "set", "name": "position", "value": 2})
    done(slider)
    assert (slider.measure, slider.position) == ("SSIM", 2)
    wire.receive({"cmd": "set", "name": "order", "value": "independent"})
    done(slider)
    assert slider.order == "independent" and slider.results["saliency"].recipe["options"]["order"] == "independent"
    for bad in ({"name": "measure", "value": "x"}, {"name": "position", "value": -1}, {"name": "order", "value": "up"}):
        wire.receive({"cmd": "set", **bad})
        assert slider.error or slider.player.error
        slider.error = ""
    wire.receive({"cmd": "set", "name": "position", "value": 99})
    done(slider)
    assert slider.position == slider.player.state["position"] == 3


def test_large_maps_are_made_smaller():
    big = torch.rand(1, 400, 330, generator=torch.Generator().manual_seed(0))
    run = sanity_check(lambda net, images, target: Attribution(big, torch.zeros(1)), deeper(), torch.rand(1, 3, 20, 20), vw.Logit(0), layers=["6"])
    shown = tile(next(run))
    assert max(shown["height"], shown["width"]) <= LONGEST and len(shown["pixels"]) == 3 * shown["height"] * shown["width"]


def test_nothing_is_left_in_the_network(net, x):
    state = {k: v.clone() for k, v in net.module.state_dict().items()}
    net.module.train()
    slider = vw.SanitySlider(net, x, methods=METHODS)
    slider.stop()
    slider.wait(10)
    slider.restart()
    done(slider)
    assert net.module.training and all(torch.equal(v, state[k]) for k, v in net.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.module.parameters())


def test_linked_to_a_viewer(net, x):
    viewer, slider = vw.AttributionViewer(net, x), vw.SanitySlider(net, x, methods="saliency")
    for name in ("image", "target", "methods"):
        traitlets.link((viewer, name), (slider, name))
    viewer.target, viewer.methods = vw.Logit("elder"), ("deconvnet", "saliency")
    done(slider)
    assert list(slider.results) == ["deconvnet", "saliency"] and slider.player.about["aim"] == "logit of elder"
    assert torch.equal(slider.results["saliency"].maps[0], viewer.results["saliency"].map)


def test_errors(net, x):
    with pytest.raises(LookupError, match="did you mean 'saliency'"):
        vw.SanitySlider(net, x, methods="salency")
    with pytest.raises(LookupError, match="did you mean 'birch'"):
        vw.SanitySlider(net, x, vw.Logit("bich"))
    with pytest.raises(TypeError, match=r"Logit\('birch'\), say"):
        vw.SanitySlider(net, x, "birch")
    with pytest.raises(LookupError, match="no layer '7'"):
        vw.SanitySlider(net, x, layers=["7"])
    with pytest.raises(traitlets.TraitError, match="cascading"):
        vw.SanitySlider(net, x, order="down")
    with pytest.raises(ValueError, match=r"image\[:1\]"):
        vw.SanitySlider(net, vw.Image(torch.rand(2, 3, 20, 20)))
    with pytest.raises(TypeError, match="no option 'orders'; did you mean 'order'"):
        vw.SanitySlider(net, x, orders="cascading")
    slider = vw.SanitySlider(net, x, methods="saliency", block=True)
    slider.layers = ["7"]
    slider.wait(10)
    assert "no layer '7'" in slider.error
    slider.layers = None
    done(slider)


def test_before_there_is_an_image(net, x):
    slider = vw.SanitySlider(net)
    assert (slider.player.about, slider.still(), repr(slider), slider.results) == ({}, None, "SanitySlider()", {})
    slider.play(), slider.pause(), slider.stop()
    slider.image = x
    done(slider)
    slider.methods = ()
    assert slider.wait(10) and slider.player.about == {}


def test_still_and_bundle(flowers):
    slider = vw.SanitySlider(flowers, vw.image(vw.data.Flowers(1, seed=7).flower(0).image, flowers), methods=METHODS, layers=["head", "stage4"], block=True)
    data, _ = slider._repr_mimebundle_()
    assert data["text/plain"] == "SanitySlider(logit of poppy; saliency, Grad-CAM; 2 layers, cascading)"
    assert len(PILImage.open(io.BytesIO(data["image/png"])).convert("RGB").getcolors(1_000_000)) > 500
