"""Labels of sets of images: known to a data set, in its items, or given."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from vizwidgets.core.errors import unknown

Labels = tuple[int, ...] | None


def split(item: Any) -> tuple[Any, Any]:
    """Picture and label (or None) of an item."""
    if isinstance(item, (tuple, list)) and item:
        return item[0], item[1] if len(item) > 1 else None
    if isinstance(item, dict) and "image" in item:
        return item["image"], item.get("label")
    return item, None


def known_labels(data: Any, n: int) -> Labels:
    """Labels that a data set knows without opening its images."""
    if hasattr(data, "indices") and hasattr(data, "dataset"):
        inner = known_labels(data.dataset, len(data.dataset))
        return tuple(inner[i] for i in data.indices) if inner else None
    try:
        for name in ("targets", "labels", "_labels"):
            values = getattr(data, name, None)
            if values is not None and len(values) == n:
                return tuple(int(v) for v in values)
        if callable(getattr(data, "label", None)):
            return tuple(int(data.label(i)) for i in range(n))
    except (TypeError, ValueError):  # several labels each, or words
        pass
    return None


def read_labels(items: Any, n: int) -> Labels:
    """Labels from the items themselves; None as soon as one has none."""
    found = []
    for i in range(n):
        try:
            label = split(items[i])[1]
        except Exception:  # one that cannot be read
            found.append(-1)
            continue
        try:
            found.append(operator.index(label))
        except (TypeError, ValueError):  # none, words, or several each
            return None
    return tuple(found)


def checked_labels(labels: Sequence[Any], classes: tuple[str, ...], n: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Labels and class names from what a user gives: numbers, or names, whose classes are then sorted."""
    given = labels.tolist() if isinstance(labels, (Tensor, np.ndarray)) else list(labels)
    if len(given) != n:
        raise ValueError(f"{len(given)} labels for {n} images")
    if given and all(isinstance(v, str) for v in given):
        classes = classes or tuple(sorted(set(given)))
        for v in given:
            if v not in classes:
                raise LookupError(unknown("class", v, classes))
        return tuple(map({c: i for i, c in enumerate(classes)}.__getitem__, given)), classes
    if any(isinstance(v, (bool, float, str)) or not hasattr(v, "__index__") or v < 0 for v in given):
        raise ValueError("labels are whole numbers from 0, or class names")
    if classes and max(given) >= len(classes):
        raise ValueError(f"label {max(given)} of {len(classes)} classes, which are counted from 0")
    return tuple(map(int, given)), classes
