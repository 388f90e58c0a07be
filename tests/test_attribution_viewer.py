"""AttributionViewer without a page: maps against the functions themselves, turns, failures in their place, what goes over the wire."""

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
from vizwidgets.core.results import Attribution
from vizwidgets.widgets.attribution_view import LONGEST, drawn, ends, packed, reading, scale_text

LABELS = ["ash", "birch", "cedar", "elder"]


def small(channels=3, activation=nn.ReLU, labels=LABELS):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(channels, 6, 5), activation(), nn.Conv2d(6, 5, 3), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))
    with torch.no_grad():
        module[6].weight.mul_(30)
    return vw.as_net(module, size=20, labels=labels, name="trees", channels=channels)


@pytest.fixture
def net():
    return small()


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
    for name in ("saliency", "Grad-CAM"):
        def counted(net, images, target, _name=name, _call=vw.ATTRIBUTIONS[name], **options):
            calls.append((_name, target, options.get("layer")))
            return _call(net, images, target, **options)
        if name == "Grad-CAM":
            def counted(net, images, target, layer=None, _call=counted):  # noqa: F811
                return _call(net, images, target, layer=layer)
        monkeypatch.setitem(vw.ATTRIBUTIONS, name, counted)
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
    net = small(activation=nn.GELU)
    viewer = vw.AttributionViewer(net, x)
    settled(viewer)
    assert list(viewer.results) == ["saliency", "Grad-CAM"]
    state = shown(viewer, "guided backprop")
    assert "GELU" in state["error"] and "signed" not in state and state["seq"] == viewer.about["wanted"]["guided backprop"]
    assert viewer.still().size[0] > 500
    viewer.net = small()
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
