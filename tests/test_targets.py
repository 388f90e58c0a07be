"""Targets as values: what they give, how they combine, what they are called."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import MATRIX, double, make, net, nothing_left_behind, picture, plain_outputs
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets import Channel, Logit, Neuron, Probability, Target
from vizwidgets.core.targets import Sum

NAMES = {"Logit": Logit, "Probability": Probability, "Channel": Channel, "Neuron": Neuron}

# One row per target: the target, and its score worked out by hand from acts["a"] (2, 3, 4, 5) and logits (2, 4).
ROWS = {
    "logit": (Logit(2), lambda a, out: [out[0][2], out[1][2]]),
    "logit from the end": (Logit(-1), lambda a, out: [out[0][3], out[1][3]]),
    "probability": (Probability(1), lambda a, out: [math.exp(o[1]) / sum(math.exp(v) for v in o) for o in out]),
    "channel": (Channel("a", 1), lambda a, out: [sum(map(sum, b[1])) / 20 for b in a]),
    "neuron": (Neuron("a", 2, 1, 4), lambda a, out: [b[2][1][4] for b in a]),
    "neuron in the middle": (Neuron("a", 0), lambda a, out: [b[0][2][2] for b in a]),
    "neuron from the end": (Neuron("a", 0, -1, -2), lambda a, out: [b[0][3][3] for b in a]),
    "sum": (2 * Logit(0) - 0.5 * Channel("a", 0), lambda a, out: [2 * o[0] - 0.5 * sum(map(sum, b[0])) / 20
                                                                  for o, b in zip(out, a, strict=True)]),
}  # fmt: skip


def acts() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {"a": torch.randn(2, 3, 4, 5, generator=generator), "output": torch.randn(2, 4, generator=generator)}


@pytest.mark.parametrize("row", ROWS)
def test_value_by_hand(row: str) -> None:
    target, by_hand = ROWS[row]
    given_acts = acts()
    score = target(given_acts)
    assert score.shape == (2,)
    expected = by_hand(given_acts["a"].double().tolist(), given_acts["output"].double().tolist())
    torch.testing.assert_close(score.double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("row", ROWS)
def test_gradient_against_finite_differences(row: str) -> None:
    target, _ = ROWS[row]
    a, output = (v.double().requires_grad_() for v in acts().values())
    assert torch.autograd.gradcheck(lambda a, output: target({"a": a, "output": output}), (a, output))


layer = st.sampled_from(["layer1", "a.b.0", "relu:1", "it's \"odd\"\\"])
leaf = st.one_of(
    st.builds(Logit, st.integers(-5, 2000) | st.text(max_size=8)),
    st.builds(Probability, st.integers(-5, 2000) | st.text(max_size=8)),
    st.builds(Channel, layer, st.integers(-5, 5)),
    st.builds(Neuron, layer, st.integers(0, 5), st.none() | st.integers(-9, 9), st.none() | st.integers(-9, 9)),
)
weight = st.integers(-9, 9) | st.floats(-1e6, 1e6) | st.sampled_from([1e-7, -1e-300, np.float64(0.1), np.int64(3)])
targets = st.recursive(leaf, lambda t: st.builds(lambda w, a: w * a, weight, t) | st.builds(lambda a, b: a + b, t, t)
                       | st.builds(lambda a, b: a - b, t, t) | st.builds(lambda a: -a, t), max_leaves=5)  # fmt: skip


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(targets)
def test_repr_gives_it_again(target: Target) -> None:
    again = eval(repr(target), dict(NAMES))
    assert again == target
    assert hash(again) == hash(target)
    assert repr(again) == repr(target)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(targets, targets)
def test_algebra(a: Target, b: Target) -> None:
    before = repr(a), repr(b)
    total = a - 2 * b
    assert isinstance(total, Sum)
    assert not any(isinstance(t, Sum) for _, t in total.terms)
    assert (repr(a), repr(b)) == before
    assert total.layers == a.layers | b.layers


def test_sums_are_sums() -> None:
    a, b = Logit(0), Channel("a", 1)
    given_acts = acts()
    assert torch.equal((a + b)(given_acts), a(given_acts) + b(given_acts))
    assert torch.equal((a - b)(given_acts), a(given_acts) - b(given_acts))
    assert torch.equal((3 * a)(given_acts), 3 * a(given_acts))
    assert torch.equal((a * 3)(given_acts), 3 * a(given_acts))
    assert torch.equal((-a)(given_acts), -a(given_acts))
    assert (a + b) + Logit(1) == a + (b + Logit(1))
    assert 2 * (a + 3 * b) == 2 * a + 6 * b


def test_values_compare_and_hash() -> None:
    assert Logit(1) == Logit(1) != Probability(1)
    assert Logit(1) != Logit("1")
    assert Channel("a", 1) != Channel("a", 2) != Channel("b", 2)
    assert len({Logit(1), Logit(1), Channel("a", 1), Channel("a", 1) + Logit(1), Channel("a", 1) + Logit(1)}) == 3
    assert Logit(torch.tensor([0.1, 0.7, 0.2]).argmax()) == Logit(np.int64(1)) == Logit(1)
    assert Neuron("a", np.int32(1), torch.tensor(2), 3) == Neuron("a", 1, 2, 3)
    with pytest.raises(AttributeError):
        Logit(1).index = 2


@pytest.mark.parametrize("make_it", [
    lambda: Logit(1.5), lambda: Logit(None), lambda: Logit(True), lambda: Channel("a", "b"), lambda: Channel("a", 0.5),
    lambda: Channel("a", True), lambda: Neuron("a", 0, 1.5, 2), lambda: Logit(1) * "2", lambda: Logit(1) + 1, lambda: True * Logit(1),
    lambda: Logit(torch.tensor([1, 2])),
])  # fmt: skip
def test_wrong_kinds(make_it: object) -> None:
    with pytest.raises(TypeError):
        make_it()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_are_finite(number: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        number * Logit(1)


def named() -> vw.Net:
    labels = ["rose", "crane", "Crane", "daisy", "crane", "maillot", "maillot", "a", "b", "c"]
    return vw.as_net(make("functional"), size=32, labels=labels)


def test_names() -> None:
    of = named()
    assert Logit("rose").resolve(of) == Logit(0)
    assert Logit("DAISY").resolve(of) == Logit(3)
    assert Logit("Crane").resolve(of) == Logit(2)
    assert Probability(-1).resolve(of) == Probability(9)
    assert (Logit("rose") - 2 * Probability("daisy")).resolve(of) == Logit(0) - 2 * Probability(3)
    assert (Logit("rose") - 0.5 * Channel("conv1", 1)).describe(of) == "logit of rose - 0.5 * channel 1 of conv1"
    assert Logit(3).describe(of) == "logit of daisy"
    x = picture(of)
    torch.testing.assert_close(vw.score(of, Logit("daisy"), x), of(x)[:, 3])
    with pytest.raises(LookupError, match="no class 'dasy'; did you mean 'daisy'"):
        vw.score(of, Logit("dasy"), x)
    with pytest.raises(LookupError, match="'crane' names classes 1 and 4; give the number"):
        vw.score(of, Logit("crane"), x)
    with pytest.raises(LookupError, match="no class 10; .* has 10, from 0 to 9"):
        vw.score(of, Logit(10), x)
    with pytest.raises(ValueError, match=r"Logit\('rose'\)\.resolve\(net\)"):
        Logit("rose")(acts())


def test_places_that_are_not_there() -> None:
    of = net("functional")
    x = picture(of)
    with pytest.raises(LookupError, match="no channel 8 in layer 'conv1'; it has 8, from 0 to 7"):
        vw.score(of, Channel("conv1", 8), x)
    with pytest.raises(LookupError, match="no layer 'conv3'; did you mean"):
        vw.score(of, Channel("conv3", 0), x)
    with pytest.raises(LookupError, match=r"position \(32, 0\) is outside the 32×32 maps of 'conv1'"):
        vw.score(of, Neuron("conv1", 0, 32, 0), x)
    with pytest.raises(LookupError, match="no class 10; the network has 10"):
        vw.score(of, Logit(10), x)
    with pytest.raises(LookupError, match="no class 'rose': there is none at all"):
        vw.score(of, Logit("rose"), x)


@pytest.mark.parametrize("name", ["resnet", "squeezenet", "convnext", "swin", "vit", "shared", "double"])
def test_score_equals_plain_hooks(name: str) -> None:
    of = net(name)
    x = picture(of, batch=2)
    outputs, logits = plain_outputs(of, x)
    layer, row = next((n, r) for n, r in reversed(list(of.layers.items())) if r.layout in ("NCHW", "NHWC", "tokens") and r.shape[1] > 1)
    raw = outputs[layer]
    if row.layout == "NCHW":
        mean, one = raw[:, 2].mean((1, 2)), raw[:, 2, 1, 0]
    elif row.layout == "NHWC":
        mean, one = raw[..., 2].mean((1, 2)), raw[:, 1, 0, 2]
    else:
        tokens = raw[:, raw.shape[1] - row.shape[1] * row.shape[2] :, 2]
        mean, one = tokens.mean(1), tokens[:, row.shape[2]]
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(vw.score(of, Channel(layer, 2), x).detach(), mean, **close)
    torch.testing.assert_close(vw.score(of, Neuron(layer, 2, 1, 0), x).detach(), one, **close)
    both = vw.score(of, Neuron(layer, 2, 1, 0) - 3 * Probability(4), x).detach()
    torch.testing.assert_close(both, one - 3 * logits.softmax(1)[:, 4], **close)


@pytest.mark.parametrize("name", [n for n in MATRIX if n not in ("half", "no_convolution", "dict", "tuple")])
def test_gradient_equals_plain_autograd(name: str) -> None:
    of = double(name)
    x = picture(of, batch=2).double()
    plain = make(name)
    plain = getattr(plain, "_orig_mod", getattr(plain, "module", plain)).eval().double()
    image = x.clone().requires_grad_()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (of.mean, of.std))
    (expected,) = torch.autograd.grad(plain((image - mean) / std).softmax(1)[:, 3].sum(), image)
    scores, grad = vw.gradient(of, Probability(3), x)
    assert expected.abs().max() > 0
    torch.testing.assert_close(grad, expected, atol=1e-9 * float(expected.abs().max()), rtol=1e-9)
    assert vw.gradient(net(name), Probability(3), picture(of))[1].dtype == torch.float32
    assert not scores.requires_grad
    assert all(p.grad is None for p in of.module.parameters())


def test_scores_of_a_network_with_fewer_bits_are_in_single_precision() -> None:
    of = vw.as_net(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(torch.bfloat16), size=16)
    for target in (Channel("0", 1), Neuron("0", 1, 2, 3), Logit(1)):
        assert vw.score(of, target, picture(of)).dtype == torch.float32


def test_gradient_of_a_neuron_against_finite_differences() -> None:
    of = net("double")
    x = picture(of, size=(9, 9)).double()
    assert torch.autograd.gradcheck(lambda x: vw.score(of, Neuron("4", 3, 1, 2) + 0.1 * Channel("1", 1), x), x.requires_grad_())


def test_gradient_in_any_mode() -> None:
    of = net("in_place")
    x = picture(of)
    _, expected = vw.gradient(of, Logit(1), x)
    with torch.no_grad():
        assert torch.equal(vw.gradient(of, Logit(1), x)[1], expected)
    with torch.inference_mode():
        assert torch.equal(vw.gradient(of, Logit(1), x.clone())[1], expected)
    with nothing_left_behind(of.module, x):
        vw.gradient(of, Logit(1), x)


class Counting(nn.Module):
    """Counts how often its second half runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)
        self.conv2, self.fc = nn.Conv2d(4, 4, 3), nn.Linear(4, 5)
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        self.count += 1
        return self.fc(self.conv2(x).mean((2, 3)))


def test_score_stops_at_the_deepest_layer() -> None:
    of = vw.as_net(Counting(), size=16)
    assert of.layers
    x = picture(of, batch=2)
    for target, runs in ((Channel("conv1", 1), 0), (Channel("relu", 1), 0), (Channel("conv2", 0), 1), (Logit(0), 1),
                         (Channel("conv1", 1) + Channel("conv2", 1), 1), (Channel("conv1", 1) + Logit(2), 1)):  # fmt: skip
        of.module.count = 0
        score = vw.score(of, target, x)
        assert of.module.count == runs, target
        with vw.extract(of, "conv1", "relu", "conv2") as whole:
            whole["output"] = of(x)
        torch.testing.assert_close(score, target(whole))
    of.module.count = 0
    vw.gradient(of, Channel("conv1", 1), x)
    vw.activation_maps(of, x, "relu")
    assert of.module.count == 0


def test_score_of_an_earlier_call_stops_there() -> None:
    of = net("shared")
    x = picture(of)
    seen = []
    handle = of.module.twice.register_forward_hook(lambda *a: seen.append(1))
    try:
        score = vw.score(of, Channel("twice:0", 1), x)
    finally:
        handle.remove()
    assert len(seen) == 1
    expected, _ = plain_outputs(of, x)
    torch.testing.assert_close(score.detach(), expected["twice:0"][:, 1].mean((1, 2)))


def test_no_gradient_is_said() -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(torch.zeros_like(x)).mean((2, 3))

    for target in (Logit(0), Channel("conv", 0)):
        with pytest.raises(ValueError, match="does not depend on the image"):
            vw.gradient(vw.as_net(Blind(), size=8), target, torch.rand(1, 3, 8, 8))


def test_a_layer_called_input_is_not_mistaken_for_the_picture() -> None:
    module = nn.Sequential()
    module.add_module("input", nn.Conv2d(3, 4, 3))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("output", nn.Flatten())
    of = vw.as_net(module, size=8)
    for name in ("input", "output"):
        with pytest.raises(LookupError, match=f"a layer called '{name}' cannot be a target"):
            vw.score(of, Channel(name, 0), torch.rand(1, 3, 8, 8))
