"""Sets of images painted with the textures of other images, by style transfer: for training, and to set shape against texture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageOptimizer
from vizwidgets.core.params import FourierImage
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Result, sheet
from vizwidgets.core.targets import Each, Target
from vizwidgets.data.image_set import ImageSet, image_set

from .embedding import batch_of
from .gram import checked_layers, default_style_layers
from .presets import number_of_steps
from .rendering import best_so_far
from .shapebias import Stimuli
from .style import content_target, default_content_layer, style_target

_SHOWN = 24  # images in the picture of a step


@dataclass(frozen=True, eq=False, repr=False)
class Stylised(Result):
    """Images painted with the textures of others; a data set: item `i` is an image, and its label where it has one.

    Attributes
    ----------
    images : Tensor
        (N, C, H, W), uint8, on the CPU.
    styles : Tensor
        (N,) long: the image of the styles that each was painted with.
    labels : Tensor or None
        (N,) long: the classes of the images before, and so of their shapes.
    classes : tuple of str
    """

    images: Tensor
    styles: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        """Image (C, H, W) in [0, 1] with its label, or without where there are none."""
        image = self.images[range(len(self))[index]].float() / 255
        return image if self.labels is None else (image, int(self.labels[index]))

    def picture(self) -> PILImage.Image:
        """The first 64 side by side."""
        return sheet(self.images[:64] / 255)

    def __repr__(self) -> str:
        """How many and their size."""
        height, width = self.images.shape[2:]
        return f"Stylised({len(self)} images {height}×{width})"


@dataclass(frozen=True, eq=False)
class PaintStep:
    """A batch of images after one update.

    Attributes
    ----------
    index : int
        Steps so far, from 1; each batch takes as many.
    scores : dict of str to Tensor
        "score" (B,) of the batch before the update: 0 would be the content and the textures wanted, both at once.
    done : int
        Images that are finished.
    image : Tensor
        (B, C, H, W) in [0, 1]: of the images that are being painted the best so far.
    """

    index: int
    scores: dict[str, Tensor]
    done: int
    image: Tensor

    def picture(self) -> PILImage.Image:
        """The images that are being painted, 24 at most."""
        return sheet(self.image[:_SHOWN])


def stylised(
    net: Net | nn.Module, images: Any, styles: Any = None, *, style_weight: float = 5.0, content_layer: str | None = None,
    style_layers: Sequence[str] | Mapping[str, float] | None = None, steps: int | str = 16, lr: float = 0.1, batch_size: int | None = None, seed: int = 0,
) -> Run[PaintStep]:  # fmt: skip
    """Images that keep their shapes and get the textures of others: data that teaches a network not to trust textures.

    Parameters
    ----------
    net : Net or torch.nn.Module
        Whose layers say what shape and texture are.
    images : ImageSet, or what `image_set` takes
        Opened as the network was trained.
    styles : ImageSet, or what `image_set` takes, optional
        Whose textures; by default the images themselves. Each image gets one of them by lot, none of its own class where
        both sets have labels.
    style_weight : float
        How much textures count beside shapes; both are relative errors.
    content_layer : str, optional
        By default as of `style_transfer`.
    style_layers : sequence of str, or mapping of str to float, optional
        By default as of `style_transfer`.
    steps : int or str
        Of each batch.
    lr : float
        Learning rate of Adam on Fourier coefficients.
    batch_size : int, optional
        By default 16, or fewer where memory is short.
    seed : int
        Of the lot.

    Returns
    -------
    Run
        Of `PaintStep`; its result is `Stylised`, of the batches that are finished when it is stopped.

    Raises
    ------
    LookupError, ValueError
        For layers that there are not, sets that are empty, and where no style of another class is to be had.

    References
    ----------
    Geirhos, Rubisch, Michaelis, Bethge, Wichmann, Brendel: ImageNet-trained CNNs are biased towards texture; increasing shape
    bias improves accuracy and robustness, 2019.

    Examples
    --------
    >>> stylised(vizwidgets.load("flowers"), vizwidgets.data.Flowers(24)).result()
    Stylised(24 images 96×96)
    """
    net, contents = as_net(net), image_set(images)
    paints = contents if styles is None else image_set(styles)
    random, others = np.random.default_rng(seed), _others(contents, paints, net)
    pairs = [(i, int(random.choice(_some(others(i), contents.sources[i])))) for i in range(len(contents))]
    labels = None if contents.labels is None else torch.tensor(contents.labels)

    def finish(made: Tensor, options: dict[str, Any]) -> Stylised:
        recipe = make_recipe(net, "stylised", {}, options | {"seed": seed}) | {"images": contents.digest, "styles": paints.digest}
        chosen = torch.tensor([j for _, j in pairs[: len(made)]])
        return Stylised(made, chosen, None if labels is None else labels[: len(made)], contents.classes, recipe=recipe)

    return _painting(net, contents, paints, pairs, finish, style_weight=style_weight, content_layer=content_layer, style_layers=style_layers,
                     steps=steps, lr=lr, batch_size=batch_size)  # fmt: skip


def cue_conflict(
    net: Net | nn.Module, shapes: Any, textures: Any = None, *, pairs: int | str | Sequence[tuple[int, int]] | None = None,
    style_weight: float = 5.0, content_layer: str | None = None, style_layers: Sequence[str] | Mapping[str, float] | None = None,
    steps: int | str = 64, lr: float = 0.1, batch_size: int | None = None, seed: int = 0,
) -> Run[PaintStep]:  # fmt: skip
    """Stimuli with the shape of one image and the texture of another one, of another class, made by style transfer.

    They are made with the features of `net`, which so has a part in what they show: a network is best asked about stimuli that
    another one has made.

    Parameters
    ----------
    net : Net or torch.nn.Module
    shapes, textures : ImageSet, or what `image_set` takes
        Images with labels, opened as the network was trained; `textures` are by default the same as `shapes`. Classes of
        one set alone are allowed.
    pairs : int, str or sequence of (int, int), optional
        How many, drawn by lot so that every image is used about equally often; "all" that have different labels; or which image
        of `shapes` with which of `textures`. By default as many as there are shapes.
    style_weight, content_layer, style_layers, steps, lr, batch_size
        As of `stylised`.
    seed : int
        Of the lot.

    Returns
    -------
    Run
        Of `PaintStep`; its result is `Stimuli`, of the batches that are finished when it is stopped.

    Raises
    ------
    LookupError, ValueError
        Without labels, for pairs of one label or of images that there are not, and where no two labels differ.

    References
    ----------
    Geirhos, Rubisch, Michaelis, Bethge, Wichmann, Brendel: ImageNet-trained CNNs are biased towards texture; increasing shape
    bias improves accuracy and robustness, 2019. Gatys, Ecker, Bethge: Image style transfer using convolutional neural networks, 2016.

    Examples
    --------
    >>> cue_conflict(vizwidgets.load("flowers"), vizwidgets.data.Flowers(24), pairs=8).result()
    Stimuli(8 images 96×96, 12 classes)
    """
    net, contents = as_net(net), image_set(shapes)
    paints = contents if textures is None else image_set(textures)
    classes, (of_shapes, of_textures) = _common_classes(net, contents, paints)
    chosen = _pairs(pairs, of_shapes, of_textures, seed)

    def finish(made: Tensor, options: dict[str, Any]) -> Stimuli:
        done = chosen[: len(made)]
        recipe = make_recipe(net, "cue_conflict", {}, options | {"pairs": [list(p) for p in chosen], "seed": seed})
        recipe |= {"shapes": contents.digest, "textures": paints.digest}
        return Stimuli(
            made, torch.tensor([of_shapes[i] for i, _ in done]), torch.tensor([of_textures[j] for _, j in done]), classes,
            tuple(contents.sources[i] for i, _ in done), tuple(paints.sources[j] for _, j in done), recipe=recipe,
        )  # fmt: skip

    return _painting(net, contents, paints, chosen, finish, style_weight=style_weight, content_layer=content_layer, style_layers=style_layers,
                     steps=steps, lr=lr, batch_size=batch_size)  # fmt: skip


def _painting(
    net: Net, contents: ImageSet, paints: ImageSet, pairs: list[tuple[int, int]], finish: Callable[[Tensor, dict[str, Any]], Result], *,
    style_weight: float, content_layer: str | None, style_layers: Sequence[str] | Mapping[str, float] | None, steps: int | str, lr: float,
    batch_size: int | None,
) -> Run[PaintStep]:  # fmt: skip
    """A run that paints image `i` of the contents with the texture of image `j` of the paints, for each pair, batch by batch."""
    total, textured = number_of_steps(steps), checked_layers(net, default_style_layers(net) if style_layers is None else style_layers)
    (shaped,) = checked_layers(net, [default_content_layer(net) if content_layer is None else content_layer])
    for name, value in (("style_weight", style_weight), ("lr", lr)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"{name} is a finite number from 0, not {value!r}")
    at_once = batch_of(net, batch_size)
    options = {"style_weight": style_weight, "content_layer": shaped, "style_layers": textured, "steps": total, "lr": lr, "batch_size": at_once}
    made: list[Tensor] = []

    def paint() -> Iterator[PaintStep]:
        for first in range(0, len(pairs), at_once):
            part = pairs[first : first + at_once]
            x = torch.cat([contents.image(i, net).pixels for i, _ in part])
            aims = _aims(net, x, torch.cat([paints.image(j, net).pixels for _, j in part]), shaped, textured, style_weight)
            # In frequencies rather than pixels: a few steps change broad areas, and no pattern of single pixels comes in.
            for taken, step in enumerate(islice(best_so_far(ImageOptimizer(net, aims, FourierImage(init=x), lr=lr)), total), 1):
                if taken == total:
                    made.append((step.image * 255).round().to(torch.uint8))
                yield PaintStep(first // at_once * total + taken, {"score": step.scores["score"]}, sum(map(len, made)), step.image)

    def result(last: PaintStep) -> Result:
        if not made:
            raise ValueError(f"no image is finished after {last.index} of the {total} steps that a batch takes")
        return finish(torch.cat(made), options)

    return Run(paint(), ceil(len(pairs) / at_once) * total, result)


def _aims(net: Net, contents: Tensor, styles: Tensor, shaped: str, textured: Mapping[str, float], weight: float) -> Target:
    """For each image a target that is 0 where it has the activations of its content and the Gram matrices of its style."""
    pairs = zip(contents.split(1), styles.split(1), strict=True)
    return Each(tuple(-content_target(net, x, shaped) - weight * style_target(net, s, textured) for x, s in pairs))


def _common_classes(net: Net, *sets: ImageSet) -> tuple[tuple[str, ...], list[list[int]]]:
    """The classes of two sets together, and the labels of each as places in them; -1 where an image has none."""
    named = []
    for images in sets:
        if images.labels is None:
            raise ValueError(f"{images!r} has no labels: image_set(images, labels=...) says of which class each image is")
        names = images.classes or net.labels
        named.append([None if i < 0 else names[i] if i < len(names) else str(i) for i in images.labels])
    used = [name for names in named for name in names if name is not None]
    classes = tuple(dict.fromkeys([*(name for images in sets for name in images.classes), *used]))
    place = {name: i for i, name in enumerate(classes)}
    return classes, [[-1 if name is None else place[name] for name in names] for names in named]


def _others(contents: ImageSet, paints: ImageSet, net: Net) -> Callable[[int], np.ndarray]:
    """What image `i` of the contents may be painted with."""
    numbers = np.arange(len(paints))
    if contents.labels is None or paints.labels is None:
        return lambda i: numbers[numbers != i] if paints is contents else numbers
    mine, theirs = (np.array(labels) for labels in _common_classes(net, contents, paints)[1])
    return lambda i: numbers[(theirs != mine[i]) & (theirs >= 0)]


def _some(styles: np.ndarray, name: str) -> np.ndarray:
    if not len(styles):
        raise ValueError(f"there is no style for the image {name!r}: none is of another class")
    return styles


def _pairs(pairs: Any, shapes: list[int], textures: list[int], seed: int) -> list[tuple[int, int]]:
    """Which image of the shapes goes with which of the textures."""
    a, b = np.array(shapes), np.array(textures)
    free = (a[:, None] != b) & (a[:, None] >= 0) & (b >= 0)
    if not free.any():
        raise ValueError("shape and texture are to contradict each other, and there are no two images with different labels")
    if isinstance(pairs, (list, tuple)):
        for i, j in pairs:
            if not (0 <= i < len(a) and 0 <= j < len(b)):
                raise IndexError(f"there is no pair ({i}, {j}): there are {len(a)} shapes and {len(b)} textures, counted from 0")
            if not free[i, j]:
                raise ValueError(f"shape and texture contradict each other; those of the pair ({i}, {j}) have the same label, or none")
        if not pairs:
            raise ValueError("there are no pairs")
        return [(int(i), int(j)) for i, j in pairs]
    if pairs == "all":
        return [(int(i), int(j)) for i, j in np.argwhere(free)]
    wanted = len(a) if pairs is None else pairs
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise ValueError(f"pairs are a number from 1, 'all' or a list of (shape, texture), not {pairs!r}")
    if wanted > free.sum():
        raise ValueError(f"there are {free.sum()} pairs with different labels, not {wanted}")
    random, used, found = np.random.default_rng(seed), np.zeros(len(b), int), list[tuple[int, int]]()
    while len(found) < wanted:
        for i in random.permutation(len(a)).tolist():
            left = np.flatnonzero(free[i])
            if len(left) and len(found) < wanted:
                j = int(random.choice(left[used[left] == used[left].min()]))
                found.append((i, j))
                used[j] += 1
                free[i, j] = False
    return found
