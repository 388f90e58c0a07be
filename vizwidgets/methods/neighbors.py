"""Neighbours: which images of a set are nearest to an image, by the vectors of a layer or by pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from vizwidgets.core.errors import unknown
from vizwidgets.core.results import Result

from .embedding import Features, as_features, recipe_of
from .scatter import labelled_row

METRICS = ("cosine", "l2")
BLOCK = 16_000_000  # numbers held at once: 64 MB in float32
PAIRS = 1_000_000  # of them in differences, which are several times faster where the processor's own memory holds them


@dataclass(frozen=True, eq=False, repr=False)
class Neighbors(Result):
    """The nearest images of a set, for each query.

    Attributes
    ----------
    indices : Tensor
        (Q, k): rows of `features`, the nearest first.
    distances : Tensor
        (Q, k): 1 - cosine, in [0, 2], or Euclidean.
    agreement : float or None
        Share of the neighbours that have the query's label; None where it has none.
    features : Features
    query : Tensor or None
        (Q,): rows of the queries; None where they are not of the set.
    metric : str
    """

    indices: Tensor
    distances: Tensor
    agreement: float | None
    features: Features
    query: Tensor | None = None
    metric: str = "cosine"

    def overlap(self, other: Neighbors) -> float:
        """The share of neighbours, in [0, 1], that `other` has too, of the same queries (in pixel space, say)."""
        if self.indices.shape != other.indices.shape:
            raise ValueError(f"neighbours to compare are as many, {tuple(self.indices.shape)}, not {tuple(other.indices.shape)}")
        mine, others = (n.features.rows[n.indices] for n in (self, other))  # type: ignore[index]
        return float((mine[:, :, None] == others[:, None, :]).any(2).double().mean())

    def picture(self) -> PILImage.Image:
        """A row for each query (the first eight): itself, where it is of the set, and its neighbours with class and distance.

        Those of the query's class have a blue frame, others an orange one.
        """
        rows = []
        for i, found in enumerate(self.indices[:8].tolist()):
            own = None if self.query is None else int(self.query[i])
            labels = self.features.labels
            cells: list[tuple[int, str, bool | None]] = [] if own is None else [(own, self.features.label_name(own) or "query", None)]
            for j, row in enumerate(found):
                same = None if own is None or labels is None else bool(labels[row] == labels[own])
                name = " ".join((self.features.label_name(row) or f"#{row}").split())
                cells.append((row, f"{name}\n{self.distances[i, j]:#.3g}", same))
            rows.append(labelled_row(self.features, cells, gap_after=None if own is None else 0))
        sheet = PILImage.new("RGB", (rows[0].width, sum(r.height for r in rows)), "white")
        for i, row_picture in enumerate(rows):
            sheet.paste(row_picture, (0, i * row_picture.height))
        return sheet

    def __repr__(self) -> str:
        """How many, and how well they agree."""
        agreement = "" if self.agreement is None else f", agreement {self.agreement:.2f}"
        return f"Neighbors({len(self.indices)} × {self.indices.shape[1]}, {self.metric}{agreement})"


def neighbors(features: Features, query: Any, *, k: int = 8, metric: str = "cosine") -> Neighbors:
    """The `k` images nearest to each query, exactly; equally near ones by row number.

    A query that is a row of the set is not its own neighbour. A vector of zeros points nowhere: its cosine with any other is taken
    as 0, so it lies at distance 1 from all. In memory are the vectors and some 150 MB more, however many
    queries there are.

    Parameters
    ----------
    features : Features
    query : int, sequence of int, Image, Tensor or what `vizwidgets.image` takes
        Rows of the set; or images, which pass through the features' network; or vectors (Q, D).
    k : int
        At most the images of the set, without the query.
    metric : {"cosine", "l2"}

    Returns
    -------
    Neighbors

    Raises
    ------
    IndexError, LookupError, ValueError
        For a row, a metric or a `k` that there is not, and for vectors of another length.

    Examples
    --------
    >>> neighbors(features, 0, k=5).agreement
    1.0
    """
    features = as_features(features)
    check_metric(metric)
    rows = _rows(query, len(features))
    most = len(features) - (rows is not None)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= most:
        raise ValueError(f"k is a number of neighbours from 1 to {most}, for there are {len(features)} images; not {k!r}")
    vectors = features.of(query) if rows is None else features.vectors[rows]
    indices, distances = nearest(features.vectors, vectors, k, metric, own=rows, lengths=features.lengths)
    agreed = None
    if rows is not None and features.labels is not None:
        agreed = float((features.labels[indices] == features.labels[rows, None]).double().mean())
    recipe = recipe_of("neighbors", features, {"k": k, "metric": metric}, query=vectors if rows is None else rows)
    return Neighbors(indices, distances, agreed, features, rows, metric, recipe=recipe)


def agreement(features: Features, k: int = 5, *, metric: str = "cosine") -> float:
    """The share of the `k` neighbours that have an image's own label, mean over all images of the set, each left out for itself.

    Parameters
    ----------
    features : Features
        With labels.
    k : int
    metric : {"cosine", "l2"}

    Returns
    -------
    float
        In [0, 1]; by chance, the sum of the squared shares of the classes.

    Raises
    ------
    ValueError
        Without labels, and for a `k` that there is not.

    Examples
    --------
    >>> agreement(embed(net, images).result()) > agreement(embed(net, images, "input").result())
    True
    """
    features = as_features(features)
    if features.labels is None:
        raise ValueError("agreement compares labels, and these features have none: Features(vectors, labels=...)")
    found = neighbors(features, range(len(features)), k=k, metric=metric).agreement
    assert found is not None
    return found


def check_metric(metric: str) -> None:
    """LookupError for one that is not known."""
    if metric not in METRICS:
        raise LookupError(unknown("metric", metric, METRICS))


def nearest(
    vectors: Tensor, queries: Tensor, k: int, metric: str = "l2", *, own: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The `k` of `vectors` (N, D) nearest to each of `queries` (Q, D): rows and distances (Q, k); `own` (Q,) are left out.

    A matrix product tells which may be among them; what its rounding leaves open is worked out from the differences.
    """
    lengths = vectors.norm(dim=1) if lengths is None else lengths
    at_once = max(1, BLOCK // len(vectors))
    parts = [
        _nearest(vectors, queries[i : i + at_once], k, metric, None if own is None else own[i : i + at_once], lengths)
        for i in range(0, len(queries), at_once)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _nearest(
    vectors: Tensor, queries: Tensor, k: int, metric: str, own: Tensor | None, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    scores = queries @ vectors.T  # rises as the distance falls
    size = queries.norm(dim=1, keepdim=True)
    if metric == "cosine":
        scores /= lengths.clamp(min=1e-30)
    else:
        scores -= lengths.square() / 2
        size = (size + lengths.max()) * lengths.max()
    if own is not None:
        scores[torch.arange(len(own)), own] = -torch.inf
    rounding = 2 * vectors.shape[1] * torch.finfo(scores.dtype).eps * size
    least = scores.topk(k).values[:, -1:]
    possible = scores >= least - rounding
    del scores
    if len(queries) > 1 and int(possible.sum()) > BLOCK // 8:  # very many are equally near
        half = len(queries) // 2
        parts = [_nearest(vectors, queries[h], k, metric, None if own is None else own[h], lengths) for h in (slice(half), slice(half, None))]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    query, row = possible.nonzero(as_tuple=True)
    distance = pair_distances(queries, query, vectors, row, metric)
    order = distance.argsort(stable=True)
    order = order[query[order].argsort(stable=True)]
    counts = query.bincount(minlength=len(queries))
    chosen = order[(counts.cumsum(0) - counts)[:, None] + torch.arange(k)]
    return row[chosen], distance[chosen]


def pair_distances(a: Tensor, i: Tensor, b: Tensor, j: Tensor, metric: str) -> Tensor:
    """The distances of rows `i` of `a` from rows `j` of `b`: (P,)."""
    at_once = max(1, PAIRS // a.shape[1])
    parts = zip(i.split(at_once), j.split(at_once), strict=True)
    return torch.cat([_distances(a.index_select(0, p), b.index_select(0, q), metric) for p, q in parts])


def _distances(a: Tensor, b: Tensor, metric: str) -> Tensor:
    if metric == "l2":
        return a.sub_(b).norm(dim=1)
    # Half the squared distance of the directions is 1 - cosine without its cancellation; a vector of zeros has none.
    missing = (~a.any(1)).to(a.dtype) + (~b.any(1)).to(a.dtype)
    for v in (a, b):
        v.div_(v.norm(dim=1, keepdim=True).clamp_(min=1e-30))
    return (a.sub_(b).square_().sum(1) + missing) / 2


def _rows(query: Any, n: int) -> Tensor | None:
    """The rows that a query names, or None where it is something else."""
    if isinstance(query, bool) or not isinstance(query, (int, np.integer, list, tuple, range, np.ndarray, Tensor)):
        return None
    if isinstance(query, (list, tuple)) and not all(isinstance(i, (int, np.integer)) for i in query):
        return None
    values = torch.as_tensor(np.asarray(query))
    if values.dim() > 1 or values.is_floating_point() or values.dtype == torch.bool or not values.numel():
        return None
    rows = values.reshape(-1).long()
    if int(rows.min()) < -n or int(rows.max()) >= n:
        raise IndexError(f"rows go from 0 to {n - 1}; there is none {int(rows.max()) if int(rows.max()) >= n else int(rows.min())}")
    return rows % n
