"""Which picture is looked at: some at hand offline, or a file of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.picture import jpeg, png
from vizwidgets.data import Flowers, photograph

from .base import VizWidget, script, shows_errors, style

# Jupyter's server takes messages of up to 10 MB; at a longer one it drops the connection, without a word.
MOST_BYTES = 8_000_000
_DRAWINGS = (0, 2, 3, 8, 10, 14)


class ImageChooser(VizWidget, AnyWidget):
    """The picture that is looked at, others at hand, and one's own from a file.

    Parameters
    ----------
    net : Net or torch.nn.Module
        Pictures are prepared as it was trained.
    images : sequence of anything that `vizwidgets.image` takes
        To choose from; by default some of the bundled drawings and two photographs (noise, where a network takes neither
        one nor three channels).
    image : anything that `vizwidgets.image` takes
        The one shown first, put before the others.

    Examples
    --------
    >>> ImageChooser(net)
    ImageChooser(forget-me-not)
    """

    _esm = script("image_chooser", "files")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    index = traitlets.Int(-1).tag(sync=True)
    choices: Any = traitlets.List().tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    most_bytes = traitlets.Int(MOST_BYTES).tag(sync=True)

    def __init__(
        self, net: Net | nn.Module | None = None, images: Sequence[Any] | None = None, image: Any = None, **options: Any
    ) -> None:
        net = None if net is None else as_net(net)
        own = [] if image is None else [open_image(image, net)]
        self._sources = own + [s for s in ([open_image(s, net) for s in images] if images else _at_hand(net)) if s not in own]
        super().__init__(net=net, **options)
        self.choices = [
            {"name": s.source, "thumbnail": jpeg(square(s.picture()))} for s in self._sources
        ]
        self.on_msg(self._receive)
        self.index, self.image = 0, self._sources[0]

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("cmd") == "choose":
            self.image = self._sources[int(content["index"])]
            self.error = ""
        elif content.get("cmd") in ("file", "refused"):
            self.image = received(content, buffers, self.net)
            self.error = ""

    @traitlets.observe("image")
    @shows_errors
    def _draw(self, _change: Any) -> None:
        image = self.image
        if image is None:
            self.picture, self.caption, self.index = b"", "", -1
            return
        self.index = next((i for i, s in enumerate(self._sources) if s is image or s == image), -1)
        side = max(224, min(448, max(image.pixels.shape[2:])))
        picture = image.picture()
        scale = side / max(picture.size)
        self.picture = png(picture.resize((round(picture.width * scale), round(picture.height * scale)), PILImage.Resampling.BICUBIC))
        channels = image.pixels.shape[1]
        shown = () if channels in (1, 3) else (f"shown: the mean of its {channels} channels",)
        self.caption = "; ".join((image.source, *image.notes, *shown))

    def still(self) -> PILImage.Image | None:
        """The picture."""
        return None if self.image is None else self.image.picture()

    def describe(self) -> str:
        """Where the picture is from."""
        return "" if self.image is None else self.image.source


def received(content: dict[str, Any], buffers: Any, net: Net | None = None) -> Image:
    """The file that the page has sent as an image, or ValueError with what is wrong with it."""
    name = str(content["name"])
    if content["cmd"] == "refused":
        raise ValueError(
            f"{name} has {content['size'] / 1e6:.0f} MB, and this browser cannot make a smaller picture of it; "
            f"up to {MOST_BYTES / 1e6:.0f} MB are taken here. In a cell, a path may be given in place of a picture, of any size"
        )
    try:
        opened = open_image(bytes(buffers[0]), net)
    except ValueError as e:
        raise ValueError(str(e).replace("the bytes", name)) from e
    notes = opened.notes
    if content.get("shrunk"):
        notes = ("made smaller in the page: {}×{} to {}×{}".format(*map(int, content["shrunk"])), *notes)
    return replace(opened, source=name, notes=notes)


def _at_hand(net: Net | None) -> list[Image]:
    if net is not None and net.channels not in (1, 3):
        noise = torch.rand(1, net.channels, *net.size, generator=torch.Generator().manual_seed(0))
        return [Image(noise, f"noise in {net.channels} channels")]
    flowers = Flowers(64, seed=7, size=max(96, min(224, min(net.size))) if net else 96)
    drawn = [flowers.flower(i) for i in _DRAWINGS]
    images = [replace(open_image(f.image, net), source=f.name) for f in drawn]
    for name in ("flower", "china"):
        images.append(replace(open_image(photograph(name), net), source=name))
    return images


def square(picture: PILImage.Image) -> PILImage.Image:
    """A thumbnail: the middle of the picture."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((72, 72), PILImage.Resampling.LANCZOS)
