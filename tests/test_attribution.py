"""Attributions against Captum, against explicit matrices, and on what networks bring."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum import attr
from nets import double, make, net, picture
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import vizwidgets as vw
from vizwidgets.data import Flowers
from vizwidgets.methods.attribution import (
    deconvnet,
    gradcam,
    guided_backprop,
    guided_gradcam,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from vizwidgets.methods.attributions import ATTRIBUTIONS

CLASS = vw.Logit(3)


class Normalised(nn.Module):
    """A network with its normalisation inside, for Captum."""

    def __init__(self, of: vw.Net, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.module, self.of = make("resnet").to(dtype).eval(), (of.mean, of.std)

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (x.new_tensor(v).view(1, -1, 1, 1) for v in self.of)
        return self.module((x - mean) / std)


CAPTUM = {
    "saliency": (lambda n, x: saliency(n, x, CLASS).values, lambda m, x: attr.Saliency(m).attribute(x, target=3, abs=False)),
    "times input": (
        lambda n, x: saliency(n, x, CLASS, kind="times input").map,
        lambda m, x: attr.InputXGradient(m).attribute(x, target=3).sum(1),
    ),
    "guided backprop": (lambda n, x: guided_backprop(n, x, CLASS).values, lambda m, x: attr.GuidedBackprop(m).attribute(x, target=3)),
    "deconvnet": (lambda n, x: deconvnet(n, x, CLASS).values, lambda m, x: attr.Deconvolution(m).attribute(x, target=3)),
    "integrated gradients": (
        lambda n, x: integrated_gradients(n, x, CLASS, baseline=0.25, steps=12).values,
        lambda m, x: attr.IntegratedGradients(m).attribute(x, target=3, baselines=torch.full_like(x, 0.25), n_steps=12),
    ),
    "Grad-CAM": (
        lambda n, x: gradcam(n, x, CLASS, layer="layer2", positive=False).map,
        lambda m, x: F.interpolate(attr.LayerGradCam(m, m.module.layer2).attribute(x, target=3), x.shape[2:], mode="bilinear")[:, 0],
    ),
    "guided Grad-CAM": (
        lambda n, x: guided_gradcam(n, x, CLASS, layer="layer2").values,
        lambda m, x: attr.GuidedGradCam(m, m.module.layer2).attribute(x, target=3, interpolate_mode="bilinear"),
    ),
}


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", CAPTUM)
@pytest.mark.filterwarnings("ignore")
def test_the_same_as_captum(name: str, dtype: torch.dtype, near: float, monkeypatch) -> None:
    # Captum rounds the weights of the Gauss-Legendre rule to single precision.
    points, weights = np.polynomial.legendre.leggauss(12)
    monkeypatch.setattr(np.polynomial.legendre, "leggauss", lambda n: (points, 2 * (weights / 2).astype(np.float32).astype(float)))
    ours, theirs = CAPTUM[name]
    of = double("resnet") if dtype == torch.float64 else net("resnet")
    x = picture(of, batch=2).to(dtype)
    mine, peer = ours(of, x), theirs(Normalised(of, dtype), x).detach()
    assert peer.abs().max() > 0
    assert mine.dtype == dtype and (mine - peer).abs().max() <= near * peer.abs().max()


def test_smoothgrad_is_the_mean_over_its_noise() -> None:
    of = double("functional")
    x = picture(of).double()
    noise = torch.randn(5, *x.shape[1:], generator=torch.Generator().manual_seed(7), dtype=x.dtype)
    copies = x + 0.2 * (x.max() - x.min()) * noise
    mean = torch.stack([saliency(of, c[None], CLASS).values[0] for c in copies]).mean(0)
    found = smoothgrad(of, x, CLASS, samples=5, noise=0.2, seed=7)
    assert torch.allclose(found.values[0], mean, atol=1e-12)
    assert torch.allclose(found.scores, vw.score(of, CLASS, x).detach()), "the score is that of the image, not of its copies"


RULES = {
    saliency: lambda grad, x: grad * (x > 0),
    guided_backprop: lambda grad, x: grad.clamp(min=0) * (x > 0),
    deconvnet: lambda grad, x: grad.clamp(min=0),
}
SPELLINGS = {
    "F.relu": F.relu, "in place": lambda x: F.relu(x, inplace=True), "torch.relu": torch.relu, "relu_": lambda x: x.relu_(),
    "ReLU6": F.relu6, "module": nn.ReLU(), "module in place": nn.ReLU(inplace=True),
}  # fmt: skip


class Matrices(nn.Module):
    """Two layers as matrices, with an activation between."""

    def __init__(self, activation) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(12, 3 * 8 * 8, generator=g, dtype=torch.float64) / 4)
        self.b = nn.Parameter(torch.randn(5, 12, generator=g, dtype=torch.float64))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x.flatten(1) @ self.a.T) @ self.b.T


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("method", RULES, ids=lambda f: f.__name__)
def test_two_matrices_by_hand(method, spelling: str) -> None:
    module = Matrices(SPELLINGS[spelling])
    of = vw.as_net(module, size=8)
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hidden = x.flatten(1) @ module.a.T
    expected = (RULES[method](module.b[3].expand(2, -1), hidden) @ module.a).view_as(x).detach()
    assert torch.allclose(method(of, x, CLASS).values, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2", "functional", "shared_in_place"])
def test_guided_backprop_where_relus_are_not_modules(name: str) -> None:
    of = net(name)
    x = picture(of)
    plain, ruled = saliency(of, x, CLASS).values, guided_backprop(of, x, CLASS).values
    assert (plain - ruled).abs().max() > 0.1 * plain.abs().max(), "the plain gradient under another name"


class OwnDoubling(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: 2 * x)
    backward = staticmethod(lambda ctx, grad: 2 * grad)


class Around(nn.Module):
    """Two convolutions with ReLUs, in a way that the graph shows or not."""

    def __init__(self, way) -> None:
        super().__init__()
        self.a, self.b, self.fc, self.way = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3), nn.Linear(8, 5), way

    def part(self, x: Tensor) -> Tensor:
        return F.relu(self.b(F.relu(self.a(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.way(self.part, x).mean((2, 3)))


WAYS = {
    "usual": lambda part, x: part(x),
    "saves memory": lambda part, x: checkpoint(part, x, use_reentrant=False),
    "a function of one's own": lambda part, x: OwnDoubling.apply(part(x)) / 2,
}


@pytest.mark.parametrize("way", WAYS)
def test_guided_backprop_whether_the_graph_shows_all_or_not(way: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        of = vw.as_net(Around(WAYS[way]).double(), size=12)
    x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    m = of.module
    first = F.conv2d(x, m.a.weight, m.a.bias, 2)
    second = F.conv2d(first.relu(), m.b.weight, m.b.bias)
    grad = m.fc.weight[3].view(1, -1, 1, 1).expand_as(second) / second[0, 0].numel()
    grad = F.conv_transpose2d(grad.clamp(min=0) * (second > 0), m.b.weight)
    grad = F.conv_transpose2d(grad.clamp(min=0) * (first > 0), m.a.weight, stride=2, output_padding=1)
    found = guided_backprop(of, x, CLASS).values
    assert torch.allclose(found, grad.detach(), atol=1e-12) and found.abs().max() > 1e-4


@pytest.mark.parametrize("name", ["convnext", "swin", "vit", "efficientnet", "mobilenet_v3"])
@pytest.mark.parametrize("method", [guided_backprop, deconvnet, guided_gradcam], ids=lambda f: f.__name__)
def test_other_activations_are_refused(name: str, method) -> None:
    with pytest.raises(TypeError, match="ReLU and ReLU6; the network also computes (GELU|SiLU|hardswish)"):
        method(net(name), picture(net(name)), CLASS)


@pytest.mark.parametrize("name", ["convnext", "swin", "vit", "densenet", "efficientnet"])
def test_gradcam_finds_its_layer(name: str) -> None:
    of = net(name)
    found = gradcam(of, picture(of, batch=2), CLASS, positive=False)
    assert found.map.shape == (2, *of.size) and found.map.abs().amax((1, 2)).min() > 0
    shape = of.layers[found.recipe["options"]["layer"]].shape
    assert shape[1] * shape[2] > 1


def test_gradcam_that_finds_its_layer_beside_a_branch(flowers: vw.Net) -> None:
    x = picture(flowers, batch=2)
    found = gradcam(flowers, x, vw.Logit("rose"))
    assert found.recipe["options"]["layer"] == "stage4"
    assert torch.equal(found.map, gradcam(flowers, x, vw.Logit("rose"), layer="stage4").map) and found.map.max() > 0


def test_gradcam_finds_the_layer_of_a_channel_far_from_the_end() -> None:
    of = vw.load("flowers")
    x = Flowers(n=1, seed=5)[0][0][None]
    found = gradcam(of, x, vw.Channel("stage2", 4))
    assert found.recipe["options"]["layer"] == "stage2"
    maps = vw.activation_maps(of, x, "stage2").maps[:, 4:5] / 24**2  # each position weighs as much
    assert torch.allclose(found.map, F.interpolate(maps, (96, 96), mode="bilinear")[:, 0], rtol=1e-4, atol=1e-9)
    with pytest.raises(ValueError, match="on which .* depends has any"):
        gradcam(of, x, vw.L2())


def test_integrated_gradients_add_up() -> None:
    of, drawings = vw.load("flowers"), Flowers(n=4, seed=5)
    x = torch.stack([drawings[i][0] for i in range(4)])
    target = vw.Each(tuple(vw.Logit(drawings[i][1]) for i in range(4)))
    change = (vw.score(of, target, x) - vw.score(of, target, torch.zeros_like(x))).detach()
    found = integrated_gradients(of, x, target).map.sum((1, 2))
    assert ((found - change).abs() <= 0.01 * change.abs()).all(), (found, change)


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_a_batch_is_its_images_one_by_one(name: str, monkeypatch) -> None:
    monkeypatch.setattr("vizwidgets.methods.attribution.AT_ONCE", 2)
    of, method = double("functional"), ATTRIBUTIONS[name]
    x = picture(of, batch=3).double()
    each = vw.Each((CLASS, vw.Channel("conv2", 1), vw.Logit(0)))
    whole = method(of, x, each)
    for i, target in enumerate(each.targets):
        alone = method(of, x[i : i + 1], target)
        assert torch.allclose(whole.map[i], alone.map[0], atol=1e-12) and torch.allclose(whole.scores[i], alone.scores[0])


def test_bad_input_is_refused() -> None:
    of, x = net("resnet"), picture(net("resnet"))
    with pytest.raises(LookupError, match="absolute"):
        saliency(of, x, CLASS, kind="absolut")
    with pytest.raises(TypeError, match="Logit\\(3\\)"):
        saliency(of, x, 3)
    with pytest.raises(LookupError, match="layer4"):
        gradcam(of, x, CLASS, layer="layer5")
    with pytest.raises(LookupError, match="does not come before the target"):
        gradcam(of, x, vw.Channel("layer1", 0), layer="layer3")
    flat = net("no_convolution")
    with pytest.raises(ValueError, match="larger than 1×1"):
        gradcam(flat, picture(flat), vw.Logit(0))
    with pytest.raises(ValueError, match="at least one step"):
        integrated_gradients(of, x, CLASS, steps=0)


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_what_is_no_number_is_refused(name: str) -> None:
    of, x = double("functional"), picture(double("functional")).double()
    wrong = x.clone()
    wrong[0, :, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="1 of the image's are NaN"):
        ATTRIBUTIONS[name](of, wrong, CLASS)
    broken = make("functional").double()
    broken.fc.weight.data[3, 0] = torch.nan
    with pytest.raises(ValueError, match="gives the score \\[nan\\]: its weights hold NaN"):
        ATTRIBUTIONS[name](vw.as_net(broken, size=32), x, CLASS)


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_an_image_of_one_colour_has_a_map_like_any_other(name: str) -> None:
    of = double("functional")
    found = ATTRIBUTIONS[name](of, torch.full((1, 3, 32, 32), 0.5, dtype=torch.float64), CLASS)
    assert found.map.isfinite().all() and found.picture().size == (32, 32)
    assert "CAM" in name or found.map.abs().max() > 0, "of Grad-CAM the positive part may be empty"


class Blind(nn.Module):
    """Says the same of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.says = nn.Conv2d(3, 4, 3), nn.Parameter(torch.arange(5.0))

    def forward(self, x: Tensor) -> Tensor:
        self.conv(x).relu()
        return self.says.expand(len(x), -1)


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_a_target_that_does_not_depend_on_the_image(name: str) -> None:
    of = vw.as_net(Blind(), size=16)
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"Logit\(3\) (does not depend on the image|depends on no layer with maps)"):
        ATTRIBUTIONS[name](of, x, CLASS)
    assert (vw.occlusion(of, x, CLASS, window=4).result().map == 0).all()
