"""Inversion against the published schedule, side by side: whoever has used less time takes the next step."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

import vizwidgets as vw
from vizwidgets.core.capture import activations

from .timing import table

# The paper's learning rates, step by step.
RATES = [0.004] * 100 + [0.0004] * 200 + [0.00004] * 100
# By layer: the paper's weight of total variation for early, middle and late layers, and a factor on the learning rate that suits the
# schedule here. It was made for another network: on some layers of these it would diverge. Tried on one picture each.
LAYERS = {
    "flowers": {"stem": (1, 3), "stage2": (10, 1), "stage4": (100, 0.3), "head": (100, 0.1)},
    "squeezenet1_1": {"features.4": (1, 3), "features.7": (10, 3), "features.12": (100, 0.3), "classifier": (100, 0.3)},
}
DRAWINGS = 3
SIZE = 128  # of the photograph; at its usual 224 px squeezenet1_1 would take three times as long


def normalised_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared distance over squared length."""
    return (found - wanted).square().sum() / wanted.square().sum()


def published(net: vw.Net, x: Tensor, layer: str, smooth: float, factor: float, length: float) -> Iterator[tuple[float, Tensor]]:
    """Mahendran and Vedaldi 2015 by hand: errors, and images that are not clipped, after each of 400 steps.

    As in their own code: pixels from 0 to 255 without their mean, from noise that is as long as pictures are (`length`), both
    gradients on that scale, and the momentum forgotten where the learning rate changes.
    """
    mean = torch.tensor(net.mean).view(1, -1, 1, 1)
    wanted = _activations(net, x, layer).detach()
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    z = z * (length / z.norm())
    momentum, before = torch.zeros_like(z), None
    for rate in RATES:
        z.requires_grad_()
        error = normalised_error(_activations(net, z / 255 + mean, layer), wanted)
        (gradient,) = torch.autograd.grad(error, z)
        with torch.no_grad():
            momentum = torch.zeros_like(z) if rate != before else 0.9 * momentum
            penalty = smooth / 2 * _smoothness(z) + 8e-10 / 2 * 6 * z**5
            momentum = momentum - factor * rate * (length**2 * gradient + penalty)
            image, z, before = z.detach() / 255 + mean, z + momentum, rate
        yield error.item(), image


def ours(net: vw.Net, x: Tensor, layer: str) -> Iterator[tuple[float, Tensor]]:
    """`vizwidgets.invert` as it comes: least error so far, and the image."""
    least = math.inf
    for step in vw.invert(net, x, layer, steps=4000):
        least = min(least, next(v.item() for name, v in step.scores.items() if name.startswith("Distance")))
        yield least, step.image


def compare(net: vw.Net, x: Tensor, layer: str, smooth: float, factor: float, length: float) -> dict[str, float]:
    """Final errors of both after the same time, distances of the pictures, and the part of the time until ours is as good."""
    vw.invert(net, x, layer, steps=2).result()  # what is done but once is not counted
    runs = {"ours": ours(net, x, layer), "published": published(net, x, layer, smooth, factor, length)}
    used = dict.fromkeys(runs, 0.0)
    last: dict[str, tuple[float, Tensor]] = {}
    trace = []
    while True:
        name = min(used, key=lambda n: used[n])
        began = time.perf_counter()
        step = next(runs[name], None)
        used[name] += time.perf_counter() - began
        if step is None:
            break
        last[name] = step
        if name == "ours":
            trace.append((used[name], step[0]))
    final = last["published"][0]
    reached = next((t for t, error in trace if error <= final), math.inf)
    found = {name: error for name, (error, _) in last.items()}
    return found | {f"{n} picture": float((i.clamp(0, 1) - x).square().mean() / x.var()) for n, (_, i) in last.items()} | {
        "part": reached / used["published"], "steps": len(trace), "seconds": used["published"],
    }  # fmt: skip


def pictures() -> Iterator[tuple[vw.Net, list[Tensor]]]:
    """The bundled network and drawings; squeezenet1_1 and a photograph, where the data folder has them."""
    net = vw.load("flowers")
    drawings = vw.data.Flowers(DRAWINGS, seed=11)
    yield net, [drawings[i][0][None] for i in range(DRAWINGS)]
    data = Path(os.environ.get("VIZWIDGETS_DATA", ""))
    if (data / "models" / "squeezenet1_1.safetensors").is_file():
        net = vw.load("squeezenet1_1", weights=data / "models" / "squeezenet1_1.safetensors")
        photograph = vw.image(data / "misc" / "chelsea_cat.jpg", net)
        yield net, [F.interpolate(photograph, (SIZE, SIZE), mode="area")]


def measure() -> str:
    """Errors side by side as a Markdown section."""
    rows = []
    for net, images in pictures():
        mean = torch.tensor(net.mean).view(1, -1, 1, 1)
        length = median(float((255 * (x - mean)).norm()) for x in images)
        for layer, (smooth, factor) in LAYERS[net.name].items():
            found = [compare(net, x, layer, smooth, factor, length) for x in images]
            each = {key: median(f[key] for f in found) for key in found[0]}
            ratio = median(f["ours"] / f["published"] for f in found)
            rows.append([
                net.name, str(len(images)), layer, f"{each['seconds']:.0f}", f"{each['ours']:.1e}", f"{each['published']:.1e}",
                f"{ratio:.1e}", f"{each['part']:.0%}", f"{each['ours picture']:.2f}", f"{each['published picture']:.2f}", f"{factor:g}",
            ])  # fmt: skip
    head = [
        "network", "pictures", "layer", "seconds", "error, ours", "error, published", "ratio (limit 1)", "ours is there after",
        "picture, ours", "picture, published", "its rate times",
    ]  # fmt: skip
    about = (
        "`invert` as it comes, and the schedule of Mahendran and Vedaldi (2015: 400 steps with momentum, written by hand after their own "
        "code), for the same time, medians. Error: squared distance of the activations over their squared length, of their pictures "
        "before they are clipped. Picture: squared distance of the pixels over their variance. The schedule was made for another "
        "network, so its learning rate is multiplied by a factor that suits it here (tried on one picture, from 0.3 to 3 at least: the "
        "others diverge or gain less than a third)."
    )
    return f"## inversion at equal time\n\n{about}\n\n" + table(head, rows)


def _activations(net: vw.Net, x: Tensor, layer: str) -> Tensor:
    return activations(net, x, layer)[layer]


def _smoothness(z: Tensor) -> Tensor:
    """The gradient of the sum of squared steps to the right and below."""
    right, down = z.diff(dim=3), z.diff(dim=2)
    found = torch.zeros_like(z)
    found[..., :-1] -= 2 * right
    found[..., 1:] += 2 * right
    found[..., :-1, :] -= 2 * down
    found[..., 1:, :] += 2 * down
    return found
