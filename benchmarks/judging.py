"""Which maps are right, on drawings whose truth is known, and which care about the network: localisation and sanity checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import vizwidgets as vw
from vizwidgets.methods.shapebias import wilson

from .timing import table

DRAWINGS, SEED = 120, 51
CURVES = 36  # of them, for deletion and insertion, which take longest
ROSES, SEEDS = 12, 3
BLOCKS = ("head", "stage4", "stage3", "stage2", "stage1", "stem")
CLASSES = ("rose", "daisy", "poppy", "iris")
MEASURE = "Spearman of absolute values"
Method = str | Callable[..., Any]


def noise(images: Tensor, target: int) -> Tensor:
    """A control: noise."""
    return torch.rand(len(images), 1, *images.shape[2:], generator=torch.Generator().manual_seed(0))


def middle(images: Tensor, target: int) -> Tensor:
    """A control: bright in the middle, where the flowers are."""
    y, x = (torch.linspace(-1, 1, side) for side in images.shape[2:])
    return (1.5 - (y[:, None] ** 2 + x**2).sqrt()).expand(len(images), 1, -1, -1)


def edges(images: Tensor, target: int) -> Tensor:
    """A control: an edge detector that never sees the network."""
    down, right = images.diff(dim=2), images.diff(dim=3)
    return torch.nn.functional.pad(down, (0, 0, 0, 1)).abs() + torch.nn.functional.pad(right, (0, 1)).abs()


METHODS: dict[str, Method] = {
    **{name: name for name in vw.ATTRIBUTIONS},
    "occlusion": lambda net, images, target: vw.occlusion(net, images, target, window=24, stride=8),
}


def mean(values: Tensor) -> str:
    """With the half-width of its interval at 95 %; NaN left out."""
    values = values[~values.isnan()]
    return f"{values.mean():.2f} ± {1.96 * values.std() / len(values) ** 0.5:.2f}"


def maps_of(method: Method, net: vw.Net, images: Tensor, kinds: Tensor) -> Tensor:
    """The map of each image for the class that it shows; the controls know of none."""
    if method in (noise, middle):
        return method(images, 0)[:, 0]  # type: ignore[operator]
    return vw.attribute(method, net, images, vw.Each(tuple(vw.Logit(k) for k in kinds.tolist()))).map


def localisation(drawings: int = DRAWINGS, curves: int = CURVES) -> str:
    """How much of the maps of two networks, that which looks at the flower and that which cheats, lies on the flower."""
    honest, cheat = vw.load("flowers"), vw.load("flowers-background")
    flowers = vw.data.Flowers(drawings, seed=SEED, background="class")
    x, kinds = torch.stack([flowers[i][0] for i in range(drawings)]), torch.tensor([flowers.label(i) for i in range(drawings)])
    truth = torch.stack([torch.from_numpy(flowers.flower(i).masks["flower"]) for i in range(drawings)])
    sure = vw.Each(tuple(vw.Probability(k) for k in kinds[:curves].tolist()))
    rows = []
    for name, method in (METHODS | {"control: noise": noise, "control: in the middle": middle}).items():
        one, other = (maps_of(method, net, x, kinds) for net in (honest, cheat))
        hits = vw.pointing_game(one, truth)
        low, high = wilson(int(hits.sum()), drawings)
        inside, outside = (vw.share_inside(m, truth) for m in (one, other))
        areas = [call(honest, x[:curves], sure, one[:curves], steps=20, fill="blur").area for call in (vw.deletion, vw.insertion)]
        rows.append([name, f"{hits.float().mean():.2f} ({low:.2f} to {high:.2f})", mean(inside), mean(areas[0]), mean(areas[1]),
                     f"{vw.pointing_game(other, truth).float().mean():.2f}", mean(outside), mean(inside - outside)])  # fmt: skip
    about = (
        f"{drawings} drawings with a background for each class, which `flowers` does not use and `flowers-background` does; the flower "
        f"is {truth.float().mean():.2f} of the picture. Hits of the pointing game, share of the map inside the flower; deletion (less is "
        f"better) and insertion (more is better) on the first {curves}, the probability of the class over 20 steps of blurred pixels. "
        "Intervals at 95 %; the last column is the difference of each drawing's shares, 0 for a method that cannot tell the two apart."
    )
    head = ["", "flowers: hits", "inside", "deletion", "insertion", "flowers-background: hits", "inside", "difference"]
    return f"{about}\n\n{table(head, rows)}"


def sanity(roses: int = ROSES, seeds: int = SEEDS) -> str:
    """How much of a map is left with layers destroyed, against what another good network gives."""
    net, again, by_lot = (vw.load(name) for name in ("flowers", "flowers-2", "flowers-random-labels"))
    flowers, rose = vw.data.Flowers(12 * roses, seed=SEED), net.labels.index("rose")
    x = torch.stack([flowers[i][0] for i in range(12 * roses) if flowers.label(i) == rose])
    target, classes = vw.Logit("rose"), [vw.Logit(name) for name in CLASSES]
    rows = []
    for name, method in (METHODS | {"control: edges": edges}).items():
        runs = [vw.sanity_check(method, net, x, target, layers=BLOCKS, seed=seed).result() for seed in range(seeds)]
        left = torch.stack([r.similarity[MEASURE].nanmean(1) for r in runs])  # (seeds, steps)
        first = runs[0].maps[0]
        other, lot = (vw.similarity(first, vw.attribute(method, n, x, target).map)[MEASURE].nanmean().item() for n in (again, by_lot))
        passes = bool((left[:, 3] < other - 0.01).all())
        spread = [f"{v.mean():.2f} ({v.min():.2f} to {v.max():.2f})" for v in (left[:, 1], left[:, 3], left[:, -1])]
        changes = vw.class_sensitivity(method, net, x, classes).nanmean()
        rows.append([name, *spread, f"{other:.2f}", f"{lot:.2f}", "yes" if passes else "no", f"{changes:.2f}"])
    about = (
        f"{len(x)} drawings of roses, the network `flowers`, {seeds} draws of random weights (mean, least and most): rank correlation of the absolute "
        "map with that of the network as it is. A method passes if in every draw destroying the upper half (`head`, `stage4`, `stage3`) changes "
        "its map more, by over 0.01, than learning again does (`flowers-2`). Class sensitivity: 1 less the mean rank correlation of the maps of "
        f"{', '.join(CLASSES)}."
    )
    head = ["", "head random", "upper half random", "all random", "learned again", "labels by lot", "passes", "class sensitivity"]
    return f"{about}\n\n{table(head, rows)}"


def measure() -> str:
    """Both as a Markdown section."""
    return f"## maps against the truth\n\n{localisation()}\n\n{sanity()}"
