"""Maps of a set of images: vectors as points in the plane, and how far such a map is to be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from vizwidgets.core.results import Result

from .embedding import Features, as_features, class_name, numbers, recipe_of
from .neighbors import BLOCK, check_metric, nearest
from .scatter import MARKERS, class_marker, scatter

NEAR = 12  # neighbours that the two measures look at
QUICK = 5000  # up to so many images a picture tells the measures, which takes a second


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Result):
    """Points in the plane, one for each image; made by `pca`, `tsne` and `umap`, or from any points.

    Attributes
    ----------
    points : Tensor
        (N, 2), float32.
    features : Features
        What the map is of.
    title : str
        How it was made, in words.
    metric : {"l2", "cosine"}
        The distance between vectors that it is about.
    explained : tuple of float or None
        Share of the variance along each axis; of `pca`.
    mapping : callable or None
        Vectors (M, D) to points (M, 2); see `place`.
    """

    points: Tensor
    features: Features
    title: str = ""
    metric: str = "l2"
    explained: tuple[float, ...] | None = None
    mapping: Callable[[Tensor], Tensor] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", as_features(self.features))
        points = numbers(self.points).float()
        if points.dim() != 2 or len(points) != len(self.features):
            raise ValueError(f"points are ({len(self.features)}, 2), one for each image, not {tuple(points.shape)}")
        object.__setattr__(self, "points", points)

    @cached_property
    def trustworthiness(self) -> float:
        """See `trustworthiness`, with at most 12 neighbours; NaN for fewer than three images. Worked out when first asked for."""
        k = min(NEAR, (len(self.points) - 1) // 2)
        return trustworthiness(self.features, self.points, k, metric=self.metric) if k else float("nan")

    @cached_property
    def neighborhood_hit(self) -> float | None:
        """See `neighborhood_hit`, with at most 12 neighbours; None without labels. Worked out when first asked for."""
        k = min(NEAR, len(self.points) - 1)
        return neighborhood_hit(self.features, self.points, k) if k and self.features.labels is not None else None

    def place(self, images: Any) -> Tensor:
        """Points (M, 2) of other images on this map.

        Parameters
        ----------
        images : Features, Image or what `Features.of` takes

        Raises
        ------
        ValueError
            Where the map knows no place for others, and for vectors of another length.
        """
        if self.mapping is None:
            raise ValueError("this map has no place for other images: it is of points alone, or was stopped before it had moved")
        return self.mapping(self.features.of(images))

    @property
    def plane(self) -> NDArray[np.float32]:
        """(N, 2): the first two coordinates; a map along one axis lies on a line."""
        points = self.points[:, :2].numpy()
        return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))

    @property
    def caption(self) -> str:
        """How it was made and how far it can be trusted, in words; without measures where they would take long."""
        parts = [self.title] if self.title else []
        if len(self.points) <= QUICK or "trustworthiness" in self.__dict__:
            parts.append(f"trustworthiness {self.trustworthiness:.3f}")
            if self.neighborhood_hit is not None:
                parts.append(f"neighbourhood hit {self.neighborhood_hit:.2f}")
        return "; ".join(parts)

    def picture(self) -> PILImage.Image:
        """The points in the colours and shapes of their classes, with a legend, and a line that says how far to trust them."""
        labels = self.features.labels
        return scatter(self.plane, None if labels is None else labels.numpy(), self.features.classes, caption=self.caption)

    def plot(self, ax: Any = None) -> Any:
        """Draw the points on a matplotlib axes (a new one by default) and give the axes."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(figsize=(7, 5))[1]
        labels = np.zeros(len(self.points), int) if self.features.labels is None else self.features.labels.numpy()
        size = float(np.clip(4000 / len(labels), 4, 36))
        for label in np.unique(labels).tolist():
            colour, shape = class_marker(label)
            x, y = self.plane[labels == label].T
            name = class_name(self.features.classes, label).replace("$", r"\$")  # no formula
            ax.scatter(x, y, size, colour, marker=MARKERS[shape], linewidths=0, label=name)
        if self.features.labels is not None:
            ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize="small", markerscale=6 / size**0.5)
        ax.set(xticks=[], yticks=[], aspect="equal")
        ax.set_title(self.caption, fontsize="medium", wrap=True)
        return ax

    def __repr__(self) -> str:
        """Size and how it was made."""
        return f"Embedding({' × '.join(map(str, self.points.shape))}{', ' + self.title if self.title else ''})"


def pca(features: Features, n: int = 2) -> Embedding:
    """Principal components: the directions along which the vectors differ most.

    The sign of a component is such that its largest weight is positive.

    Parameters
    ----------
    features : Features
    n : int
        Components, at most the number of images and the length of the vectors.

    Returns
    -------
    Embedding
        `points` (N, n); `explained`, the share of the variance that each has.

    Raises
    ------
    ValueError
        For more components than there are.

    References
    ----------
    Pearson: On lines and planes of closest fit to systems of points in space, 1901.

    Examples
    --------
    >>> pca(Features(torch.rand(100, 8)))
    Embedding(100 × 2, PCA, 19 % and 16 % of the variance)
    """
    features = as_features(features)
    rows, columns = features.vectors.shape
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= min(rows, columns):
        raise ValueError(f"n is a number of components from 1 to {min(rows, columns)}, not {n!r}")
    mean, axes, shares = principal_axes(features.vectors, n)

    def mapping(vectors: Tensor) -> Tensor:
        return ((vectors.double() - mean) @ axes).float()

    told = " and ".join(f"{100 * s:.0f} %" for s in shares[:3])
    recipe = recipe_of("pca", features, {"n": n})
    points = torch.cat([mapping(block) for block in features.vectors.split(max(1, BLOCK // columns))])
    return Embedding(points, features, f"PCA, {told} of the variance", explained=tuple(shares), mapping=mapping, recipe=recipe)


def principal_axes(vectors: Tensor, n: int) -> tuple[Tensor, Tensor, list[float]]:
    """Mean (D,), the first `n` axes (D, n) in double precision, and their shares of the variance."""
    count, length = vectors.shape
    mean = vectors.mean(0, dtype=torch.float64)
    if count < length:  # the smaller of the two matrices that have the same eigenvalues
        centred = vectors.double() - mean
        values, inner = torch.linalg.eigh(centred @ centred.T)
        axes = F.normalize(centred.T @ inner[:, -n:].flip(1), dim=0, eps=1e-30)
    else:
        product = torch.zeros(length, length, dtype=torch.float64)
        for block in vectors.split(max(1, BLOCK // length)):
            centred = block.double() - mean
            product += centred.T @ centred
        values, inner = torch.linalg.eigh(product)
        axes = inner[:, -n:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    values = values.clamp(min=0)
    return mean, axes, (values[-n:].flip(0) / values.sum().clamp(min=1e-300)).tolist()


def trustworthiness(features: Features | Tensor, points: Any, k: int = NEAR, *, metric: str = "l2") -> float:
    """Whether neighbours on a map are neighbours indeed: 1 where all of them are, near 0.5 for points placed at random.

    Each of the `k` nearest points that is not among the `k` nearest vectors counts by its rank among them. A sum over all pairs of
    images, in blocks: memory stays bounded, time grows with their square.

    Parameters
    ----------
    features : Features or Tensor
        Vectors (N, D).
    points : Tensor or array
        (N, 2).
    k : int
        Less than half of the images.
    metric : {"l2", "cosine"}
        Between vectors; points are compared by L2.

    Returns
    -------
    float

    Raises
    ------
    ValueError, LookupError
        For another number of points, a `k` that is too large, and an unknown metric.

    References
    ----------
    Venna, Kaski: Neighborhood preservation in nonlinear projection methods: an experimental study, 2001.

    Examples
    --------
    >>> vectors = torch.rand(100, 2)
    >>> trustworthiness(vectors, vectors)
    1.0
    """
    vectors, points = as_features(features).vectors, numbers(points)
    count = len(vectors)
    check_metric(metric)
    _check_near(k, count, points, (count - 1) // 2)
    near = nearest(points, points, k, own=torch.arange(count))[0]
    # Scores that rise as the distance falls; about the mean, so that less is lost to rounding.
    vectors = F.normalize(vectors, eps=1e-30) if metric == "cosine" else vectors - vectors.mean(0)
    less = 0.0 if metric == "cosine" else vectors.square().sum(1) / 2
    beyond = 0
    at_once = max(1, BLOCK // count)
    for i in range(0, count, at_once):
        scores = vectors[i : i + at_once] @ vectors.T - less
        own = torch.arange(len(scores))
        scores[own, own + i] = -torch.inf
        for theirs in scores.gather(1, near[i : i + at_once]).T:
            # How many are nearer: the rank is one more. NumPy counts them many times as fast as torch does.
            nearer = np.count_nonzero(scores.numpy() > theirs.numpy()[:, None], axis=1)
            beyond += int(np.maximum(nearer + 1 - k, 0).sum())
    return 1 - beyond * 2 / (count * k * (2 * count - 3 * k - 1))


def neighborhood_hit(features: Features, points: Any, k: int = NEAR) -> float:
    """The share of the `k` nearest points of a map that have an image's own label, mean over all images.

    Parameters
    ----------
    features : Features
        With labels.
    points : Tensor or array
        (N, 2).
    k : int
        Less than the number of images.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        Without labels, for another number of points, and a `k` that is too large.

    References
    ----------
    Paulovich, Nonato, Minghim, Levkowitz: Least square projection, 2008.

    Examples
    --------
    >>> neighborhood_hit(Features(torch.rand(9, 2), labels=[0] * 9), torch.rand(9, 2), k=3)
    1.0
    """
    features = as_features(features)
    if features.labels is None:
        raise ValueError("neighborhood_hit compares labels, and these features have none: Features(vectors, labels=...)")
    points = numbers(points)
    _check_near(k, len(features), points, len(features) - 1)
    near = nearest(points, points, k, own=torch.arange(len(points)))[0]
    return float((features.labels[near] == features.labels[:, None]).double().mean())


def _check_near(k: int, count: int, points: Tensor, most: int) -> None:
    if points.dim() != 2 or len(points) != count or not bool(points.isfinite().all()):
        raise ValueError(f"points are finite and ({count}, 2), one for each image, not {tuple(points.shape)}")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= most:
        raise ValueError(f"k is a number of neighbours from 1 to {most} for {count} images, not {k!r}")
