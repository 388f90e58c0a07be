"""AttributionViewer without a page: maps against the functions themselves, turns, failures in their place, what goes over the wire."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
import traitlets
from gated import LABELS, Gated, deeper, until
from PIL import Image as PILImage
from torch import nn
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.results import Attribution
from vizwidgets.widgets.attribution_view import drawn


@pytest.fixture
def net():
    return deeper()


@pytest.fixture
def x():
    return vw.Image(torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(3)), "noise")


def shown(viewer, name):
    """What the page has been given for a method."""
    return getattr(viewer, next(c["map"] for c in viewer.choices if c["name"] == name))


def numbers(state, kind="signed"):
    data = state[kind] or np.abs(np.frombuffer(state["signed"], "<f4")).tobytes()
    return np.frombuffer(data, "<f4").reshape(state["height"], state["width"])


def aim(net, x):
    return vw.Logit(int(net(x.pixels).argmax()))


def settled(viewer):
    assert viewer.wait(10) and viewer.error == ""


def test_the_maps_are_those_of_the_functions(net, x):
    viewer = vw.AttributionViewer(net, x, methods=vw.ATTRIBUTIONS)
    settled(viewer)
    target = aim(net, x)
    assert viewer.about["aim"] == target.describe(net)
    assert list(viewer.results) == list(vw.ATTRIBUTIONS)
    for name, method in vw.ATTRIBUTIONS.items():
        wanted, state = method(net, x, target), shown(viewer, name)
        assert torch.equal(viewer.results[name].map, wanted.map)
        assert np.array_equal(numbers(state, "absolute"), wanted.map[0].abs().numpy())
        signed = wanted.map[0] if wanted.values is None or name == "integrated gradients" else wanted.values[0].sum(0)
        assert np.array_equal(numbers(state), signed.numpy())
        assert (state["score"], state["done"]) == (pytest.approx(wanted.scores[0].item()), 1)
        assert viewer.about["wanted"][name] == state["seq"]
    assert shown(viewer, "Grad-CAM")["layer"] == "3"
    assert viewer.about["layers"] == ["0", "1", "2", "3"]
    assert viewer.about["top"][0] == [int(target.index), pytest.approx(net(x.pixels).softmax(1).max().item())]


def test_only_what_has_changed_is_worked_out_again(net, x, monkeypatch):
    calls = []

    def counted(name, call):
        def with_layer(net, images, target, layer=None):
            calls.append((name, target, layer))
            return call(net, images, target, layer=layer)

        def without(net, images, target):
            calls.append((name, target, None))
            return call(net, images, target)

        monkeypatch.setitem(vw.ATTRIBUTIONS, name, with_layer if name == "Grad-CAM" else without)

    counted("saliency", vw.saliency)
    counted("Grad-CAM", vw.gradcam)
    viewer = vw.AttributionViewer(net, x, vw.Logit("elder"), methods=("saliency", "Grad-CAM"))
    settled(viewer)
    assert [c[0] for c in calls] == ["saliency", "Grad-CAM"]
    viewer.layer = "1"
    settled(viewer)
    assert calls[2:] == [("Grad-CAM", vw.Logit(3), "1")], "saliency knows no layers"
    viewer.methods = ("saliency", "Grad-CAM", "deconvnet")
    viewer.signed, viewer.percentile, viewer.overlay, viewer.index = True, 92, True, 1
    viewer.methods = ("Grad-CAM",)
    settled(viewer)
    assert len(calls) == 3 and viewer.index == 0, "it stays large"
    viewer.methods = ("saliency",)
    settled(viewer)
    assert len(calls) == 3 and viewer.index == -1 and list(viewer.results) == ["saliency"]
    viewer.target = vw.Logit("ash")
    settled(viewer)
    assert calls[3:] == [("saliency", vw.Logit(0), None)]
    viewer.methods = ("Grad-CAM",)
    settled(viewer)
    assert calls[4:] == [("Grad-CAM", vw.Logit(0), "1")], "the one of before is of another class"


def test_a_method_that_fails_says_so_in_its_place(x):
    net = deeper(activation=nn.GELU)
    viewer = vw.AttributionViewer(net, x)
    settled(viewer)
    assert list(viewer.results) == ["saliency", "Grad-CAM"]
    state = shown(viewer, "guided backprop")
    assert "GELU" in state["error"] and "signed" not in state and state["seq"] == viewer.about["wanted"]["guided backprop"]
    assert viewer.still().size[0] > 500
    viewer.net = deeper()
    settled(viewer)
    assert len(viewer.results) == 3 and "error" not in shown(viewer, "guided backprop")


def test_ones_own_methods(net, x, monkeypatch):
    def brightness(net, images, target):
        """How bright it is.

        More.
        """
        return Attribution(images.mean(1), torch.zeros(1))

    class Plain:
        def attribute(self, images, target):
            return images * (target + 1)

    monkeypatch.setitem(vw.ATTRIBUTIONS, "of the table", brightness)
    one, other = Plain().attribute, Plain().attribute
    viewer = vw.AttributionViewer(net, x, vw.Logit(2), methods=("of the table", vw.saliency, one, other, one, brightness))
    settled(viewer)
    assert viewer.methods == ("of the table", "saliency", "Plain", "Plain 2")
    assert torch.equal(viewer.results["of the table"].map, x.pixels.mean(1))
    assert torch.allclose(viewer.results["Plain 2"].map, 3 * x.pixels.sum(1))
    assert next(c for c in viewer.choices if c["name"] == "of the table")["what"] == "How bright it is"
    assert [c["name"] for c in viewer.choices][:8] == list(vw.ATTRIBUTIONS)
    monkeypatch.setitem(vw.ATTRIBUTIONS, "later", brightness)
    viewer.methods = ("later", "Plain")
    settled(viewer)
    assert set(viewer.results) == {"later", "Plain"}
    viewer.methods = lambda net, images, target: 3
    settled(viewer)
    assert "gives int; a function of (net, images, target) gives an Attribution" in shown(viewer, "<lambda>")["error"]


def test_a_run_is_shown_as_it_goes(net, x, monkeypatch):
    monkeypatch.setattr("vizwidgets.widgets.attribution_viewer.PAUSE", 0)
    viewer = vw.AttributionViewer(net, x, methods=(vw.occlusion, "saliency"), active=False)
    seen = []
    for name in ("occlusion", "saliency"):
        trait = next((c["map"] for c in viewer.choices if c["name"] == name), None)
        viewer.observe(lambda c, name=name: seen.append((name, c.new["done"])), trait)
    assert viewer.results == {}
    viewer.active = True
    settled(viewer)
    assert torch.equal(viewer.results["occlusion"].map, vw.occlusion(net, x, aim(net, x)).result().map)
    shares = [done for name, done in seen if name == "occlusion"]
    assert len(shares) > 3 and shares == sorted(shares) and shares[-1] == 1
    assert seen[1] == ("saliency", 1), "it need not wait for the run's end"


def test_a_large_picture_says_how_it_was_resized(net):
    viewer = vw.AttributionViewer(net, PILImage.effect_noise((1200, 900), 50).convert("RGB"), methods="saliency")
    settled(viewer)
    assert any("1200×900" in note for note in viewer.about["notes"])
    assert viewer.results["saliency"].map.shape == (1, 20, 20)


def test_what_the_page_sends(net, x):
    viewer = vw.AttributionViewer(net, x)
    settled(viewer)
    wire = Wire(viewer)
    for name, value in (("signed", True), ("overlay", True), ("opacity", 0.25), ("percentile", 92.5), ("index", 1)):
        wire.receive({"cmd": "set", "name": name, "value": value})
        assert getattr(viewer, name) == value
    settled(viewer)
    assert wire.size == 0, "colours, clipping and the large one are the page's own affair"
    wire.receive({"cmd": "set", "name": "layer", "value": "1"})
    settled(viewer)
    assert [k for s in wire.states for k in s if k.startswith("_map")] == ["_map5"], "only Grad-CAM looks at a layer"
    assert shown(viewer, "Grad-CAM")["layer"] == "1"
    wire.receive({"cmd": "set", "name": "target", "value": 2})
    settled(viewer)
    assert viewer.target == vw.Logit(2) and viewer.about["given"]
    assert viewer.results["saliency"].scores.item() == pytest.approx(net(x.pixels)[0, 2].item())
    wire.receive({"cmd": "set", "name": "target", "value": None})
    wire.receive({"cmd": "set", "name": "methods", "value": ["deconvnet"]})
    settled(viewer)
    assert (viewer.target, viewer.methods, list(viewer.results)) == (None, ("deconvnet",), ["deconvnet"])
    for bad in ({"name": "percentile", "value": 50}, {"name": "methods", "value": ["no"]}, {"name": "opacity", "value": "x"}, {"name": "index", "value": -2}):
        viewer.error = ""
        wire.receive({"cmd": "set", **bad})
        assert viewer.error
    wire.receive({"cmd": "set", "name": "net", "value": None})
    assert viewer.net is net


def test_a_map_travels_alone(net, x):
    viewer = vw.AttributionViewer(net, x, methods=("saliency", "deconvnet", "Grad-CAM"))
    settled(viewer)
    wire = Wire(viewer)
    viewer.target = vw.Logit("birch")
    settled(viewer)
    states = [s for s in wire.states if any(k.startswith("_map") for k in s)]
    assert [sorted(s) for s in states] == [["_map0"], ["_map2"], ["_map5"]]
    assert wire.size == (2 + 2 + 1) * 4 * 20 * 24, "signed and absolute, as float32; Grad-CAM has no signs"
    saved = viewer.get_state()      # what an exported page has
    assert all(np.array_equal(numbers(saved[k]), numbers(shown(viewer, name))) for k, name in (("_map0", "saliency"), ("_map5", "Grad-CAM")))


def test_the_file_is_what_is_shown_with_its_recipe(net, x, tmp_path):
    def own(net, images, target):
        return Attribution(images.mean(1), torch.zeros(1))

    viewer = vw.AttributionViewer(net, x, methods=("saliency", own), signed=True, percentile=95)
    settled(viewer)
    wire = Wire(viewer)
    for i, name in enumerate(("saliency", "own", "nothing")):
        wire.receive({"cmd": "save", "method": name, "view": "a"})
        until(lambda before=i: len(wire.messages) > before)
    assert [m["file"].split("-")[0] for m in wire.messages] == ["saliency", "own", ""]
    assert "no map of nothing" in viewer.error
    (first,), (second,) = [b for d, b in wire.sent if d.get("method") == "custom" and b]
    (tmp_path / "map.png").write_bytes(first)
    again = vw.rerun(tmp_path / "map.png", net)
    assert torch.equal(again.map, viewer.results["saliency"].map)
    wanted = drawn(viewer.results["saliency"].values[0].sum(0), x, 95, None)
    assert np.array_equal(np.asarray(PILImage.open(tmp_path / "map.png")), np.asarray(wanted))
    assert not PILImage.open(io.BytesIO(second)).info


def test_viewers_are_linked(net, x):
    one, other = vw.AttributionViewer(net, x), vw.AttributionViewer(net, x, methods="deconvnet")
    for name in ("net", "image", "target", "layer", "methods", "index", "opacity", "percentile", "signed", "overlay"):
        traitlets.link((one, name), (other, name))
    one.target, one.methods, one.index, one.percentile, one.layer = vw.Channel("2", 3), ("Grad-CAM", "saliency"), 1, 95, "1"
    settled(one)
    settled(other)
    assert (other.target, other.methods, other.index, other.percentile) == (vw.Channel("2", 3), ("Grad-CAM", "saliency"), 1, 95)
    assert torch.equal(other.results["Grad-CAM"].map, vw.gradcam(net, x, vw.Channel("2", 3), layer="1").map)
    assert other.about["index"] == -1 and other.about["aim"] == "channel 3 of 2"
    other.image = vw.Image(1 - x.pixels, "negative")
    settled(one)
    assert torch.equal(one.results["saliency"].map, vw.saliency(net, 1 - x.pixels, vw.Channel("2", 3)).map)


def test_the_newest_target_wins_and_close_ends_it(net, x):
    gated = Gated(net.module)
    viewer = vw.AttributionViewer(vw.as_net(gated, size=20, labels=LABELS[:4]), x, methods=("saliency", "Grad-CAM", "deconvnet"))
    settled(viewer)
    gated.gate, before = threading.Semaphore(0), gated.passes
    for i in range(40):
        viewer.target = vw.Logit(i % 4)
    gated.gate.release(10_000)
    settled(viewer)
    assert viewer.about["aim"] == "logit of elder" and viewer.results["saliency"].scores.item() == pytest.approx(net(x.pixels)[0, 3].item())
    assert gated.passes - before < 20, "old targets were worked out"
    gated.gate, before = threading.Semaphore(0), gated.passes
    viewer.target = vw.Logit(0)
    gated.gate.release(2)      # what it says, and one map
    until(lambda: gated.passes >= before + 2)
    viewer.close()
    gated.gate.release(10_000)
    assert viewer.wait(10) and gated.passes <= before + 3 and viewer.error == ""


def test_out_of_view_nothing_is_worked_out(net, x):
    gate, begun, calls = threading.Semaphore(0), threading.Event(), []

    def gated(net, images, target):
        begun.set()
        gate.acquire()
        calls.append(target)
        return vw.saliency(net, images, target)

    viewer = vw.AttributionViewer(net, x, methods=(gated, "deconvnet"))
    assert begun.wait(10)
    viewer.active = False
    gate.release(1)
    assert viewer.wait(10) and len(calls) == 1 and list(viewer.results) == ["gated"], "what is under way is finished"
    viewer.target = vw.Logit("birch")
    assert viewer.wait(10) and len(calls) == 1
    gate.release(10)
    viewer.active = True
    settled(viewer)
    assert calls[1:] == [vw.Logit(1)] and list(viewer.results) == ["gated", "deconvnet"]


def test_nothing_is_left_in_the_network(net, x):
    state = {k: v.clone() for k, v in net.module.state_dict().items()}
    net.module.train()
    viewer = vw.AttributionViewer(net, x, methods=vw.ATTRIBUTIONS)
    settled(viewer)
    assert net.module.training and all(torch.equal(v, state[k]) for k, v in net.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.module.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.module.modules())


@pytest.mark.parametrize("channels", [1, 5])
def test_other_numbers_of_channels_and_no_labels(channels):
    viewer = vw.AttributionViewer(deeper(channels, labels=None), torch.rand(1, channels, 20, 20))
    settled(viewer)
    assert viewer.about["classes"] == [f"class {i}" for i in range(4)] and len(viewer.results) == 3
    assert viewer.about["notes"] == ([] if channels == 1 else ["shown: the mean of its 5 channels"])
    assert viewer.still().size[0] > 500


def test_errors_stand_in_the_widget(net, x):
    viewer = vw.AttributionViewer(net, x)
    settled(viewer)
    for name, value, text in (
        ("target", vw.Logit("bich"), "did you mean 'birch'"), ("layer", "9", "no layer '9'"), ("image", vw.Image(torch.rand(2, 3, 20, 20)), "image[:1]"),
        ("image", vw.Image(torch.full((1, 3, 20, 20), float("nan"))), "gives NaN"),
    ):  # fmt: skip
        good = getattr(viewer, name)
        setattr(viewer, name, value)
        viewer.wait(10)
        assert text in viewer.error
        setattr(viewer, name, good)
        settled(viewer)
        assert len(viewer.results) == 3
    viewer.layer = "6"      # no maps there
    settled(viewer)
    assert "error" in shown(viewer, "Grad-CAM") or shown(viewer, "Grad-CAM")["layer"] == "6"


def test_wrong_arguments_raise_at_once(net, x):
    with pytest.raises(LookupError, match="did you mean 'birch'"):
        vw.AttributionViewer(net, x, vw.Logit("bich"))
    with pytest.raises(TypeError, match=r"Logit\('birch'\), say"):
        vw.AttributionViewer(net, x, "birch")
    with pytest.raises(LookupError, match="did you mean 'saliency'"):
        vw.AttributionViewer(net, x, methods=("salency",))
    with pytest.raises(LookupError, match="no layer '9'"):
        vw.AttributionViewer(net, x, layer="9")
    with pytest.raises(ValueError, match=r"not 2: image\[:1\]"):
        vw.AttributionViewer(net, vw.Image(torch.rand(2, 3, 20, 20)))
    with pytest.raises(TypeError, match="no option 'percentil'; did you mean 'percentile'"):
        vw.AttributionViewer(net, x, percentil=99)


def test_before_there_is_an_image(net, x):
    viewer = vw.AttributionViewer(net)
    assert (viewer.about, viewer.still(), repr(viewer), viewer.results) == ({}, None, "AttributionViewer()", {})
    viewer.image = x
    settled(viewer)
    assert len(viewer.results) == 3
    viewer.image = None
    settled(viewer)
    assert (viewer.about, viewer.picture, viewer.results) == ({}, b"", {})


def test_still_and_bundle(flowers):
    viewer = vw.AttributionViewer(flowers, vw.image(vw.data.Flowers(1, seed=7).flower(0).image, flowers))
    data, _ = viewer._repr_mimebundle_()
    assert data["text/plain"] == "AttributionViewer(logit of poppy; saliency, guided backprop, Grad-CAM)"
    still = PILImage.open(io.BytesIO(data["image/png"]))
    assert still.size[0] > 700 and len(still.convert("RGB").getcolors(1_000_000)) > 500
