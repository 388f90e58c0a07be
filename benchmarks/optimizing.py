"""A step of the image optimizer against a bare loop by hand, the raw passes, and Lucent where `torch-lucent` is installed."""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torchvision import models

import vizwidgets as vw
from vizwidgets.core.capture import activations
from vizwidgets.core.transforms import RandomView

from .timing import side_by_side, table

SIZE = 224
STEPS = 64
CHANNELS = range(0, 64, 8)  # that are compared with Lucent's in score
LAYERS = {
    "flowers": ("stem.relu", "stage2", "stage4"),
    "squeezenet1_1": ("features.4", "features.7", "features.12"),
    "resnet18": ("layer1", "layer3.0", "layer4"),
    "vgg16": ("features.8", "features.15", "features.29"),
}
# What Lucent must at least be slower by.
FACTORS = {("squeezenet1_1", 0): 2.0, ("squeezenet1_1", 1): 2.0, ("squeezenet1_1", 2): 1.5, ("resnet18", 0): 2.0, ("resnet18", 2): 1.5}


def network(name: str) -> vw.Net:
    """The bundled network, one with ImageNet weights where they are at hand, or a seeded random one of torchvision's."""
    weights = Path(os.environ.get("VIZWIDGETS_DATA", ""), "models", f"{name}.safetensors")
    if name == "flowers" or weights.exists():
        return vw.load(name, **({} if name == "flowers" else {"weights": weights}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vw.as_net(getattr(models, name)(weights=None).eval(), size=SIZE, name=name)


class _Stop(Exception):
    pass


def bare_loop(net: vw.Net, layer: str, channel: int, size: int) -> Callable[[], None]:
    """One step as one would write it by hand: same parameters, transforms and optimiser, forward only to the layer."""
    module, image = copy.deepcopy(net.module).requires_grad_(False), vw.FourierImage(size=(size, size))
    view = RandomView("default")
    values = image.values
    optimizer = torch.optim.Adam([values], lr=0.05)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (net.mean, net.std))
    found: list[torch.Tensor] = []

    def keep(_m: Any, _i: Any, output: torch.Tensor) -> None:
        found.append(output)
        raise _Stop

    module.get_submodule(layer).register_forward_hook(keep)

    def step() -> None:
        x = ((view(image()) - mean) / std).contiguous(memory_format=torch.channels_last)
        found.clear()
        with suppress(_Stop):
            module(x)
        score = found[0][:, channel].mean()
        (gradient,) = torch.autograd.grad(-score, values)
        values.grad = gradient
        optimizer.step()

    return step


def floor(net: vw.Net, layer: str, channel: int, size: int) -> Callable[[], None]:
    """The raw pass forward to the layer and back to the pixels."""
    x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def step() -> None:
        with torch.enable_grad():
            torch.autograd.grad(activations(net, x, layer)[layer][:, channel].mean(), x)

    return step


def lucent_steps(net: vw.Net, layer: str, channel: int, size: int) -> Iterator[Callable[[], torch.Tensor]]:
    """Steps of Lucent, one at each request; gives what makes the image as it is then."""
    import lucent.optvis.objectives as objectives
    from lucent.optvis import param, render, transform

    module = copy.deepcopy(net.module)
    torch.manual_seed(0)
    params, image_f = param.image(size)
    optimizer = torch.optim.Adam(params, lr=5e-2)
    transform_f = transform.compose([*transform.standard_transforms, transform.normalize()])
    hook = render.hook_model(module, image_f)
    objective = objectives.as_objective(objectives.channel(layer.replace(".", "_"), channel))
    while True:
        optimizer.zero_grad()
        module(transform_f(image_f()))
        objective(hook).backward()
        optimizer.step()
        yield image_f


def grown(net: vw.Net, layer: str, size: int) -> str:
    """What `CHANNELS` answer on average to the images after `STEPS` steps of ours and of Lucent, without transforms, and how
    many of them answer more to ours.
    """
    scores = []
    for channel in CHANNELS:
        target = vw.Channel(layer, channel)
        optimizer = vw.ImageOptimizer(net, target, vw.FourierImage(size=(size, size)), transforms="default")
        ours = [optimizer.step() for _ in range(STEPS)][-1].image
        theirs = [image() for image in islice(lucent_steps(net, layer, channel, size), STEPS)][-1].detach()
        scores.append([vw.score(net, target, image).item() for image in (ours, theirs)])
    means, wins = torch.tensor(scores).mean(0).tolist(), sum(mine > theirs for mine, theirs in scores)
    return f"{means[0]:.3g}, {means[1]:.3g} ({wins} of {len(scores)})"


def measure() -> str:
    """The ratios as a Markdown section."""
    rows = []
    for name, layers in LAYERS.items():
        net, size = network(name), 96 if name == "flowers" else SIZE
        for place, layer in enumerate(layers):
            ours = vw.ImageOptimizer(net, vw.Channel(layer, 3), vw.FourierImage(size=(size, size)), transforms="default", redirect=0)
            candidates = {"ours": ours.step, "bare": bare_loop(net, layer, 3, size), "floor": floor(net, layer, 3, size)}
            if name != "flowers" and find_spec("lucent"):
                with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
                    warnings.simplefilter("ignore")
                    peer = lucent_steps(net, layer, 3, size)
                    next(peer)
                candidates["lucent"] = lambda peer=peer: next(peer)
            # Several in a row, as a run takes them; of a single step between others' the processor's caches know nothing.
            rounds, calls = {"flowers": (40, 20), "vgg16": (5, 2)}.get(name, (15, 5))
            times = side_by_side(candidates, rounds=rounds, calls=calls)
            factor = FACTORS.get((name, place)) if "lucent" in times else None
            rows.append([
                name, layer, f"{times['ours'] * 1e3:.1f}", f"{times['ours'] / times['bare']:.2f}", f"{times['ours'] / times['floor']:.2f}",
                f"{times['lucent'] / times['ours']:.1f}" if "lucent" in times else "-", f"{factor:.1f}" if factor else "-",
                grown(net, layer, size) if factor else "-",
            ])  # fmt: skip
    head = ["network", "layer", "step, ms", "step / bare loop (limit 1.05)", "step / raw passes", "Lucent / step", "at least", f"score after {STEPS} steps: ours, Lucent (higher in)"]
    return "## a step of image optimization (one image, default transforms)\n\n" + table(head, rows)
