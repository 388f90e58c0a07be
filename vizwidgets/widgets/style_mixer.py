"""A picture painted in the style of others while one looks on: before and after, and sliders that act at once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import traitlets
from ipywidgets import Box
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.image import Image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import jpeg
from vizwidgets.core.results import sheet
from vizwidgets.data import SWATCHES, Flowers, photograph, swatch
from vizwidgets.methods.gram import default_style_layers
from vizwidgets.methods.style import style_transfer

from . import knobs
from .cards import Card, cards_sheet, reduced
from .image_chooser import square
from .makes_runs import MakesRuns
from .picture_strip import Offer, PictureStrip, open_whole

CONTENTS = ("china", "chelsea", "coffee", "flower", "astronaut", "rocket", "motorcycle")
FIRST, STYLES = ("mosaic", "strokes"), ("hubble_deep_field",)
SIZES = (128, 192, 256, 384, 512)
MENUS: dict[str, tuple[str, list[tuple[Any, str]]]] = {
    "size": ("size", [(n, f"{n} pixels") for n in SIZES]),
    "init": ("begin with", [("content", "the content"), ("noise", "noise")]),
    "keep_colours": ("colours", [(False, "of the style"), (True, "of the content")]),
    "levels": ("coarse to fine", [(1, "at once"), (2, "in 2 sizes"), (3, "in 3 sizes")]),
}
DRAWN = (2, 10)
DRAWN_SIZE, THUMBNAIL, SIDE = 256, 64, 192  # pixels
ENDED = ("stopped", "done", "failed")
NOTHING = "Nothing to paint yet: a network is needed."


class StyleMixer(MakesRuns):
    """Paints the content of one picture in the style of others, by `vizwidgets.style_transfer`.

    Content and styles are chosen among bundled photographs, drawings and swatches, or are files; several styles are mixed. The
    sliders act on the painting while it grows, and are written into the recipe. Content, styles and network count at once, from
    a new start; the rest from the next one.

    Parameters
    ----------
    net : Net or torch.nn.Module
    content : anything that `vizwidgets.image` takes
        By default a bundled photograph.
    style : anything that `vizwidgets.image` takes, or several in a list
        By default a bundled swatch.
    style_weight : float
        Of the style beside the content, which has the weight 1.
    layer_weights : dict of str to float
        Of layers of the style; those of `default_style_layers` that are not named have the weight 1.
    mix : tuple of float
        How much of each style; only ratios count. By default equal.
    size : int
        Longest side of the painting, in pixels.
    steps, init, keep_colours, levels, content_layer, optimizer, pooling, seed
        As of `vizwidgets.style_transfer`.
    split : float
        How much of the picture, from the left, shows the content, from 0 to 1.
    block : bool
        Paint to the end before it is shown, in the calling thread.

    Attributes
    ----------
    image : Image
        The painting when it last halted, for other widgets: ``traitlets.dlink((mixer, "image"), (viewer, "image"))``.

    References
    ----------
    Gatys, Ecker, Bethge: Image style transfer using convolutional neural networks, 2016.

    Examples
    --------
    >>> StyleMixer(net, style=vizwidgets.data.swatch("waves"))
    StyleMixer(china in the style of your style, 0 of 256)
    """

    PARTS = ("net", "content", "style")
    SETTINGS = ("size", "steps", "init", "keep_colours", "levels", "seed")
    OPTIONS = ("content_layer", "optimizer", "pooling")
    FAILED = "This cannot be painted."

    net = traitlets.Instance(Net, allow_none=True)
    content = traitlets.Any(None, allow_none=True)
    style = traitlets.Any(())
    style_weight = traitlets.Float(10.0)
    layer_weights: Any = traitlets.Dict()
    mix: Any = traitlets.Tuple()
    size = traitlets.Int(256, min=32)
    init = traitlets.Enum(["content", "noise"], "content")
    keep_colours = traitlets.Bool(False)
    levels = traitlets.Int(1, min=1)
    content_layer = traitlets.Unicode(None, allow_none=True)
    optimizer = traitlets.Enum(["lbfgs", "adam"], "lbfgs")
    pooling = traitlets.Enum(["max", "average"], "max")
    split = traitlets.Float(0.5, min=0, max=1)
    image = traitlets.Instance(Image, allow_none=True, read_only=True)

    def __init__(self, net: Net | nn.Module | None = None, content: Any = None, style: Any = None, *, block: bool = False, **options: Any) -> None:
        own = () if content is None else (open_whole(content),)
        self.contents = PictureStrip("Content", _contents(), own)
        self.styles = PictureStrip("Style", _styles(), () if style is None else _several(style), several=True)
        self._moved = False  # sliders, after the end
        self._weighted: Net | None = None
        super().__init__(net=None if net is None else as_net(net), content=self.contents.images[0], style=self.styles.images, **options)
        self.contents.observe(lambda change: self.set_trait("content", change.new[0]), "images")
        self.observe(lambda change: self.contents.set_trait("images", (change.new,)), "content")
        traitlets.link((self, "style"), (self.styles, "images"))
        traitlets.link((self, "split"), (self.player, "split"))
        self.player.observe(self._halted, "status")
        self.player.observe(lambda _: self._follow(), "sliders")
        self.observe(self._turn, ["style_weight", "layer_weights", "mix"])
        self.children = [Box([self.contents, self.styles]).add_class("vw-mixer-choose"), self.body.add_class("vw-optimization-body")]
        self.add_class("vw-optimization").add_class("vw-mixer")
        if block:
            self.play(block=True)

    @traitlets.validate("content")
    def _opened(self, proposal: Any) -> Image:
        return open_whole(proposal.value)

    @traitlets.validate("style")
    def _all_opened(self, proposal: Any) -> tuple[Image, ...]:
        return _several(proposal.value)

    @traitlets.validate("mix")
    def _shares(self, proposal: Any) -> tuple[float, ...]:
        mix = tuple(float(share) for share in proposal.value)
        if mix and not (len(mix) == len(self.style) and min(mix) >= 0 and 0 < sum(mix) < float("inf")):
            raise traitlets.TraitError(f"mix has a share from 0 for each of {len(self.style)} styles, not all 0; this is {mix}")
        return mix

    def _run(self) -> Run[Any] | None:
        if self.net is None or self.content is None:
            return None
        if self._weighted not in (None, self.net):  # the weights are of another network's layers
            self.layer_weights = {}
        self._weighted = self.net
        layers = {**dict.fromkeys(default_style_layers(self.net), 1.0), **self.layer_weights}
        if len(self.mix) != len(self.style):
            self.mix = ()
        options = {name: getattr(self, name) for name in (*self.SETTINGS, *self.OPTIONS)}
        self.player.turned.clear()  # they are where the run begins
        self.player.names = {f"{knobs.MIX}{i}": {"name": style.source} for i, style in enumerate(self.style)}
        return style_transfer(
            self.net, self.content, list(self.style), style_layers=layers, style_weight=self.style_weight, mix=self.mix or None, **options,
        )  # fmt: skip

    def _loaded(self) -> dict[str, Any]:
        self._follow()
        self.player.before = jpeg(sheet(self.player.controls.content_image), 90)
        return {"sides": ["content", "painted"]}

    def _empty(self) -> None:
        self.player.about = {"caption": "", "hint": NOTHING}
        self.player.show_sliders({}, {})

    def _follow(self) -> None:
        """The traits are where the sliders are."""
        values = {slider["key"]: slider["value"] for slider in self.player.sliders}
        if values:
            self.style_weight = values[knobs.STYLE]
            self.layer_weights = {key.removeprefix(knobs.LAYER): v for key, v in values.items() if key.startswith(knobs.LAYER)}
            self.mix = tuple(v for key, v in values.items() if key.startswith(knobs.MIX))
        if self._moved != (self.player.status in ENDED):
            self._moved = not self._moved
            self._tell()

    def _turn(self, _change: Any) -> None:
        """The sliders are where the traits are."""
        layers = {knobs.LAYER + layer: weight for layer, weight in self.layer_weights.items()}
        wanted = {knobs.STYLE: self.style_weight, **layers, **{f"{knobs.MIX}{i}": share for i, share in enumerate(self.mix)}}
        there = {slider["key"]: slider["value"] for slider in self.player.sliders}
        if sum(key.startswith(knobs.MIX) for key in there) != len(self.mix):  # styles have been chosen that are not yet loaded
            wanted = {key: value for key, value in wanted.items() if not key.startswith(knobs.MIX)}
        for key in sorted(wanted if there else (), key=lambda key: -wanted[key]):  # so that of a mix never all are 0
            if wanted[key] != there.get(key):
                try:
                    self.player.turn(key, wanted[key])
                except (LookupError, ValueError):
                    self._follow()
                    raise

    def _halted(self, change: Any) -> None:
        image = getattr(self.run and self.run.last, "image", None)
        if change.new in ("paused", *ENDED) and image is not None:
            self.set_trait("image", Image(image, self.caption))

    def _settings(self) -> dict[str, Any]:
        menus = []
        for key, (name, options) in MENUS.items():
            value = getattr(self, key)
            known = options if value in dict(options) else [*options, (value, str(value))]
            menus.append({"key": key, "name": name, "options": known, "value": value})
        seed = {} if self.init == "noise" else {"seed": None}
        note = "It has ended. Play again, and it begins with the sliders where they are now." if self._moved else ""
        return {**super()._settings(), **seed, "menus": menus, "folded": True, "note": note}

    def _set(self, name: str, value: Any) -> None:
        options = MENUS[name][1] if name in MENUS else []
        super()._set(name, next((v for v, _ in options if str(v).lower() == str(value).lower()), value))

    @property
    def caption(self) -> str:
        """What is painted."""
        return f"{self.content.source} in the style of {' and '.join(style.source for style in self.style)}"

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until what was chosen is loaded; what is painted goes on."""
        return self.contents.wait(timeout) and self.styles.wait(timeout) and super().ready(timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do."""
        return self.contents.wait(timeout) and self.styles.wait(timeout) and super().wait(timeout)

    def still(self) -> PILImage.Image:
        """Content, styles and painting."""
        cards: list[Card] = [([reduced(self.content, SIDE)], "content")]
        cards += [([reduced(style, SIDE)], "style") for style in self.style]
        last = None if self.run is None else self.run.last
        if last is not None:
            cards.append(([sheet(last.image)], "painted"))
        return cards_sheet([(self.describe(), cards)], SIDE)


def _several(source: Any) -> tuple[Image, ...]:
    sources = source if isinstance(source, (list, tuple)) else (source,)
    if not sources:
        raise ValueError("there is no style: one is needed, or several")
    return tuple(open_whole(s, "your style") for s in sources)


def _contents() -> list[Offer]:
    return [*_photographs(CONTENTS), *map(_drawing, DRAWN)]


def _styles() -> list[Offer]:
    return [*map(_swatch, sorted(SWATCHES, key=lambda name: name not in FIRST)), *_photographs(STYLES)]


@cache
def _swatch(name: str) -> Offer:
    return Offer(name, sheet(swatch(name, THUMBNAIL)), cache(lambda: Image(swatch(name, DRAWN_SIZE), name)))


@cache
def _drawing(index: int) -> Offer:
    def drawn(size: int) -> Image:
        return replace(open_whole(Flowers(64, seed=7, size=size).flower(index).image), source=name)

    name = Flowers(64, seed=7, size=THUMBNAIL).flower(index).name
    return Offer(name, drawn(THUMBNAIL).picture(), cache(lambda: drawn(DRAWN_SIZE)))


def _photographs(names: tuple[str, ...]) -> list[Offer]:
    found = []
    for name in names:
        with suppress(LookupError):  # the package that ships it is not installed
            found.append(_photograph(name))
    return found


@cache
def _photograph(file: str) -> Offer:
    name = file.replace("_", " ")
    return Offer(name, square(photograph(file)), lambda: replace(open_whole(photograph(file)), source=name))
