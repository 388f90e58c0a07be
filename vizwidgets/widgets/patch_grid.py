"""The patches of a set of images that a channel answers to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from PIL import ImageDraw
from torch import Tensor

from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import to_pixels
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Channel, Neuron
from vizwidgets.methods.attribution import deconvnet, guided_backprop
from vizwidgets.methods.patches import PatchTable
from vizwidgets.methods.store import Store

from .base import TargetTrait, VizWidget, message, script, shows_errors, style
from .cards import Card, cards_sheet, coded, opened, reduced, shown
from .worker import worker

PROJECTIONS = {"guided backprop": guided_backprop, "deconvnet": deconvnet}
SHOWS = ("patch", "image", *PROJECTIONS)
WORDS = {"top": "strongest", "bottom": "weakest", "spread": "from strong to weak"}
FRAME = "#d55e00"
WHOLE = 320  # pixels of the longer side of whole pictures
READY = 2.0  # seconds that it waits with being shown
PAUSE = 0.25  # seconds between two states of the projections that are shown
KEPT = 64  # images that are held, prepared for the network


class PatchGrid(VizWidget, AnyWidget):
    """The patches that a channel answers to most, least, or from weak to strong.

    Each is what one position of the channel's map sees. Beside it can stand what the channel makes of it: its answer projected
    back to the pixels, each projection on a scale of its own, grey for 0.

    Parameters
    ----------
    table : PatchTable, a mapping from layers to them, or a Store
        As `vizwidgets.top_patches` and `vizwidgets.record` give them.
    target : Target, optional
        The channel; by default the first. Of another layer than those of the table, the widget says so.
    layer : str
        Where there are several; by default the first.
    show : {"patch", "image", "guided backprop", "deconvnet"}
        The patch, the whole picture with a frame around it, or the patch and its projection.
    order : {"top", "bottom", "spread"}
        By default that of the table.
    index : int, optional
        The image of the set that was clicked.
    image : Image, optional
        The same, prepared for the network.

    Raises
    ------
    TypeError, LookupError
        For what is no such table, and for a layer that it does not have.

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks, 2014.

    Examples
    --------
    >>> PatchGrid(table, target=Channel("stage2", 3))
    PatchGrid(channel 3 of stage2, top)
    """

    _esm = script("patch_grid", "asking", "cards")
    _css = style()

    table: Any = traitlets.Any(None, allow_none=True)
    target = TargetTrait()
    layer = traitlets.Unicode(None, allow_none=True)
    show = traitlets.Enum(SHOWS, "patch").tag(sync=True)
    order = traitlets.Enum(tuple(WORDS), "top").tag(sync=True)
    index = traitlets.Int(None, allow_none=True).tag(sync=True)
    image = traitlets.Instance(Image, allow_none=True)
    frame: Any = traitlets.Dict().tag(sync=True)
    projections: Any = traitlets.Dict().tag(sync=True)

    def __init__(self, table: Any = None, **options: Any) -> None:
        self._seq, self._told = 0, 0.0
        self._channels: dict[str, int] = {}  # the last one looked at, by layer
        self._tables: dict[tuple[str, str], PatchTable] = {}
        self._shown: tuple[Any, ...] = ()
        self._projected: tuple[Any, ...] = ()
        self._todo: list[int] = []
        self._pictures: list[dict[str, Any]] = []
        self._open: Any = None
        super().__init__(table=table, **options)
        if "order" not in options and self.layers and not isinstance(table, Store):
            self.order = (table if isinstance(table, PatchTable) else table[self.layers[0]]).order
        if self.layer is not None and table is not None and self.layer not in self.layers:
            raise LookupError(unknown("layer", self.layer, self.layers))
        self._follow(None)
        self.on_msg(self._receive)
        self.now(self._show)
        self.observe(self._follow, "target")
        self.observe(self._other_table, "table")
        self.observe(lambda _: self.later(self._show), ["table", "target", "layer", "show", "order"])

    @traitlets.validate("table")
    def _known(self, proposal: Any) -> Any:
        value = proposal.value
        tables = value.values() if isinstance(value, Mapping) else [value]
        if value is None or isinstance(value, Store) or all(isinstance(t, PatchTable) for t in tables):
            return value
        hint = ": a run gives one by .result()" if isinstance(value, Run) else ""
        raise TypeError(f"a table is a PatchTable, as vizwidgets.top_patches(net, images, layer).result() gives it, not {type(value).__name__}{hint}")

    @traitlets.validate("index")
    def _row(self, proposal: Any) -> int | None:
        return None if proposal.value is None or proposal.value < 0 else int(proposal.value)

    @property
    def layers(self) -> tuple[str, ...]:
        """Those that there are patches of."""
        table = self.table
        if isinstance(table, (Store, PatchTable)):
            return table.layers if isinstance(table, Store) else (table.layer,)
        return tuple(table or ())

    def _table(self, layer: str, order: str) -> PatchTable:
        if (layer, order) not in self._tables:
            given = self.table
            one = given.patches(layer, order=order) if isinstance(given, Store) else given if isinstance(given, PatchTable) else given[layer]
            self._tables[layer, order] = one.ordered(order)
        return self._tables[layer, order]

    def _other_table(self, _change: Any) -> None:
        self._tables, self._shown = {}, ()

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        command, name, value = content.get("cmd"), content.get("name"), content.get("value")
        if command == "select":
            self.index, self.image = int(content["index"]), self._open(int(content["index"]))
        elif command == "set" and name == "channel":
            self.target = Channel(self.frame["layer"], int(value))  # type: ignore[arg-type]
        elif command == "set" and name in ("layer", "show", "order"):
            self.set_trait(name, value)

    def _follow(self, _change: Any) -> None:
        """A target of another layer brings that layer into view, where there are patches of it."""
        if isinstance(self.target, (Channel, Neuron)) and self.target.layer in self.layers:
            self.layer = self.target.layer

    # --- what is shown

    def _show(self) -> None:
        layers, target = self.layers, self.target
        if not layers:
            self.frame, self.projections, self._shown = {}, {}, ()
            return
        before = self.frame.get("layer")
        layer = self.layer if self.layer in layers else before if before in layers else layers[0]
        table, note = self._table(layer, self.order), ""
        if self.layer not in (None, layer):
            note = f"There are no patches of {self.layer}; these are of {layer}."
        elif isinstance(target, (Channel, Neuron)) and target.layer == layer:
            self._channels[layer] = target.index
        elif target is not None:
            note = f"The target is {target.describe(table.net)}; these are patches of {layer}."
        channel = self._channels.get(layer, 0)
        if not 0 <= channel < table.channels:
            raise IndexError(f"{layer} has the channels 0 to {table.channels - 1}; there is no channel {channel}")
        if self._shown != (table, channel):
            self._draw(table, channel)
            self._shown = (table, channel)
        if self.frame["note"] != note:
            self.frame = {**self.frame, "note": note}
        self.error = ""
        if self.show in PROJECTIONS:
            self._project(table, channel)

    def _draw(self, table: PatchTable, channel: int) -> None:
        net, images = table.net, table.images
        if not self._shown or self._shown[0].images is not images or self._shown[0].net is not net:
            self._open = lru_cache(KEPT)(lambda index: images.image(index, net))
        field = net.layers[table.layer].receptive_field
        masked = table[channel].images if table.mask else None
        named = table.layer == net.layers.order[-1] and len(net.labels) == table.channels
        self._seq += 1
        self.frame = {
            "layer": table.layer, "layers": list(self.layers), "channel": channel, "channels": table.channels,
            "name": f"channel {channel}{f' ({net.labels[channel]})' if named else ''}",
            "caption": f"each position sees {f'{field} pixels' if field else 'the whole picture'}; below each patch its activation",
            "note": self.frame.get("note", ""), "tiles": [self._tile(table, channel, i, None if masked is None else masked[i]) for i in range(table.k)], "seq": self._seq,
        }  # fmt: skip

    def _tile(self, table: PatchTable, channel: int, i: int, masked: Tensor | None) -> dict[str, Any]:
        index, (y0, x0, y1, x1) = int(table.sources_index[channel, i]), table.boxes[channel, i].tolist()
        about = {
            "index": index, "source": table.images.sources[index], "label": table.images.label_name(index),
            "score": float(table.scores[channel, i]), "position": table.positions[channel, i].tolist(),
            "cut": [y0, x0, y1, x1],
        }  # fmt: skip
        try:
            image = self._open(index)
        except Exception as e:  # a file may have gone since
            return {**about, "lost": message(e)}
        h, w = image.pixels.shape[2:]
        patch, whole = image.pixels[0, :, y0:y1, x0:x1] if masked is None else masked, reduced(image, WHOLE)
        return {
            **about, "patch": coded(PILImage.fromarray(to_pixels(patch))), "size": list(patch.shape[1:]), "whole": coded(whole),
            "whole_size": [whole.height, whole.width], "box": [y0 / h, x0 / w, y1 / h, x1 / w], "boxed": (y1 - y0, x1 - x0) != (h, w),
        }  # fmt: skip

    # --- projections, one at a time in turns of the worker

    def _project(self, table: PatchTable, channel: int) -> None:
        key = (self._seq, self.show)
        if self._projected != key:
            self._projected, self._pictures = key, [{} for _ in self.frame["tiles"]]
            self._todo = [i for i, tile in enumerate(self.frame["tiles"]) if "lost" not in tile]
            self.projections = {"seq": self._seq, "method": self.show, "pictures": self._pictures, "done": not self._todo}
        if self._todo:
            worker.play(self, lambda: self._advance(key, table, channel))

    def _advance(self, key: tuple[Any, ...], table: PatchTable, channel: int) -> bool:
        if key != (self._seq, self.show) or not self._todo:
            return False
        if not self.active:  # the others wait until it is in view again
            self._postponed = self._show
            return False
        i = self._todo.pop(0)
        tile = self.frame["tiles"][i]
        try:
            neuron = Neuron(table.layer, channel, *tile["position"])
            found = PROJECTIONS[self.show](table.net, self._open(tile["index"]), neuron)
            picture, silent = projection(found, tile["cut"])
        except Exception as e:
            self.error, self._todo = message(e), []
            self.projections = {**self.projections, "done": True, "failed": True}
            return False
        self._pictures[i] = shown(picture, words="0 everywhere" if silent else "")
        if not self._todo or time.monotonic() - self._told > PAUSE:
            self._told = time.monotonic()
            self.projections = {**self.projections, "pictures": [*self._pictures], "done": not self._todo}
        return bool(self._todo)

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for the patches, but not for slow projections: they come while it is shown."""
        return self.wait(READY if timeout is None else min(timeout, READY))

    # --- for viewers without a kernel

    def still(self) -> PILImage.Image | None:
        """The patches as they are shown, with the scores below."""
        if not self.frame:
            return None
        cards: list[Card] = []
        made = self.projections.get("pictures", []) if self.projections.get("seq") == self._seq and self.show in PROJECTIONS else []
        for i, tile in enumerate(self.frame["tiles"]):
            pictures = [opened(tile["whole" if self.show == "image" else "patch"])] if "lost" not in tile else []
            if self.show == "image" and pictures:
                w, h = pictures[0].size
                y0, x0, y1, x1 = tile["box"]
                ImageDraw.Draw(pictures[0]).rectangle((x0 * w, y0 * h, x1 * w - 1, y1 * h - 1), outline=FRAME, width=max(1, w // 64))
            pictures += [opened(p["data"]) for p in made[i : i + 1] if p]
            cards.append((pictures, f"{tile['score']:.3g}"))
        return cards_sheet([(f"{self.frame['name']} of {self.frame['layer']}, {WORDS[self.order]}", cards)], columns=3 if made else 9)

    def describe(self) -> str:
        """Channel, layer and order."""
        return f"{self.frame['name']} of {self.frame['layer']}, {self.order}" if self.frame else ""


def projection(found: Attribution, box: list[int]) -> tuple[PILImage.Image, bool]:
    """What an attribution says of a box (y0, x0, y1, x1) of the image, in colours, grey for 0; and whether it is 0 everywhere."""
    assert found.values is not None
    y0, x0, y1, x1 = box
    values = found.values[0, :, y0:y1, x0:x1]
    top = values.abs().max()
    return PILImage.fromarray(to_pixels(0.5 + 0.5 * values / top.clamp(min=1e-30))), not bool(top)
