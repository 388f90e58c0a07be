"""Attributions by name, by a function of one's own, and in Captum's manner."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam, Saliency
from nets import nothing_left_behind

import vizwidgets as vw
from vizwidgets.methods.attributions import name_of

ROSE = vw.Logit("rose")


@pytest.fixture(scope="module")
def net():
    return vw.load("flowers")


@pytest.fixture(scope="module")
def x():
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def test_by_name(net, x):
    assert torch.equal(vw.attribute("saliency", net, x, ROSE).map, vw.saliency(net, x, ROSE).map)
    assert torch.equal(vw.attribute("saliency", net, x, ROSE, kind="signed").map, vw.saliency(net, x, ROSE, kind="signed").map)
    with pytest.raises(LookupError, match="did you mean 'SmoothGrad'"):
        vw.attribute("SmoothGrab", net, x, ROSE)


def test_a_run_is_taken_to_its_end(net, x):
    found = vw.attribute(vw.occlusion, net, x, ROSE, window=24, stride=24)
    assert torch.equal(found.map, vw.occlusion(net, x, ROSE, window=24, stride=24).result().map)


@pytest.mark.filterwarnings("error")
def test_in_captums_manner(net, x):
    method = Saliency(net).attribute
    with nothing_left_behind(net.module, x):
        found = vw.attribute(method, net, x, ROSE, abs=False)
    ours = vw.saliency(net, x, ROSE, kind="signed")
    assert torch.allclose(found.map, ours.map, atol=1e-5 * ours.map.abs().max().item())
    assert torch.allclose(found.scores, ours.scores)
    assert torch.equal(found.values.sum(1), found.map)
    assert name_of(method) == "Saliency" and name_of(vw.gradcam) == "Grad-CAM" and name_of("saliency") == "saliency"
    assert name_of(partial(vw.saliency, kind="signed")) == "saliency"


def test_in_captums_manner_a_small_map_is_enlarged(net, x):
    method = LayerGradCam(net.module, net.module.stage4).attribute
    found = vw.attribute(method, net, x, ROSE)
    assert found.map.shape == (2, 48, 48) and found.values is None


@pytest.mark.parametrize(("target", "error", "said"), [
    (vw.Channel("stage2", 1), TypeError, "the target is a Logit or a Probability, not Channel"),
    (vw.Logit("rosa"), LookupError, "did you mean 'rose'"),
])  # fmt: skip
def test_targets_that_captum_does_not_know(net, x, target, error, said):
    with pytest.raises(error, match=said):
        vw.attribute(Saliency(net).attribute, net, x, target)


@pytest.mark.parametrize(("method", "error", "said"), [
    (lambda net, images, target: images, TypeError, "gives an Attribution"),
    (lambda images, target: images[0], ValueError, r"gives \(B, C, H, W\) for images \(2, 3, 48, 48\), not \(3, 48, 48\)"),
    (lambda images, target: None, ValueError, "not NoneType"),
])  # fmt: skip
def test_functions_that_give_something_else(net, x, method, error, said):
    with pytest.raises(error, match=said):
        vw.attribute(method, net, x, ROSE)
