"""Adversarial images: how many are fooled, and whether the bound holds, in float and in what is saved."""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

import vizwidgets as vw

from .timing import table

EPS = 4 / 255
EVERY = 3  # of the 500 photographs; all of them would take three times as long
SAVED = 10
DRAWINGS, SEED = 120, 12
LEVELS = (0, 1, 2, 4, 8)


def photographs(data: Path, net: vw.Net) -> tuple[Tensor, Tensor]:
    """Every so-many-th photograph as the network sees it, rounded to 8 bits, and their classes."""
    with open(data / "photos.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::EVERY]
    images = torch.cat([vw.image(data / "photos" / row["file"], net) for row in rows])
    return (images * 255).round() / 255, torch.tensor([int(row["class_index"]) for row in rows])


def named(net: vw.Net, images: Tensor) -> Tensor:
    """The winning class of each image."""
    with torch.no_grad():
        return torch.cat([net(part).argmax(1) for part in images.split(16)])


def attacked(net: vw.Net, images: Tensor, labels: Tensor, eps: float, method: str) -> Tensor:
    """Images changed against their class, by FGSM or ten steps of PGD; those of a class together."""
    changed = images.clone()
    for label in labels.unique():
        of = (labels == label).nonzero()[:, 0]
        run = vw.fgsm(net, images[of], -vw.Logit(int(label)), eps=eps) if method == "fgsm" else None
        changed[of] = run.image if run is not None else vw.pgd(net, images[of], -vw.Logit(int(label)), eps=eps).result().image
    return changed


def levels_apart(net: vw.Net, x: Tensor, label: int, folder: Path) -> int:
    """The largest difference, in 8-bit levels, of a saved adversarial image from its source."""
    path = vw.pgd(net, x, -vw.Logit(label), eps=EPS).result().save(folder / "fooled.png")
    with PILImage.open(path) as picture:
        saved = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).int()
    return int((saved - (x[0] * 255).round().int()).abs().max())


def on_photographs() -> str:
    """PGD and FGSM on the photographs that squeezenet1_1 names correctly."""
    data = Path(os.environ.get("VIZWIDGETS_DATA", ""))
    weights = data / "models" / "squeezenet1_1.safetensors"
    if not (weights.is_file() and (data / "photos.csv").is_file()):
        return "Photographs: not measured, for `VIZWIDGETS_DATA` names no folder with weights and photographs."
    net = vw.load("squeezenet1_1", weights=weights)
    images, labels = photographs(data, net)
    right = named(net, images) == labels
    x, y = images[right], labels[right]
    rows = []
    for method in ("fgsm", "pgd"):
        changed = attacked(net, x, y, EPS, method)
        flipped = (named(net, changed) != y).float().mean().item()
        beyond = ((changed.double() - x.double()).abs().max() - EPS).item()
        with tempfile.TemporaryDirectory() as folder:
            apart = max(levels_apart(net, x[i : i + 1], int(y[i]), Path(folder)) for i in range(SAVED)) if method == "pgd" else None
        rows.append([
            "FGSM" if method == "fgsm" else "PGD, 10 steps", str(len(x)), f"{flipped:.1%}", "-" if apart is None else "95 %",
            f"{beyond:.0e}" if beyond > 0 else "0", "1e-7", "-" if apart is None else str(apart), "-" if apart is None else "4",
        ])  # fmt: skip
    head = ["squeezenet1_1", "photographs", "flipped", "at least", "beyond the bound", "limit", f"levels in {SAVED} saved", "limit"]
    about = f"Of every {EVERY}rd photograph, those named correctly ({len(x)} of {len(images)}), rounded to 8 bits; eps 4/255."
    return about + "\n\n" + table(head, rows)


def on_drawings() -> str:
    """Accuracy against eps, of the ordinary and the robust bundled network."""
    flowers = vw.data.Flowers(DRAWINGS, seed=SEED)
    images = torch.stack([flowers[i][0] for i in range(DRAWINGS)])
    labels = torch.tensor([flowers.label(i) for i in range(DRAWINGS)])
    rows = []
    for name in ("flowers", "flowers-robust"):
        net = vw.load(name)
        tries = [attacked(net, images, labels, level / 255, "pgd") if level else images for level in LEVELS]
        rows.append([name, *(f"{(named(net, x) == labels).float().mean():.0%}" for x in tries)])
    head = [f"{DRAWINGS} drawings, PGD, 10 steps", *(f"eps {level}/255" for level in LEVELS)]
    return "Named correctly, against eps:\n\n" + table(head, rows)


def measure() -> str:
    """Both as a Markdown section."""
    return f"## adversarial images\n\n{on_photographs()}\n\n{on_drawings()}"
