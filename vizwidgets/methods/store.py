"""What `record` has written: vectors, maps, and the images that each channel answers to most."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vizwidgets.core.errors import unknown
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.ranking import ranked
from vizwidgets.core.store import Rows
from vizwidgets.data.image_set import ImageSet, image_set

if TYPE_CHECKING:
    from vizwidgets.methods.embedding import Features
    from vizwidgets.methods.patches import PatchTable

_SORTED = 4_000_000  # numbers at a time


class Ranking(NamedTuple):
    """The images that stand at `k` places of the order, for each channel of a layer.

    Attributes
    ----------
    values : Tensor
        (C, k): the maximum of the channel's map.
    images : Tensor
        (C, k): number in the set.
    positions : Tensor
        (C, k, 2): where in the map the maximum is, y and x.
    """

    values: Tensor
    images: Tensor
    positions: Tensor


class Store:
    """What layers said about each image of a set, on disk; made by `record`, opened by `Store.open`.

    Attributes
    ----------
    path : Path
    layers : tuple of str
    keep : str
    k : int
    sources, classes : tuple of str
        Name of each image, and of the classes where they are known.
    images : ImageSet or None
        The set, if it is still there as it was.
    net : Net or None
        The network, where it was given.
    net_name, net_sha256 : str
    done : int
        Images recorded so far, skipped ones included.
    skipped : tuple of (str, str)
        Source and reason of each image that could not be read.
    """

    def __init__(
        self, rows: Rows, *, images: ImageSet | None = None, net: Net | None = None, k: int = 9, temporary: bool = False
    ) -> None:
        self._rows = rows
        self.images, self.net, self.k = images, net, k
        if temporary:
            weakref.finalize(self, shutil.rmtree, rows.path, ignore_errors=True)

    @classmethod
    def open(cls, path: str | Path, *, images: Any = None, net: Net | nn.Module | None = None) -> Store:
        """The store in a folder.

        Parameters
        ----------
        path : path
        images : ImageSet, or what `image_set` takes, optional
            By default the folder it was made from, if that is still as it was.
        net : Net or torch.nn.Module, optional
            The network it was made with.

        Raises
        ------
        FileNotFoundError, ValueError
            For a folder without a store, a store of a newer format, and images or a network that are not its own.
        """
        rows = Rows(path)
        store = cls(rows, net=None if net is None else as_net(net))
        made_from = rows.manifest["made_from"]
        if store.net is not None and store.net.sha256 != made_from["weights"]:
            raise ValueError(f"{store.net.name} has other weights than {made_from['network']}, which the store in {str(path)!r} was made with")
        if images is not None:
            store.images = image_set(images)
            if store.images.digest != made_from["images"]:
                raise ValueError(f"these are not the images that the store in {str(path)!r} was made from, or they have been changed since")
        elif rows.manifest["folder"]:
            try:
                found = image_set(rows.manifest["folder"])
            except (OSError, LookupError, ValueError):
                return store
            store.images = found if found.digest == made_from["images"] else None
        return store

    @property
    def path(self) -> Path:
        """The folder."""
        return self._rows.path

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(self._rows.manifest["made_from"]["layers"])

    @property
    def keep(self) -> str:
        """What is kept of them."""
        return self._rows.manifest["made_from"]["keep"]

    @property
    def sources(self) -> tuple[str, ...]:
        """Name of each image."""
        return tuple(self._rows.manifest["sources"])

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The class of each image, None where that is not known."""
        given = self._rows.manifest["labels"]
        return tuple(given) if given is not None else self.images.labels if self.images is not None else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return tuple(self._rows.manifest["classes"])

    @property
    def net_name(self) -> str:
        """Name of the network."""
        return self._rows.manifest["made_from"]["network"]

    @property
    def net_sha256(self) -> str:
        """Digest of its weights."""
        return self._rows.manifest["made_from"]["weights"]

    @property
    def done(self) -> int:
        """Images recorded so far, skipped ones included."""
        return self._rows.done

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Source and reason of each image that could not be read."""
        return tuple((self.sources[i], reason) for i, reason in self._rows.skipped)

    def __len__(self) -> int:
        """Images in the set."""
        return len(self._rows)

    def __repr__(self) -> str:
        """What it holds."""
        skipped = f", {len(self._rows.skipped)} skipped" if self._rows.skipped else ""
        return f"Store({self.done} of {len(self)} images{skipped}, {len(self.layers)} layers of {self.net_name}, keep={self.keep!r})"

    def maxima(self, layer: str) -> NDArray[np.float32]:
        """The maximum of each map, (done, C); a read-only memory map, NaN for images that were skipped."""
        return self._rows.array(self._name(layer, "maximum"))

    def pooled(self, layer: str) -> NDArray[np.float32]:
        """The mean of each map, (done, C); likewise."""
        return self._rows.array(self._name(layer, "pooled"))

    def samples(self, layer: str) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        """With ``keep="position"``: activations (done, C) at one random position of each image, and that position (done, 2)."""
        return self._rows.array(self._name(layer, "sample")), self._rows.array(self._name(layer, "sample_position"))

    def maps(self, layer: str) -> NDArray[np.float32]:
        """With ``keep="maps"``: the maps (done, C, H, W); likewise."""
        return self._rows.array(self._name(layer, "maps"))

    def top(self, layer: str, *, k: int | None = None, order: str = "top") -> Ranking:
        """The images that each channel of a layer answers to most, by the maximum of its map; the earlier one first among equals.

        Parameters
        ----------
        layer : str
        k : int, optional
            Fewer where there are fewer images.
        order : {"top", "bottom", "spread"}
            The highest first; the lowest first; from the highest to the lowest at even distances in rank.
        """
        k, name = k or self.k, self._name(layer, "maximum")
        skipped = [i for i, _ in self._rows.skipped]
        if order == "spread":
            values = self._rows.array(name)
            width = max(1, _SORTED // max(1, len(values)))
            blocks = (torch.from_numpy(np.array(values[:, c : c + width])) for c in range(0, values.shape[1], width))
            found = [ranked([(0, block)], skipped, k, order) for block in blocks]
            best, images = (torch.cat(part) for part in zip(*found, strict=True))
        else:
            best, images = ranked(((first, torch.from_numpy(part)) for first, part in self._rows.parts(name)), skipped, k, order)
        positions = self._rows.array(self._name(layer, "position"))
        channels = np.arange(len(images))[:, None]
        return Ranking(best, images, torch.from_numpy(positions[images.numpy(), channels].astype(np.int64)))

    def features(self, layer: str) -> Features:
        """The pooled vectors of the images that could be read, for `neighbors`, `pca`, `tsne`, ..."""
        from vizwidgets.methods.embedding import Features

        skipped = {i for i, _ in self._rows.skipped}
        rows = [i for i in range(self.done) if i not in skipped]
        labels = self.labels
        return Features(
            torch.from_numpy(np.array(self.pooled(layer)[rows])), labels=None if labels is None else torch.tensor([labels[i] for i in rows]),
            sources=tuple(self.sources[i] for i in rows), classes=self.classes, layer=layer, images=self.images, net=self.net,
            rows=torch.tensor(rows), skipped=self.skipped,
        )  # fmt: skip

    def patches(self, layer: str, *, k: int | None = None, order: str = "top", mask: bool = False) -> PatchTable:
        """The patches that each channel of a layer answers to; see `top_patches`. It takes the images and the network."""
        from vizwidgets.methods.patches import PatchTable

        if self.images is None or self.net is None:
            missing = " and ".join(n for n in ("images", "net") if getattr(self, n) is None)
            raise ValueError(f"patches need what the store does not have: Store.open({str(self.path)!r}, {missing}=...)")
        return PatchTable(self, layer, k or self.k, order, mask)

    def _name(self, layer: str, kind: str) -> str:
        if layer not in self.layers:
            raise LookupError(unknown("layer", layer, self.layers))
        name = array_name(self.layers.index(layer), kind)
        if name not in self._rows.manifest["arrays"]:
            raise LookupError(f"the store keeps {self.keep!r}, so it has no {kind.replace('_', ' ')} of {layer!r}: record(..., keep=...)")
        return name


def array_name(number: int, kind: str) -> str:
    """Name of an array of the layer of this number; layers' own names need not be names of files."""
    return f"{number:02d}.{kind}"
