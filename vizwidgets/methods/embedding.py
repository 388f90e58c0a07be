"""Images as vectors: what a layer of a network makes of each image of a set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.capture import activations
from vizwidgets.core.image import open_image
from vizwidgets.core.memory import images_at_once
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.penultimate import classifier, penultimate
from vizwidgets.core.picture import colourise, enlarge
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Result, sheet
from vizwidgets.data.image_set import ImageSet, image_set

PENULTIMATE, INPUT = "penultimate", "input"
PIXELS = 32  # side of the pictures that are compared pixel by pixel
AT_ONCE = 16
KEPT = 4_000_000  # numbers: as many as a recipe holds


@dataclass(frozen=True, eq=False, repr=False)
class Features(Result):
    """A vector for each image of a set; made by `embed`, or from any numbers.

    Attributes
    ----------
    vectors : Tensor
        (N, D), float32 (float64 stays), on the CPU, finite. Also made from arrays and lists.
    labels : Tensor or None
        (N,) whole numbers from 0; by default those of the images.
    sources : tuple of str
        Where each came from.
    classes : tuple of str
        Names of the labels; () where unknown.
    layer : str
        "penultimate", "input" (pixels) or a layer's name.
    images : ImageSet or None
        What the vectors are of; anything that `image_set` takes.
    net : Net or None
        What made them.
    rows : Tensor
        (N,): which image of the set each vector is of.
    skipped : tuple of (str, str)
        Source and reason of each image that could not be read.

    Raises
    ------
    ValueError, TypeError
        For vectors that are not (N, D) or not finite, and for labels or images of another number.

    Examples
    --------
    >>> Features(torch.rand(100, 8), labels=torch.arange(100) % 3)
    Features(100 × 8, 3 classes)
    """

    vectors: Tensor
    labels: Tensor | None = None
    sources: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    layer: str = ""
    images: ImageSet | None = None
    net: Net | None = None
    rows: Tensor | None = None
    skipped: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        vectors = numbers(self.vectors)
        if vectors.dim() != 2 or 0 in vectors.shape:
            raise ValueError(f"vectors are (N, D), one for each image, not {tuple(vectors.shape)}")
        object.__setattr__(self, "vectors", vectors)
        wrong = (~self.lengths.isfinite()).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(f"vectors are finite numbers; {len(wrong)} of {len(vectors)} are not, the first in row {wrong[0]}")
        images = None if self.images is None else image_set(self.images)
        rows = torch.arange(len(vectors)) if self.rows is None else torch.as_tensor(self.rows).long()
        if images is not None and (len(rows) != len(vectors) or (self.rows is None and len(images) != len(vectors))):
            raise ValueError(f"{len(images)} images for {len(vectors)} vectors: rows=... says which images they are of")
        labels, sources, classes = self.labels, self.sources, self.classes
        if images is not None:
            labels = torch.as_tensor(images.labels)[rows] if labels is None and images.labels is not None else labels
            sources = sources or tuple(images.sources[i] for i in rows.tolist())
            classes = classes or images.classes
        if labels is not None:
            labels = torch.as_tensor(labels)
            if labels.is_floating_point() or labels.shape != (len(vectors),) or bool(labels.min() < 0):
                raise ValueError(f"labels are {len(vectors)} whole numbers from 0, not {labels.dtype} of shape {tuple(labels.shape)}")
            labels = labels.long()
        for name, value in (("images", images), ("rows", rows), ("labels", labels), ("sources", tuple(sources)), ("classes", tuple(classes))):
            object.__setattr__(self, name, value)

    @cached_property
    def lengths(self) -> Tensor:
        """(N,): Euclidean length of each vector."""
        return self.vectors.norm(dim=1)

    def __len__(self) -> int:
        return len(self.vectors)

    def label_name(self, row: int) -> str | None:
        """The class of a row; None without labels."""
        return None if self.labels is None else class_name(self.classes, int(self.labels[row]))

    def thumbnail(self, row: int, side: int = 64) -> PILImage.Image | None:
        """The image of a row, its longer side `side` pixels; None where the images are not known."""
        return None if self.images is None or self.rows is None else self.images.thumbnail(int(self.rows[row]), side)

    def of(self, images: Any) -> Tensor:
        """Vectors (Q, D) of other images, made as those of the set were.

        Parameters
        ----------
        images : Image, Tensor (B, C, H, W), what `vizwidgets.image` takes, or several in a list
            Vectors (Q, D) or (D,) in a tensor or array, and `Features`, are taken as they are.
        """
        if isinstance(images, Features):
            found = images.vectors
        elif isinstance(images, (Tensor, np.ndarray)) and images.ndim <= 2:
            found = numbers(images).reshape(-1, images.shape[-1])
        elif self.net is None:
            raise ValueError("these features know no network that would make vectors of images: give vectors (Q, D)")
        else:
            several = isinstance(images, (list, tuple)) or (isinstance(images, Tensor) and images.dim() == 4)
            given = list(images) if several else [images]
            if not given:
                raise ValueError("there are no images to compare: the list is empty")
            opened = (torch.cat([open_image(x, self.net).pixels for x in given[i : i + AT_ONCE]]) for i in range(0, len(given), AT_ONCE))
            found = torch.cat([vectors_of(self.net, x, self.layer) for x in opened])
        if found.shape[1] != self.vectors.shape[1] or not bool(found.isfinite().all()):
            raise ValueError(f"vectors to compare are finite and (Q, {self.vectors.shape[1]}), not {tuple(found.shape)}")
        return found.to(self.vectors.dtype)

    def picture(self) -> PILImage.Image:
        """How alike the images are, by the cosine of their vectors: a row and a column for each, class by class (300 at most)."""
        order = torch.arange(len(self)) if self.labels is None else self.labels.argsort(stable=True)
        shown = order[torch.linspace(0, len(order) - 1, min(len(order), 300)).round().long()]
        unit = F.normalize(self.vectors[shown], eps=1e-30)
        return PILImage.fromarray(enlarge(colourise(unit @ unit.T), 300))

    def __repr__(self) -> str:
        """Size, layer and what is known."""
        classes = len(self.classes) or (0 if self.labels is None else len(self.labels.unique()))
        parts = ["×".join(map(str, self.vectors.shape)).replace("×", " × "), self.layer and f"layer {self.layer!r}",
                 classes and f"{classes} classes", self.skipped and f"{len(self.skipped)} images skipped"]  # fmt: skip
        return f"Features({', '.join(str(p) for p in parts if p)})"


@dataclass(frozen=True, eq=False)
class EmbedStep:
    """A batch of images has become vectors.

    Attributes
    ----------
    index : int
        Steps so far, from 1.
    scores : dict
        Empty: nothing is being improved.
    done : int
        Images so far, skipped ones included.
    batch : Tensor or None
        (B, C, H, W): the images of this step that could be read; None where none could.
    """

    index: int
    scores: dict[str, Tensor]
    done: int
    batch: Tensor | None

    def picture(self) -> PILImage.Image | None:
        """The images of this step."""
        return None if self.batch is None else sheet(self.batch)


def batch_of(net: Net, batch_size: int | None, size: tuple[int, int] | None = None) -> int:
    """How many images of `size` go through the network together: as many as are asked for, or else 16 or fewer where memory is short."""
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size is a whole number from 1, not {batch_size!r}")
    return batch_size or min(AT_ONCE, images_at_once(net, size or net.size))


def embed(net: Net | nn.Module, images: Any, layer: str | None = None, *, batch_size: int | None = None) -> Run[EmbedStep]:
    """A vector for each image of a set: the activations of a layer, the mean over positions for each channel.

    Images that cannot be read are left out, and listed in the result's `skipped`.

    Parameters
    ----------
    net : Net or torch.nn.Module
    images : ImageSet, or what `image_set` takes
        A folder, paths, a tensor (N, C, H, W), a data set.
    layer : str, optional
        A name from ``net.layers``; "input" for the pixels, averaged over areas to at most 32×32 for each channel; by default
        "penultimate", what the last linear layer (or 1×1 convolution) is fed with.
    batch_size : int, optional
        By default 16, or fewer where memory is short.

    Returns
    -------
    Run
        Of `EmbedStep`; its result is `Features`, of the images so far when it is stopped.

    Raises
    ------
    LookupError, ValueError
        For an unknown layer, an empty set, one of which no image can be read, and a network that gives NaN.

    References
    ----------
    Donahue, Jia, Vinyals, Hoffman, Zhang, Tzeng, Darrell: DeCAF: a deep convolutional activation feature for generic visual
    recognition, 2014.

    Examples
    --------
    >>> embed(vizwidgets.load("flowers"), vizwidgets.data.Flowers(120)).result()
    Features(120 × 96, layer 'penultimate', 12 classes)
    """
    net, images = as_net(net), image_set(images)
    layer = PENULTIMATE if layer is None else layer
    if layer == PENULTIMATE:
        classifier(net)
    elif layer != INPUT:
        net.layers.readable(layer)
    at_once = batch_of(net, batch_size)
    rows: list[int] = []
    found: list[Tensor] = []
    skipped: list[tuple[str, str]] = []

    def read() -> Iterator[EmbedStep]:
        for index, batch in enumerate(images.batches(net, at_once), 1):
            skipped.extend((images.sources[i], reason) for i, reason in batch.skipped)
            if batch.pixels is not None:
                vectors = vectors_of(net, batch.pixels, layer)
                wrong = (~vectors.isfinite()).any(1).nonzero().flatten().tolist()
                if wrong:
                    source = images.sources[batch.indices[wrong[0]]]
                    raise ValueError(f"{net.name or 'the network'} gives NaN or infinity for {source!r}: it overflows, or its weights hold NaN")
                found.append(vectors)
                rows.extend(batch.indices)
            yield EmbedStep(index, {}, batch.last, batch.pixels)

    def finish(last: EmbedStep) -> Features:
        if not found:
            raise ValueError(f"none of the {last.done} images could be read; the first, {skipped[0][0]!r}: {skipped[0][1]}")
        recipe = make_recipe(net, "embed", {}, {"layer": layer, "batch_size": batch_size})
        recipe |= {"images": images.digest, "taken": last.index}
        return Features(torch.cat(found), layer=layer, images=images, net=net, rows=torch.tensor(rows), skipped=tuple(skipped), recipe=recipe)

    return Run(read(), ceil(len(images) / at_once), finish)


def vectors_of(net: Net, images: Tensor, layer: str) -> Tensor:
    """Vectors (B, D) of prepared images (B, C, H, W)."""
    with torch.inference_mode():
        if layer == INPUT:
            found = F.adaptive_avg_pool2d(images, (min(PIXELS, images.shape[2]), min(PIXELS, images.shape[3]))).flatten(1)
        elif layer == PENULTIMATE:
            found = penultimate(net, images)
        else:
            found = activations(net, images, layer)[layer].mean((2, 3))
    return (found if found.dtype == torch.float64 else found.float()).cpu().clone()


def numbers(values: Any) -> Tensor:
    """Values as a tensor on the CPU, float32 (float64 stays)."""
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"vectors are numbers, not {type(values).__name__} of {array.dtype}")
        values = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    values = values.detach().cpu()
    return values if values.dtype == torch.float64 else values.float()


def as_features(features: Any) -> Features:
    """`Features` as they are, or made of plain vectors (N, D)."""
    if isinstance(features, Features):
        return features
    if isinstance(features, (Tensor, np.ndarray)):
        return Features(features)  # type: ignore[arg-type]
    hint = "its .result() is" if isinstance(features, Run) else "embed(net, images).result(), or Features(vectors), are"
    raise TypeError(f"features are Features or vectors (N, D), not {type(features).__name__}: {hint}")


def recipe_of(method: str, features: Features, options: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """The recipe of what is made of features; it holds the vectors where they are not too many, and what made them."""
    kept = {"vectors": features.vectors, "labels": features.labels, **inputs} if features.vectors.numel() <= KEPT else {}
    return make_recipe(None, method, kept, options) | {"features": features.recipe}


def class_name(classes: tuple[str, ...], label: int) -> str:
    """The name of a label."""
    return classes[label] if label < len(classes) else f"class {label}"
