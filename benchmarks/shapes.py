"""Shape or texture: by which the bundled networks name drawings in which the two contradict each other, and squeezenet photographs."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import torch

import vizwidgets as vw

from .timing import table

PARTS = ["drawings", "photographs"]
NETS = ("flowers", "flowers-2", "flowers-robust", "flowers-stylised", "flowers-background")
PAINTERS = ("flowers", "flowers-2", "flowers-robust")
DRAWN, SEED = 1200, 5
PAINTED, PAINTED_SEED, STEPS = 120, 61, 32
OF_A_CLASS, STIMULI, PHOTOGRAPH_STEPS = 8, 128, 32
DATA = Path(os.environ.get("VIZWIDGETS_DATA", ""))


def shown(bias: vw.ShapeBias) -> str:
    """The share with its interval, and of how many stimuli."""
    low, high = bias.interval
    return f"{bias.share:.2f} ({low:.2f} to {high:.2f}); {bias.answered:.0%}"


def drawings() -> str:
    """The bundled networks on drawn conflicts, and on stimuli that three of them have painted."""
    nets = {name: vw.load(name) for name in NETS}
    flowers = vw.data.Flowers(PAINTED, seed=PAINTED_SEED)
    stimuli = {"drawn": vw.drawn_conflicts(DRAWN, seed=SEED)}
    stimuli |= {f"painted by `{p}`": vw.cue_conflict(nets[p], flowers, steps=STEPS, batch_size=24).result() for p in PAINTERS}
    plain = torch.stack([flowers[i][0] for i in range(PAINTED)])
    truth = torch.tensor([flowers.label(i) for i in range(PAINTED)])
    rows = []
    for name, net in nets.items():
        with torch.no_grad():
            right = (net(plain).argmax(1) == truth).float().mean()
        rows.append([f"`{name}`", *(shown(vw.shape_bias(net, s)) for s in stimuli.values()), f"{right:.0%}"])
    about = (
        f"{DRAWN} drawings with the shape of one kind, the petal pattern of another and colours by lot; {PAINTED} drawings, each painted by style "
        f"transfer with the texture of one of another kind ({STEPS} steps, drawings of seed {PAINTED_SEED} that no network has seen), by the features of three "
        "networks in turn. Shape bias with its interval at 95 %; after it the share of the stimuli answered by shape or texture at all. Last the "
        "control: how many of the same drawings are named rightly before they are painted."
    )
    return f"## shape or texture, drawings\n\n{about}\n\n{table(['', *stimuli, 'unpainted'], rows)}"


def chosen(net: vw.Net) -> tuple[vw.ImageSet, int, int]:
    """Photographs of the sixteen classes that the network names rightly, a few of each; and of how many it does."""
    group_of = {i: name for name, members in vw.IMAGENET_16.items() for i in members}
    with (DATA / "photos.csv").open(encoding="utf-8") as file:
        rows = [(r["file"], group_of[int(r["class_index"])]) for r in csv.DictReader(file) if int(r["class_index"]) in group_of]
    x = torch.cat([vw.image(DATA / "photos" / name, net) for name, _ in rows])
    names = tuple(vw.IMAGENET_16)
    truth = torch.tensor([names.index(group) for _, group in rows])
    # With any other class for their texture: only the answers are of use.
    plain = vw.shape_bias(net, vw.Stimuli(x, truth, (truth + 1) % len(names), names), groups=vw.IMAGENET_16)
    kept: dict[str, list[str]] = {}
    for (file_name, group), kind in zip(rows, plain.kinds, strict=True):
        if kind == "shape" and len(kept.setdefault(group, [])) < OF_A_CLASS:
            kept[group].append(file_name)
    files, groups = zip(*((f, g) for g, found in kept.items() for f in found), strict=True)
    return vw.image_set([DATA / "photos" / f for f in files], labels=groups, classes=names), plain.counts["shape"], len(rows)


def photographs() -> str:
    """Squeezenet on photographs painted with textures of others: with its own features, and with those of a network of flowers."""
    title = "## shape or texture, photographs"
    weights = DATA / "models" / "squeezenet1_1.safetensors"
    if not weights.is_file():
        return f"{title}\n\nweights not there: `VIZWIDGETS_DATA` names their folder"
    names = [v[1] for _, v in sorted(json.loads((DATA / "imagenet_class_index.json").read_text()).items(), key=lambda kv: int(kv[0]))]
    net = vw.load("squeezenet1_1", weights=weights, labels=names)
    pictures, right, of = chosen(net)
    flowers = vw.load("flowers-robust")
    other = vw.as_net(flowers.module, size=224, resize=256, mean=flowers.mean, std=flowers.std, name="flowers-robust")
    rows = []
    for painter, weight, n in ((net, 5.0, STIMULI), (net, 1.0, STIMULI // 4), (other, 5.0, STIMULI // 2)):
        stimuli = vw.cue_conflict(painter, pictures, pairs=n, style_weight=weight, steps=PHOTOGRAPH_STEPS).result()
        bias = vw.shape_bias(net, stimuli, groups=vw.IMAGENET_16)
        rows.append([f"`{painter.name}`", f"{weight:g}", str(n), shown(bias)])
    about = (
        f"`squeezenet1_1` names {right} of {of} photographs rightly, as one of sixteen everyday classes. Of those it names rightly at most {OF_A_CLASS} of a class "
        f"({len(pictures)} of {len(set(pictures.labels or ()))} classes) are painted with the texture of one another, at 224 px, in {PHOTOGRAPH_STEPS} steps. "
        "Shape bias with its interval at 95 %, pictures resampled; after it the share of the stimuli answered by shape or texture at all."
    )
    return f"{title}\n\n{about}\n\n{table(['painted by', 'style weight', 'stimuli', 'shape bias'], rows)}"
