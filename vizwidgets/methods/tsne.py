"""Maps that settle step by step: t-SNE, and UMAP where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from torch import Tensor

from vizwidgets.core.optimize import Run

from .embedding import Features, as_features, recipe_of
from .neighbors import check_metric, nearest
from .projections import Embedding, principal_axes
from .scatter import scatter

EVERY = 15  # iterations in a step
PRODUCTS = 8_000_000_000  # multiplications and additions in a step that looks for neighbours: some 0.3 s
PERPLEXITY, EXAGGERATION = 30.0, 12
MANY = 3000  # from so many images on forces are taken more roughly, which changes trustworthiness by some thousandths
EXACT = 2000  # for so many images all pairs take milliseconds


@dataclass(frozen=True, eq=False)
class MapStep:
    """A map on its way.

    Attributes
    ----------
    index : int
        Steps so far, from 1.
    scores : dict of str to Tensor
        ``"KL"`` (1,), of t-SNE: what the map still gets wrong; NaN as long as it has not moved.
    points : Tensor
        (N, 2), float32.
    phase : str
        "start", "neighbours", "early exaggeration", "settling" or "done".
    iterations : int
        Of gradient descent, so far.
    features : Features
    """

    index: int
    scores: dict[str, Tensor]
    points: Tensor
    phase: str
    iterations: int
    features: Features

    def picture(self) -> PILImage.Image:
        """The points in the colours of their classes."""
        labels = self.features.labels
        kl = self.scores["KL"].item() if "KL" in self.scores else float("nan")
        caption = self.phase if np.isnan(kl) else f"{self.phase}, iteration {self.iterations}, KL divergence {kl:.2f}"
        return scatter(self.points.numpy(), None if labels is None else labels.numpy(), side=360, caption=caption, legend=False)


def tsne(features: Features, *, perplexity: float | None = None, metric: str = "l2", steps: int = 50, seed: int = 0) -> Run[MapStep]:
    """t-SNE: a map on which what is near in the space of features is near, while it settles.

    The first step is the start, the two principal components; then come steps that look for neighbours, and `steps` that move the
    points, a third of them with the attraction twelve times as strong. What is far apart on the map says little, and so do the sizes
    of its groups. Neighbours are exact; the forces are openTSNE's.

    Parameters
    ----------
    features : Features
    perplexity : float, optional
        How many neighbours an image has, roughly: from 1 to a third of the others; by default 30, or as many as there may be.
    metric : {"l2", "cosine"}
    steps : int
        Of 15 iterations each.
    seed : int
        The points are the same for the same seed, number of threads and versions.

    Returns
    -------
    Run
        Of `MapStep`; its result is an `Embedding`, also when it is stopped.

    Raises
    ------
    ValueError, LookupError
        For fewer than four images, a perplexity that is too large for them, and an unknown metric.

    References
    ----------
    van der Maaten, Hinton: Visualizing data using t-SNE, 2008. Poličar, Stražar, Zupan: openTSNE: a modular Python library for
    t-SNE dimensionality reduction and embedding, 2024.

    Examples
    --------
    >>> tsne(Features(torch.rand(100, 8)), perplexity=10, steps=20).result()
    Embedding(100 × 2, t-SNE, perplexity 10)
    """
    features = as_features(features)
    check_metric(metric)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is a whole number from 1, not {steps!r}")
    count, length = features.vectors.shape
    most = (count - 1) / 3
    if most < 1:
        raise ValueError(f"t-SNE takes at least 4 images, for the perplexity is from 1 to a third of the others; there are {count}: see pca")
    perplexity = min(PERPLEXITY, most) if perplexity is None else float(perplexity)
    if not 1 <= perplexity <= most:
        raise ValueError(f"the perplexity of {count} images is from 1 to {int(most * 10) / 10:g}, a third of the others, not {perplexity:g}")
    threads = torch.get_num_threads()
    k = min(count - 1, int(3 * perplexity + 1e-6))
    at_once = max(32, PRODUCTS // (2 * count * length))
    made: dict[str, Any] = {}

    def settle() -> Iterator[MapStep]:
        points = _start(features, metric, seed)
        index = 1

        def step(phase: str, kl: float = float("nan"), iterations: int = 0) -> MapStep:
            now = torch.from_numpy(np.array(points, dtype=np.float32))
            return MapStep(index, {"KL": torch.tensor([kl])}, now, phase, iterations, features)

        yield step("start")
        found = []
        for i in range(0, count, at_once):
            own = torch.arange(i, min(i + at_once, count))
            found.append(nearest(features.vectors, features.vectors[own], k, metric, own=own, lengths=features.lengths))
            index += 1
            yield step("neighbours")

        from openTSNE import TSNEEmbedding
        from openTSNE.affinity import PerplexityBasedNN

        known = _Known(features, metric, *(torch.cat(parts).numpy() for parts in zip(*found, strict=True)))
        made["affinities"] = PerplexityBasedNN(perplexity=perplexity, knn_index=known, n_jobs=threads)
        points = moving = TSNEEmbedding(points, made["affinities"], random_state=seed, n_jobs=threads)
        for taken in range(1, steps + 1):
            early = taken <= ceil(steps / 3)
            # As long as points are close to each other a grid is the faster way; later, up to some 10,000, a coarser tree.
            forces: dict[str, Any] = {"negative_gradient_method": "fft"} if early else {"theta": 0.7}
            moving.optimize(EVERY, inplace=True, propagate_exception=True, exaggeration=EXAGGERATION if early else None,
                            **(forces if count >= MANY else {}))  # fmt: skip
            index += 1
            # openTSNE's estimate fails, and may be negative, while all points are nearly at one place.
            kl = _kl(moving, made["affinities"].P) if count <= EXACT else float(moving.kl_divergence)
            yield step("early exaggeration" if early else "settling", kl, taken * EVERY)

    def finish(last: MapStep) -> Embedding:
        def place(vectors: Tensor) -> Tensor:
            from openTSNE import TSNEEmbedding

            points = last.points.double().numpy()
            settled = TSNEEmbedding(points, made["affinities"], random_state=seed, n_jobs=threads)
            placed = np.asarray(settled.transform(vectors.numpy(), perplexity=min(5.0, perplexity)))
            return torch.from_numpy(placed + (points - np.asarray(settled))[0]).float()  # it may move the settled points to a grid

        recipe = recipe_of("tsne", features, {"perplexity": perplexity, "metric": metric, "steps": steps, "seed": seed})
        recipe["taken"] = last.index
        recipe["versions"]["openTSNE"] = version("openTSNE")
        return Embedding(last.points, features, f"t-SNE, perplexity {perplexity:.3g}", metric,
                         mapping=place if last.iterations else None, recipe=recipe)  # fmt: skip

    return Run(settle(), 1 + ceil(count / at_once) + steps, finish)


def _kl(points: Any, joint: Any) -> float:
    """The Kullback-Leibler divergence of a map (N, 2) from joint probabilities (N, N), a sparse matrix."""
    x, pairs = torch.from_numpy(np.array(points, dtype=np.float64)), joint.tocoo()
    everywhere = (1 / (1 + torch.cdist(x, x).square())).sum() - len(x)
    near = 1 / (1 + (x[pairs.row] - x[pairs.col]).square().sum(1))
    p = torch.from_numpy(pairs.data / pairs.data.sum())
    return float((torch.xlogy(p, p) - torch.xlogy(p, near / everywhere)).sum())


def umap(features: Features, *, k: int = 15, min_dist: float = 0.1, metric: str = "l2", seed: int = 0) -> Run[MapStep]:
    """UMAP, by the package umap-learn, which must be installed. Two steps: the principal components, and the map.

    Parameters
    ----------
    features : Features
    k : int
        Neighbours of each image, from 2.
    min_dist : float
        How close points may come, from 0 to 1.
    metric : {"l2", "cosine"}
    seed : int

    Returns
    -------
    Run
        Of `MapStep`; its result is an `Embedding`.

    Raises
    ------
    ImportError
        Where umap-learn is not installed.
    ValueError, LookupError
        For fewer than four images, a `k` or `min_dist` that is not allowed, and an unknown metric.

    References
    ----------
    McInnes, Healy, Melville: UMAP: uniform manifold approximation and projection for dimension reduction, 2018.

    Examples
    --------
    >>> umap(Features(torch.rand(100, 8))).result()
    Embedding(100 × 2, UMAP, 15 neighbours)
    """
    from importlib.util import find_spec

    features = as_features(features)
    check_metric(metric)
    count = len(features)
    if find_spec("umap") is None:
        raise ImportError("UMAP is made by the package umap-learn, which is not installed: pip install umap-learn")
    if isinstance(k, bool) or not isinstance(k, int) or not 2 <= k < count or count < 4:
        raise ValueError(f"k is a number of neighbours from 2 to {count - 1}, of at least 4 images; not {k!r} of {count}")
    if not 0 <= min_dist <= 1:
        raise ValueError(f"min_dist is from 0 to 1, not {min_dist!r}")
    made: dict[str, Any] = {}

    def settle() -> Iterator[MapStep]:
        yield MapStep(1, {}, torch.from_numpy(_start(features, metric, seed)).float(), "start", 0, features)
        with _threads_kept():
            from umap import UMAP

            made["umap"] = UMAP(n_neighbors=k, min_dist=min_dist, metric="cosine" if metric == "cosine" else "euclidean",
                                random_state=seed, n_jobs=1)  # fmt: skip
            points = made["umap"].fit_transform(features.vectors.numpy())
        yield MapStep(2, {}, torch.from_numpy(np.array(points, np.float32)), "done", made["umap"].n_epochs or 0, features)

    def finish(last: MapStep) -> Embedding:
        def place(vectors: Tensor) -> Tensor:
            with _threads_kept():
                return torch.from_numpy(np.array(made["umap"].transform(vectors.numpy()), np.float32))

        recipe = recipe_of("umap", features, {"k": k, "min_dist": min_dist, "metric": metric, "seed": seed})
        recipe["taken"] = last.index
        recipe["versions"]["umap-learn"] = version("umap-learn")
        return Embedding(last.points, features, f"UMAP, {k} neighbours", metric, mapping=place if made else None, recipe=recipe)

    return Run(settle(), 2, finish)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """umap-learn compiles with numba, whose threads are torch's: it sets their number for both."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Known:
    """Neighbours found beforehand, and our own search for those of new images, in the form in which openTSNE asks for them."""

    def __init__(self, features: Features, metric: str, indices: Any, distances: Any) -> None:
        self.features, self.metric, self.indices, self.distances = features, metric, indices, distances
        self.n_samples, self.k = indices.shape

    def build(self) -> tuple[Any, Any]:
        return self.indices, self.distances

    def query(self, vectors: Any, k: int) -> tuple[Any, Any]:
        features = self.features
        found = nearest(features.vectors, torch.as_tensor(vectors), k, self.metric, lengths=features.lengths)
        return found[0].numpy(), found[1].numpy()


def _start(features: Features, metric: str, seed: int) -> np.ndarray[Any, Any]:
    """Where points begin (N, 2): the principal components, made small, and a little noise so that no two are at one place."""
    vectors = F.normalize(features.vectors, eps=1e-30) if metric == "cosine" else features.vectors
    mean, axes, _ = principal_axes(vectors, min(2, *vectors.shape))
    points = np.zeros((len(vectors), 2))
    points[:, : axes.shape[1]] = ((vectors.double() - mean) @ axes).numpy()
    spread = float(points[:, 0].std())
    noise = np.random.default_rng(seed).normal(0, 1e-6 if spread else 1e-4, points.shape)
    return points * (1e-4 / spread if spread else 0.0) + noise

