"""The networks that the engine is tested on, small and with seeded random weights; and what must not change in them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models as tv
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

import vizwidgets as vw


def tv_mobilenet_v3() -> nn.Module:
    row = partial(InvertedResidualConfig, width_mult=1.0)
    rows = [
        row(16, 3, 16, 16, True, "RE", 2, 1),
        row(16, 3, 32, 24, False, "HS", 2, 1),
        row(24, 5, 64, 24, True, "HS", 1, 1),
    ]
    return MobileNetV3(rows, last_channel=64, num_classes=10)


def tv_efficientnet() -> nn.Module:
    rows = [MBConvConfig(1, 3, 1, 16, 16, 1), MBConvConfig(4, 5, 2, 16, 24, 2), MBConvConfig(4, 3, 2, 24, 32, 1)]
    return EfficientNet(rows, dropout=0.2, last_channel=64, num_classes=10)


def tv_convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], layer_scale=0.5, num_classes=10)


def tv_swin() -> nn.Module:
    return SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10)


class FunctionalRelu(nn.Module):
    """Every activation a function, one of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return self.fc(x.mean((2, 3)))


class InPlace(nn.Module):
    """Overwrites in every way: a module, a function, a method, an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2, self.conv3, self.conv4 = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        y = F.relu_(self.drop(self.conv2(x)))
        y = self.conv3(y)
        y += x
        y = self.conv4(y).mul_(0.5).relu_()
        return self.fc(y.mean((2, 3)))


class SharedRelu(nn.Module):
    """One ReLU module for all, and one convolution run twice."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.conv1, self.twice = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(self.twice(x))
        x = self.relu(self.twice(x))
        return self.fc(x.amax((2, 3)))


class Viewed(nn.Module):
    """Flattens by `.view`, which refuses the channels-last memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc(x.view(x.shape[0], -1))


class Output(nn.Module):
    """Gives what `form` makes of the class scores and the features."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any], unused: bool = False) -> None:
        super().__init__()
        self.form, self.body = form, small(3)[:3]
        self.unused, self.head = nn.Conv2d(3, 3, 1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        return self.form(self.head(x.mean((2, 3))), x)


class Halved(nn.Module):
    """Halves of the channels go different ways and are shuffled, as in ShuffleNet; with a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(4, 4, 5, padding=2, groups=4)
        self.mix, self.fc = nn.ChannelShuffle(2), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x).chunk(2, 1)
        return self.fc(self.mix(torch.cat([a, self.deep(b)], 1)).mean((2, 3)))


def small(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def flat() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 20), nn.ReLU(inplace=True), nn.Linear(20, 10))


TORCHVISION: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "squeezenet": (lambda: tv.squeezenet1_1(num_classes=10), 64),
    "resnet": (lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10), 64),
    "densenet": (lambda: tv.DenseNet(8, (2, 2, 2), 16, num_classes=10), 64),
    "googlenet": (lambda: tv.googlenet(num_classes=10, aux_logits=False, init_weights=False), 64),
    "mobilenet_v2": (lambda: tv.mobilenet_v2(num_classes=10, width_mult=0.25), 64),
    "mobilenet_v3": (tv_mobilenet_v3, 64),
    "efficientnet": (tv_efficientnet, 64),
    "shufflenet": (lambda: tv.shufflenet_v2_x0_5(num_classes=10), 64),
    "convnext": (tv_convnext, 64),
    "swin": (tv_swin, 64),
    "vit": (lambda: VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=10), 64),
}
HAND_MADE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "functional": (FunctionalRelu, 32),
    "in_place": (InPlace, 32),
    "shared": (SharedRelu, 32),
    "shared_in_place": (partial(SharedRelu, True), 32),
    "one_channel": (partial(small, 1), 28),
    "five_channels": (partial(small, 5), 32),
    "viewed": (Viewed, 32),
    "dict": (partial(Output, lambda s, x: {"logits": s, "features": x}), 32),
    "tuple": (partial(Output, lambda s, x: (s, x)), 32),
    "halved": (Halved, 32),
    "no_convolution": (flat, 16),
    "half": (lambda: small(3).half(), 32),
    "double": (lambda: small(3).double(), 32),
    "parallel": (lambda: nn.DataParallel(small(3)), 32),
    "compiled": (lambda: torch.compile(small(3)), 32),
}
MATRIX = {**TORCHVISION, **HAND_MADE}


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """Other weights than the initial ones wherever those are zeros or ones, statistics included; in training mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in module.modules():
            for key, value in [*m.named_parameters(recurse=False), *m.named_buffers(recurse=False)]:
                if not value.is_floating_point() or (value.dim() > 1 and value.any()):
                    continue
                noise = torch.rand(value.shape, generator=generator).to(value.dtype)
                value.copy_(noise + 0.5 if value.dim() == 1 and key in ("weight", "running_var", "gamma") else noise - 0.5)
    return module


def make(name: str) -> nn.Module:
    """A module of the matrix, made anew; the global random generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MATRIX[name][0]()
    return seeded(module).train()


@cache
def net(name: str) -> vw.Net:
    """A net of the matrix; the same one for every test, since nothing may change it."""
    return vw.as_net(make(name), size=MATRIX[name][1])


@cache
def double(name: str) -> vw.Net:
    """The same in double precision."""
    return vw.as_net(make(name).double(), size=MATRIX[name][1])


def picture(of: vw.Net, batch: int = 1, size: tuple[int, int] | None = None, seed: int = 1) -> Tensor:
    """Random images for a net."""
    return torch.rand(batch, of.channels, *(size or of.size), generator=torch.Generator().manual_seed(seed))


def readable(of: vw.Net) -> list[str]:
    """The layers that `extract` can give."""
    return [n for n, row in of.layers.items() if row.shape is not None and row.layout is not None]


def plain_outputs(of: vw.Net, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What every layer gives, by hooks of its own that clone at once; the module stays as it was.

    Names as in the layer table: ``name`` or, for several calls, ``name:0``, ``name:1``.
    """
    module, taken, handles = of.module, {}, []

    def hook(name: str) -> Callable[..., None]:
        def store(_m: nn.Module, _i: Any, output: Any) -> None:
            while not isinstance(output, Tensor):
                output = next(iter(output.values() if isinstance(output, dict) else output))
            taken.setdefault(name, []).append(output.clone())

        return store

    flags = {m: m.training for m in module.modules()}
    try:
        handles += [m.register_forward_hook(hook(n)) for n, m in module.named_modules() if n]
        module.eval()
        dtype = next(module.parameters()).dtype
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (of.mean, of.std))
        with torch.no_grad():
            output = module(((images - mean) / std).to(dtype))
    finally:
        for handle in handles:
            handle.remove()
        for m, flag in flags.items():
            m.training = flag
    while not isinstance(output, Tensor):
        output = next(iter(output.values() if isinstance(output, dict) else output))
    calls = {f"{n}:{i}": v for n, values in taken.items() for i, v in enumerate(values) if len(values) > 1}
    return {**{n: v[0] for n, v in taken.items() if len(v) == 1}, **calls}, output


def state(module: nn.Module) -> dict[str, Any]:
    """Everything in a module, and around it, that looking must not change."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    found: dict[str, Any] = {}
    for name, m in module.named_modules():
        found[f"{name} training"] = m.training
        found[f"{name} inplace"] = getattr(m, "inplace", None)
        found[f"{name} hooks"] = [len(getattr(m, h)) for h in hooks]
        found[f"{name} attributes"] = sorted(vars(m))
        found[f"{name} class"] = (type(m), m.__dict__.get("forward"))
    for name, p in module.named_parameters():
        found[f"{name} requires_grad"] = p.requires_grad
        found[f"{name} grad"] = None if p.grad is None else p.grad.cpu().numpy().tobytes()
    for name, t in module.state_dict().items():
        found[f"{name} values"] = t.detach().cpu().numpy().tobytes()
    found["torch generator"] = torch.get_rng_state().numpy().tobytes()
    found["numpy generator"] = np.random.get_state()[1].tobytes(), np.random.get_state()[2]
    found["grad mode"] = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    found["threads, dtype"] = torch.get_num_threads(), torch.get_default_dtype()
    return found


@contextlib.contextmanager
def nothing_left_behind(module: nn.Module, *tensors: Tensor) -> Iterator[None]:
    """The body leaves module, tensors, random generators and modes as they were, however it is left."""
    before, values = state(module), [(t.clone(), t._version, t.requires_grad, t.grad) for t in tensors]
    try:
        yield
    finally:
        after = state(module)
        changed = [k for k in before.keys() | after.keys() if before.get(k, "absent") != after.get(k, "absent")]
        assert not changed, f"changed: {', '.join(sorted(changed)[:5])}"
        for t, (value, version, requires_grad, grad) in zip(tensors, values, strict=True):
            assert torch.equal(t, value)
            assert (t._version, t.requires_grad, t.grad) == (version, requires_grad, grad)
