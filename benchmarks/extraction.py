"""`extract` on every convolution, and hooks alone, against the bare forward pass."""

from __future__ import annotations

import torch
from torchvision import models

import vizwidgets as vw
from vizwidgets.core.hooks import on_outputs

from .timing import side_by_side, table

LIMITS = {"resnet18": 1.10, "squeezenet1_1": 1.5, "vgg11": 1.5, "googlenet": 1.5}


def networks() -> dict[str, vw.Net]:
    """Seeded random weights at 224 pixels, and the bundled network."""
    nets = {"flowers": vw.load("flowers")}
    for name in ("resnet18", "squeezenet1_1", "vgg11", "googlenet"):
        options = {"init_weights": False} if name == "googlenet" else {}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            nets[name] = vw.as_net(getattr(models, name)(weights=None, **options).eval(), size=224, name=name)
    return nets


def measure() -> str:
    """The ratios as a Markdown section."""
    rows = []
    for name, net in networks().items():
        x = torch.rand(4 if name == "flowers" else 1, 3, *net.size, generator=torch.Generator().manual_seed(0))
        layers = [r.name for r in net.layers.values() if r.kind == "Conv2d" and r.shape is not None]
        copied = sum(net.layers[n].overwritten for n in layers)

        def extracted(net: vw.Net = net, x: torch.Tensor = x, layers: list[str] = layers) -> None:
            with vw.extract(net, *layers):
                net(x)

        def hooked(net: vw.Net = net, x: torch.Tensor = x, layers: list[str] = layers) -> None:
            with on_outputs(net.module, layers, lambda *_: None):
                net(x)

        with torch.inference_mode():
            times = side_by_side({"forward": lambda net=net, x=x: net(x), "hooks": hooked, "extract": extracted})
        rows.append([
            name, str(len(layers)), str(copied), f"{times['forward'] * 1e3:.1f}", f"{times['hooks'] / times['forward']:.2f}",
            f"{times['extract'] / times['forward']:.2f}", f"{LIMITS[name]:.2f}" if name in LIMITS else "-",
        ])  # fmt: skip
    head = ["network", "convolutions", "copied (an in-place ReLU follows)", "forward, ms", "hooks alone / forward",
            "extract / forward", "limit"]  # fmt: skip
    return "## extract on every convolution\n\n" + table(head, rows)
