"""The page's side of `OptimizationCanvas`: the picture as it grows, and the buttons and sliders of its run."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import Tensor

from vizwidgets.core.optimize import Run, Step
from vizwidgets.core.optimizer import ImageOptimizer
from vizwidgets.core.picture import columns_for, jpeg, png
from vizwidgets.core.results import Rendering, Result
from vizwidgets.core.targets import terms

from . import knobs
from .base import message, script, shows_errors, style
from .captions import caption
from .history import Frames
from .playback import Playback
from .score_curve import ScoreCurve
from .worker import worker

PAUSE = 0.5  # seconds between two drawings of the curve and the numbers beside it
ENDLESS = 10**9
KINDS = {"png": "image/png", "gif": "image/gif", "webp": "image/webp"}


class Player(Playback, AnyWidget):
    """Plays a `Run`; the rest is told by the `OptimizationCanvas` that it is part of.

    Besides what `Playback` says: the page sends ``{"cmd": "restart"}``, ``{"cmd": "seek", "index", "view"}``, which is answered
    by ``{"past", "view"}`` with a JPEG, ``{"cmd": "save", "kind", "view"}``, answered by ``{"file", "kind", "view"}`` with the
    file, ``{"cmd": "turn", "name", "value"}`` for a slider, and ``{"cmd": "set", "name", "value"}`` for a setting.
    """

    _esm = script("optimization_canvas", "tiles", "transport", "sliders", "compare")
    _css = style()

    about: Any = traitlets.Dict(help="what does not change while a run is played").tag(sync=True)
    live: Any = traitlets.Dict(help="what changes with every step: rate, pace, terms").tag(sync=True)
    settings: Any = traitlets.Dict(help="what counts from the next start: preset, steps, seed").tag(sync=True)
    sliders: Any = traitlets.List(help="what counts from the next step").tag(sync=True)
    before = traitlets.Bytes(b"", help="a picture to compare with").tag(sync=True)
    split = traitlets.Float(0.5, help="how much of the picture, from the left, shows the one to compare with").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        self.curve = ScoreCurve()
        self.frames = Frames()
        self.turned: dict[str, float] = {}
        self.names: dict[str, dict[str, str]] = {}
        self._known: Mapping[str, knobs.Knob] = {}
        self.restart: Callable[[bool], None] = lambda another_seed: None
        self.set_option: Callable[[str, Any], None] = lambda name, value: None
        self._to_turn: dict[str, float] = {}
        self._began: list[float] = []
        self._drawn = 0.0
        super().__init__(**options)

    def load(self, run: Run[Any]) -> None:
        """Take a run in place of the one before; sliders that were moved stay where they are."""
        super().load(run)
        self.frames, self._began, self._to_turn, self._drawn = Frames(), [], dict(self.turned), 0.0
        if len(run) == ENDLESS:
            self.total = 0
        self.curve.clear(self.total)
        self.frame, self.live = b"", {}
        self.show_sliders(knobs.knobs(run.controls), knobs.values(run.controls))

    def unload(self) -> None:
        """Forget the run: there is none to play."""
        self._drop()
        self._run, self.frames = None, Frames()
        self.curve.clear()
        self.frame, self.before, self.live, self.status = b"", b"", {}, "idle"
        self.total, self.index, self.remaining, self.error = 0, 0, 0.0, ""

    @property
    def controls(self) -> Any:
        """What may be changed of the run."""
        return None if self._run is None else self._run.controls

    def show_sliders(self, known: Mapping[str, knobs.Knob], start: Mapping[str, float]) -> None:
        """Put the sliders there, or where they were moved to."""
        self._known = known
        where = {name: self.turned.get(name, start[name]) for name in known}
        self.sliders = [{**asdict(knob), "key": name, "value": where[name], **self.names.get(name, {})} for name, knob in known.items()]

    @shows_errors
    def _command(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        command, view = content.get("cmd"), content.get("view", "")
        if command == "turn":
            self.turn(content["name"], content["value"])
            self.error = self.error if self.status == "failed" else ""
        elif command == "seek":
            step, picture = self.frames.at(int(content["index"]))
            self.send({"past": step, "view": view}, [picture])
        elif command == "save":
            kind = str(content["kind"])
            worker.submit((id(self), "save"), lambda: self._offer(kind, view))
        elif command == "split":
            self.split = min(1.0, max(0.0, float(content["value"])))
        elif command == "set":
            self.set_option(content["name"], content["value"])
        elif command == "restart" or (command in ("play", "step") and self.status in ("stopped", "done", "failed")):
            self.restart(bool(content.get("another")))
        else:
            super()._command(widget, content, buffers)

    def turn(self, name: str, value: float) -> None:
        """Move a slider: it acts at the next step, and in later runs."""
        value = knobs.checked(self._known, name, value)
        sliders = [{**s, "value": value} if s["key"] == name else s for s in self.sliders]
        mix = [s["value"] for s in sliders if s["group"] == "mix"]
        if mix and not any(mix):
            raise ValueError("one style at least has to count: not all of them can be turned down to 0")
        self.turned[name] = self._to_turn[name] = value
        self.sliders = sliders

    def _before(self, run: Run[Any]) -> None:
        turned: dict[str, float] = {}
        while self._to_turn:
            turned.update([self._to_turn.popitem()])
        knobs.turn(run.controls, {name: value for name, value in turned.items() if name in self._known})

    def _after(self, run: Run[Any], step: Step) -> None:
        self._began = [*self._began[-20:], time.monotonic()]
        self.curve.add(run.taken, contributions(run.controls, step))
        if self.frames.wants(run.taken):
            picture = self._picture(step)
            if picture:
                self.frames.add(run.taken, picture)
        if run.taken == 1:
            self.about = {**self.about, **geometry(step), "frames": len(self.frames) > 0}
        if time.monotonic() - self._drawn >= PAUSE:
            self._draw(run)

    def _settle(self, status: str) -> bool:
        if self._run is not None and self._run.taken:
            self._draw(self._run)
        return super()._settle(status)

    def _count(self, run: Run[Any]) -> None:
        super()._count(run)
        if len(run) == ENDLESS:
            self.remaining = 0.0

    def _draw(self, run: Run[Any]) -> None:
        self._drawn = time.monotonic()
        self.curve.draw()
        times = self._began
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
        values = contributions(run.controls, run.last) if run.last is not None else {}
        shown = [{"name": n, "value": v if isfinite(v) else str(v), "colour": self.curve.colour(n)} for n, v in values.items()]
        self.live = {"rate": round(rate, 2), "pace": round(self._busy_seconds / run.taken, 5), "terms": shown}

    def close(self) -> None:
        """End the run with the widget."""
        self.curve.figure.close()
        super().close()

    def _offer(self, kind: str, view: str) -> None:
        """Make a file of what there is and hand it to the page; to be done between two steps."""
        try:
            data = self.file(kind)
            self.send({"file": f"{self.about.get('file') or 'picture'}.{kind}", "kind": KINDS[kind], "view": view}, [data])
        except Exception as e:
            self.error = message(e)
            self.send({"file": "", "view": view})

    def file(self, kind: str) -> bytes:
        """What there is as PNG, GIF or WebP, with the recipe inside where the run has one."""
        if kind not in KINDS:
            raise ValueError(f"a picture is saved as {', '.join(KINDS)}, not as {kind}")
        if self._run is None or self._run.last is None:
            raise ValueError("there is nothing to save before the first step")
        result, last = self._run.so_far(), self._run.last
        if not isinstance(result, Result) or (kind != "png" and not isinstance(result, Rendering)):
            if kind == "png":
                return png(_picture(last))
            way = [*self.frames.pictures(), jpeg(_picture(last))]
            frames = tuple(_tensor(p) for p in way)
            result = Rendering(frames[-1] / 255, torch.zeros(0), frames)
        with tempfile.TemporaryDirectory() as folder:
            return result.save(Path(folder) / f"picture.{kind}").read_bytes()


def endless(optimizer: ImageOptimizer) -> Run[Any]:
    """An `ImageOptimizer` as a run that is never done."""
    return Run(optimizer, ENDLESS, controls=optimizer)


def contributions(controls: Any, step: Step) -> dict[str, float]:
    """The score, or what a run tells first, and what each term adds when it has several, averaged over images; of a style transfer its two errors."""
    scores = {name: float(torch.as_tensor(v, dtype=torch.float64).mean()) for name, v in step.scores.items()}
    if hasattr(controls, knobs.STYLE):
        return {f"{name} error": scores[name] for name in ("content", "style")}
    target, net = getattr(controls, "target", None), getattr(controls, "net", None)
    weights = {repr(t): (w, caption(t, net)) for w, t in terms(target)} if target is not None and net is not None else {}
    main = "score" if "score" in scores else next(iter(scores), "")
    named = {name: v for name, v in scores.items() if name == main or len(scores) > 2}
    many = max((torch.as_tensor(v).numel() for v in step.scores.values()), default=1)
    whole = "score" if many == 1 else f"mean score of {many}"
    return {weights[n][1] if n in weights else n.replace("score", whole): v * weights[n][0] if n in weights else v for n, v in named.items()}


def geometry(step: Step) -> dict[str, Any]:
    """How many pictures a step's picture shows, how large, in how many columns, and the pixels between them."""
    image = getattr(step, "image", None)
    if not isinstance(image, Tensor) or image.dim() != 4:
        return {"count": 1}
    count, _, h, w = image.shape
    return {"count": count, "height": h, "width": w, "columns": columns_for(count, h, w), "gap": 2 if count > 1 else 0}


def _picture(step: Step) -> PILImage.Image:
    picture = step.picture()
    if picture is None:
        raise ValueError("this run has no picture to save")
    return picture


def _tensor(data: bytes) -> Tensor:
    with PILImage.open(io.BytesIO(data)) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1)[None]
