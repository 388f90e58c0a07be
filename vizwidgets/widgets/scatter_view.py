"""What `EmbeddingScatter` shows, worked out: classes and their marks, words, the still picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from vizwidgets.core.errors import unknown
from vizwidgets.methods.embedding import Features, class_name
from vizwidgets.methods.projections import QUICK, Embedding
from vizwidgets.methods.scatter import class_marker, scatter

NO_CLASS = 65535
_DRAWN = 5000  # points of a still picture: more take seconds, and are not seen


def groups(features: Features, color: Any) -> tuple[list[str], NDArray[np.uint16]]:
    """Names of the classes, and the class of each row (N,); no names and `NO_CLASS` where there are none."""
    count = len(features)
    if isinstance(color, str):
        if color != "label":
            raise LookupError(unknown("colour", color, ["label"]))
        color, names = features.labels, list(features.classes)
    else:
        names = []
    if color is None:
        return [], np.full(count, NO_CLASS, np.uint16)
    values = color.tolist() if hasattr(color, "tolist") else list(color)
    if len(values) != count:
        raise ValueError(f"color is a class for each of the {count} rows, not {len(values)}")
    if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values):
        names = sorted({str(v) for v in values})
        places = {name: i for i, name in enumerate(names)}
        values = [places[str(v)] for v in values]
    most = max(values)
    if most >= NO_CLASS:
        raise ValueError(f"there are at most {NO_CLASS} classes, numbered from 0; one is {most}")
    names += [class_name(tuple(names), i) for i in range(len(names), most + 1)]
    return names, np.array(values, np.uint16)


def marks(count: int) -> list[tuple[str, str]]:
    """Colours and shapes of so many classes, or of points without one."""
    return [class_marker(i) for i in range(max(1, count))]


def tally(found: NDArray[np.uint16], names: Sequence[str]) -> list[tuple[str, int]]:
    """How many there are of each class, the most frequent first."""
    counts = np.bincount(found[found != NO_CLASS], minlength=len(names))
    return [(names[i], int(counts[i])) for i in np.argsort(-counts, kind="stable") if counts[i]]


def packed(points: Any) -> bytes:
    """Points (N, 2 or more) as the page takes them: float32, x before y."""
    return np.ascontiguousarray(np.asarray(points)[:, :2], dtype="<f4").tobytes()


def quality(embedding: Embedding) -> str:
    """How far a finished map can be trusted, in words; "" where nobody has asked and it would take long."""
    if len(embedding.points) > QUICK and "trustworthiness" not in vars(embedding):
        return ""
    said = [f"Trustworthiness {embedding.trustworthiness:.2f} of 1"] if np.isfinite(embedding.trustworthiness) else []
    if embedding.neighborhood_hit is not None:
        said.append(f"{embedding.neighborhood_hit:.0%} of the nearest points are of the same class".replace("%", " %"))
    return "; ".join(said)


def still(points: NDArray[np.float32], classes: NDArray[np.uint16], names: Sequence[str], caption: str) -> PILImage.Image:
    """The map with its legend."""
    shown = np.flatnonzero(np.isfinite(points).all(1))
    if len(shown) > _DRAWN:
        shown = np.random.default_rng(0).permutation(shown)[:_DRAWN]
    return scatter(points[shown], classes[shown] if names else None, tuple(names), side=440, caption=caption)
