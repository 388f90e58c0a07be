"""Looking into a net changes nothing in it, whichever net, whatever the call, and however the call ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from nets import MATRIX, double, make, net, nothing_left_behind, picture, readable
from torch import Tensor, nn

import vizwidgets as vw


def whole_extract(module: vw.Net | nn.Module, x: Tensor, layer: str) -> None:
    with vw.extract(module, *readable(vw.as_net(module))):
        vw.as_net(module)(x)


def destroyed(module: vw.Net | nn.Module, x: Tensor, method: Callable[..., object] | str) -> None:
    """Two steps of a sanity check, the second with weights that are random."""
    run = vw.sanity_check(method, module, x, vw.Logit(1))
    next(run), next(run)


def painted(module: vw.Net | nn.Module, x: Tensor, layer: str, how: str) -> None:
    """Two steps of a texture or of a painting; a layer without maps is refused."""
    _, height, width = vw.as_net(module).layers[layer].shape
    with pytest.raises(ValueError, match="no spatial extent") if height * width == 1 else nullcontext():
        if how == "texture":
            vw.gram_texture(module, x[:1], layers=[layer], steps=2, batch=2, pooling="average").result()
        elif how == "painting":
            vw.style_transfer(module, x[:1], x[1:], content_layer=layer, style_layers=[layer], steps=2, pooling="average").result()
        else:
            vw.stylised(module, x, content_layer=layer, style_layers=[layer], steps=2).result()


# Every public function that runs a net: (net or module, images, a layer in its middle).
CALLS: dict[str, Callable[[vw.Net | nn.Module, Tensor, str], object]] = {
    "net": lambda m, x, layer: vw.as_net(m)(x),
    "layers": lambda m, x, layer: vw.as_net(m).layers,
    "extract": whole_extract,
    "activation_maps": lambda m, x, layer: vw.activation_maps(m, x, layer),
    "score": lambda m, x, layer: vw.score(m, vw.Channel(layer, 0) - vw.Logit(1), x),
    "score, stopped early": lambda m, x, layer: vw.score(m, vw.Channel(layer, 0), x),
    "gradient": lambda m, x, layer: vw.gradient(m, vw.Channel(layer, 0) - vw.Probability(1), x),
    "sha256": lambda m, x, layer: vw.as_net(m).sha256,
    "visualize": lambda m, x, layer: vw.visualize(m, vw.Channel(layer, 0), steps=2).result(),
    "caricature": lambda m, x, layer: vw.caricature(m, x[:1], layer, steps=2).result(),
    "invert": lambda m, x, layer: vw.invert(m, x[:1], layer, steps=2).result(),
    "deepdream": lambda m, x, layer: vw.deepdream(m, x, layer, steps=2, octaves=1).result(),
    "fgsm": lambda m, x, layer: vw.fgsm(m, x, -vw.Logit(0)),
    "pgd": lambda m, x, layer: vw.pgd(m, x, -vw.Logit(0), steps=2).result(),
    "saliency": lambda m, x, layer: vw.saliency(m, x, vw.Channel(layer, 0)),
    "integrated_gradients": lambda m, x, layer: vw.integrated_gradients(m, x[:1], vw.Logit(1), steps=2),
    "gradcam": lambda m, x, layer: vw.gradcam(m, x, vw.Logit(1), layer=layer),
    "occlusion": lambda m, x, layer: next(vw.occlusion(m, x[:1], vw.Logit(1), stride=12)),
    "sanity_check": lambda m, x, layer: destroyed(m, x[:1], "saliency"),
    "sanity_check, in Captum's manner": lambda m, x, layer: destroyed(
        m, x[:1], lambda images, target: vw.gradient(m, vw.Logit(target), images)[1].cpu()),
    "class_sensitivity": lambda m, x, layer: vw.class_sensitivity("saliency", m, x[:1], [vw.Logit(0), vw.Logit(1)]),
    "deletion": lambda m, x, layer: vw.deletion(m, x, vw.Probability(1), x.mean(1), steps=2),
    "insertion": lambda m, x, layer: vw.insertion(m, x[:1], vw.Probability(1), x[:1].mean(1), steps=1),
    "shape_bias": lambda m, x, layer: vw.shape_bias(m, vw.Stimuli(x, [0, 1], [1, 0], ("a", "b")), groups={"a": [0], "b": [1]}),
    "stylised": lambda m, x, layer: painted(m, x, layer, "set"),
    "gram_texture": lambda m, x, layer: painted(m, x, layer, "texture"),
    "style_transfer": lambda m, x, layer: painted(m, x, layer, "painting"),
    "fool": lambda m, x, layer: vw.fool(m, vw.Logit(0), steps=2).result(),
    "embed": lambda m, x, layer: vw.embed(m, x, layer).result(),
    "embed, penultimate": lambda m, x, layer: vw.embed(m, x, batch_size=1).result(),
    "record": lambda m, x, layer: vw.record(m, x, layer, keep="maps", batch_size=1).result(),
    "top_patches": lambda m, x, layer: vw.top_patches(m, x, layer, mask=True).result()[0],
}


def middle(of: vw.Net) -> str:
    names = readable(of)
    return names[len(names) // 2]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", MATRIX)
def test_nothing_changes_in_the_net(name: str, call: str) -> None:
    of = net(name)
    x = picture(of, batch=2)
    layer = middle(of)
    with nothing_left_behind(of.module, x):
        CALLS[call](of, x, layer)


@pytest.mark.parametrize("call", CALLS)
def test_a_bare_module_is_taken_and_mixed_flags_are_put_back(call: str) -> None:
    module = make("resnet").eval()
    module.layer2.train()
    module.layer3[0].bn1.weight.requires_grad_(False)
    module.fc.weight.grad = torch.ones_like(module.fc.weight)
    x = torch.rand(2, 3, 224, 224)
    with nothing_left_behind(module, x):
        CALLS[call](module, x, "layer2.0.conv2")
    assert module.layer2[0].bn1.training
    assert not module.layer1.training


class Raises(nn.Module):
    """Fails in the middle of a pass when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu, self.conv2 = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3)
        self.bn, self.fc, self.fails = nn.BatchNorm2d(4), nn.Linear(4, 3), False

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.relu(self.conv1(x)))
        if self.fails:
            raise ArithmeticError("in the middle")
        return self.fc(self.conv2(x).mean((2, 3)))


@pytest.mark.parametrize("call", [c for c in CALLS if c != "sha256"])
def test_nothing_changes_when_the_net_raises(call: str) -> None:
    of = vw.as_net(Raises().train(), size=16)
    if call != "layers":
        assert of.layers  # the table is there, so that the pass itself fails
    of.module.fails = True
    x = torch.rand(2, 3, 16, 16)
    # The layers' table says which image it failed on; the others hand on what the net raised.
    error = RuntimeError if call == "layers" else ArithmeticError
    with nothing_left_behind(of.module, x), pytest.raises(error, match="in the middle"):
        CALLS[call](of, x, "conv2")
    of.module.fails = False
    with nothing_left_behind(of.module, x):
        CALLS[call](of, x, "conv2")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, StopIteration, GeneratorExit])
def test_nothing_changes_when_the_body_of_extract_raises(error: type[BaseException]) -> None:
    of = net("in_place")
    with nothing_left_behind(of.module), pytest.raises((error, RuntimeError)), vw.extract(of, "conv1", "conv3"):
        of(picture(of))
        raise error


def test_an_interrupt_within_the_pass_leaves_nothing() -> None:
    module = make("in_place")

    def interrupt(_m: nn.Module, _i: object) -> None:
        raise KeyboardInterrupt

    of = vw.as_net(module, size=32)
    assert of.layers
    handle = module.conv3.register_forward_pre_hook(interrupt)
    with nothing_left_behind(module), pytest.raises(KeyboardInterrupt):
        vw.gradient(of, vw.Logit(0), picture(of))
    handle.remove()


def test_the_check_itself_notices() -> None:
    x = torch.zeros(1)

    def hook(m: nn.Module) -> None:
        m.conv1.register_forward_hook(lambda *a: None)

    def grad(m: nn.Module) -> None:
        m.fc.bias.grad = torch.zeros_like(m.fc.bias)

    faults: dict[str, Callable[[nn.Module], object]] = {
        "hook": hook, "grad": grad,
        "mode": lambda m: m.bn1.eval(),
        "statistics": lambda m: m.bn1.running_mean.add_(1),
        "flag": lambda m: m.conv1.weight.requires_grad_(False),
        "inplace": lambda m: setattr(m.relu1, "inplace", False),
        "generator": lambda m: torch.rand(1),
        "numpy": lambda m: np.random.rand(),
        "attribute": lambda m: setattr(m, "seen", 1),
        "input": lambda m: x.add_(1),
    }  # fmt: skip
    for fault, plant in faults.items():
        module = make("in_place")
        with pytest.raises(AssertionError), nothing_left_behind(module, x):
            plant(module)
            continue
        assert fault


@pytest.mark.parametrize("name", MATRIX)
def test_a_batch_equals_one_by_one(name: str) -> None:
    # In float32, rounding decides between pixels that nearly tie in a pooling window, and so the whole gradient.
    of = net(name) if name == "half" else double(name)
    x = picture(of, batch=3).to(torch.float32 if name == "half" else torch.float64)
    target = vw.Channel(middle(of), 0) - 0.5 * vw.Logit(2)
    scores, grads = vw.gradient(of, target, x)
    tolerance = {"atol": 2e-3, "rtol": 2e-3} if name == "half" else {"atol": 1e-9, "rtol": 1e-9}
    for i in range(3):
        score, grad = vw.gradient(of, target, x[i : i + 1])
        torch.testing.assert_close(score, scores[i : i + 1], **tolerance)
        torch.testing.assert_close(grad, grads[i : i + 1], **tolerance)
    assert torch.isfinite(grads).all()


@pytest.mark.parametrize("name", ["in_place", "half", "double"])
def test_scores_are_single_precision_unless_the_network_is_double(name: str) -> None:
    of = net(name)
    assert vw.score(of, vw.Logit(2), picture(of)).dtype == (torch.float64 if name == "double" else torch.float32)
