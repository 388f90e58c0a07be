"""One of the textures that grow in `TextureLab`: its picture, how far it is, and where its pixels are from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage

from vizwidgets.core.image import Image
from vizwidgets.core.optimize import Run, Step
from vizwidgets.core.picture import png

from .base import message, script, shows_errors, style
from .captions import slug
from .playback import Playback
from .worker import worker


class TexturePane(Playback, AnyWidget):
    """Plays a run that makes a texture; the buttons are those of the `TextureLab` that it is part of.

    Besides what `Playback` says: the page sends ``{"cmd": "save", "view"}``, answered by ``{"file", "view"}`` with a PNG that has
    the recipe inside. Frames are PNG, each pixel as it is.
    """

    _esm = script("texture_pane", "transport")
    _css = style()

    title = traitlets.Unicode("").tag(sync=True)
    about = traitlets.Unicode("", help="how it is made").tag(sync=True)
    name = traitlets.Unicode("texture", help="of the file")
    share = traitlets.Float(0.0, help="how much is done, from 0 to 1").tag(sync=True)
    said = traitlets.Unicode("", help="how far it is, in words").tag(sync=True)
    tells_origins = traitlets.Bool(False, help="whether there is a map of origins").tag(sync=True)
    origins = traitlets.Bool(False, help="whether the map of origins is shown").tag(sync=True)
    origin = traitlets.Bytes(b"", help="(h, w, 2) int16: row and column of the sample that each pixel is from").tag(sync=True)
    key = traitlets.Bytes(b"", help="the colours of the map of origins, as a picture of the sample's size").tag(sync=True)
    family = traitlets.Unicode("", help="by which the parts of a widget know each other in the page").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        self.settled: Callable[[], None] = lambda: None
        self.made: Any = None  # what the run was made of
        self._between = object()  # owner of what is done between two steps
        super().__init__(**options)
        self.observe(lambda _: self.later(self._redraw), "origins")

    @property
    def _jobs(self) -> Hashable:
        return self._between

    def load(self, run: Run[Any]) -> None:
        """Take a run in place of the one before."""
        super().load(run)
        self._forget()

    def fail(self, reason: str) -> None:
        """Say why there is no run to play."""
        self._drop()
        self._run, self.total, self.index, self.remaining = None, 0, 0, 0.0
        self._forget()
        self.error, self.status = reason, "failed"

    def _forget(self) -> None:
        self.frame, self.origin, self.key, self.share, self.said = b"", b"", b"", 0.0, ""
        self.settled()

    @shows_errors
    def _command(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("cmd") == "save":
            worker.submit((id(self), "save"), lambda: self._offer(content.get("view", "")))
        elif content.get("cmd") == "origins":
            self.origins = bool(content["value"])
        else:
            super()._command(widget, content, buffers)

    @property
    def image(self) -> Image | None:
        """What there is."""
        last = None if self._run is None else self._run.last
        return None if last is None else Image(last.image, self.title)

    def picture_of(self, step: Step) -> PILImage.Image | None:
        """What is seen of a step."""
        return step.texture.origin_picture() if self.origins else step.picture()  # type: ignore[attr-defined]

    def _picture(self, step: Step) -> bytes:
        if self._pictured[0] is not step:
            picture = self.picture_of(step)
            self._pictured = (step, b"" if picture is None else png(picture))
        return self._pictured[1]

    def _after(self, run: Run[Any], step: Step) -> None:
        if self.origins and not self.key:
            self._tell_key(step)

    def _tell_key(self, step: Step) -> None:
        self.key = png(step.texture.key_picture()) if self.origins else b""  # type: ignore[attr-defined]

    def _redraw(self) -> None:
        self._pictured = (None, b"")
        if self._run is not None and self._run.last is not None:
            self.frame = self._picture(self._run.last)
            self._tell_key(self._run.last)

    def _count(self, run: Run[Any]) -> None:
        super()._count(run)
        if run.last is None:
            return
        scores = {name: float(v.mean()) for name, v in run.last.scores.items()}
        if "filled" in scores:  # rings are not of one length
            self.share = scores["filled"]
            self.remaining = round(self._busy_seconds / max(1e-6, self.share) * (1 - self.share), 1)
            self.said = f"{100 * self.share:.0f} % filled"
        else:
            self.share = run.taken / len(run)
            self.said = f"step {run.taken} of {len(run)}, error {scores['style']:.2g}"

    def _settle(self, status: str) -> bool:
        more = super()._settle(status)
        last = None if self._run is None else self._run.last
        if self.tells_origins and last is not None:
            self.origin = np.ascontiguousarray(last.texture.origin, "<i2").tobytes()
        self.settled()
        return more

    def _offer(self, view: str) -> None:
        try:
            self.send({"file": f"{slug(self.name)}.png", "view": view}, [self.file()])
        except Exception as e:
            self.error = message(e)
            self.send({"file": "", "view": view})

    def file(self) -> bytes:
        """What there is as PNG, with the recipe inside."""
        if self._run is None or self._run.last is None:
            raise ValueError("there is nothing to save before the first step")
        with tempfile.TemporaryDirectory() as folder:
            return bytes(self._run.so_far().save(Path(folder) / "texture.png").read_bytes())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run halts and everything is shown."""
        return super().wait(timeout) and worker.wait(self._between, timeout)

    def close(self) -> None:
        """End the run with the widget."""
        worker.drop(self._between)
        super().close()
