"""Occlusion against Captum, its order and its preview; gradients and Grad-CAM against the raw passes."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from captum.attr import Occlusion
from scipy.stats import spearmanr
from torch import Tensor
from torchvision import models

import vizwidgets as vw
from vizwidgets.core.capture import extract
from vizwidgets.core.precision import has_bfloat16

from .timing import in_turn, over, side_by_side, table

SIZE, WINDOW, STRIDE = 224, 32, 8
AT_LEAST = {"squeezenet1_1": 1.7, "googlenet": 1.7, "resnet18": 1.1, "resnet50": 1.1, "vgg16": 1.0}
COARSE = {"googlenet": 12, "resnet50": 12, "vgg16": 16}  # strides of what would take minutes; the time for a window is the same
GRADIENTS = {"squeezenet1_1": "features.12", "googlenet": "inception5b", "resnet18": "layer4", "vgg16": "features.29", "flowers": "stage4"}
PHOTOS = 50
PARTS = ("against_captum", "order_and_preview", "gradients")


def network(name: str) -> vw.Net:
    """The bundled network, one with ImageNet weights where they are at hand, or a seeded random one of torchvision's."""
    weights = Path(os.environ.get("VIZWIDGETS_DATA", ""), "models", f"{name}.safetensors")
    if name == "flowers" or weights.exists():
        return vw.load(name, **({} if name == "flowers" else {"weights": weights}))
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        module = getattr(models, name)(weights=None, **options).eval()
        for m in module.modules():  # as they come, deep networks let hardly anything through
            if isinstance(m, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        return vw.as_net(module, size=SIZE, name=name)


def photographs(net: vw.Net, count: int) -> list[Tensor]:
    """Photographs where they are at hand, or none."""
    paths = sorted(Path(os.environ.get("VIZWIDGETS_DATA", ""), "photos").glob("*.jpg"))
    return [vw.image(p, net) for p in paths[:: max(1, len(paths) // count)][:count]] if paths else []


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Time and what came out."""
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def captums(net: vw.Net, x: Tensor) -> Callable[[int, int], Tensor]:
    """Captum's map (1, H, W) for a stride and a number of windows at a time."""
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (net.mean, net.std))
    method, normalised, grey = Occlusion(net.module), (x - mean) / std, ((0.5 - mean) / std).expand_as(x)

    def of(stride: int, at_once: int) -> Tensor:
        return method.attribute(
            normalised, (3, WINDOW, WINDOW), strides=(3, stride, stride), target=1, baselines=grey, perturbations_per_eval=at_once
        )[:, 0]

    return of


def raw_passes(net: vw.Net, at_once: int) -> float:
    """Seconds an image of the bare module in the faster memory layout, the median of five batches."""
    images = torch.rand(at_once, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return side_by_side({"pass": lambda: net.module(images)}, rounds=5)["pass"] / at_once


def against_captum() -> str:
    """Whole maps, and the first picture of each, on one thread and on as many as PyTorch takes."""
    own = torch.get_num_threads()
    try:
        return "\n\n".join(["## occlusion over Captum", *(_against_captum(threads) for threads in sorted({1, own}))])
    finally:
        torch.set_num_threads(own)


def _against_captum(threads: int) -> str:
    torch.set_num_threads(threads)
    rows = []
    for name, least in AT_LEAST.items():
        net, stride = network(name), COARSE.get(name, STRIDE)
        x = torch.as_tensor((photographs(net, 1) or [torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))])[0])
        peer = captums(net, x)
        ours = partial(vw.occlusion, net, x, vw.Logit(1), window=WINDOW, stride=stride)
        next(ours())
        peer(WINDOW, 1)
        tried = {at_once: seconds(partial(peer, WINDOW, at_once))[0] for at_once in (1, 4, 16)}
        best = min(tried, key=lambda at_once, tried=tried: tried[at_once])
        times, mine, theirs = [], None, None
        for _ in range(1 if name in COARSE else 2):
            first, _step = seconds(lambda ours=ours: next(ours()))
            took, mine = seconds(lambda ours=ours: ours().result())
            took_captum, theirs = seconds(lambda peer=peer, best=best, stride=stride: peer(stride, best))
            times.append([took, took_captum, first])
        took, took_captum, first = torch.tensor(times).median(0).values.tolist()
        windows = (-(-(SIZE - WINDOW) // stride) + 1) ** 2
        gap = (mine.map - theirs).abs().max() / theirs.abs().max()
        rows.append([
            name, str(stride), f"{took / windows * 1e3:.1f}", f"{min(raw_passes(net, n) for n in (4, 8, 16)) * 1e3:.1f}",
            f"{took_captum / windows * 1e3:.1f} ({best} at a time)",
            f"{took_captum / took:.2f}", f"{least:.1f}", f"{100 * first / took:.1f} %", f"{gap:.0e}",
        ])  # fmt: skip
    head = ["network", "stride", "ours, ms a window", "raw passes, best of 4, 8 and 16 at a time", "Captum's best, ms a window", "Captum / ours", "at least",
            "first picture, of the whole time (limit 5 %, stride 8)", "largest difference, of the map's maximum"]  # fmt: skip
    return f"Windows of {WINDOW} at {SIZE} px, {threads} thread{'s' if threads > 1 else ''}.\n\n" + table(head, rows)


def order_and_preview() -> str:
    """What a third of the windows finds, and what fewer bits give, on photographs."""
    net = network("squeezenet1_1")
    photos = photographs(net, PHOTOS)
    if not photos:
        return "## occlusion, what comes first\n\nNo photographs at hand: order and preview were not measured."
    found, ranks, times = [], [], []
    for i, x in enumerate(photos):
        target = vw.Logit(int(net(x).argmax()))
        run = partial(vw.occlusion, net, x, target, window=WINDOW, stride=STRIDE)
        steps, early = run(), torch.empty(0)

        def whole(steps: Any = steps) -> Tensor:
            nonlocal early
            for step in steps:
                early = step.map[0] if step.done <= 1 / 3 else early
            return steps.last.map[0]

        took, exact = seconds(whole)
        count = round(0.05 * exact.numel())
        best, seen = (set(m.flatten().topk(count).indices.tolist()) for m in (exact, early))
        found.append(len(best & seen) / count)
        if i < 5 and has_bfloat16():
            took_rough, rough = seconds(lambda run=run: run(precision="bfloat16").result().map)
            times.append(took_rough / took)
            ranks.append(spearmanr(rough.flatten(), exact.flatten()).statistic)
    text = (f"## occlusion, what comes first\n\nA third of the windows finds {100 * sum(found) / len(found):.0f} % of the 5 % of the pixels that matter most "
            f"(mean of {len(found)} photographs, at least 80 % wanted; the worst {100 * min(found):.0f} %).")  # fmt: skip
    if ranks:
        text += (f" With bfloat16 a map takes {sum(times) / len(times):.2f} of the time; its rank correlation to the exact one is "
                 f"{sum(ranks) / len(ranks):.2f} (mean of {len(ranks)}, the lowest {min(ranks):.2f}).")  # fmt: skip
    return text


def gradients() -> str:
    """Saliency, guided backpropagation and Grad-CAM over the raw passes."""
    rows, target = [], vw.Logit(1)
    for name, layer in GRADIENTS.items():
        net = network(name)
        x = torch.rand(1, 3, *net.size, generator=torch.Generator().manual_seed(0))

        def raw(net: vw.Net = net, x: Tensor = x) -> None:
            image = x.clone().requires_grad_()
            torch.autograd.grad(net(image)[:, 1].sum(), image)

        def to_layer(net: vw.Net = net, x: Tensor = x, layer: str = layer) -> None:
            with extract(net, layer) as acts:
                score = net(x.clone().requires_grad_())[:, 1].sum()
            torch.autograd.grad(score, acts[layer])

        times = in_turn({
            "raw": raw, "saliency": lambda net=net, x=x: vw.saliency(net, x, target), "layer": to_layer,
            "guided": lambda net=net, x=x: vw.guided_backprop(net, x, target),
            "gradcam": lambda net=net, x=x, layer=layer: vw.gradcam(net, x, target, layer=layer),
        }, **{"flowers": {"rounds": 120, "calls": 5}, "squeezenet1_1": {"rounds": 40, "calls": 3}}.get(name, {"rounds": 30}))  # fmt: skip
        rows.append([
            name, f"{median(times['raw']) * 1e3:.1f}", f"{over(times['saliency'], times['raw']):.2f}",
            f"{over(times['guided'], times['raw']):.2f}", f"{over(times['gradcam'], times['layer']):.2f} ({layer})",
        ])  # fmt: skip
    return "## gradients and Grad-CAM\n\n" + table(
        ["network", "forward and back to the image, ms", "saliency (limit 1.05)", "guided backprop (1.25)",
         "Grad-CAM, over the pass to its layer (1.10)"], rows)  # fmt: skip
