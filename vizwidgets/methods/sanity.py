"""Sanity checks: does a map change when the network is destroyed, or when another class is asked for?"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.copies import copied
from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image, pixels
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import colourise, readable_limits, tile
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Attribution, Result
from vizwidgets.core.targets import Target

from .attributions import ATTRIBUTIONS, attribute, name_of, named, takes_net
from .similarity import MEASURES, similarity, spearman

ORDERS = ("cascading", "independent", "bottom-up")
_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True, eq=False)
class SanityStep:
    """A map of a network some of whose layers are random.

    Attributes
    ----------
    index : int
        Steps so far, from 1, the network as it is.
    scores : dict of str to Tensor
        Similarity to the first map, (B,) for each of `MEASURES`.
    layer : str or None
        The layer randomised in this step; None in the first.
    attribution : Attribution
        Without a recipe where weights are random.
    """

    index: int
    scores: dict[str, Tensor]
    layer: str | None
    attribution: Attribution

    def picture(self) -> PILImage.Image:
        """The maps side by side."""
        return self.attribution.picture()


@dataclass(frozen=True, eq=False, repr=False)
class SanityReport(Result):
    """What a method shows while the network is destroyed.

    Attributes
    ----------
    layers : tuple of str
        The L layers, in the order in which they were randomised.
    maps : Tensor
        (L + 1, B, H, W); the first is of the network as it is.
    similarity : dict of str to Tensor
        To the first map, (L + 1, B) for each of `MEASURES`.
    """

    layers: tuple[str, ...]
    maps: Tensor
    similarity: dict[str, Tensor]

    def picture(self) -> PILImage.Image:
        """A row for each image, at most 16 steps in columns, the first and the last among them; each on its own scale."""
        shown = self.maps[np.linspace(0, len(self.maps) - 1, min(16, len(self.maps))).round().astype(int)].transpose(0, 1)
        tiles = [colourise(m[None], *readable_limits(m[None]))[0] for m in shown.flatten(0, 1)]
        return PILImage.fromarray(tile(np.stack(tiles), columns=shown.shape[1], gap=2))

    def plot(self, ax: Any = None) -> Any:
        """Draw the similarities, their mean over the images, against the layers; gives the axes."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(layout="constrained")[1]
        for name, values in self.similarity.items():
            ax.plot(values.nanmean(1), marker=".", label=name)
        ax.set_xticks(range(len(self.layers) + 1), ["as it is", *self.layers], rotation=90)
        ax.set_ylabel("similarity to the first map")
        ax.set_xlabel("layer randomised")
        ax.set_ylim(min(-0.1, *ax.get_ylim()), 1.05)
        ax.axhline(0, color="grey", linewidth=0.8)
        ax.legend()
        return ax

    def __repr__(self) -> str:
        """Shapes."""
        return f"SanityReport({len(self.layers)} layers, maps {'×'.join(map(str, self.maps.shape))})"


def sanity_check(
    method: str | Callable[..., Any], net: Net | nn.Module, images: Tensor | Image, target: Target, *, order: str = "cascading",
    layers: Sequence[str] | None = None, seed: int = 0,
) -> Run[SanityStep]:  # fmt: skip
    """The maps of a method while layer after layer of the network is made random.

    A map that stays as it was does not depend on what the network has learned. The network itself is not changed: the method
    gets a copy. A method of Captum's manner is bound to one's own module; for its sake the random weights are put into that
    during a step, while nothing else can run it through a `Net`, and taken out again whatever happens.

    Convolutions and linear layers get weights drawn as He et al. (2015) start networks of ReLUs, without biases;
    normalisations are as they start, with a mean of 0 and a variance of 1; other parameters are drawn from the normal
    distribution with their own mean and standard deviation. A layer is given the same random weights in any order, by any
    method.

    Parameters
    ----------
    method : str or callable
        As of `attribute`: a name in `ATTRIBUTIONS`, a function of (net, images, target), or one of Captum's manner.
    net : Net or torch.nn.Module
    images : Tensor or Image
        (B, C, H, W) in [0, 1].
    target : Target
        The same in every step: a class stays that class, whatever the random network would say.
    order : str
        "cascading", from the output down, each staying random; "bottom-up", the same from the input; "independent", one
        layer at a time.
    layers : sequence of str, optional
        Modules with weights, also blocks such as "stage4"; their order is that of the network. By default each module
        with parameters of its own, together with the normalisations that run after it; what the network itself holds
        (a class token) stays.
    seed : int
        Of the random weights.

    Returns
    -------
    Run
        Of `SanityStep`, the first with the network as it is; its result is a `SanityReport`, with a recipe if the method is
        one of `ATTRIBUTIONS`.

    Raises
    ------
    LookupError, TypeError, ValueError
        For unknown methods, orders and layers, layers that are named twice or without weights, a network without any, one
        that cannot be copied, and maps that are not finite.

    References
    ----------
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity checks for saliency maps, 2018.

    Examples
    --------
    >>> sanity_check("Grad-CAM", net, x, Logit("rose"), layers=["head", "stage4"]).result()
    SanityReport(2 layers, maps 3×1×96×96)
    """
    call, net, x = named(method), as_net(net), pixels(images)
    if not isinstance(target, Target):
        raise TypeError(f"a target is one of vizwidgets' targets, not {target!r}: Logit({target!r}), say")
    target = target.resolve(net)
    if order not in ORDERS:
        raise LookupError(unknown("order", order, ORDERS))
    groups = weighted_layers(net, layers)
    names = tuple(groups) if order == "bottom-up" else tuple(reversed(groups))
    of = _copy(net) if takes_net(call) else net
    held = net.lock if of is net else nullcontext()
    taken: list[SanityStep] = []

    def destroy() -> Iterator[SanityStep]:
        values: dict[str, Tensor] = {}
        for index, layer in enumerate((None, *names), 1):
            if layer is not None:
                drawn = _drawn(of.module, groups[layer], seed)
                values = drawn if order == "independent" else {**values, **drawn}
            with held, _weights(of.module, values):
                found = attribute(method, of, x, target)
            if not bool(found.map.isfinite().all()):
                raise ValueError(f"{name_of(method)} gives values that are not finite, {_state(layer)}: nothing can be compared")
            found = replace(found, recipe=found.recipe if layer is None else {})
            first = taken[0].attribution.map if taken else found.map
            taken.append(SanityStep(index, similarity(first, found.map), layer, found))
            yield taken[-1]

    def finish(last: SanityStep) -> SanityReport:
        recipe = {}
        if ATTRIBUTIONS.get(name_of(method)) is call:
            options = {"target": target, "order": order, "layers": list(groups), "seed": seed}
            recipe = {**make_recipe(net, "sanity_check", {"method": name_of(method), "images": x}, options), "taken": last.index}
        similar = {m: torch.stack([s.scores[m] for s in taken]) for m in MEASURES}
        return SanityReport(names[: last.index - 1], torch.stack([s.attribution.map for s in taken]), similar, recipe=recipe)

    return Run(destroy(), len(names) + 1, finish)


def class_sensitivity(
    method: str | Callable[..., Any], net: Net | nn.Module, images: Tensor | Image, targets: Sequence[Target]
) -> Tensor:
    """How much the map changes with the class: 1 less the mean rank correlation of the maps of two classes.

    Near 0, the map shows the picture rather than the class. Only sizes are compared, not signs; pairs with a constant map
    are left out.

    Parameters
    ----------
    method, net, images
        As of `sanity_check`.
    targets : sequence of Target
        At least two.

    Returns
    -------
    Tensor
        (B,), from 0 to 2; NaN where there is no pair to compare.

    References
    ----------
    Nie, Zhang, Patel: A theoretical explanation for perplexing behaviors of backpropagation-based visualizations, 2018.

    Examples
    --------
    >>> class_sensitivity("guided backprop", net, x, [Logit("rose"), Logit("daisy")]).shape
    torch.Size([1])
    """
    if len(targets) < 2:
        raise ValueError(f"there are at least two targets to compare, not {len(targets)}")
    maps = [attribute(method, net, images, t).map.abs() for t in targets]
    return 1 - torch.stack([spearman(a, b) for a, b in combinations(maps, 2)]).nanmean(0)


def weighted_layers(net: Net | nn.Module, layers: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The layers that `sanity_check` randomises, in the order in which they run, and the modules that belong to each."""
    net = as_net(net)
    runs: dict[str, int] = {}
    for place, name in enumerate(net.layers.order):
        runs[name.partition(":")[0]] = place
    modules = {n: m for n, m in net.module.named_modules() if n}
    weighted = [n for n, m in modules.items() if any(p.is_floating_point() for p in m.parameters(recurse=False))]
    # What is not run as a module of its own has its place where the one that holds it has.
    place_of = {n: next((runs[p] for p in _upwards(n) if p in runs), len(runs)) for n in weighted}
    found: dict[str, tuple[str, ...]] = {}
    last = None
    for n in sorted(weighted, key=place_of.__getitem__):
        if last is not None and isinstance(modules[n], _NORMALISATIONS):
            found[last] += (n,)
        else:
            found[last := n] = (n,)
    if not found:
        raise ValueError(f"{net.name} has no layer with weights that could be made random")
    if layers is None:
        return found
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers are names of modules, at least one: ['{next(reversed(found))}'], not {layers!r}")
    chosen: dict[str, tuple[str, ...]] = {}
    for name in layers:
        if name not in modules:
            raise LookupError(unknown("layer", name, modules))
        inside = found.get(name) or tuple(n for n in weighted if n == name or n.startswith(f"{name}."))
        if not inside:
            raise ValueError(f"layer {name!r} has no weights; {unknown('layer with weights', name, found)}")
        twice = next((other for other, theirs in chosen.items() if set(inside) & set(theirs)), None)
        if twice is not None:
            raise ValueError(f"layer {name!r} is randomised twice" + ("" if twice == name else f": with {twice!r} already"))
        chosen[name] = inside
    return dict(sorted(chosen.items(), key=lambda item: max(place_of[n] for n in item[1])))


def _upwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _copy(net: Net) -> Net:
    try:
        return copied(net)
    except Exception as e:
        raise TypeError(f"{net.name} cannot be copied, so its weights cannot be made random: {e}") from e


@torch.inference_mode(False)
def _drawn(module: nn.Module, names: Sequence[str], seed: int) -> dict[str, Tensor]:
    """Random values for the parameters of modules, and statistics that are as they start, by name."""
    found = {}
    for name in names:
        m = module.get_submodule(name)
        own = [*m.named_parameters(recurse=False), *m.named_buffers(recurse=False)]
        for key, old in own:
            if not old.is_floating_point() or not (isinstance(old, nn.Parameter) or isinstance(m, _NORMALISATIONS)):
                continue
            # By its name, so that a layer's weights do not depend on those drawn before.
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}.{key}".encode()))
            noise = torch.randn(old.shape, generator=generator)
            if isinstance(m, _NORMALISATIONS):
                new = torch.ones_like(noise) if key in ("weight", "running_var") else torch.zeros_like(noise)
            elif isinstance(m, (nn.Linear, nn.modules.conv._ConvNd)):
                new = noise * (2 * len(old) / old.numel()) ** 0.5 if key == "weight" else torch.zeros_like(noise)
            else:
                value = old.detach().cpu().float()
                new = value.mean() + noise * value.std(correction=0)
            found[f"{name}.{key}"] = new.to(old)
    return found


@contextmanager
def _weights(module: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Other values in a module's parameters and buffers, for the length of the body."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors = {n: tensors[n] for n in values if n in tensors}  # one that two modules share is there once
    kept = {n: t.data for n, t in tensors.items()}
    try:
        for n, t in tensors.items():
            t.data = values[n]
        yield
    finally:
        for n, t in tensors.items():
            t.data = kept[n]


def _state(layer: str | None) -> str:
    return "with the network as it is" if layer is None else f"with {layer!r} randomised"
