"""One pass of a set of images through a network, with what its layers said kept on disk."""

from __future__ import annotations

import operator
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.capture import reduced
from vizwidgets.core.errors import unknown
from vizwidgets.core.memory import images_at_once
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.results import sheet
from vizwidgets.core.store import Rows
from vizwidgets.data.image_set import Batch, ImageSet, image_set
from vizwidgets.methods.store import Store, array_name

KEEP = {"maxima": (), "pooled": ("pooled",), "position": ("pooled", "sample", "sample_position"), "maps": ("pooled", "maps")}
_AT_ONCE = 16  # more brings nothing on a CPU


@dataclass(frozen=True, eq=False)
class RecordStep:
    """A batch of images has been recorded.

    Attributes
    ----------
    index : int
        Steps so far, from 1.
    scores : dict of str to Tensor
        ``"images per second"`` (1,), of this run so far.
    done : int
        Images recorded so far, earlier runs and skipped ones included.
    skipped : int
        Those among them that could not be read.
    batch : Tensor or None
        (B, C, H, W): the images of this step; None where none could be read, or nothing was left to do.
    """

    index: int
    scores: dict[str, Tensor]
    done: int
    skipped: int
    batch: Tensor | None

    def picture(self) -> PILImage.Image | None:
        """The images of this step."""
        return None if self.batch is None else sheet(self.batch)


def record(
    net: Net | nn.Module, images: Any, layers: str | Iterable[str], *, path: str | Path | None = None, keep: str = "pooled",
    k: int = 9, batch_size: int | None = None, threads: int | None = None, seed: int = 0,
) -> Run[RecordStep]:  # fmt: skip
    """What layers say about each image of a set: the maximum of each channel, where it is, and more, in a store on disk.

    Each step is a batch, and is on the disk when it is over. A run that was stopped or killed, also in the middle of a step,
    goes on when `record` is called again with the same path, and ends with the same store, bit by bit on the same machine
    with the same number of threads. Images that cannot be read are left out and listed in the store's `skipped`.
    The memory it takes does not depend on the number of images.

    Parameters
    ----------
    net : Net or torch.nn.Module
    images : ImageSet, or what `image_set` takes
        A folder, paths, a tensor (N, C, H, W), a data set.
    layers : str or iterable of str
        Names from ``net.layers``.
    path : path, optional
        A folder for the store: empty, not there, or with a store of the same network, weights, preprocessing, images and
        options; by default a temporary one, which goes with the `Store`.
    keep : {"pooled", "position", "maps", "maxima"}
        Beside the maxima: the mean of each map; that and the activations at one random position, away from the edges; that
        and all maps, float32 (all layers of squeezenet1_1 take some 10 MB an image); nothing.
    k : int
        Images for each channel that the store's `top` and `patches` give unless asked for another number.
    batch_size : int, optional
        By default 16, or fewer where memory is short.
    threads : int, optional
        That read images; by default as many as there are processors, at most 4.
    seed : int
        Of the random positions.

    Returns
    -------
    Run
        Of `RecordStep`; its result is a `Store`, of the images so far when it is stopped.

    Raises
    ------
    LookupError, ValueError, FileExistsError
        For an unknown layer, an empty set, one of which no image can be read, a path with the store of something else (it
        says what differs) or with other files.
    OSError
        When the disk is full. What has been recorded is kept.

    Examples
    --------
    >>> store = record(vizwidgets.load("flowers"), vizwidgets.data.Flowers(48), ["stage2", "stage4"]).result()
    >>> store.pooled("stage4").shape
    (48, 96)
    """
    net, images = as_net(net), image_set(images)
    names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    if not names:
        raise ValueError("record takes at least one layer: record(net, images, ['layer', ...])")
    shapes = {name: net.layers.readable(name).shape for name in names}
    if keep not in KEEP:
        raise LookupError(unknown("keep", keep, KEEP))
    for what, value in (("k", k), ("batch_size", batch_size), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{what} is a whole number from 1, not {value!r}")
    place = Path(mkdtemp(prefix="vizwidgets-") if path is None else path)
    at_once = batch_size or _begun_with(place) or min(_AT_ONCE, images_at_once(net, net.size))
    manifest = {
        "made_from": {
            "network": net.name, "weights": net.sha256, "preprocessing": _preprocessing(net), "number of images": len(images),
            "images": images.digest, "layers": names, "keep": keep, "batch_size": at_once, "seed": operator.index(seed),
        },
        "folder": str(images.folder.absolute()) if images.folder else None, "sources": images.sources,
        "labels": images.labels_at_hand, "classes": images.classes,
        "arrays": {
            array_name(i, kind): {"layer": name, "holds": kind, "shape": _row(kind, shapes[name]), "dtype": _dtype(kind)}  # type: ignore[arg-type]
            for i, name in enumerate(names) for kind in ("maximum", "position", *KEEP[keep])
        },
    }  # fmt: skip
    try:
        rows = Rows.begin(place, manifest)
    except OSError:
        if path is None:
            shutil.rmtree(place, ignore_errors=True)
        raise
    store = Store(rows, images=images, net=net, k=k, temporary=path is None)
    return Run(_steps(rows, images, net, threads), max(1, ceil((len(rows) - rows.done) / at_once)), lambda last: _checked(store))


def _steps(rows: Rows, images: ImageSet, net: Net, threads: int | None) -> Iterator[RecordStep]:
    made_from = rows.manifest["made_from"]
    began, before = time.perf_counter(), rows.done
    if rows.done == len(rows):
        yield RecordStep(1, {}, rows.done, len(rows.skipped), None)
    for index, batch in enumerate(images.batches(net, made_from["batch_size"], first=rows.done, threads=threads), 1):
        found: dict[str, dict[str, Tensor]] = {}
        if batch.pixels is not None:
            with torch.inference_mode():
                found = reduced(net, batch.pixels, made_from["layers"], partial(_said, batch=batch, made_from=made_from))
        rows.write(batch.first, _arrays(rows, batch, found))
        rows.commit(batch.last, batch.skipped)
        rate = (rows.done - before) / (time.perf_counter() - began)
        yield RecordStep(index, {"images per second": torch.tensor([rate])}, rows.done, len(rows.skipped), batch.pixels)


def _said(layer: str, maps: Tensor, *, batch: Batch, made_from: dict[str, Any]) -> dict[str, Tensor]:
    """What is kept of a layer's maps (B, C, H, W)."""
    kinds = KEEP[made_from["keep"]]
    # A pooling over the whole map gives the maximum and where it is in half the time that `amax` takes for the value alone.
    maximum, place = (v.flatten(1) for v in F.adaptive_max_pool2d(maps, 1, return_indices=True))
    found = {"maximum": maximum, "position": torch.stack([place // maps.shape[3], place % maps.shape[3]], 2)}
    if "pooled" in kinds:
        found["pooled"] = maps.mean((2, 3))
    if "sample" in kinds:
        y, x = _places(batch, maps, made_from["layers"].index(layer), made_from["seed"])
        found["sample"] = maps[torch.arange(len(maps)), :, y, x]
        found["sample_position"] = torch.stack([y, x], 1)
    if "maps" in kinds:
        found["maps"] = maps.clone()
    return found


def _places(batch: Batch, maps: Tensor, layer: int, seed: int) -> tuple[Tensor, ...]:
    """A random position for each image, y and x, the same whatever the batch."""
    edges = [min(1, (n - 1) // 2) for n in maps.shape[2:]]
    low, high = edges, [n - e for n, e in zip(maps.shape[2:], edges, strict=True)]
    return torch.tensor(np.array([np.random.default_rng([seed, layer, i]).integers(low, high) for i in batch.indices])).unbind(1)


def _arrays(rows: Rows, batch: Batch, found: dict[str, dict[str, Tensor]]) -> dict[str, NDArray[Any]]:
    """The rows of a batch; NaN, and position 0, for images that could not be read."""
    there = np.array(batch.indices, int) - batch.first
    arrays = {}
    for name, about in rows.manifest["arrays"].items():
        values = np.full((batch.last - batch.first, *about["shape"]), np.nan if about["dtype"] == "float32" else 0, about["dtype"])
        if len(there):
            said = found[about["layer"]][about["holds"]]
            values[there] = (said.float() if said.is_floating_point() else said).cpu().numpy()
        arrays[name] = values
    return arrays


def _checked(store: Store) -> Store:
    if store.done and len(store.skipped) == store.done:
        source, reason = store.skipped[0]
        raise ValueError(f"none of the {store.done} images could be read; the first, {source!r}: {reason}")
    return store


def _begun_with(path: Path) -> int | None:
    try:
        return int(Rows(path).manifest["made_from"]["batch_size"])
    except FileNotFoundError:
        return None


def _row(kind: str, shape: tuple[int, int, int]) -> tuple[int, ...]:
    return {"maps": shape, "position": (shape[0], 2), "sample_position": (2,)}.get(kind, shape[:1])


def _dtype(kind: str) -> str:
    return "uint16" if kind.endswith("position") else "float32"


def _preprocessing(net: Net) -> dict[str, Any]:
    return {n: getattr(net, n) for n in ("mean", "std", "resize", "size", "interpolation", "channels")} | {"layouts": dict(net.layouts)}
