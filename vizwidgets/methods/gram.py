"""Textures from the statistics of a network: Gram matrices, which say what goes with what but not where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from vizwidgets.core.capture import activations
from vizwidgets.core.image import open_image
from vizwidgets.core.layers import Layer
from vizwidgets.core.memory import check_memory
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageOptimizer, ImageStep
from vizwidgets.core.params import FourierImage
from vizwidgets.core.pooling import pooled
from vizwidgets.core.references import GramDistance, Reference, gram
from vizwidgets.core.targets import Sum, Target, check_layer, terms

from .presets import number_of_steps
from .rendering import best_so_far, rendering_run

# The longest side of a picture whose size was not asked for.
LONGEST = 512
LEAST = 16  # pixels each way
RATES = {"lbfgs": 1.0, "adam": 0.05}
# Of the weights of frequencies: with 1 broad areas turn white or black before there is any texture.
DECAY = 0.75


def gram_texture(
    net: Net | nn.Module, sample: Any, *, layers: Sequence[str] | Mapping[str, float] | None = None, steps: int | str = "normal",
    size: int | tuple[int, int] | None = None, batch: int = 1, optimizer: str = "lbfgs", pooling: str = "max",
    lr: float | None = None, seed: int = 0,
) -> Run[ImageStep]:  # fmt: skip
    """Images with the texture of a sample: noise, changed until the Gram matrices of some layers are those of the sample.

    A Gram matrix holds how channels go together, averaged over positions; where something is, it does not hold. The error of
    each layer is |G - G'|² over |G'|² of the sample, so weights mean the same in every layer and network.

    Parameters
    ----------
    net : Net or torch.nn.Module
    sample : path, bytes, PIL image, array, tensor or Image
        Of any size, grey or colour; made smaller where a side is longer than 512 pixels.
    layers : sequence of str, or mapping of str to float, optional
        Names from ``net.layers``, of maps; with weights if wanted. By default `default_texture_layers`.
    steps : int or str
        Or an effort: "draft" (64), "normal" (256), "paper" (512).
    size : int or (int, int), optional
        Of the images, in pixels; by default that of the sample.
    batch : int
        How many images; image `i` is the only one of seed ``seed + i``.
    optimizer : str
        "lbfgs" or "adam".
    pooling : str
        "max", as the network does itself, or "average" in place of it, for the sample too.
    lr : float, optional
        By default 1 for L-BFGS and 0.05 for Adam.
    seed : int
        Of the noise.

    Returns
    -------
    Run
        Of `ImageStep`, whose images are the best of those scored so far and whose scores are "style" and, of each layer,
        "style <layer>": errors, 1 for maps of zeros and 0 for the sample's statistics. Its result is a `Rendering`.

    Raises
    ------
    LookupError, ValueError, TypeError
        For layers without maps, or pictures that are none or do not fit into memory; before anything is computed. ValueError
        in a step where the numbers overflow: ``run.so_far()`` is the best until then.

    References
    ----------
    Gatys, Ecker, Bethge: Texture synthesis using convolutional neural networks, 2015.

    Examples
    --------
    >>> gram_texture(net, vizwidgets.data.swatch("bricks"), steps=4).result()
    Rendering(image 1×3×64×64, scores 4×1)
    """
    net = as_net(net)
    weights = checked_layers(net, default_texture_layers(net) if layers is None else layers)
    total, rate = number_of_steps(steps), learning_rate(optimizer, lr)
    x = opened(net, sample, LONGEST)
    height, width = x.shape[2:] if size is None else (size, size) if isinstance(size, int) else size
    if min(height, width) < LEAST or batch < 1:
        raise ValueError(f"at least one image of {LEAST}×{LEAST} pixels is made, not {batch} of {height}×{width}")
    check_memory(net, (height, width), weights)
    error = gram_error(grams(net, x, weights, pooling=pooling), weights)
    start = FourierImage(noise(x, (height, width), batch=batch, seed=seed), decay=DECAY)
    machine = ImageOptimizer(net, -error, start, optimizer=optimizer, lr=rate, redirect=0, pooling=pooling, seed=seed)
    options = {
        "layers": weights, "steps": total, "size": size, "batch": batch, "optimizer": optimizer, "pooling": pooling, "lr": rate, "seed": seed,
    }  # fmt: skip

    def steps_of() -> Iterator[ImageStep]:
        for step in best_so_far(machine):
            yield replace(step, scores={"score": step.scores["score"], **style_scores(machine.target, step.scores)})

    return rendering_run(steps_of(), total, net, "gram_texture", {"sample": x}, options, machine)


def opened(net: Net, source: Any, longest: int) -> Tensor:
    """A picture (1, C, H, W) of any kind and size, whole, and small enough."""
    x = open_image(source, net, longest=longest).pixels
    if min(x.shape[2:]) < LEAST:
        raise ValueError(f"a picture has at least {LEAST} pixels each way, not {x.shape[3]}×{x.shape[2]}")
    return x


def noise(x: Tensor, size: tuple[int, int], *, batch: int = 1, seed: int = 0) -> Tensor:
    """Pixels of a picture, drawn at random and with less contrast: images (batch, C, *size) with its colours and no structure."""
    pixels = x[0].flatten(1)
    mean = pixels.mean(1, keepdim=True)
    drawn = [torch.randint(pixels.shape[1], (size[0] * size[1],), generator=torch.Generator().manual_seed(seed + i)) for i in range(batch)]
    return torch.stack([(mean + 0.3 * (pixels[:, i] - mean)).clamp(0, 1).unflatten(1, size) for i in drawn])


def grams(net: Net, x: Tensor, layers: Iterable[str], *, pooling: str = "max") -> dict[str, Reference]:
    """The Gram matrices (C, C) of some layers for a picture (1, C, H, W)."""
    with net.lock, torch.no_grad(), pooled(pooling):
        acts = activations(net, x, *layers)
    return {name: Reference(gram(maps if maps.dtype == torch.float64 else maps.float())[0]) for name, maps in acts.items()}


def gram_error(references: Mapping[str, Reference], weights: Mapping[str, float]) -> Target:
    """The mean of the layers' errors |G - G'|² over |G'|², each times its weight; to be made small."""
    # A layer that is silent for the sample has no scale of its own.
    return Sum(tuple(
        (weights[name] / len(weights) / (references[name].mean_square or 1.0), GramDistance(name, references[name])) for name in weights
    ))  # fmt: skip


def style_scores(target: Target, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The errors (B,) of the layers in a target's scores, without the layers' weights, and "style", their mean."""
    found = {
        f"style {term.layer}": scores[repr(term)] / (term.reference.mean_square or 1.0)
        for _, term in terms(target) if isinstance(term, GramDistance)
    }  # fmt: skip
    return {"style": torch.stack([*found.values()]).mean(0), **found}


def checked_layers(net: Net, layers: Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    """Names and weights of layers, checked: of maps with more than one position."""
    named = dict(layers) if isinstance(layers, Mapping) else dict.fromkeys([layers] if isinstance(layers, str) else layers, 1.0)
    if not named:
        raise ValueError("no layer is named")
    for name, weight in named.items():
        _, height, width = check_layer(net, name)
        if height * width == 1:
            some = ", ".join(map(repr, _ends(net))) or "none"
            raise ValueError(f"layer {name!r} has no spatial extent, so there is nothing to average over; layers that have one: {some} and others")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not isfinite(weight) or weight < 0:
            raise ValueError(f"the weight of a layer is a number from 0, not {weight!r} for {name!r}")
    return {name: float(weight) for name, weight in named.items()}


def learning_rate(optimizer: str, lr: float | None) -> float:
    """The learning rate asked for, or that which suits the optimizer."""
    if optimizer not in RATES:
        raise LookupError(f"the optimizer is one of {', '.join(map(repr, RATES))}, not {optimizer!r}")
    rate = RATES[optimizer] if lr is None else float(lr)
    if not isfinite(rate) or rate <= 0:
        raise ValueError(f"lr is a number above 0, not {lr!r}")
    return rate


def default_texture_layers(net: Net | nn.Module) -> tuple[str, ...]:
    """Those of the paper for VGG (the first convolution and four poolings); else `default_style_layers`."""
    net = as_net(net)
    blocks = vgg_blocks(net)
    if not blocks:
        return default_style_layers(net)
    return (blocks[0][0], *(block[-1] for block in blocks[:4]))


def default_style_layers(net: Net | nn.Module) -> tuple[str, ...]:
    """The layers whose Gram matrices are compared unless others are named.

    Of VGG the first of each block (Gatys). Of other networks the pooling after each resolution or, without one, its last layer; of
    the coarsest one in the middle, since the last layers know objects rather than textures. Where there are fewer than three
    resolutions (transformers), four blocks at even distances.

    Raises
    ------
    ValueError
        If no layer has more than one position.
    """
    net = as_net(net)
    if blocks := vgg_blocks(net):
        return tuple(block[0] for block in blocks)
    found = _ends(net)
    if not found:
        raise ValueError(f"no layer of {net.name or 'this network'} has more than one position: Gram matrices average over positions")
    if len(found) < 3 and len(same := _blocks(net)) >= 4:
        return tuple(same[round((i + 1) * len(same) / 4) - 1] for i in range(4))
    return found


def vgg_blocks(net: Net) -> list[list[str]]:
    """The ReLUs of each block of a VGG and the pooling after them; of another network nothing."""
    if type(net.module).__name__ != "VGG":
        return []
    blocks: list[list[str]] = [[]]
    for row in map(net.layers.__getitem__, net.layers.order):
        if row.kind in ("ReLU", "MaxPool2d") and row.shape and row.shape[1] > 1:
            blocks[-1].append(row.name)
        if row.kind == "MaxPool2d":
            blocks.append([])
    return [block for block in blocks if block]


def _ends(net: Net) -> tuple[str, ...]:
    """The pooling after each resolution, or else its last layer; of the coarsest one in the middle."""
    rows = trunk(net)
    if not rows:
        return ()
    coarsest = [row for row in rows if _extent(row) == _extent(rows[-1])]
    outermost = min(row.name.count(".") for row in coarsest)
    level = [row.name for row in coarsest if row.name.count(".") == outermost]
    ends = [after if "Pool" in after.kind else row for row, after in pairwise(rows) if _extent(after) != _extent(row)]
    if len(ends) > 2 and ends[-1] in coarsest:  # one of a resolution will do
        ends.pop()
    return tuple(dict.fromkeys([*(row.name for row in ends), level[(len(level) - 1) // 2]]))


def trunk(net: Net) -> list[Layer]:
    """The layers with maps, in running order; without branches that have not yet changed resolution, and class scores."""
    rows = [net.layers[name] for name in net.layers.order]
    modules, inside = {row.module_name: row for row in rows}, _resolutions(rows)

    def aside(row: Layer) -> bool:
        around = [modules[p] for p in _parents(row) if p in modules and modules[p].kind != "Sequential" and len(inside[p]) < 3]
        return any(_has_extent(p) and _extent(p) != _extent(row) for p in around)

    kept = [row for row in rows if _has_extent(row) and not aside(row) and not row.kind.startswith(("Dropout", "Identity", "Adaptive"))]
    # A chain of several resolutions gives what its last member gives, which says more of where that is.
    chains = {name for name, seen in _resolutions(kept).items() if len(seen) > 1 and name in modules and modules[name].kind == "Sequential"}
    classes = rows[-1].shape[0] if rows[-1].shape else 0
    kept = [row for row in kept if row.module_name not in chains]
    return [row for row in kept if row.shape and row.shape[0] != classes] or kept


def _resolutions(rows: list[Layer]) -> dict[str, set[tuple[int, int]]]:
    """Of each module that holds others, the resolutions of their maps."""
    found: dict[str, set[tuple[int, int]]] = {}
    for row in filter(_has_extent, rows):
        for parent in _parents(row):
            found.setdefault(parent, set()).add(_extent(row))
    return found


def _blocks(net: Net) -> list[str]:
    """The modules of the kind of which there are most that hold others; of several such kinds the outermost."""
    rows = [net.layers[name] for name in net.layers.order]
    holding = {parent for row in rows for parent in _parents(row)}
    blocks = [row for row in rows if row.module_name in holding and row.kind != "Sequential" and _has_extent(row)]
    if not blocks:
        return []
    count = Counter(row.kind for row in blocks)
    most = max(blocks, key=lambda row: (count[row.kind], -row.name.count("."))).kind
    return [row.name for row in blocks if row.kind == most]


def _parents(row: Layer) -> list[str]:
    parts = row.module_name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _extent(row: Layer) -> tuple[int, int]:
    assert row.shape is not None
    return row.shape[1:]


def _has_extent(row: Layer) -> bool:
    return row.shape is not None and row.layout not in (None, "vector") and row.shape[1] * row.shape[2] > 1
