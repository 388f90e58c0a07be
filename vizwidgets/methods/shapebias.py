"""Shape or texture: stimuli in which the two belong to different classes, and by which of them a network answers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import nan
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from torch import Tensor, nn

from vizwidgets.core.errors import unknown
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import finite_scores
from vizwidgets.core.picture import to_pixels
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Result
from vizwidgets.core.targets import class_index
from vizwidgets.data.flowers import KINDS, Flowers
from vizwidgets.data.imagenet16 import IMAGENET_16

from .embedding import KEPT, batch_of
from .scatter import DIM, INK, fitted

SHAPE, TEXTURE, NEITHER = "shape", "texture", "neither"
_SHOWN, _SIDE = 21, 76  # stimuli in a picture, and pixels of each
_DRAWS = 2000


@dataclass(frozen=True, eq=False, repr=False)
class Stimuli(Result):
    """Images whose shape belongs to one class and whose texture to another; made by `cue_conflict`, `drawn_conflicts` or by hand.

    Attributes
    ----------
    images : Tensor
        (N, C, H, W) in [0, 1], on the CPU; made from uint8 too.
    shapes, textures : Tensor
        (N,) long: the two classes of each, as places in `classes`.
    classes : tuple of str
        Among which a network has to choose; also such as no stimulus shows.
    shape_sources, texture_sources : tuple of str
        What each was made of. Stimuli that share a source are not independent of one another.

    Raises
    ------
    ValueError
        For labels that do not fit, and where shape and texture are of one class.

    Examples
    --------
    >>> Stimuli(torch.rand(2, 3, 96, 96), [0, 1], [1, 0], ("rose", "iris"))
    Stimuli(2 images 96×96, 2 classes)
    """

    images: Tensor
    shapes: Tensor
    textures: Tensor
    classes: tuple[str, ...]
    shape_sources: tuple[str, ...] = ()
    texture_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images = torch.as_tensor(self.images).detach().cpu()
        if images.dim() != 4 or not len(images):
            raise ValueError(f"stimuli are images (N, C, H, W), at least one, not {tuple(images.shape)}")
        images = images if images.is_floating_point() else images.float() / 255
        classes = tuple(map(str, self.classes))
        values: dict[str, Any] = {"images": images, "classes": classes}
        for name in ("shapes", "textures"):
            labels = torch.as_tensor(getattr(self, name))
            if labels.shape != (len(images),) or labels.is_floating_point() or labels.dtype == torch.bool:
                raise ValueError(f"{name} are {len(images)} whole numbers, one for each image, not {tuple(labels.shape)} of {labels.dtype}")
            if not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
                raise ValueError(f"{name} are places in the {len(classes)} classes, from 0; they go from {int(labels.min())} to {int(labels.max())}")
            values[name] = labels.cpu().long()
            sources = getattr(self, name[:-1] + "_sources") or [f"#{i}" for i in range(len(images))]
            if len(sources) != len(images):
                raise ValueError(f"{len(sources)} sources of {name} for {len(images)} images")
            values[name[:-1] + "_sources"] = tuple(map(str, sources))
        equal = (values["shapes"] == values["textures"]).nonzero().flatten().tolist()
        if equal:
            name = classes[int(values["shapes"][equal[0]])]
            raise ValueError(f"shape and texture contradict each other; image {equal[0]} is {name!r} by both ({len(equal)} such images)")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def picture(self) -> PILImage.Image:
        """Some of them (21 at even distances at most), each with its shape in the first line and its texture in the second."""
        shown = np.linspace(0, len(self) - 1, min(len(self), _SHOWN)).round().astype(int).tolist()
        font, columns, width, height = ImageFont.load_default(11), min(len(shown), 7), _SIDE + 20, _SIDE + 34
        sheet = PILImage.new("RGB", (columns * width, -(-len(shown) // columns) * height), "white")
        draw = ImageDraw.Draw(sheet)
        for place, i in enumerate(shown):
            left, top = place % columns * width, place // columns * height
            tile = PILImage.fromarray(to_pixels(self.images[i])).resize((_SIDE, _SIDE))
            sheet.paste(tile, (left + 10, top + 2))
            for line, (labels, ink) in enumerate(((self.shapes, INK), (self.textures, DIM))):
                text = fitted(("", "as ")[line] + self.classes[int(labels[i])], font, width - 2)
                draw.text((left + (width - font.getlength(text)) / 2, top + _SIDE + 4 + 13 * line), text, ink, font)
        return sheet

    def __repr__(self) -> str:
        """How many, their size and classes."""
        height, width = self.images.shape[2:]
        return f"Stimuli({len(self)} images {height}×{width}, {len(self.classes)} classes)"


@dataclass(frozen=True, eq=False, repr=False)
class ShapeBias(Result):
    """By what a network names stimuli; made by `shape_bias`, or from any probabilities.

    Attributes
    ----------
    stimuli : Stimuli
    probabilities : Tensor
        (N, K): of each stimulus and each of the stimuli's classes; the largest one is the answer, of equal ones the first.
    name : str
        Of the network.

    Examples
    --------
    >>> stimuli = Stimuli(torch.rand(2, 3, 96, 96), [0, 1], [1, 0], ("rose", "iris"))
    >>> ShapeBias(stimuli, torch.tensor([[0.7, 0.3], [0.8, 0.2]]), "mine").kinds
    ('shape', 'texture')
    """

    stimuli: Stimuli
    probabilities: Tensor
    name: str = ""

    def __post_init__(self) -> None:
        wanted = (len(self.stimuli), len(self.stimuli.classes))
        if tuple(self.probabilities.shape) != wanted:
            raise ValueError(f"probabilities are {wanted}, of each stimulus and class, not {tuple(self.probabilities.shape)}")

    @cached_property
    def decisions(self) -> Tensor:
        """(N,) long: the class answered, as a place in the stimuli's classes."""
        return self.probabilities.argmax(1)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Whose class was answered, for each stimulus: "shape", "texture" or "neither"."""
        shape, texture = (self.decisions == labels for labels in (self.stimuli.shapes, self.stimuli.textures))
        return tuple(SHAPE if s else TEXTURE if t else NEITHER for s, t in zip(shape.tolist(), texture.tolist(), strict=True))

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many answers by "shape", "texture" and "neither"."""
        return {kind: self.kinds.count(kind) for kind in (SHAPE, TEXTURE, NEITHER)}

    @property
    def share(self) -> float:
        """The shape bias, in [0, 1]: answers by shape among those by shape or texture; NaN where there are none."""
        return _share(self.counts[SHAPE], self.counts[TEXTURE])

    @property
    def answered(self) -> float:
        """The share of the stimuli, in [0, 1], answered by shape or texture; what is measured is measured on these."""
        return 1 - self.counts[NEITHER] / len(self.kinds)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Of the shape bias, at 95 %: Wilson's.

        Where stimuli share a source of shape or texture, the wider of it and that of resampling the sources of both.
        """
        low, high = wilson(self.counts[SHAPE], self.counts[SHAPE] + self.counts[TEXTURE])
        decided = [i for i, kind in enumerate(self.kinds) if kind != NEITHER]
        sources = [[given[i] for i in decided] for given in (self.stimuli.shape_sources, self.stimuli.texture_sources)]
        if len(decided) and min(len(set(s)) for s in sources) < len(decided):
            hits = np.array([self.kinds[i] == SHAPE for i in decided], float)
            lowest, highest = _resampled(hits, *(np.unique(s, return_inverse=True)[1] for s in sources))
            low, high = min(low, lowest), max(high, highest)
        return low, high

    @cached_property
    def per_class(self) -> dict[str, float]:
        """The shape bias of the stimuli with the shape of each class; NaN where none was answered by shape or texture."""
        found = {}
        for label, name in enumerate(self.stimuli.classes):
            kinds = [kind for kind, s in zip(self.kinds, self.stimuli.shapes.tolist(), strict=True) if s == label]
            found[name] = _share(kinds.count(SHAPE), kinds.count(TEXTURE))
        return found

    @cached_property
    def confusion(self) -> Tensor:
        """(K, K) long: of the stimuli with the shape of a class (row), how many were given which answer (column)."""
        return _counted(self.stimuli.shapes, self.decisions, len(self.stimuli.classes))

    @cached_property
    def texture_confusion(self) -> Tensor:
        """(K, K) long: the same with a row for each class of texture."""
        return _counted(self.stimuli.textures, self.decisions, len(self.stimuli.classes))

    def plot(self, ax: Any = None) -> Any:
        """Draw the shape bias of each class and, as a line with its interval, that of all; gives the axes.

        Several networks may be drawn on the same axes.
        """
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(figsize=(5, 0.28 * len(self.stimuli.classes) + 1.2), layout="constrained")[1]
        places = range(len(self.stimuli.classes))
        dots = ax.scatter(list(self.per_class.values()), places, s=28, label=f"{self.name or 'network'}: {self.share:.2f}", zorder=3)
        colour = dots.get_facecolor()[0]
        ax.axvline(self.share, color=colour, linewidth=1.2)
        ax.axvspan(*self.interval, color=colour, alpha=0.15, linewidth=0)
        ax.set(xlim=(-0.03, 1.03), ylim=(len(places) - 0.5, -0.5), yticks=places, yticklabels=self.stimuli.classes)
        ax.set(xlabel="share of answers by shape (0: all by texture)", ylabel="class of the shape")
        ax.legend()
        return ax

    def picture(self) -> PILImage.Image:
        """The plot."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 0.28 * len(self.stimuli.classes) + 1.2), dpi=90, layout="constrained")
        self.plot(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file)
        return PILImage.open(file).convert("RGB")

    def __repr__(self) -> str:
        """The shape bias with its interval, and on how many stimuli."""
        of, (low, high) = len(self.kinds), self.interval
        decided = of - self.counts[NEITHER]
        if not decided:
            return f"ShapeBias({self.name}: none of {of} answered by shape or texture)"
        return f"ShapeBias({self.name}: {self.share:.2f} ({low:.2f} to {high:.2f}), {decided} of {of} answered by shape or texture)"


def drawn_conflicts(n: int = 600, *, seed: int = 5, size: int = 96) -> Stimuli:
    """Drawings of flowers with the shape of one kind and the pattern on the petals of another; colours say nothing of either.

    A drawing takes some 8 milliseconds.

    Parameters
    ----------
    n : int
    seed : int
        Those of seed 1 and 2 have the shapes and poses of drawings that the bundled networks know.
    size : int
        Height and width in pixels, at least 16.

    Returns
    -------
    Stimuli

    Examples
    --------
    >>> drawn_conflicts(24)
    Stimuli(24 images 96×96, 12 classes)
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n is a number of stimuli from 1, not {n!r}")
    flowers = Flowers(12 * n + 600, seed, size, colour="random", texture="random")  # one in twelve agrees by chance, and is left out
    drawn = (flowers.parameters(i) for i in range(len(flowers)))
    kept = list(islice((p for p in drawn if p["shape_label"] != p["texture_label"]), n))
    shapes, textures = (torch.tensor([p[f"{cue}_label"] for p in kept]) for cue in ("shape", "texture"))
    numbers = [p["index"] for p in kept]
    names = tuple(f"#{i}" for i in numbers)
    recipe = make_recipe(None, "drawn_conflicts", {}, {"n": n, "seed": seed, "size": size})
    return Stimuli(torch.stack([flowers[i][0] for i in numbers]), shapes, textures, KINDS, names, names, recipe=recipe)


def shape_bias(
    net: Net | nn.Module, stimuli: Stimuli, *, groups: Mapping[str, Sequence[int | str]] | None = None, batch_size: int | None = None
) -> ShapeBias:
    """Whether a network goes by shape or by texture where the two contradict each other.

    The network chooses among the stimuli's classes. The bias is the share of answers by shape among those by shape or texture.

    Parameters
    ----------
    net : Net or torch.nn.Module
    stimuli : Stimuli
        Of `cue_conflict`, `drawn_conflicts` or one's own.
    groups : mapping of str to sequences of int or str, optional
        For each of the stimuli's classes the network's own classes, whose probabilities are averaged; ``IMAGENET_16`` for
        networks of ImageNet. By default the network's class of that name; a network without names has them in order.
    batch_size : int, optional
        By default 16, or fewer where memory is short.

    Returns
    -------
    ShapeBias

    Raises
    ------
    LookupError, ValueError
        For classes that the network or the groups do not have, and a network that gives NaN.

    References
    ----------
    Geirhos, Rubisch, Michaelis, Bethge, Wichmann, Brendel: ImageNet-trained CNNs are biased towards texture; increasing shape
    bias improves accuracy and robustness, 2019.

    Examples
    --------
    >>> shape_bias(vizwidgets.load("flowers"), drawn_conflicts(24)).answered
    0.625
    """
    net = as_net(net)
    if not isinstance(stimuli, Stimuli):
        hint = ": its .result() is" if hasattr(stimuli, "result") else ""
        raise TypeError(f"stimuli are made by cue_conflict or drawn_conflicts, or Stimuli(images, shapes, textures, classes), not {type(stimuli).__name__}{hint}")
    members = _members(net, stimuli.classes, groups)
    at_once = batch_of(net, batch_size, (stimuli.images.shape[2], stimuli.images.shape[3]))
    found = []
    with torch.inference_mode():
        for part in stimuli.images.split(at_once):
            scores = finite_scores(net, net(part))
            most = max(max(m) for m in members)
            if most >= scores.shape[1] or (groups is None and not net.labels and scores.shape[1] != len(members)):
                raise ValueError(f"{net.name or 'the network'} has {scores.shape[1]} classes without names, the stimuli {len(members)}: groups=... says which is which")
            probabilities = scores.softmax(1).cpu()
            found.append(torch.stack([probabilities[:, m].mean(1) for m in members], 1))
    options = {"groups": None if groups is None else {k: list(v) for k, v in groups.items()}, "batch_size": batch_size}
    kept = {k: getattr(stimuli, k) for k in ("images", "shapes", "textures", "classes")} if stimuli.images.numel() <= KEPT else {}
    recipe = make_recipe(net, "shape_bias", kept, options) | {"stimuli": stimuli.recipe}
    return ShapeBias(stimuli, torch.cat(found).clone(), net.name, recipe=recipe)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The interval of Wilson for a share, at 95 %; NaN for none."""
    from scipy.stats import binomtest

    if not of:
        return nan, nan
    low, high = binomtest(hits, of).proportion_ci(0.95, "wilson")
    return float(low), float(high)


def _share(shape: int, texture: int) -> float:
    return shape / (shape + texture) if shape + texture else nan


def _counted(rows: Tensor, columns: Tensor, classes: int) -> Tensor:
    return (rows * classes + columns).bincount(minlength=classes * classes).reshape(classes, classes)


def _resampled(hits: np.ndarray, shapes: np.ndarray, textures: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the share of `hits` (N,) when the sources of shape and of texture are drawn again, each by itself.

    Owen: The pigeonhole bootstrap, 2007. Stimuli of one source rise and fall together.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(_DRAWS):
        weights = np.ones(len(hits))
        for sources in (shapes, textures):
            n = int(sources.max()) + 1
            weights = weights * np.bincount(random.integers(n, size=n), minlength=n)[sources]
        if weights.any():
            found.append(float(weights @ hits / weights.sum()))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def _members(net: Net, classes: tuple[str, ...], groups: Mapping[str, Sequence[int | str]] | None) -> list[list[int]]:
    """The network's class numbers for each of the stimuli's classes."""
    if groups is None:
        if not net.labels:
            return [[i] for i in range(len(classes))]
        try:
            return [[class_index(net, name)] for name in classes]
        except LookupError as e:
            hint = "groups=vizwidgets.IMAGENET_16" if set(classes) <= set(IMAGENET_16) else "groups={class: [the network's classes]}"
            raise LookupError(f"{e} {hint} says which of its classes are meant") from None
    for name in classes:
        if name not in groups:
            raise LookupError(unknown("group", name, groups))
        if isinstance(groups[name], str) or not len(groups[name]):
            raise ValueError(f"group {name!r} is a list of at least one class of the network, not {groups[name]!r}")
    return [[class_index(net, member) for member in groups[name]] for name in classes]
