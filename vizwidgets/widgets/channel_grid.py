"""All channels of a layer, as they answer to an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.picture import colour_table, png, readable_limits
from vizwidgets.core.results import ActivationMaps
from vizwidgets.core.targets import Channel, Neuron
from vizwidgets.methods.activations import activation_maps

from .base import VizWidget, script, shows_errors, style

MOST_VALUES = 4_000_000  # more than this are averaged down before they go to the page


class ChannelGrid(VizWidget, AnyWidget):
    """Every channel of a layer as a tile; a click makes the channel the `target`.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Image, or anything that `vizwidgets.image` takes
    layer : str
        A name from ``net.layers``.
    target : Target
        The selected channel.
    sort : {"channel", "response"}
    scale : {"common", "own"}
        One colour scale for all channels, or one for each.
    overlay : bool
        Whether the maps lie over the picture.

    Examples
    --------
    >>> ChannelGrid(net, x, "stage2")
    ChannelGrid(stage2, 40 channels)
    """

    _esm = script("channel_grid", "tiles")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    layer = traitlets.Unicode(None, allow_none=True)
    target = traitlets.Any(None, allow_none=True)
    sort = traitlets.Enum(["channel", "response"], "channel").tag(sync=True)
    scale = traitlets.Enum(["common", "own"], "common").tag(sync=True)
    overlay = traitlets.Bool(False).tag(sync=True)
    frame = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)
    _selected = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self, net: Net | nn.Module | None = None, image: Any = None, layer: str | None = None, **options: Any
    ) -> None:
        net = None if net is None else as_net(net)
        if net is not None and layer is not None:
            net.layers.readable(layer)
        self._result: ActivationMaps | None = None
        self._seq = 0
        super().__init__(net=net, image=None if image is None else open_image(image, net), layer=layer, **options)
        self.on_msg(self._receive)
        self.now(self._show)
        self.observe(lambda _: self.later(self._show), ["net", "image", "layer"])

    @property
    def maps(self) -> ActivationMaps | None:
        """The activations that are shown; waits for them."""
        self.wait()
        return self._result

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("cmd") == "select" and content.get("layer") == self.layer:
            self.target = Channel(content["layer"], int(content["index"]))
        elif content.get("cmd") == "set" and content.get("name") in ("sort", "scale", "overlay"):
            self.set_trait(content["name"], content["value"])

    @traitlets.observe("target", "layer")
    def _mark(self, change: Any) -> None:
        target = self.target
        if not isinstance(target, (Channel, Neuron)):
            self._selected = -1
            return
        if change.name == "target" and target.layer != self.layer:
            self.layer = target.layer
        self._selected = target.index if target.layer == self.layer else -1

    @traitlets.observe("image")
    def _new_picture(self, _change: Any) -> None:
        self.picture = b"" if self.image is None else png(_thumbnail(self.image, 448))

    def _show(self) -> None:
        net, image, layer = self.net, self.image, self.layer
        if net is None or image is None or layer is None:
            self._result, self.frame = None, {}
            return
        result = activation_maps(net, image, layer)
        if (net, image, layer) != (self.net, self.image, self.layer):
            return  # a newer job is on its way
        self._result = result
        self._seq += 1
        packed = _packed(result.maps[0])
        about = self._about(net, image, result)
        if packed["odd"]:
            about["caption"] += f"; {packed['odd']} values are NaN or infinite, shown as 0"
        self.frame = {**packed, **about, "seq": self._seq}
        self.error = ""

    def _about(self, net: Net, image: Image, result: ActivationMaps) -> dict[str, Any]:
        row, (count, h, w) = net.layers[result.layer], result.maps.shape[1:]
        field = row.receptive_field
        sees = "the whole image" if field is None else f"{field} pixels"
        what = f"{count} values" if (h, w) == (1, 1) else f"{count} channels of {h}×{w}"
        each = "each sees" if (h, w) == (1, 1) else "each position sees"
        names = list(net.labels) if (h, w) == (1, 1) and count == len(net.labels) and result.layer == net.layers.order[-1] else []
        return {
            "layer": result.layer,
            "caption": f"{what}; {each} {sees}",
            "field": None if field is None else [list(field.size), list(field.stride), list(field.offset)],
            "image": list(image.pixels.shape[2:]),
            "names": names,
        }

    def still(self) -> PILImage.Image | None:
        """The grid of maps."""
        return self._result.picture() if self._result is not None else None

    def describe(self) -> str:
        """Layer and channels."""
        if self._result is None:
            return str(self.layer or "")
        return f"{self.layer}, {self._result.maps.shape[1]} channels"


def _packed(maps: Tensor) -> dict[str, Any]:
    """Maps (C, H, W) as bytes between the limits of each channel, and what the page needs to draw them."""
    top = readable_limits(maps)[1]
    # NumPy from here on: PyTorch would wake threads of its own for every one of these small operations.
    values = maps.float().numpy()
    odd = 0
    if not np.isfinite(values.sum(dtype=np.float64)):
        odd = int((~np.isfinite(values)).sum())
        values = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
    count, h, w = values.shape
    means = values.reshape(count, -1).mean(1)
    low, high = float(values.min()), float(values.max())
    clipped = float((np.abs(values) > top).mean()) if max(high, -low) > top else 0.0
    pooled = 1
    while count * (-(-h // pooled)) * (-(-w // pooled)) > MOST_VALUES:
        pooled += 1
    if pooled > 1:
        values = F.avg_pool2d(torch.from_numpy(values)[None], pooled, ceil_mode=True)[0].numpy()
    flat = values.reshape(count, -1)
    lows, highs = flat.min(1), flat.max(1)
    unit = 255 / np.maximum(highs - lows, 1e-30)
    scaled = (flat - lows[:, None]) * unit[:, None]
    scaled += 0.5
    return {
        "count": count,
        "height": values.shape[1],
        "width": values.shape[2],
        "pooled": pooled,
        "vector": (h, w) == (1, 1),
        "low": -max(-low, high) if low < 0 else 0.0,
        "high": max(-low, high) or 1.0,
        "top": top,
        "clipped": clipped,
        "odd": odd,
        "values": scaled.astype(np.uint8).tobytes(),
        "lows": lows.astype("<f4").tobytes(),
        "highs": highs.astype("<f4").tobytes(),
        "means": means.astype("<f4").tobytes(),
        "colours": colour_table("diverging" if low < 0 else "sequential").tobytes(),
    }


def _thumbnail(image: Image, side: int) -> PILImage.Image:
    picture = image.picture()
    # Small pictures are enlarged here, once and smoothly, rather than by each of their viewers.
    picture = picture.resize((side, round(side * picture.height / picture.width)), PILImage.Resampling.BICUBIC)
    return picture


