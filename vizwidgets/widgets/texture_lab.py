"""A sample and more of it, grown in two ways side by side: copied from it, and made from the statistics of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from operator import index
from typing import Any
from uuid import uuid4

import traitlets
from anywidget import AnyWidget
from ipywidgets import Box, VBox
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import png
from vizwidgets.data import SWATCHES, photograph, swatch
from vizwidgets.load import load
from vizwidgets.methods.gram import gram_texture
from vizwidgets.methods.presets import number_of_steps
from vizwidgets.methods.texture import ORDERS, efros_leung

from .base import VizWidget, message, script, shows_errors, style
from .cards import cards_sheet
from .picture_strip import Offer, PictureStrip, open_whole, smaller
from .playback import Plays, Together
from .texture_pane import TexturePane
from .worker import worker

WINDOWS = (3, 23)
SIZES = (48, 64, 96, 128)
WHOLE = 96  # pixels of the longer side up to which a picture as a whole is the sample
LONGEST = 256  # of a picture in which a rectangle is the sample
SIDE = 64  # of that rectangle, until another is drawn
LEAST = 16
PHOTOGRAPHS = ("brick", "grass", "gravel", "coffee")
COMMANDS = ("play", "pause", "stop")
SETTINGS = ("window", "size", "order", "seed")

Box4 = tuple[int, int, int, int]


class SampleDesk(VizWidget, AnyWidget):
    """The page's side of `TextureLab`: the sample with the window's frame over it, the buttons of both runs, the settings.

    The page sends ``{"cmd": "play" | "pause" | "stop" | "restart"}`` and ``{"cmd": "set", "name", "value"}``.
    """

    _esm = script("texture_lab", "asking", "transport")
    _css = style()

    picture: Any = traitlets.Dict(help="the picture as PNG, its size and what is said of it").tag(sync=True)
    box: Any = traitlets.List(help="of the sample in it: top, left, bottom, right").tag(sync=True)
    settings: Any = traitlets.Dict(help="window, size, order, seed").tag(sync=True)
    choices: Any = traitlets.Dict({"windows": WINDOWS, "sizes": SIZES, "orders": ORDERS, "least": LEAST}).tag(sync=True)
    status = traitlets.Unicode("idle").tag(sync=True)
    key = traitlets.Bytes(b"", help="the colours of the map of origins").tag(sync=True)
    family = traitlets.Unicode("").tag(sync=True)

    def __init__(self, asked: Callable[[dict[str, Any]], None], **options: Any) -> None:
        self._asked = asked
        super().__init__(**options)
        self.on_msg(self._receive)

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        self._asked(content)


class TextureLab(Plays, VBox):
    """More of a sample, grown in two ways side by side: by copying pixels, and from the Gram matrices of a network.

    Both grow at once, with one set of buttons; each is done by itself. The sample is chosen, or is a rectangle drawn in a picture.
    Another window starts the copying anew; another sample, size or seed both.

    Parameters
    ----------
    sample : anything that `vizwidgets.image` takes
        By default a bundled swatch. In a picture with more than 96 pixels along a side a rectangle is the sample.
    net : Net or torch.nn.Module
        Whose statistics are taken; by default the bundled network of flowers.
    box : (int, int, int, int)
        The rectangle: top, left, bottom, right, in pixels of the picture, which is made smaller where a side is longer than 256.
    window : int
        Side of what is compared when a pixel is copied: odd, 3 to 23.
    size : int
        Height and width of what is grown, in pixels.
    order : str
        As of `vizwidgets.efros_leung`.
    layers, steps
        As of `vizwidgets.gram_texture`.
    seed : int
        Of both.
    origins : bool
        Show where in the sample the copied pixels are from, in place of them.
    block : bool
        Grow both to the end before they are shown, in the calling thread.

    Attributes
    ----------
    picture : Image
        In which the sample is; the sample itself if it is small.
    image, statistics : Image or None
        The copied one, and that from the statistics, as they were when they last halted.
    status : str
        Of the two; see `play`, `pause` and `stop`.

    Raises
    ------
    TypeError, ValueError, traitlets.TraitError
        For what is no picture, and what is out of bounds. A way that fails has failed in its own place only.

    References
    ----------
    Efros, Leung: Texture synthesis by non-parametric sampling, 1999. Gatys, Ecker, Bethge: Texture synthesis using
    convolutional neural networks, 2015.

    Examples
    --------
    >>> TextureLab(vizwidgets.data.swatch("bricks"), window=9)
    TextureLab(your picture, 64×64; window 9, 0 % filled; flowers, 0 of 256)
    """

    net = traitlets.Instance(Net, allow_none=True)
    sample = traitlets.Instance(Image, allow_none=True)
    picture = traitlets.Instance(Image, allow_none=True)
    box: Any = traitlets.Any(None, allow_none=True)
    window = traitlets.Int(11, min=WINDOWS[0], max=WINDOWS[1])
    size = traitlets.Int(64, min=LEAST, max=256)
    order = traitlets.Enum(ORDERS, ORDERS[0])
    layers: Any = traitlets.Any(None, allow_none=True)
    steps = traitlets.Any("normal")
    seed = traitlets.Int(0, min=0)
    origins = traitlets.Bool(False)
    image = traitlets.Instance(Image, allow_none=True, read_only=True)
    statistics = traitlets.Instance(Image, allow_none=True, read_only=True)

    def __init__(self, sample: Any = None, net: Net | nn.Module | None = None, *, block: bool = False, **options: Any) -> None:
        family = uuid4().hex
        self._cut: Image | None = None
        self._go = False
        self.copying = TexturePane(title="Copied", about="pixel by pixel, from where the sample looks alike (Efros and Leung)",
                                   name="copied", tells_origins=True, family=family)  # fmt: skip
        self.gram = TexturePane(title="From statistics", name="statistics", family=family)
        self.player = Together(self.copying, self.gram)
        self.desk = SampleDesk(self._asked, family=family)
        own = [] if sample is None else [open_whole(sample, longest=LONGEST)]
        self.strip = PictureStrip("Sample", _at_hand(), own)
        super().__init__(net=load("flowers") if net is None else as_net(net), **options)
        for pane, name in ((self.copying, "image"), (self.gram, "statistics")):
            pane.observe(lambda _: self._say_status(), "status")
            pane.settled = lambda pane=pane, name=name: self.set_trait(name, pane.image)  # type: ignore[misc]
        traitlets.link((self, "origins"), (self.copying, "origins"))
        traitlets.dlink((self.copying, "key"), (self.desk, "key"))
        traitlets.link((self, "error"), (self.desk, "error"))
        self.strip.observe(lambda change: self._take(change.new[0]), "images")
        self._take(self.strip.images[0], keep=True)
        panes = Box([self.copying, self.gram]).add_class("vw-texture-panes")
        self.children = [Box([self.strip, self.desk, panes]).add_class("vw-texture-body")]
        self.add_class("vw-texture")
        self.now(self._prepare)
        self.observe(self._changed, ["net", "sample", "layers", "steps", *SETTINGS])
        self._tell()
        if block:
            self.play(block=True)

    @traitlets.validate("sample")
    def _named(self, proposal: Any) -> Image | None:
        return proposal.value and open_whole(proposal.value, longest=LONGEST)

    @traitlets.validate("window")
    def _odd(self, proposal: Any) -> int:
        if proposal.value % 2 == 0:
            raise ValueError(f"a window has a pixel in its middle: its side is odd, {WINDOWS[0]} to {WINDOWS[1]}, not {proposal.value}")
        return int(proposal.value)

    @traitlets.validate("steps")
    def _effort(self, proposal: Any) -> Any:
        number_of_steps(proposal.value)
        return proposal.value

    @traitlets.validate("box")
    def _inside(self, proposal: Any) -> Box4 | None:
        if proposal.value is None or self.picture is None:
            return proposal.value  # type: ignore[no-any-return]
        h, w = self.picture.pixels.shape[2:]
        top, left, bottom, right = box = tuple(index(v) for v in proposal.value)
        if not (0 <= top <= bottom - LEAST and bottom <= h and 0 <= left <= right - LEAST and right <= w):
            raise ValueError(f"a rectangle is (top, left, bottom, right) within {h}×{w} pixels, with at least {LEAST} along a side, not {box}")
        return top, left, bottom, right

    def _take(self, image: Image, keep: bool = False) -> None:
        """Take a picture; with `keep` the rectangle that was given stays."""
        if image is self._cut:
            return
        picture = smaller(image, LONGEST)
        h, w = picture.pixels.shape[2:]
        if min(h, w) < LEAST:
            raise ValueError(f"a sample has at least {LEAST} pixels along a side, and {picture.source} has {w}×{h}")
        side = min(SIDE, h, w)
        top, left = (h - side) // 2, (w - side) // 2
        whole = (0, 0, h, w) if max(h, w) <= WHOLE else (top, left, top + side, left + side)
        self.picture, box = picture, self.box if keep else None
        self.box = None
        self.box = whole if box is None else box

    @traitlets.observe("box")
    def _crop(self, _change: Any) -> None:
        picture, box = self.picture, self.box
        if picture is None or box is None:
            return
        top, left, bottom, right = box
        whole = (bottom - top, right - left) == tuple(picture.pixels.shape[2:])
        self._cut = picture if whole else replace(
            picture, pixels=picture.pixels[:, :, top:bottom, left:right].contiguous(),
            notes=(*picture.notes, f"rows {top} to {bottom}, columns {left} to {right}"),
        )  # fmt: skip
        self.sample = self._cut

    @traitlets.observe("sample")
    def _given(self, change: Any) -> None:
        if change.new is not None and change.new is not self._cut and self.children:
            self.strip.images = (change.new,)
            if self.sample is not self._cut:  # it was chosen there before
                self._take(change.new)

    def _changed(self, change: Any) -> None:
        self.later(self._prepare)
        self._tell()

    def _prepare(self) -> None:
        """Make the runs anew whose ingredients have changed; they are played if those before were, or had come to their end."""
        going, anew = self.player.status in ("running", "waiting", "done"), self._go
        self._go = False
        for pane, parts, make in (
            (self.copying, ("sample", "size", "seed", "window", "order"), self._copies),
            (self.gram, ("sample", "size", "seed", "net", "layers", "steps"), self._statistics),
        ):
            made = tuple(getattr(self, name) for name in parts)
            if made == pane.made and not anew:
                continue
            again = anew or pane.asked == "play" or pane.status == "done" or (pane.status == "failed" and going)
            pane.made = made
            try:
                pane.load(make())
            except Exception as e:
                pane.fail(message(e))
                continue
            if again:
                pane.play()
        self._tell()

    def _copies(self) -> Run[Any]:
        return efros_leung(self.sample, self.size, self.window, order=self.order, seed=self.seed)

    def _statistics(self) -> Run[Any]:
        assert self.net is not None and self.sample is not None
        self.gram.about = f"noise, until the Gram matrices of {self.net.name or 'the network'} are those of the sample (Gatys)"
        return gram_texture(self.net, self.sample.pixels, layers=self.layers, steps=self.steps, size=self.size, seed=self.seed)

    def _tell(self) -> None:
        picture, sample = self.picture, self.sample
        if picture is None or sample is None:
            return
        h, w = picture.pixels.shape[2:]
        caption = f"{picture.source}: {sample.pixels.shape[3]} × {sample.pixels.shape[2]} pixels"
        if self.desk.picture.get("digest") != picture.sha256:
            self.desk.picture = {"digest": picture.sha256, "png": png(picture.picture()), "size": [h, w], "whole": max(h, w) <= WHOLE}
        self.desk.box = list(self.box)
        self.desk.settings = {"caption": caption, **{name: getattr(self, name) for name in SETTINGS}}

    def _say_status(self) -> None:
        self.status = self.desk.status = self.player.status

    def _asked(self, content: dict[str, Any]) -> None:
        """Do what the page asks for."""
        command, name, value = content.get("cmd"), content.get("name"), content.get("value")
        self.error = ""
        if command == "restart":
            self.restart(self.seed + 1 if content.get("another") else None)
        elif command in COMMANDS:
            getattr(self, str(command))()
        elif command == "set" and name == "box":
            self.box = tuple(value)  # type: ignore[arg-type]
        elif command == "set" and name in SETTINGS:
            self.set_trait(str(name), value)

    def play(self, *, block: bool = False) -> None:
        """Begin, go on, or begin again when both have ended; with ``block=True`` to the end, in the calling thread."""
        if self.player.status in ("stopped", "done", "failed"):
            if not block:
                self.restart()
                return
            self.copying.made = self.gram.made = None
            self._prepare()
        self.player.play(block=block)

    def restart(self, seed: int | None = None) -> None:
        """Begin both anew, with another seed if one is given."""
        self._go = True
        if seed is None:
            self.later(self._prepare)
        else:
            self.seed = seed

    @property
    def results(self) -> dict[str, Any]:
        """What the steps so far amount to, a `Texture` as "copied" and a `Rendering` as "statistics"; waits until the runs halt."""
        self.wait()
        panes = {"copied": self.copying, "statistics": self.gram}
        return {name: pane.run.so_far() for name, pane in panes.items() if pane.run is not None and pane.run.last is not None}

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the sample is opened and both runs halt."""
        return self.strip.wait(timeout) and super().wait(timeout)

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until what was asked for is loaded; what grows goes on."""
        return worker.wait(self, timeout)

    def still(self) -> PILImage.Image | None:
        """Sample and textures side by side."""
        if self.sample is None:
            return None
        cards = [([self.sample.picture()], f"sample, window {self.window}")]
        for pane in self.player.players:
            last = None if pane.run is None else pane.run.last
            picture = None if last is None else pane.picture_of(last)  # type: ignore[attr-defined]
            if picture is not None:
                cards.append(([picture], f"{pane.title}: {pane.said.split(', ')[0]}"))  # type: ignore[attr-defined]
        return cards_sheet([(self.sample.source, cards)], side=192, columns=3)

    def describe(self) -> str:
        """Sample, window, and how far the two are."""
        if self.sample is None:
            return ""
        h, w = self.sample.pixels.shape[2:]
        name = "the network" if self.net is None or not self.net.name else self.net.name
        statistics = f"{name}, {self.gram.index} of {self.gram.total}"
        return f"{self.sample.source}, {w}×{h}; window {self.window}, {self.copying.said or '0 % filled'}; {statistics}"


@cache
def _at_hand() -> tuple[Offer, ...]:
    drawn = [Image(swatch(name), name) for name in SWATCHES]
    taken = [smaller(replace(open_image(photograph(name)), source=name), LONGEST) for name in PHOTOGRAPHS]
    return tuple(Offer(image.source, image.picture(), partial(_itself, image)) for image in drawn + taken)


def _itself(image: Image) -> Image:
    return image

