"""Pictures made for a class: does a network that learned for itself recognise them? And with real weights, is the class on top?"""

from __future__ import annotations

import os
from pathlib import Path

import torch

import vizwidgets as vw
from vizwidgets.methods.shapebias import wilson

from .timing import table

CLASSES, SEEDS = 10, 10
RUNS = {"flowers": tuple(vw.PRESETS), "flowers-robust": ("fourier", "total variation", "none")}
# The score of the robust network rises more slowly.
STEPS = {"flowers": 64, "flowers-robust": 128, "squeezenet1_1": 256}
LIMITS = {"flowers": "80 % for the best", "flowers-robust": "90 % for the best", "squeezenet1_1": "95 %"}
WEIGHTS = Path(os.environ.get("VIZWIDGETS_DATA", "")) / "models" / "squeezenet1_1.safetensors"


def recognised(name: str, preset: str) -> int:
    """How many of the pictures that please one network the other one calls by the right name."""
    net, judge = vw.load(name), vw.load("flowers-2")
    hits = 0
    for label in range(CLASSES):
        image = vw.visualize(net, vw.Logit(label), preset=preset, steps=STEPS[name], batch=SEEDS).result().image
        with torch.no_grad():
            hits += int((judge(image).argmax(1) == label).sum())
    return hits


def on_top(classes: range, batch: int = 8) -> int:
    """For how many classes of ImageNet the finished picture has its class on top, with the weights of squeezenet1_1."""
    net = vw.load("squeezenet1_1", weights=WEIGHTS)
    hits = 0
    for first in range(0, len(classes), batch):
        some = classes[first : first + batch]
        image = vw.visualize(net, [vw.Logit(c) for c in some], steps=STEPS["squeezenet1_1"]).result().image
        with torch.no_grad():
            hits += int((net(image).argmax(1) == torch.tensor(some)).sum())
    return hits


def row(name: str, preset: str, asked: str, hits: int, of: int) -> list[str]:
    """A line of the table: the share with its interval."""
    low, high = wilson(hits, of)
    return [f"`{name}`", preset, str(STEPS[name]), asked, f"{hits} of {of}", f"{low:.0%} to {high:.0%}", LIMITS[name]]


def measure() -> str:
    """The shares as a Markdown section."""
    rows = [
        row(name, preset, "`flowers-2` recognises it", recognised(name, preset), CLASSES * SEEDS)
        for name, presets in RUNS.items() for preset in presets
    ]  # fmt: skip
    asked, classes = "its class is on top", range(0, 1000, 25)
    if WEIGHTS.is_file():
        rows.append(row("squeezenet1_1", "fourier", asked, on_top(classes), len(classes)))
    else:
        rows.append(["`squeezenet1_1`", "fourier", "-", asked, "weights not there", "-", LIMITS["squeezenet1_1"]])
    head = ["pictures that please", "preset", "steps", "asked of each", "yes", "interval (95 %)", "at least"]
    return f"## pictures of classes ({CLASSES} classes × {SEEDS} seeds; ImageNet: 40 classes)\n\n" + table(head, rows)
