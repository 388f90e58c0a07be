"""Textures by copying and by statistics, and style transfer; each part is a section of its own: `python -m benchmarks texturing.copying`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

import vizwidgets as vw
from vizwidgets.core.capture import activations

from .optimizing import network
from .timing import in_turn, over, side_by_side, table

PARTS = ("copying", "copying_sizes", "statistics", "painting", "errors", "memory")
Search = Callable[[np.ndarray, np.ndarray], np.ndarray]


def copying(limit: float = 3.0) -> str:
    """64 × 64 pixels from 32 × 32, window 11, against a search for each pixel."""
    lines = []
    for order in ("onion", "scanline"):
        for name in ("bricks", "pebbles"):
            sample = vw.data.swatch(name, 32)
            values = sample[0].double().numpy()
            runs = {"differences": lambda v=values, o=order: pixel_by_pixel(v, 64, 11, o, differences),
                    "product": lambda v=values, o=order: pixel_by_pixel(v, 64, 11, o, product),
                    "ours": lambda s=sample, o=order: vw.efros_leung(s, 64, 11, order=o).result().origin.numpy()}  # fmt: skip
            equal = all(np.array_equal(runs[how](), runs["ours"]()) for how in ("differences", "product"))
            seconds = side_by_side(runs, rounds=5, warmup=1)
            lines.append([f"{name}, {order}", *(f"{seconds[how]:.2f}" for how in ("differences", "product", "ours")),
                          f"{seconds['differences'] / seconds['ours']:.1f}", f"{limit:.1f}",
                          f"{seconds['product'] / seconds['ours']:.1f}", "yes" if equal else "NO"])  # fmt: skip
    head = ["texture", "for each pixel all differences, s", "for each pixel a matrix and a vector, s", "efros_leung, s", "ratio to the first",
            "at least", "ratio to the second", "same pixels copied"]  # fmt: skip
    return f"## texture by copying, 64 × 64 from 32 × 32, window 11\n\n{table(head, lines)}"


def copying_sizes() -> str:
    """The time for a pixel as the sample grows."""
    lines = []
    for side in (16, 24, 32, 48, 64, 96, 128):
        sample = vw.data.swatch("pebbles", side)
        values = sample[0].double().numpy()
        runs = {"differences": lambda v=values: pixel_by_pixel(v, 40, 11, "onion", differences),
                "ours": lambda s=sample: vw.efros_leung(s, 40, 11).result()}  # fmt: skip
        seconds = side_by_side(runs, rounds=3, warmup=1)
        each = {how: 1e6 * s / (40**2 - 9) for how, s in seconds.items()}
        lines.append([f"{side} × {side}", f"{(side - 10) ** 2:,}", f"{each['differences']:,.0f}", f"{each['ours']:,.0f}",
                      f"{seconds['differences'] / seconds['ours']:.1f}"])  # fmt: skip
    head = ["sample", "windows", "for each pixel all differences, µs a pixel", "efros_leung, µs a pixel", "ratio"]
    return f"## texture by copying, time for a pixel against the size of the sample (window 11)\n\n{table(head, lines)}"


def differences(windows: np.ndarray, weights: np.ndarray) -> Search:
    """The errors of all windows as they are written: squared differences, weighted; of what is known only."""
    channels = windows.shape[1]
    by_place = np.ascontiguousarray(windows.transpose(1, 2, 0))  # (C, window², windows): what is chosen lies in one piece

    def search(there: np.ndarray, known: np.ndarray) -> np.ndarray:
        heavy = weights[known]
        apart = by_place[:, known] - there[:, known, None]
        np.square(apart, out=apart)
        return heavy @ apart.sum(0) / (channels * heavy.sum())

    return search


def product(windows: np.ndarray, weights: np.ndarray) -> Search:
    """The same multiplied out: squares of the windows are known beforehand, and what is left is a matrix and a vector."""
    n, channels, _ = windows.shape
    squares, values = np.ascontiguousarray((windows**2).mean(1)), windows.reshape(n, -1)

    def search(there: np.ndarray, known: np.ndarray) -> np.ndarray:
        heavy = weights * known
        there = np.where(known, there, 0.0)
        mixed = squares @ heavy - values @ (2.0 / channels * heavy * there).ravel() + heavy @ (there**2).mean(0)
        return mixed / heavy.sum()

    return search


def pixel_by_pixel(sample: np.ndarray, size: int, window: int, order: str, make: Callable[..., Search], seed: int = 0) -> np.ndarray:
    """Efros and Leung's method, a search over all windows for each pixel; where each was copied from, (size, size, 2)."""
    channels, height, width = sample.shape
    reach, rng = window // 2, np.random.default_rng(seed)
    profile = np.exp(-0.5 * ((np.arange(window) - reach) / (window / 6.4)) ** 2)
    windows = sliding_window_view(sample, (window, window), (1, 2)).transpose(1, 2, 0, 3, 4).reshape(-1, channels, window**2)
    search = make(np.ascontiguousarray(windows), np.outer(profile, profile).ravel())
    image, known = np.zeros((channels, size + 2 * reach, size + 2 * reach)), np.zeros((size + 2 * reach, size + 2 * reach), bool)
    inner, origin = known[reach:-reach, reach:-reach], np.full((size, size, 2), -1)
    start = (size - 3) // 2 if order == "onion" else 0
    top, left = rng.integers(height - 2), rng.integers(width - 2)
    origin[start : start + 3, start : start + 3] = np.stack(np.indices((3, 3)), -1) + np.array([top, left])
    inner[start : start + 3, start : start + 3] = True
    image[:, reach + start : reach + start + 3, reach + start : reach + start + 3] = sample[:, top : top + 3, left : left + 3]
    accepted = 0.3 if order == "onion" else np.inf
    while not inner.all():
        if order == "onion":
            count = sliding_window_view(np.pad(inner, 1), (3, 3)).sum((2, 3))
            rows, columns = np.nonzero(~inner & (count > 0))
            shuffled = rng.permutation(len(rows))
            turn = shuffled[np.argsort(-count[rows, columns][shuffled], kind="stable")]
        else:
            rows, columns = np.nonzero(~inner)
            turn = np.flatnonzero(rows == rows[0])
        progress = False
        for y, x in zip(rows[turn].tolist(), columns[turn].tolist(), strict=True):
            there = image[:, y : y + window, x : x + window].reshape(channels, -1)
            errors = search(there, known[y : y + window, x : x + window].ravel())
            close = np.flatnonzero(errors <= 1.1 * errors.min() + 1e-10)
            chosen = close[int(rng.random() * len(close))]
            if errors[chosen] >= accepted:
                continue
            b, a = divmod(int(chosen), width - window + 1)
            origin[y, x] = b + reach, a + reach
            image[:, y + reach, x + reach], inner[y, x], progress = sample[:, b + reach, a + reach], True, True
        accepted *= 1.0 if progress else 1.1
    return origin


def statistics(size: int = 256) -> str:
    """A step of `gram_texture` against the raw passes."""
    lines = []
    for name in LIMITS:
        net = network(name)
        run = vw.gram_texture(net, noise(size, 1), steps=10_000)
        lines.append(step_against_passes(name, net, run, vw.default_texture_layers(net), size))
    return f"## a step of gram_texture, {size} × {size}, L-BFGS with a history of 10\n\n{table(STEP_HEAD, lines)}"


def painting(size: int = 256) -> str:
    """A step of `style_transfer` against the raw passes."""
    lines = []
    for name in LIMITS:
        net = network(name)
        run = vw.style_transfer(net, noise(size, 1), noise(size, 2), steps=10_000)
        lines.append(step_against_passes(name, net, run, (*vw.default_style_layers(net), vw.default_content_layer(net)), size))
    return f"## a step of style_transfer, {size} × {size}, L-BFGS with a history of 10\n\n{table(STEP_HEAD, lines)}"


LIMITS = {"squeezenet1_1": 1.3, "vgg16": 1.1}
STEP_HEAD = ["network", "layers", "raw passes, ms", "step, ms", "ratio", "limit"]


def noise(size: int, seed: int) -> Tensor:
    """A picture of random pixels."""
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def step_against_passes(name: str, net: vw.Net, run: vw.Run, layers: tuple[str, ...], size: int) -> list[str]:
    """A row: a step of a run, and the pass forward to the deepest layer that it reads and back to the pixels."""
    deepest = max(layers, key=net.layers.order.index)
    x = noise(size, 0).requires_grad_()
    with torch.no_grad():
        slope = torch.randn_like(activations(net, x, deepest)[deepest])

    def passes() -> None:
        torch.autograd.grad(activations(net, x, deepest)[deepest], x, slope)

    for _ in range(12):  # until L-BFGS remembers all that it will
        next(run)
    rounds, calls = (15, 5) if name == "squeezenet1_1" else (7, 2)
    seconds = in_turn({"passes": passes, "step": lambda: next(run)}, rounds=rounds, calls=calls)
    return [name, ", ".join(dict.fromkeys(layers)), f"{1e3 * median(seconds['passes']):.1f}", f"{1e3 * median(seconds['step']):.1f}",
            f"{over(seconds['step'], seconds['passes']):.2f}", f"{LIMITS[name]:.1f}"]  # fmt: skip


def errors(limit: float = 0.01) -> str:
    """The Gram error as a share of that of the noise at the start, with ImageNet weights, where the data folder has them."""
    data = Path(os.environ.get("VIZWIDGETS_DATA", ""))
    net, lines = network("squeezenet1_1"), []
    marks = (64, 128, 256, 512)
    for path in sorted((data / "styles").glob("*/*")) if net.labels else []:
        sample = F.interpolate(vw.image(path, net), (128, 128), mode="area")
        found = [step.scores["style"].item() for step in vw.gram_texture(net, sample, steps=max(marks))]
        best = [min(found[:n]) / found[0] for n in marks]
        lines.append([path.stem, *(f"{share:.2%}" for share in best), f"{limit:.0%}"])
    head = ["style", *(f"after {n} steps" for n in marks), "limit"]
    return f"## Gram error of squeezenet1_1 (ImageNet weights), as a share of its start, 128 × 128\n\n{table(head, lines)}"


def memory(size: int = 512) -> str:
    """The most memory that a process needs for a few steps of style transfer; pages of libraries, which the system may drop, left out."""
    lines = []
    for name in ("flowers", *LIMITS):
        code = (
            f"import vizwidgets as vw; from benchmarks.texturing import network, noise; net = network({name!r}); "
            f"vw.style_transfer(net, noise({size}, 1), noise({size}, 2), size={size}, steps=15).result(); "
            "own = {k: int(v.split()[0]) for k, v in (l.split(':') for l in open('/proc/self/status')) if k in ('VmHWM', 'RssFile')}; "
            "print(own['VmHWM'] - own['RssFile'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        lines.append([name, f"{int(done.stdout) / 1e6:.2f}", "2"])
    return f"## memory of a style transfer, {size} × {size}\n\n{table(['network', 'most of the process, GB', 'limit'], lines)}"
