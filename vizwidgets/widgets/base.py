"""What every widget shares: strict options, an error line, a still picture, work that never blocks the notebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from functools import wraps
from pathlib import Path
from typing import Any

import traitlets
from PIL import Image as PILImage

from vizwidgets.core.errors import unknown
from vizwidgets.core.picture import png
from vizwidgets.core.targets import Target

from .worker import worker

_STATIC = Path(__file__).parent / "static"


def script(name: str, *parts: str) -> str:
    """The module of a widget: its own file after the shared ones, since a widget's module cannot import another."""
    return "\n".join((_STATIC / f"{part}.js").read_text(encoding="utf-8") for part in ("shared", *parts, name))


def style() -> str:
    """The one stylesheet: what all have in common, and their own parts."""
    return "\n".join((_STATIC / f"{part}.css").read_text(encoding="utf-8") for part in ("style", "sets", "textures"))


def message(e: BaseException) -> str:
    """An exception as one line for the error line."""
    text = str(e.args[0]) if isinstance(e, KeyError) and e.args else str(e)
    return text or type(e).__name__


def shows_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Put what a callback raises into the widget's error line; nobody else would show it."""

    @wraps(method)
    def guarded(self: VizWidget, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as e:
            self.error = message(e)
            return None

    return guarded


class TargetTrait(traitlets.TraitType[Target | None, Target | None]):
    """What to look at in the network, or None for what the widget takes by itself."""

    default_value = None
    info_text = "one of vizwidgets' targets"

    def validate(self, obj: Any, value: Any) -> Target | None:
        """The target itself; TypeError for anything else."""
        if value is None or isinstance(value, Target):
            return value
        raise TypeError(f"a target is one of vizwidgets' targets, not {value!r}: Logit({value!r}), say")


class VizWidget(traitlets.HasTraits):
    """Mixin of all widgets, before AnyWidget or a box in the bases.

    One role has one trait name everywhere (`image`, `target`, `layer`, `index`, `error`, ...), so that
    ``traitlets.link((a, "target"), (b, "target"))`` is all the wiring there is.
    """

    error = traitlets.Unicode("").tag(sync=True)
    active = traitlets.Bool(True, help="whether it is in view; what it has to compute waits until it is")
    busy = traitlets.Bool(False, help="whether something that takes its time is being computed").tag(sync=True)
    _postponed: Callable[[], None] | None = None
    _slow = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if not self.has_trait(name):
                raise TypeError(f"{type(self).__name__}: {unknown('option', name, self.options())}")
        super().__init__(*args, **kwargs)

    @classmethod
    def options(cls) -> list[str]:
        """Names of its options."""
        own = [n for c in cls.__mro__ if issubclass(c, VizWidget) for n in vars(c) if n in cls.class_trait_names()]
        return [*sorted({n for n in own if not n.startswith("_")} - {"comm", "error", "active", "busy"}), "layout"]

    def later(self, job: Callable[[], None]) -> None:
        """Do `job` in the worker; a newer job of this widget takes its place, what it raises goes to the error line."""

        def guarded() -> None:
            began = time.monotonic()
            try:
                job()
            except Exception as e:
                self.error = message(e)
            self._slow = time.monotonic() - began > 0.2
            self.busy = False

        if self.active:
            self.busy = self._slow  # quick work is not announced: every message costs the page some milliseconds
            worker.submit(self._jobs, guarded)
        else:
            self._postponed = job

    @property
    def _jobs(self) -> Hashable:
        """Who owns the jobs of `later`; a widget that plays a run as well keeps them apart from it."""
        return self

    def now(self, job: Callable[[], None]) -> None:
        """Do `job` here, as a constructor does so that its errors are raised; or later, if the widget is not in view."""
        if self.active:
            job()
        else:
            self._postponed = job

    @traitlets.observe("active")
    def _catch_up(self, _change: Any) -> None:
        job, self._postponed = self._postponed, None
        if job is not None:
            self.later(job)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing that was asked of this widget is left to do; False if `timeout` seconds were not enough."""
        return worker.wait(self, timeout)

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until it has something to show; a run goes on."""
        return self.wait(timeout)

    def close(self) -> None:
        """Leave the page; what has not begun is not done."""
        worker.drop(self)
        super().close()  # type: ignore[misc]

    def __del__(self) -> None:
        """Close what is on the page: one whose constructor has failed never was, and may lack what its `close` needs."""
        if self.comm is not None:  # type: ignore[attr-defined]
            super().__del__()  # type: ignore[misc]

    def still(self) -> PILImage.Image | None:
        """What it shows, as a picture for viewers without a kernel."""
        return None

    def describe(self) -> str:
        """What stands in the repr."""
        return ""

    def __repr__(self) -> str:
        """Short, and the same in every session."""
        return f"{type(self).__name__}({self.describe()})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if data:
            data["text/plain"] = repr(self)
            self.ready(60)
            picture = self.still()
            if picture is not None:
                data["image/png"] = png(picture)
        return data, metadata
