"""The weights of a layer: first-layer filters in colour, deeper ones as signed maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.picture import colour_table, colourise, enlarge, limits, tile, to_bytes
from vizwidgets.core.results import Filters
from vizwidgets.core.targets import Channel, Neuron
from vizwidgets.methods.activations import activation_maps
from vizwidgets.methods.filters import colour_opponency, layer_weights, orientation, weighted_layers

from .base import VizWidget, script, shows_errors, style


class FilterGrid(VizWidget, AnyWidget):
    """The learned weights of a layer, and what the selected channel makes of an image.

    On three input channels every filter is a tile in its own colours. Elsewhere the tiles are the weights of one channel, one
    for each channel that it reads, in a signed map. A layer without weights stands for the nearest one with some.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Image, or anything that `vizwidgets.image` takes
    layer : str
        A name from ``net.layers``; by default the first convolution.
    target : Target
        The selected channel.

    Examples
    --------
    >>> FilterGrid(net, x)
    FilterGrid(stem.conv, 24 filters)
    """

    _esm = script("filter_grid", "tiles")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    layer = traitlets.Unicode(None, allow_none=True)
    target = traitlets.Any(None, allow_none=True)
    index = traitlets.Int(0)
    frame = traitlets.Dict().tag(sync=True)
    response = traitlets.Dict().tag(sync=True)

    def __init__(
        self, net: Net | nn.Module | None = None, image: Any = None, layer: str | None = None, **options: Any
    ) -> None:
        net = None if net is None else as_net(net)
        if net is not None:
            layer = layer or next(iter(weighted_layers(net)), None)
            _nearest(net, layer or "")  # what cannot be shown raises here
        self._filters: Filters | None = None
        self._shown: tuple[Any, ...] = ()
        self._seq = 0
        super().__init__(net=net, image=None if image is None else open_image(image, net), layer=layer, **options)
        self.on_msg(self._receive)
        self.now(self._show)
        self.observe(lambda _: self.later(self._show), ["net", "image", "layer", "index"])

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("cmd") == "select" and self._filters is not None and content.get("layer") == self._filters.layer:
            index = int(content["index"])
            self.index = max(0, min(len(self._filters.weights) - 1, index))
            self.target = Channel(self._filters.layer, self.index)

    @traitlets.observe("target")
    def _follow(self, _change: Any) -> None:
        target = self.target
        if isinstance(target, (Channel, Neuron)) and self.net is not None and target.layer in weighted_layers(self.net):
            self.layer, self.index = target.layer, target.index

    def _show(self) -> None:
        net, image, layer = self.net, self.image, self.layer
        if net is None or layer is None:
            self._filters, self.frame, self.response = None, {}, {}
            return
        name = _nearest(net, layer)
        if self._filters is None or self._shown[:2] != (net, name):
            self._filters = layer_weights(net, name)
        filters = self._filters
        index = self.index % len(filters.weights)
        shown = (net, name, None if filters.weights.shape[1] == 3 else index)
        if shown != self._shown:
            self._shown = shown
            self._seq += 1
            self.frame = {**_packed(filters, index), "layer": name, "asked": layer, "seq": self._seq}
        self.response = {} if image is None else _answer(net, image, name, index)
        self.error = ""

    def still(self) -> PILImage.Image | None:
        """The filters, or the weights of the selected channel; beside them the selected filter and its answer."""
        if self._filters is None:
            return None
        weights = self._filters.weights
        index = self.index % len(weights)
        if weights.shape[1] == 3:
            parts = [np.asarray(self._filters.picture()), enlarge(self._filters.colours()[index], 168)]
        else:
            top = weights.abs().max().item() or 1.0
            parts = [tile(np.stack([enlarge(t, 28) for t in colourise(weights[index][:256], -top, top)]), gap=2)]
        if answer := self.response:
            values = np.frombuffer(answer["values"], np.uint8).reshape(answer["height"], answer["width"])
            parts.append(enlarge(np.frombuffer(answer["colours"], np.uint8).reshape(256, 3)[values], 168))
        sheet = PILImage.new("RGB", (sum(p.shape[1] + 16 for p in parts) - 16, max(len(p) for p in parts)), "white")
        left = 0
        for part in parts:
            sheet.paste(PILImage.fromarray(part), (left, 0))
            left += part.shape[1] + 16
        return sheet

    def describe(self) -> str:
        """Layer and filters."""
        return "" if self._filters is None else f"{self._filters.layer}, {len(self._filters.weights)} filters"


def _nearest(net: Net, layer: str) -> str:
    """The layer itself if it has weights, else the first inside it that has, else the last that ran before it."""
    weighted, order = weighted_layers(net), net.layers.order
    if not weighted:
        raise ValueError(f"{net.name} has no convolution and no linear layer, so there are no weights to show")
    net.layers[layer]
    if layer in weighted:
        return layer
    inside = [n for n in weighted if n.startswith(layer + ".")]
    before = [n for n in weighted if layer in order and order.index(n) < order.index(layer)]
    return inside[0] if inside else before[-1] if before else weighted[0]


def _packed(filters: Filters, index: int) -> dict[str, Any]:
    weights = filters.weights
    count, channels, h, w = weights.shape
    if channels == 3:
        notes = [""] * count
        if min(h, w) >= 3:
            angle, clarity = orientation(filters)
            coloured = colour_opponency(filters)
            notes = [_note(*v) for v in zip(angle.tolist(), clarity.tolist(), coloured.tolist(), strict=True)]
        return {
            "colour": True, "filters": count, "count": count, "height": h, "width": w, "notes": notes, "index": -1,
            "values": filters.colours().tobytes(), "top": weights.abs().max().item(), "colours": b"",
            "caption": f"{count} filters of {h}×{w} pixels, in colour, on one scale; grey is 0",
        }  # fmt: skip
    top = weights.abs().max().item() or 1.0
    return {
        "colour": False, "filters": count, "count": channels, "height": h, "width": w, "notes": [], "index": index,
        "values": to_bytes(weights[index], -top, top).tobytes(), "top": top, "colours": colour_table("diverging").tobytes(),
        "caption": f"{count} channels, each reads {channels} by {h}×{w} weights",
    }  # fmt: skip


def _note(angle: float, clarity: float, coloured: float) -> str:
    runs = f"runs at {angle:.0f}°" if clarity > 0.6 else "no clear direction"
    return f"{runs} (clarity {clarity:.2f}); {coloured:.0%} colour".replace("%", " %")


def _answer(net: Net, image: Image, layer: str, index: int) -> dict[str, Any]:
    maps: Tensor = activation_maps(net, image, layer).maps[0, index]
    low, high = limits(maps)
    return {
        "height": maps.shape[0], "width": maps.shape[1], "index": index, "layer": layer, "low": low, "high": high,
        "values": to_bytes(maps, low, high).tobytes(),
        "colours": colour_table("diverging" if low < 0 else "sequential").tobytes(),
    }  # fmt: skip

