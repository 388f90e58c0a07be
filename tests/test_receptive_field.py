"""Receptive fields against where gradients really are: every weight positive, so that nothing cancels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import FunctionalRelu, Halved, make
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation

import vizwidgets as vw

NONLINEAR = (nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid,
             nn.Dropout)  # fmt: skip


def linear_copy(module: nn.Module) -> nn.Module:
    """A copy in which every path from a pixel to an output adds something positive."""
    module = copy.deepcopy(module).double().eval()
    for name, m in list(module.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(m, NONLINEAR):
            setattr(module.get_submodule(parent), last, nn.Identity())
        elif isinstance(m, nn.MaxPool2d):
            average = nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode)
            setattr(module.get_submodule(parent), last, average)
    for p in module.parameters():
        p.data = torch.full_like(p, 0.1)
    return module


def support(output: Tensor, image: Tensor, y: int, x: int) -> tuple[int, int, int, int]:
    """The smallest box around the pixels that position (y, x) of an output (1, C, H, W) depends on."""
    (grad,) = torch.autograd.grad(output[0, :, y, x].sum(), image, retain_graph=True)
    rows, columns = grad.abs().sum((0, 1, 3)).nonzero().flatten(), grad.abs().sum((0, 1, 2)).nonzero().flatten()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def outputs(module: nn.Module, image: Tensor) -> dict[str, list[Tensor]]:
    taken: dict[str, list[Tensor]] = {}
    for name, m in module.named_modules():
        m.register_forward_hook(lambda _m, _i, out, n=name: taken.setdefault(n, []).append(out))
    module(image)
    return taken


def check(module: nn.Module, size: tuple[int, int], every: int = 1) -> tuple[set[str], set[str]]:
    """Compare every `every`-th layer at its corners, edges and middle; names with a window, and with the whole image."""
    of = vw.as_net(module, size=64)
    height, width = size
    image = torch.rand(1, of.channels, height, width, dtype=torch.float64).requires_grad_()
    taken = outputs(linear_copy(of.module), image)
    windows, whole = set(), set()
    rows = [r for r in of.layers.values() if r.layout in ("NCHW", "NHWC") and r.shape[1] > 1]
    for row in rows[::every] + rows[-1:]:
        out = taken[row.module_name][row.call or 0]
        out = out if row.layout == "NCHW" else out.permute(0, 3, 1, 2)
        h, w = out.shape[2:]
        for y, x in {(0, w - 1), (h // 2, w // 2), (1, w // 2), (h - 1, 0)}:
            seen = support(out, image, y, x)
            if row.receptive_field is None:
                whole.add(row.name)
                assert seen == (0, 0, height, width), f"{row.name}: sees {seen}, said to see the whole image"
            else:
                windows.add(row.name)
                said = row.receptive_field.box(y, x, height, width)
                assert seen == said, f"{row.name} at ({y}, {x}): sees {seen}, said to see {said}"
    return windows, whole


@pytest.mark.parametrize(("name", "every"), [
    ("squeezenet", 5), ("resnet", 3), ("googlenet", 19), ("densenet", 6), ("mobilenet_v2", 19), ("shufflenet", 19),
    ("convnext", 2), ("functional", 1), ("halved", 1), ("in_place", 1), ("shared", 1), ("one_channel", 1),
])  # fmt: skip
def test_windows_are_where_the_gradient_is(name: str, every: int) -> None:
    # An unpadded stride leaves pixels over at the edge unless it divides.
    windows, whole = check(make(name), (111, 95) if name == "squeezenet" else (112, 96), every)
    assert windows
    assert not whole


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Mish, nn.GELU, nn.ELU, nn.CELU, nn.SELU,
    nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold, nn.Softplus, nn.LogSigmoid, nn.Tanh, nn.Sigmoid, nn.Hardshrink, nn.Dropout,
    nn.Dropout2d, nn.AlphaDropout, nn.BatchNorm2d,
])  # fmt: skip
def test_elementwise_layers_keep_the_window(kind: type[nn.Module], inplace: bool) -> None:
    arguments = (0.1, 0.2) if kind is nn.Threshold else (4,) if kind is nn.BatchNorm2d else ()
    layer = kind(*arguments)
    if inplace:
        if not hasattr(layer, "inplace"):
            pytest.skip("has no such option")
        layer.inplace = True
    of = vw.as_net(Of(lambda m, x: m.a(x), a=layer), size=16)
    assert of.layers["last"].receptive_field == of.layers["first"].receptive_field is not None


@pytest.mark.parametrize("name", ["mobilenet_v3", "efficientnet"])
def test_behind_squeeze_and_excitation_is_the_whole_image(name: str) -> None:
    module = make(name)
    windows, whole = check(module, (96, 112), 3)
    gates = [n for n, m in module.named_modules() if isinstance(m, SqueezeExcitation)]
    order = list(vw.as_net(module, size=64).layers.order)
    assert gates
    for names, behind in ((windows, False), (whole, True)):
        assert names
        assert all((order.index(n) >= order.index(gates[0])) == behind for n in names)


class Of(nn.Module):
    """A layer `last` of a net, made of functions."""

    def __init__(self, forward: Callable[..., Tensor], channels: int = 3, **parts: nn.Module) -> None:
        super().__init__()
        self.function, self.channels = forward, channels
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        for name, part in parts.items():
            self.add_module(name, part)
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self, self.first(x)))


def shift_in_place(_m: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, 2:] += x[:, :, :-2].clone()
    return x


def shift_into_zeros(_m: Any, x: Tensor) -> Tensor:
    shifted = torch.zeros_like(x)
    shifted[:, :, 2:] = x[:, :, :-2]
    return x + shifted


EXACT: dict[str, Callable[[], nn.Module]] = {
    "dilated": lambda: Of(lambda m, x: m.a(x), a=nn.Conv2d(4, 4, 3, padding=2, dilation=2)),
    "asymmetric kernel": lambda: Of(lambda m, x: m.b(m.a(x)), a=nn.Conv2d(4, 4, (1, 7), padding=(0, 3)),
                                    b=nn.Conv2d(4, 4, (5, 1), (2, 1), (1, 0))),
    "asymmetric padding": lambda: Of(lambda m, x: m.a(F.pad(x, (0, 3, 2, 0))), a=nn.Conv2d(4, 4, 4, 2)),
    "no padding": lambda: Of(lambda m, x: m.b(m.a(x)), a=nn.Conv2d(4, 4, 5), b=nn.Conv2d(4, 4, 3, 2)),
    "padding same": lambda: Of(lambda m, x: m.a(x), a=nn.Conv2d(4, 4, 4, padding="same", dilation=2)),
    "branches of other sizes": lambda: Of(
        lambda m, x: torch.cat([m.a(x), m.b(m.c(x)), F.avg_pool2d(x, 3, 1, 1)], 1),
        a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 5, padding=2), c=nn.Conv2d(4, 4, 3, padding=1)),
    "one-sided branch": lambda: Of(lambda m, x: x[:, :, :-4] + F.avg_pool2d(x, (5, 1), 1)),
    "sum of slices": lambda: Of(lambda m, x: x[:, :, 3:, 1:] + x[:, :, :-3, :-1]),
    "every second": lambda: Of(lambda m, x: m.a(x[:, :, 1::2, ::2]), a=nn.Conv2d(4, 4, 3, padding=1)),
    "channels last and back": lambda: Of(lambda m, x: m.a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), a=nn.Linear(4, 4)),
    "tokens and back": lambda: Of(
        lambda m, x: m.a(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:]), a=nn.Linear(4, 4)),
    "chunks and stack": lambda: Of(lambda m, x: torch.cat([x.chunk(2, 1)[0], m.a(x.chunk(2, 1)[1])], 1),
                                   a=nn.Conv2d(2, 2, 7, padding=3)),
    "adaptive pool": lambda: Of(lambda m, x: F.adaptive_avg_pool2d(x, (x.shape[2] // 4, x.shape[3] // 2))),
    "ceil mode": lambda: Of(lambda m, x: m.a(x), a=nn.AvgPool2d(3, 2, ceil_mode=True)),
    "shift in place": lambda: Of(lambda m, x: shift_in_place(m, x)),
    "shift into zeros": lambda: Of(lambda m, x: shift_into_zeros(m, x)),
    "plus a constant map": lambda: Of(lambda m, x: x + torch.ones_like(x)),
    "shuffled": lambda: Of(lambda m, x: m.b(m.a(x)), a=nn.Conv2d(4, 4, 5, 3, 2), b=nn.ChannelShuffle(2)),
    "gated halves": lambda: Of(lambda m, x: m.b(F.glu(m.a(x), 1)), a=nn.Conv2d(4, 4, 5, 3, 2), b=nn.Conv2d(2, 2, 3)),
    "transposed": lambda: Of(lambda m, x: m.a(x), a=nn.ConvTranspose2d(4, 4, 4, 2, 1)),
    "bilinear": lambda: Of(lambda m, x: F.interpolate(m.a(x), scale_factor=2, mode="bilinear"), a=nn.MaxPool2d(2)),
    "gate": lambda: Of(lambda m, x: x * m.a(x), a=nn.Conv2d(4, 1, 5, padding=2)),
}  # fmt: skip
# Operations without a rule: the whole image is said, which is true but not tight.
NOT_TIGHT = {"transposed", "bilinear", "shift in place", "shift into zeros"}


@pytest.mark.parametrize("name", EXACT)
def test_operations(name: str) -> None:
    module = EXACT[name]()
    of = vw.as_net(module, size=48)
    field = of.layers["last"].receptive_field
    if name in NOT_TIGHT:
        assert field is None
        return
    image = torch.rand(1, 3, 48, 64, dtype=torch.float64).requires_grad_()
    out = outputs(linear_copy(module), image)["last"][0]
    assert field is not None
    for y in (0, 1, out.shape[2] // 2, out.shape[2] - 1):
        for x in (0, out.shape[3] // 2, out.shape[3] - 1):
            assert field.box(y, x, 48, 64) == support(out, image, y, x), (y, x)


def test_nearest_neighbour_is_covered() -> None:
    module = Of(lambda m, x: F.interpolate(m.a(x), scale_factor=2), a=nn.MaxPool2d(2))
    field = vw.as_net(module, size=48).layers["last"].receptive_field
    image = torch.rand(1, 3, 48, 64, dtype=torch.float64).requires_grad_()
    out = outputs(linear_copy(module), image)["last"][0]
    for y, x in ((20, 30), (21, 31), (21, 30), (0, 0), (47, 63)):
        said, seen = field.box(y, x, 48, 64), support(out, image, y, x)
        assert said[0] <= seen[0]
        assert said[1] <= seen[1]
        assert said[2] >= seen[2]
        assert said[3] >= seen[3]
        assert said[2] - said[0] <= seen[2] - seen[0] + 1


WHOLE: dict[str, Callable[[], nn.Module]] = {
    "group norm": lambda: Of(lambda m, x: m.a(x), a=nn.GroupNorm(2, 4)),
    "instance norm": lambda: Of(lambda m, x: m.a(x), a=nn.InstanceNorm2d(4)),
    "batch norm without statistics": lambda: Of(lambda m, x: m.a(x), a=nn.BatchNorm2d(4, track_running_stats=False)),
    "global pool added": lambda: Of(lambda m, x: x + x.mean((2, 3), keepdim=True)),
    "softmax over positions": lambda: Of(lambda m, x: x.flatten(2).softmax(2).unflatten(2, x.shape[2:])),
    "matrix over positions": lambda: Of(lambda m, x: torch.eye(x.shape[2]) @ x),
    "matrix over tokens": lambda: Of(
        lambda m, x: (torch.eye(x[0, 0].numel()) @ x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])),
    "attention": lambda: Of(
        lambda m, x: m.a(*[x.flatten(2).transpose(1, 2)] * 3)[0].transpose(1, 2).unflatten(2, x.shape[2:]),
        a=nn.MultiheadAttention(4, 2, batch_first=True)),
    "circular padding": lambda: Of(lambda m, x: m.a(x), a=nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")),
    "flipped": lambda: Of(lambda m, x: x + x.flip(2)),
    "rolled": lambda: Of(lambda m, x: x + x.roll(1, 2)),
    "transposed map": lambda: Of(lambda m, x: x + x.transpose(2, 3)),
    "strides that differ": lambda: Of(lambda m, x: x[:, :, ::2] + x[:, :, : x.shape[2] // 2]),
    "fourier": lambda: Of(lambda m, x: torch.fft.ifft2(torch.fft.fft2(x)).real),
    "computed weights": lambda: Of(lambda m, x: F.conv2d(torch.ones(1, 4, 48, 48), x.mean((2, 3), keepdim=True))),
    "copied into zeros": lambda: Of(lambda m, x: torch.zeros_like(x).copy_(x.flip(3))),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_what_mixes_positions_sees_the_whole_image(name: str) -> None:
    of = vw.as_net(WHOLE[name](), size=48)
    assert of.layers["first"].receptive_field is not None
    assert of.layers["last"].receptive_field is None


def test_linear_layers_see_the_whole_image_even_when_square() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    of = vw.as_net(module, size=16)
    assert of.channels == 1
    assert all(of.layers[n].receptive_field is None for n in ("1", "2", "3"))


def test_by_hand() -> None:
    of = vw.as_net(nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, (3, 5), padding=(1, 2))), size=64)
    fields = [of.layers[n].receptive_field for n in "012"]
    assert [f.size for f in fields] == [(7, 7), (11, 11), (19, 27)]
    assert [f.stride for f in fields] == [(2, 2), (4, 4), (4, 4)]
    assert [f.offset for f in fields] == [(-3, -3), (-5, -5), (-9, -13)]
    assert [str(f) for f in fields] == ["7×7", "11×11", "19×27"]
    assert fields[2].box(0, 1, 64, 64) == (0, 0, 10, 18)
    assert fields[2].box(15, 15, 64, 64) == (51, 47, 64, 64)


def test_a_box_in_the_padding_is_empty() -> None:
    of = vw.as_net(nn.Sequential(nn.Conv2d(3, 4, 1, padding=3)), size=16)
    y0, x0, y1, x1 = of.layers["0"].receptive_field.box(0, 21, 16, 16)
    assert (y1 - y0, x1 - x0) == (0, 0)
    assert 0 <= y0 <= 16
    assert 0 <= x0 <= 16


def test_vision_transformers() -> None:
    of = vw.as_net(make("vit"), size=64)
    assert of.layers["conv_proj"].receptive_field.size == (16, 16)
    assert of.layers["encoder.layers.encoder_layer_0"].receptive_field is None
    swin = vw.as_net(make("swin"), size=64)
    assert swin.layers["features.0"].receptive_field.size == (4, 4)
    assert swin.layers["features.1.0"].receptive_field is None


def test_the_modules_used_here_are_what_they_seem() -> None:
    # Without it a change of torchvision could empty the lists above.
    assert any(isinstance(m, Conv2dNormActivation) for m in make("mobilenet_v2").modules())
    assert len(list(FunctionalRelu().modules())) == 4
    assert len(list(Halved().modules())) == 5
