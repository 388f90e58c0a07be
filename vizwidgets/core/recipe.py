"""The recipe of a result: everything that made it, ready for JSON, inputs embedded without loss."""

from __future__ import annotations

import base64
import json
import platform
import zlib
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from .net import Net
from .pixel_rules import PixelRule
from .references import Reference
from .targets import Target
from .transforms import Transform

FORMAT = 1
KEY = "vizwidgets"  # the PNG text chunk that holds it


def make_recipe(net: Net | None, method: str, inputs: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What made a result: network (None for what is made of numbers), method, inputs and every option spelled out, seed, threads and versions."""
    return {
        "format": FORMAT,
        "net": net and {"name": net.name, "sha256": net.sha256, "mean": list(net.mean), "std": list(net.std),
                        "layouts": dict(net.layouts)},
        "method": method,
        "inputs": {k: v.detach().to("cpu", copy=True) if isinstance(v, Tensor) else v for k, v in inputs.items()},
        "options": dict(options),
        "seed": options.get("seed"),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in ("vizwidgets", "torch")}},
        "changes": [],
    }  # fmt: skip


def dumps(recipe: dict[str, Any]) -> str:
    """The recipe as JSON text; tensors become base64 of their compressed bytes."""
    return json.dumps(recipe, default=_encode)


def loads(text: str) -> dict[str, Any]:
    """A recipe from its text; one of a newer format is refused."""
    return checked(json.loads(text, object_hook=_decode))


def checked(recipe: Any) -> dict[str, Any]:
    """The recipe itself, if it is one and this version reads its format."""
    if not isinstance(recipe, dict) or "format" not in recipe or "method" not in recipe:
        raise ValueError("this is no recipe of vizwidgets: it has no 'format' and 'method'")
    if recipe["format"] > FORMAT:
        raise ValueError(f"the recipe has format {recipe['format']}; this version reads up to {FORMAT}: update vizwidgets")
    return recipe


def _encode(value: Any) -> Any:
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous().numpy()
        data = base64.b64encode(zlib.compress(array.tobytes())).decode()
        return {"tensor": data, "dtype": array.dtype.str, "shape": list(array.shape)}
    if type(value).__name__ in _classes():
        return {"class": type(value).__name__, "fields": {f.name: getattr(value, f.name) for f in fields(value)}}
    raise TypeError(f"a recipe cannot hold {type(value).__name__}")


def _decode(value: dict[str, Any]) -> Any:
    if value.keys() == {"tensor", "dtype", "shape"}:
        array = np.frombuffer(zlib.decompress(base64.b64decode(value["tensor"])), np.dtype(value["dtype"]))
        return torch.from_numpy(array.reshape(value["shape"]).copy())
    if value.keys() == {"class", "fields"}:
        if value["class"] not in _classes():
            raise ValueError(f"the recipe holds {value['class']!r}, which this version does not know: update vizwidgets")
        return _classes()[value["class"]](**{k: _tuples(v) for k, v in value["fields"].items()})
    return value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@cache
def _classes() -> dict[str, Any]:
    """The classes of values that a recipe may hold, by name."""
    found: dict[str, Any] = {c.__name__: c for c in (Reference, *get_args(Transform))}
    queue = [Target, PixelRule]
    while queue:
        for c in queue.pop().__subclasses__():
            queue.append(c)
            if c.__module__.startswith("vizwidgets.") and not c.__name__.startswith("_"):
                found[c.__name__] = c
    return found


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
