"""`extract` against plain hooks that clone at once, and gradients against the net cut in two by hand."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from nets import (
    MATRIX,
    TORCHVISION,
    SharedRelu,
    make,
    net,
    nothing_left_behind,
    picture,
    plain_outputs,
    readable,
    state,
)
from torch import Tensor, nn

import vizwidgets as vw


def as_maps(output: Tensor, layout: str, grid: tuple[int, int]) -> Tensor:
    """By hand: a loop over rows and columns instead of views."""
    if layout == "vector":
        return output.reshape(*output.shape, 1, 1)
    if layout == "NCHW":
        return output
    h, w = grid
    maps = torch.empty(output.shape[0], output.shape[-1], h, w, dtype=output.dtype)
    for y in range(h):
        for x in range(w):
            at = output[:, y, x] if layout == "NHWC" else output[:, output.shape[1] - h * w + y * w + x]
            maps[:, :, y, x] = at
    return maps


@pytest.mark.parametrize("mode", ["inference", "no_grad", "grad"])
@pytest.mark.parametrize("name", MATRIX)
def test_all_layers_at_once_equal_plain_hooks(name: str, mode: str) -> None:
    of = net(name)
    x = picture(of, batch=2)
    expected, output = plain_outputs(of, x)
    layers = readable(of)
    context = {"inference": torch.inference_mode, "no_grad": torch.no_grad, "grad": torch.enable_grad}[mode]
    with context(), vw.extract(of, *layers) as acts:
        scores = of(x)
    assert list(acts) == sorted(acts, key=of.layers.order.index)
    assert set(acts) == set(layers)
    close = {"atol": 2e-3, "rtol": 2e-3} if name == "half" else {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(scores, output.to(scores.dtype), **close)
    for layer in layers:
        row = of.layers[layer]
        assert acts[layer].shape == (2, *row.shape)
        assert acts[layer].dtype == expected[layer].dtype
        by_hand = as_maps(expected[layer], row.layout, row.shape[1:])
        torch.testing.assert_close(acts[layer].detach(), by_hand, **close, msg=lambda m, n=layer: f"{n}: {m}")


@pytest.mark.parametrize("name", ["in_place", "shared_in_place", "no_convolution", "functional"])
def test_bit_equal_where_the_memory_layout_is_the_same(name: str) -> None:
    # One channel and flat nets run in the plain memory layout; the others are made to.
    of = net(name)
    x = picture(of)
    from vizwidgets.core import net as core

    core._REFUSES_CHANNELS_LAST[of.module] = True
    try:
        with torch.no_grad(), vw.extract(of, *readable(of)) as acts:
            of(x)
    finally:
        del core._REFUSES_CHANNELS_LAST[of.module]
    expected, _ = plain_outputs(of, x)
    for layer in readable(of):
        assert torch.equal(acts[layer].flatten(), expected[layer].flatten()), layer


@pytest.mark.parametrize("name", [n for n in TORCHVISION if n != "vit"])
def test_images_that_are_not_square(name: str) -> None:
    of = net(name)
    for size in ((64, 128), (96, 64)):
        x = picture(of, size=size)
        expected, _ = plain_outputs(of, x)
        layers = readable(of)
        with torch.no_grad(), vw.extract(of, *layers) as acts:
            of(x)
        for layer in layers:
            row = of.layers[layer]
            out = expected[layer]
            grid = tuple(out.shape[1:3]) if row.layout == "NHWC" else tuple(out.shape[2:]) if out.dim() == 4 else (1, 1)
            torch.testing.assert_close(acts[layer], as_maps(out, row.layout, grid), atol=2e-5, rtol=1e-4)


class TokenNet(nn.Module):
    """Patches as tokens, any size of image, with prefix tokens."""

    def __init__(self, prefix: int = 1) -> None:
        super().__init__()
        self.patch, self.prefix = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.randn(1, prefix, 8))
        self.block, self.act, self.head = nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.prefix.expand(len(x), -1, -1), x], 1)
        return self.head(self.act(self.block(x)).mean(1))


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("size", [(32, 32), (32, 64), (24, 64)])
def test_tokens_become_maps_of_the_image_given(prefix: int, size: tuple[int, int]) -> None:
    of = vw.as_net(TokenNet(prefix), size=32)
    x = picture(of, batch=2, size=size)
    with vw.extract(of, "block", "patch") as acts:
        of(x)
    expected, _ = plain_outputs(of, x)
    h, w = size[0] // 8, size[1] // 8
    assert acts["block"].shape == (2, 8, h, w)
    torch.testing.assert_close(acts["block"].detach(), as_maps(expected["block"], "tokens", (h, w)))


def test_squeezenet_convolutions_are_seen_before_the_relu_in_place() -> None:
    of = net("squeezenet")
    convolutions = [n for n, row in of.layers.items() if row.kind == "Conv2d"]
    with vw.extract(of, *convolutions) as acts:
        of(picture(of))
    assert all((acts[n] < 0).any() for n in convolutions)
    assert all(of.layers[n].overwritten for n in convolutions)


class Pair(NamedTuple):
    maps: Tensor
    other: int


class Wrapped(nn.Module):
    """Hands its features on in a container."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.inner, self.head, self.form = Features(form), nn.Linear(6, 4), form

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        value = out["maps"] if self.form == "dict" else out[0]
        return self.head(value.relu_().mean((2, 3)))


class Features(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.conv, self.form = nn.Conv2d(3, 6, 3), form

    def forward(self, x: Tensor) -> object:
        x = self.conv(x)
        if self.form == "dict":
            return OrderedDict(maps=x, other=None)
        return Pair(x, 3) if self.form == "named" else [x] if self.form == "list" else (x, 3)


@pytest.mark.parametrize("form", ["tuple", "named", "list", "dict"])
def test_outputs_in_containers(form: str) -> None:
    of = vw.as_net(Wrapped(form), size=16)
    x = picture(of)
    with vw.extract(of, "inner", "inner.conv") as acts:
        scores = of(x)
    torch.testing.assert_close(acts["inner"], acts["inner.conv"])
    assert (acts["inner"] < 0).any()
    (grad,) = torch.autograd.grad(scores[0, 1], acts["inner"])
    torch.testing.assert_close(grad, (acts["inner"] > 0) * (of.module.head.weight[1] / 14**2).view(1, 6, 1, 1))


# Where each net is cut in two by hand: layer, its layout, and what the net does after it.
def _resnet(m: nn.Module, maps: Tensor) -> Tensor:
    return m.fc(m.avgpool(m.layer4(m.layer3(maps))).flatten(1))


def _convnext(m: nn.Module, maps: Tensor) -> Tensor:
    block = m.features[1][0]
    x = maps.permute(0, 2, 3, 1)
    x = _convnext.skip + block.layer_scale * block.block[4:](x)
    for rest in (m.features[2], m.features[3], m.avgpool, m.classifier):
        x = rest(x)
    return x


def _vit(m: nn.Module, maps: Tensor) -> Tensor:
    tokens = torch.cat([_vit.prefix, maps.flatten(2).transpose(1, 2)], 1)
    return m.heads(m.encoder.ln(m.encoder.layers[1](tokens))[:, 0])


def _in_place(m: nn.Module, maps: Tensor) -> Tensor:
    return m.fc(F.relu(m.conv4(maps + _in_place.skip) * 0.5).mean((2, 3)))


CUTS = {
    "resnet": ("layer2", _resnet), "convnext": ("features.1.0.block.3", _convnext),
    "vit": ("encoder.layers.encoder_layer_0", _vit), "in_place": ("conv3", _in_place),
}  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_gradient_of_the_score_with_respect_to_activations(name: str) -> None:
    layer, rest = CUTS[name]
    of, module = net(name), make(name).eval()
    x = picture(of, batch=2)
    outputs, _ = plain_outputs(of, x)
    if name == "convnext":
        rest.skip = outputs["features.0"]
    if name == "vit":
        rest.prefix = outputs[layer][:, :1]
    if name == "in_place":
        rest.skip = outputs["relu1"]
    with vw.extract(of, layer) as acts:
        scores = of(x)
    (grad,) = torch.autograd.grad(scores[:, 3].sum(), acts[layer])
    maps = acts[layer].detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(rest(module, maps)[:, 3].sum(), maps)
    assert expected.abs().max() > 1e-8
    torch.testing.assert_close(grad, expected, atol=1e-6 * float(expected.abs().max()) + 1e-9, rtol=1e-4)


@pytest.mark.parametrize("name", MATRIX)
def test_every_layer_before_the_last_is_in_the_graph(name: str) -> None:
    of = net(name)
    layers = readable(of)
    with vw.extract(of, *layers) as acts:
        scores = of(picture(of).requires_grad_())
    grads = torch.autograd.grad(scores.sum(), [acts[n] for n in layers], allow_unused=True)
    without = {n for n, g in zip(layers, grads, strict=True) if g is None}
    assert not without, f"{name}: {sorted(without)}"


def test_changed_activations_do_not_reach_the_successor_nor_the_other_way_round() -> None:
    of = net("in_place")
    x = picture(of)
    plain = of(x)
    with torch.no_grad(), vw.extract(of, "conv1") as acts:
        of(x)
    before = acts["conv1"].clone()
    with torch.no_grad():
        of(x * 0.5)
    assert torch.equal(acts["conv1"], before)
    torch.testing.assert_close(of(x), plain)


def test_hooks_act_in_their_own_thread_only() -> None:
    of = net("resnet")
    x, other = picture(of), picture(of, seed=2)
    results: list[Tensor] = []

    def elsewhere() -> None:
        thread = threading.Thread(target=lambda: results.append(of(other)))
        thread.start()
        thread.join()

    with torch.no_grad(), vw.extract(of, "layer2") as acts:
        elsewhere()
        assert not acts
        of(x)
        before = acts["layer2"].clone()
        elsewhere()
        assert torch.equal(acts["layer2"], before)
    torch.testing.assert_close(results[0], of(other))


def test_two_threads_at_once_get_their_own_activations() -> None:
    of = net("squeezenet")
    wrong: list[str] = []

    def work(seed: int) -> None:
        x = picture(of, seed=seed)
        expected = plain[seed]
        for _ in range(10):
            with torch.no_grad(), vw.extract(of, "features.4") as acts:
                of(x)
            if not torch.allclose(acts["features.4"], expected, atol=1e-5):
                wrong.append(f"seed {seed}")

    plain = {s: plain_outputs(of, picture(of, seed=s))[0]["features.4"] for s in (1, 2)}
    with nothing_left_behind(of.module):
        threads = [threading.Thread(target=work, args=(s,)) for s in (1, 2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not wrong


def test_nested() -> None:
    of = net("in_place")
    x = picture(of)
    expected, _ = plain_outputs(of, x)
    before = state(of.module)
    with torch.no_grad(), vw.extract(of, "conv1", "conv4") as outer:
        with vw.extract(of, "conv1", "relu1") as inner:
            of(x)
        assert state(of.module) != before  # the outer hooks are still there
    assert state(of.module) == before
    for acts, layer in ((outer, "conv1"), (outer, "conv4"), (inner, "conv1"), (inner, "relu1")):
        torch.testing.assert_close(acts[layer], expected[layer], atol=1e-6, rtol=1e-5)


def test_the_last_pass_of_the_body_counts() -> None:
    of = net("functional")
    one, two = picture(of, seed=1), picture(of, seed=2)
    with torch.no_grad(), vw.extract(of, "conv2") as acts:
        of(one)
        of(two)
    torch.testing.assert_close(acts["conv2"], plain_outputs(of, two)[0]["conv2"])


def test_a_module_that_runs_twice_asks_for_the_call() -> None:
    of = net("shared")
    with pytest.raises(LookupError, match=r"'twice' runs 2 times.*'twice:0' \.\.\. 'twice:1'"), vw.extract(of, "twice"):
        pass
    with torch.no_grad(), vw.extract(of, "twice:0", "relu:2") as acts:
        of(picture(of))
    expected, _ = plain_outputs(of, picture(of))
    torch.testing.assert_close(acts["twice:0"], expected["twice:0"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(acts["relu:2"], expected["relu:2"], atol=1e-6, rtol=1e-5)
    assert (acts["relu:2"] >= 0).all()
    assert (acts["twice:0"] < 0).any()


def test_errors_name_what_there_is() -> None:
    of = net("resnet")
    with pytest.raises(LookupError, match=r"no layer 'layer2\.0\.conv9'; did you mean .*'layer2\.0\.conv"), vw.extract(
        of, "layer2.0.conv9"
    ):
        pass
    with pytest.raises(TypeError, match="at least one layer"), vw.extract(of):
        pass
    with pytest.raises(LookupError, match="'unused'.*does not run"), vw.extract(net("dict"), "unused"):
        pass
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"), vw.extract("resnet18", "layer1"):
        pass
    with vw.extract(of, "layer1") as acts, pytest.raises(LookupError, match="none yet: call the network"):
        _ = acts["layer1"]


def test_what_is_written_over_without_the_table_knowing_is_refused() -> None:
    module = SharedRelu(inplace=False)
    of = vw.as_net(module, size=32)
    assert not of.layers["conv1"].overwritten
    module.relu.inplace = True  # after the table was made

    with torch.no_grad(), pytest.raises(RuntimeError, match="'conv1' were written over"), vw.extract(of, "conv1"):
        of(picture(of))
    with torch.no_grad(), vw.extract(vw.as_net(module, size=32), "conv1") as acts:
        of(picture(of))
    assert (acts["conv1"] < 0).any()


def test_checkpointing_recomputes_without_disturbing() -> None:
    from torchvision.models import DenseNet

    module = DenseNet(8, (2, 2), 16, num_classes=10, memory_efficient=True)
    of = vw.as_net(module.eval(), size=32)
    x = picture(of).requires_grad_()
    layer = "features.denseblock2.denselayer1.conv1"
    with vw.extract(of, layer, "features.denseblock1") as acts:
        scores = of(x)
        before = acts[layer].clone()
        (grad,) = torch.autograd.grad(scores[0, 0], x)
    assert torch.equal(acts[layer], before)
    # In training mode too, where the recomputation comes after the pass.
    with nothing_left_behind(module.train()):
        _, again = vw.gradient(of, vw.Logit(0), x)
    torch.testing.assert_close(again, grad)
