"""The page's side of `EmbeddingScatter`: the points, as they settle and as they are, and what is marked among them."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
import traitlets
from anywidget import AnyWidget

from vizwidgets.core.optimize import Run, Step

from .base import script, shows_errors, style
from .playback import Playback
from .scatter_view import packed
from .score_curve import ScoreCurve

PAUSE = 0.5  # seconds between two drawings of the curve
CALLED = {"KL": "KL divergence"}


class ScatterPlayer(Playback, AnyWidget):
    """Plays the run of a map; the rest is told by the `EmbeddingScatter` that it is part of.

    `frame` and the frames of `Playback` are points (N, 2) as float32 rather than JPEG. All other messages of the page go to `asked_for`.
    """

    _esm = script("embedding_scatter", "asking", "tiles", "pan_zoom", "thumbnails", "scatter")
    _css = style()

    about: Any = traitlets.Dict(help="what the points are: title, classes, counts, marks").tag(sync=True)
    groups = traitlets.Bytes(b"", help="the class of each point, uint16").tag(sync=True)
    settings: Any = traitlets.Dict(help="method and perplexity, where they may be chosen").tag(sync=True)
    quality = traitlets.Unicode("", help="how good the map is").tag(sync=True)
    phase = traitlets.Unicode("", help="what the run is doing").tag(sync=True)
    score = traitlets.Unicode("", help="what the curve shows, and its last value").tag(sync=True)
    mode = traitlets.Unicode("points").tag(sync=True)
    picked = traitlets.Int(-1).tag(sync=True)
    chosen = traitlets.Bytes(b"", help="rows of the selection, uint32").tag(sync=True)
    told: Any = traitlets.Dict(help="what is said of the selection").tag(sync=True)
    hidden: Any = traitlets.List(help="classes that are not shown").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        self.curve = ScoreCurve()
        self.curve.figure.fig_margin = {**self.curve.figure.fig_margin, "right": 20}  # room for 1000 at the end of the axis
        self.asked_for: Callable[[dict[str, Any], list[Any]], None] = lambda content, buffers: None
        self.settled: Callable[[], None] = lambda: None
        self._drawn = 0.0
        super().__init__(**options)

    def load(self, run: Run[Any]) -> None:
        """Take a run in place of the one before."""
        super().load(run)
        self.curve.clear(self.total)
        self.quality, self.score, self.phase = "", "", ""

    def unload(self, points: Any = None) -> None:
        """Forget the run; show these points in its place."""
        self._drop()
        self._run, self.status, self.error = None, "idle", ""
        self.total, self.index, self.remaining = 0, 0, 0.0
        self.quality, self.score, self.phase = "", "", ""
        self.frame = b"" if points is None else packed(points)

    @shows_errors
    def _command(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        ended = content.get("cmd") in ("play", "step") and self.status in ("stopped", "done", "failed")
        if ended or ("ack" not in content and content.get("cmd") not in ("play", "pause", "step", "stop")):
            self.asked_for(content, buffers or [])
        else:
            super()._command(widget, content, buffers)

    def _picture(self, step: Step) -> bytes:
        return packed(step.points)  # type: ignore[attr-defined]

    def _after(self, run: Run[Any], step: Step) -> None:
        if step.scores:
            self.curve.add(run.taken, {name: float(torch.as_tensor(v).mean()) for name, v in step.scores.items()})
            if time.monotonic() - self._drawn >= PAUSE:
                self._draw(step)

    def _draw(self, step: Step) -> None:
        self._drawn = time.monotonic()
        self.curve.draw()
        values = {name: float(torch.as_tensor(v).mean()) for name, v in step.scores.items()}
        self.score = ", ".join(f"{CALLED.get(name, name)} {v:.3f}" for name, v in values.items() if isfinite(v))

    def _count(self, run: Run[Any]) -> None:
        super()._count(run)
        self.phase = getattr(run.last, "phase", "")

    def _settle(self, status: str) -> bool:
        if self._run is not None and self._run.last is not None and self._run.last.scores:
            self._draw(self._run.last)
        more = super()._settle(status)
        self.settled()
        return more

    def close(self) -> None:
        """End the run with the widget."""
        self.curve.figure.close()
        super().close()
