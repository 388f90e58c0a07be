"""The Explorer's tabs about a set of images: the patches that channels answer to, and which pictures are near each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets
from anywidget import AnyWidget
from ipywidgets import VBox
from PIL import Image as PILImage

from vizwidgets.core.image import Image
from vizwidgets.core.net import Net
from vizwidgets.core.optimize import Run, Step
from vizwidgets.data.image_set import ImageSet
from vizwidgets.methods.embedding import INPUT, embed
from vizwidgets.methods.record import record
from vizwidgets.methods.store import Store

from .base import TargetTrait, message, script, style
from .neighbor_grid import NeighborGrid
from .patch_grid import PatchGrid
from .playback import Playback, Plays
from .worker import worker

MOST_LAYERS = 96  # that one pass keeps patches of; of deeper networks those of one layer at a time


class SetPass(Playback, AnyWidget):
    """A pass over a set of images: how far it is, and its buttons; what it has found is handed on whenever it halts."""

    _esm = script("set_pass")
    _css = style()

    aim = traitlets.Unicode("", help="what for").tag(sync=True)
    images = traitlets.Int(0, help="in the set").tag(sync=True)
    seen = traitlets.Int(0, help="of them so far").tag(sync=True)
    skipped: Any = traitlets.List(help="source and reason of those that could not be read").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        self.restart: Callable[[], None] = lambda: None
        self.found: Callable[[Any], None] = lambda result: None
        super().__init__(**options)

    def begin(self, run: Run[Any], aim: str, images: int) -> None:
        """Play a run over so many images."""
        self.aim, self.images, self.seen, self.skipped = aim, images, 0, []
        self.start(run)

    def _command(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("cmd") == "play" and self.status in ("stopped", "failed"):
            self.restart()
        else:
            super()._command(widget, content, buffers)

    def _picture(self, step: Step) -> bytes:
        return b""

    def _count(self, run: Run[Any]) -> None:
        super()._count(run)
        self.seen = getattr(run.last, "done", 0)

    def _settle(self, status: str) -> bool:
        run = self._run
        super()._settle(status)
        if status != "failed" and run is not None and run.last is not None:
            try:
                result = run.so_far()
                self.skipped = [list(s) for s in getattr(result, "skipped", ())]
                self.found(result)
            except Exception as e:
                self.error, self.status = message(e), "failed"
        return False


class SetTab(Plays, VBox):
    """A pass over a set of images, made when it is first in view, and below it what it has found."""

    net = traitlets.Instance(Net)
    images = traitlets.Instance(ImageSet)
    image = traitlets.Instance(Image, allow_none=True)
    target = TargetTrait()
    layer = traitlets.Unicode(None, allow_none=True)

    def __init__(self, net: Net, images: ImageSet, grid: Any, **options: Any) -> None:
        self.player, self.grid = SetPass(), grid
        super().__init__(net=net, images=images, **options)
        self.player.restart, self.player.found = self._restart, self._hand_on
        traitlets.link((self.player, "error"), (self, "error"))
        traitlets.dlink((self.player, "status"), (self, "status"))
        for name in ("image", "target", "layer"):
            if grid.has_trait(name):
                traitlets.link((self, name), (grid, name))
        traitlets.dlink((self, "active"), (grid, "active"))
        self.children = [self.player]
        self.now(self._begin)
        self.observe(lambda _: self.later(self._other_layer), "layer")

    def _restart(self) -> None:
        self.later(self._begin)

    def _hand_on(self, result: Any) -> None:
        self._found(result)
        self.children = [self.player, self.grid]

    def _begin(self) -> None:
        raise NotImplementedError

    def _other_layer(self) -> None:
        raise NotImplementedError

    def _found(self, result: Any) -> None:
        raise NotImplementedError

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for what is there; the pass goes on."""
        return worker.wait(self, timeout) and self.grid.ready(timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the pass halts, and what it has found is shown."""
        return super().wait(timeout) and self.grid.wait(timeout)

    def still(self) -> PILImage.Image | None:
        """What is below."""
        return self.grid.still()

    def describe(self) -> str:
        """What is below."""
        return self.grid.describe()

    def close(self) -> None:
        """End the pass with the widget."""
        self.grid.close()
        super().close()


class PatchesTab(SetTab):
    """The patches of all layers by one pass; of a network with very many, those of the layer that is looked at.

    Examples
    --------
    >>> PatchesTab(net, images, layer="stage2")
    PatchesTab(channel 0 of stage2, top)
    """

    def __init__(self, net: Net, images: ImageSet, **options: Any) -> None:
        rows = map(net.layers.__getitem__, net.layers.order)
        self._readable = [row.name for row in rows if row.layout is not None and row.shape is not None]
        self._asked: list[str] = []
        super().__init__(net, images, PatchGrid(active=False), **options)

    def _begin(self) -> None:
        one = self.layer is not None and self.layer in self._readable and len(self._readable) > MOST_LAYERS
        self._asked = [str(self.layer)] if one else self._readable[:MOST_LAYERS]
        self.player.begin(record(self.net, self.images, self._asked, keep="maxima"), "Patches", len(self.images))

    def _other_layer(self) -> None:
        on_its_way = self.layer in self._asked and self.status in ("idle", "waiting", "running", "paused")
        if self.layer in self._readable and self.layer not in self.grid.layers and not on_its_way:
            self._begin()

    def _found(self, result: Store) -> None:
        grid, layers = self.grid, result.layers
        others = grid.table if isinstance(grid.table, dict) else {}
        grid.table = None  # after a pause the same store has grown
        grid.table = {**others, layers[0]: result.patches(layers[0])} if len(layers) == 1 else result


class NeighboursTab(SetTab):
    """Neighbours by what the classes are told from, and by pixels; by another layer once it is chosen.

    Examples
    --------
    >>> NeighboursTab(net, images, image=x)
    NeighboursTab(penultimate, 8 nearest to #0)
    """

    def __init__(self, net: Net, images: ImageSet, **options: Any) -> None:
        self._chosen: str | None = None
        super().__init__(net, images, NeighborGrid(pixels=False, active=False), **options)

    def _begin(self) -> None:
        run = embed(self.net, self.images, self._chosen)
        self.player.begin(run, f"Features of {self._chosen or 'the last layer before the classes'}", len(self.images))

    def _other_layer(self) -> None:
        self._chosen = self.layer
        self._begin()

    def _found(self, result: Any) -> None:
        if result.layer != INPUT:
            self.grid.features = result
        elif self.status == "done":
            self.grid.pixels = result
        if self.status == "done" and self.grid.pixels is False:
            self.player.begin(embed(self.net, self.images, INPUT), "Pixels", len(self.images))
