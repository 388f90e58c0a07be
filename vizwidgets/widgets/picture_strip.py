"""Small pictures in a row to choose from: one, or several to be mixed; and files of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.picture import jpeg

from .base import VizWidget, script, shows_errors, style
from .image_chooser import MOST_BYTES, received, square
from .stills import text_table

LONGEST = 1024  # pixels
NAMELESS = ("tensor", "array", "bytes", "picture")  # what kind of object a picture was is no name for it


@dataclass(frozen=True)
class Offer:
    """A picture at hand, which is opened or drawn when it is chosen."""

    name: str
    thumbnail: PILImage.Image
    open: Callable[[], Image]


class PictureStrip(VizWidget, AnyWidget):
    """Pictures as they are, of any size, to choose from; more are opened from files.

    Parameters
    ----------
    title : str
        What they are chosen for.
    offers : sequence of Offer
    images : tuple of Image
        The chosen ones, in the order in which they were; by default the first that is offered.
    several : bool
        Whether several can be chosen.
    """

    _esm = script("picture_strip", "files")
    _css = style()

    title = traitlets.Unicode("").tag(sync=True)
    several = traitlets.Bool(False).tag(sync=True)
    mixing = traitlets.Bool(False, help="whether a click adds to what is chosen").tag(sync=True)
    choices: Any = traitlets.List().tag(sync=True)
    chosen: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    most_bytes = traitlets.Int(MOST_BYTES).tag(sync=True)
    images: Any = traitlets.Tuple(help="the chosen ones")

    def __init__(self, title: str, offers: Sequence[Offer], images: Sequence[Image] = (), **options: Any) -> None:
        self._offers, self._opened = list(offers), dict[int, Image]()
        self._wishes: list[int] = []
        super().__init__(title=title, **options)
        self.choices = [{"name": offer.name, "thumbnail": jpeg(square(offer.thumbnail))} for offer in offers]
        self.on_msg(self._receive)
        self.images = tuple(images) or (self._image(0),)

    def _image(self, index: int) -> Image:
        if index not in self._opened:
            self._opened[index] = self._offers[index].open()
        return self._opened[index]

    def _index(self, image: Image) -> int:
        """Where it is among the choices; a new one is added to them."""
        for index, known in self._opened.items():
            if known == image:
                return index
        index = len(self.choices)
        self._opened[index] = image
        self.choices = [*self.choices, {"name": image.source, "thumbnail": jpeg(square(image.picture()))}]
        return index

    @traitlets.observe("images")
    def _mark(self, _change: Any = None) -> None:
        self.mixing = self.mixing or len(self.images) > 1
        self.chosen = [self._index(image) for image in self.images]
        self.caption = " + ".join("; ".join((image.source, *image.notes)) for image in self.images)

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], buffers: Any) -> None:
        command = content.get("cmd")
        if command == "choose":
            index = int(content["index"])
            self.caption = f"{self.choices[index]['name']} …"
            self._wishes.append(index)
            self.later(self._fulfil)  # some take a second to be drawn
        elif command == "mix":
            self.mixing = bool(content["on"])
            if not self.mixing:
                self.images = self.images[:1]
        elif command in ("file", "refused"):
            self._take(smaller(received(content, buffers)))

    def _fulfil(self) -> None:
        while self._wishes:
            self._take(self._image(self._wishes.pop(0)))

    def _take(self, image: Image) -> None:
        rest = tuple(i for i in self.images if i != image)
        if not self.mixing:
            self.images = (image,)
        elif len(rest) == len(self.images):
            self.images = (*self.images, image)
        elif rest:
            self.images = rest
        self.error = ""
        self._mark()

    def still(self) -> PILImage.Image | None:
        """What is chosen, in words."""
        return text_table([(self.title, self.caption)])

    def describe(self) -> str:
        """What is chosen."""
        return " + ".join(image.source for image in self.images)


def open_whole(source: Any, called: str = "your picture", longest: int = LONGEST) -> Image:
    """A picture of any size, not cropped; a very large one smaller, and one without a name `called` so."""
    image = source if isinstance(source, Image) else open_image(source, longest=longest)
    return smaller(replace(image, source=called) if image.source in NAMELESS else image, longest)


def smaller(image: Image, longest: int = LONGEST) -> Image:
    """The image with at most `longest` pixels on its longer side."""
    h, w = image.pixels.shape[2:]
    if max(h, w) <= longest:
        return image
    new = [max(1, round(s * longest / max(h, w))) for s in (h, w)]
    pixels = F.interpolate(image.pixels, new, mode="bilinear", antialias=True).clamp(0, 1)
    return replace(image, pixels=pixels, notes=(*image.notes, f"resized {w}×{h} to {new[1]}×{new[0]}"))
