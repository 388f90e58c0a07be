"""Maximally activating patches: the parts of images that each channel of a layer answers to most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.errors import unknown
from vizwidgets.core.net import Net
from vizwidgets.core.optimize import Run, gradient
from vizwidgets.core.picture import tile, to_pixels
from vizwidgets.core.ranking import ORDERS
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Result
from vizwidgets.core.targets import Neuron
from vizwidgets.data.image_set import ImageSet
from vizwidgets.methods.record import RecordStep, record
from vizwidgets.methods.store import Ranking, Store

GREY = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class Patches(Result):
    """The patches that one channel answers to.

    Attributes
    ----------
    images : Tensor
        (k, C, h, w) in [0, 1], float32: what the position sees, cut out of the image as the network was given it. Where
        windows reach over the edge their inner part stays in its place, and the rest is grey.
    scores : Tensor
        (k,): the maximum of the channel's map.
    sources : tuple of str
    indices : Tensor
        (k,): number of the image in the set.
    boxes : Tensor
        (k, 4): y0, x0, y1, x1 in the image as the network was given it, in pixels, ends exclusive.
    positions : Tensor
        (k, 2): y, x of the maximum in the map.
    layer : str
    channel : int
    """

    images: Tensor
    scores: Tensor
    sources: tuple[str, ...]
    indices: Tensor
    boxes: Tensor
    positions: Tensor
    layer: str
    channel: int

    def __len__(self) -> int:
        """How many there are."""
        return len(self.images)

    def picture(self) -> PILImage.Image:
        """The patches in rows, the first one top left; small ones magnified, never blurred."""
        side = max(self.images.shape[2:])
        factor = max(1, round(96 / side))
        tiles = np.stack([to_pixels(x) for x in self.images]).repeat(factor, 1).repeat(factor, 2)
        return PILImage.fromarray(tile(tiles, gap=4 if len(tiles) > 1 else 0))

    def __repr__(self) -> str:
        """Where they come from."""
        k, _, h, w = self.images.shape
        return f"Patches({k} of {h}×{w} px, channel {self.channel} of {self.layer})"


class PatchTable:
    """Patches for every channel of a layer: ``table[channel]`` is a `Patches`, cut out when it is asked for.

    Attributes
    ----------
    layer : str
    channels : int
    k : int
        Patches of each channel.
    order : {"top", "bottom", "spread"}
    mask : bool
    images : ImageSet
    net : Net
    scores, sources_index : Tensor
        (channels, k): the maximum of the map, and the number of the image in the set.
    boxes : Tensor
        (channels, k, 4): y0, x0, y1, x1 in the image as the network was given it.
    positions : Tensor
        (channels, k, 2): y, x in the map.
    """

    def __init__(self, store: Store, layer: str, k: int, order: str, mask: bool) -> None:
        assert store.images is not None and store.net is not None
        self._store, self.layer, self.order, self.mask = store, layer, order, mask
        self.images: ImageSet = store.images
        self.net: Net = store.net
        self._ranking: Ranking = store.top(layer, k=k, order=order)
        self._asked = k

    @property
    def scores(self) -> Tensor:
        """The maximum of the map, (channels, k)."""
        return self._ranking.values

    @property
    def sources_index(self) -> Tensor:
        """Number of the image in the set, (channels, k)."""
        return self._ranking.images

    @property
    def positions(self) -> Tensor:
        """Where in the map the maximum is: y, x, (channels, k, 2)."""
        return self._ranking.positions

    @property
    def channels(self) -> int:
        """Channels of the layer."""
        return len(self.scores)

    @property
    def k(self) -> int:
        """Patches of each channel; fewer than asked for where there are fewer images."""
        return self.scores.shape[1]

    @cached_property
    def boxes(self) -> Tensor:
        """What the positions see, (channels, k, 4): y0, x0, y1, x1 in the image as the network was given it."""
        field, (height, width) = self.net.layers[self.layer].receptive_field, self.net.size
        if field is None:
            return torch.tensor([0, 0, height, width]).expand(self.channels, self.k, 4).clone()
        places, which = self.positions.flatten(0, 1).unique(dim=0, return_inverse=True)
        return torch.tensor([field.box(y, x, height, width) for y, x in places.tolist()])[which].view(self.channels, self.k, 4)

    def __len__(self) -> int:
        """Channels of the layer."""
        return self.channels

    def __iter__(self) -> Iterator[Patches]:
        return (self[channel] for channel in range(self.channels))

    def __getitem__(self, channel: int) -> Patches:
        """The patches of a channel."""
        if not -self.channels <= channel < self.channels:
            raise IndexError(f"no channel {channel}: {self.layer} has {self.channels}, counted from 0")
        channel %= self.channels
        indices, places = self.sources_index[channel], self.positions[channel]
        whole = torch.cat([self.images.image(i, self.net).pixels for i in indices.tolist()])
        shown = torch.where(_used(self.net, whole, self.layer, channel, places), whole, GREY) if self.mask else whole
        options = {"layer": self.layer, "channel": channel, "k": self._asked, "order": self.order, "mask": self.mask}
        return Patches(
            self._cut(shown, self.boxes[channel]), self.scores[channel], tuple(self.images.sources[i] for i in indices.tolist()),
            indices, self.boxes[channel], places, self.layer, channel, recipe=make_recipe(self.net, "top_patches", {"images": whole}, options),
        )  # fmt: skip

    def __repr__(self) -> str:
        """Size and order."""
        return f"PatchTable({self.layer}: {self.channels} channels, {self.k} patches each, order={self.order!r}, {len(self.images)} images)"

    def _cut(self, images: Tensor, boxes: Tensor) -> Tensor:
        """The boxes cut out of the images (k, C, H, W), in windows of one size; grey where a window reaches over the edge."""
        field, (height, width) = self.net.layers[self.layer].receptive_field, self.net.size
        h, w = (height, width) if field is None else (min(field.size[0], height), min(field.size[1], width))
        patches = images.new_full((*images.shape[:2], h, w), GREY)
        for patch, image, (y0, x0, y1, x1) in zip(patches, images, boxes.tolist(), strict=True):
            # What the upper or left edge cuts off leaves the window's lower or right part.
            top = h - (y1 - y0) if y0 == 0 and y1 < height else 0
            left = w - (x1 - x0) if x0 == 0 and x1 < width else 0
            patch[:, top : top + y1 - y0, left : left + x1 - x0] = image[:, y0:y1, x0:x1]
        return patches

    def ordered(self, order: str) -> PatchTable:
        """The same in another order: "top", "bottom" or "spread"."""
        return self if order == self.order else PatchTable(self._store, self.layer, self._asked, order, self.mask)


def top_patches(
    net: Net | nn.Module, images: Any, layer: str | Sequence[str], *, k: int = 9, order: str = "top", mask: bool = False,
    batch_size: int | None = None,
) -> Run[RecordStep]:  # fmt: skip
    """The parts of images that each channel of a layer answers to most, for all channels in one pass.

    An image is judged by the maximum of the channel's map, so that it gives each channel one patch at most; among equals the
    earlier image comes first. The patch is what the position of that maximum sees. A channel is more than its maxima: look at
    the other orders too. Images that cannot be read are left out. For each image and channel 8 bytes are kept in a temporary
    folder; `record` puts them where they last.

    Parameters
    ----------
    net : Net or torch.nn.Module
    images : ImageSet, or what `image_set` takes
        A folder, paths, a tensor (N, C, H, W), a data set.
    layer : str or several
        From ``net.layers``.
    k : int
        Patches of each channel.
    order : {"top", "bottom", "spread"}
        From the highest maximum on; from the lowest on; from the highest to the lowest at even distances in rank.
    mask : bool
        Grey where the position does not use a pixel of what it sees: where its gradient is exactly 0.
    batch_size : int, optional
        By default 16, or fewer where memory is short.

    Returns
    -------
    Run
        Of `RecordStep`; its result is a `PatchTable`, for several layers a dict of them by layer.

    Raises
    ------
    LookupError, ValueError
        For an unknown layer or order, an empty set, and one of which no image can be read.

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks, 2014.

    Examples
    --------
    >>> top_patches(vizwidgets.load("flowers"), vizwidgets.data.Flowers(120), "stage2").result()[12]
    Patches(9 of 27×27 px, channel 12 of stage2)
    """
    if order not in ORDERS:
        raise LookupError(unknown("order", order, ORDERS))
    several = not isinstance(layer, str)
    run = record(net, images, layer, keep="maxima", k=k, batch_size=batch_size)

    def finish(_last: RecordStep) -> PatchTable | dict[str, PatchTable]:
        store = run.so_far()
        tables = {name: store.patches(name, order=order, mask=mask) for name in store.layers}
        return tables if several else tables[store.layers[0]]

    return Run(run, len(run), finish)


def _used(net: Net, images: Tensor, layer: str, channel: int, places: Tensor) -> Tensor:
    """(k, 1, H, W): whether a change of the pixel changes the activation at the place, to first order."""
    found = [gradient(net, Neuron(layer, channel, y, x), image[None])[1] for image, (y, x) in zip(images, places.tolist(), strict=True)]
    return torch.cat(found).abs().amax(1, keepdim=True).cpu() > 0

