"""What the widgets have in common that make the runs they play: sliders, settings, another start with another seed."""

from __future__ import annotations

from typing import Any

import traitlets
from ipywidgets import Box, VBox

from vizwidgets.core.optimize import Run
from vizwidgets.methods import presets

from .captions import slug
from .playback import Plays
from .player import Player
from .worker import worker


class MakesRuns(Plays, VBox):
    """Base of the boxes around a `Player` that make its runs themselves.

    When one of `PARTS` changes another run is made; it is played if the one before was, and waits otherwise. `SETTINGS`, which
    the page may set, and `OPTIONS` count from the next start.
    """

    PARTS: tuple[str, ...] = ()
    SETTINGS: tuple[str, ...] = ("steps", "seed")
    OPTIONS: tuple[str, ...] = ()
    FAILED = ""  # what stands in place of the picture when no run can be made

    steps = traitlets.Any("normal")
    seed = traitlets.Int(0)
    index = traitlets.Int(0, help="steps taken; set by whoever takes them")

    def __init__(self, **options: Any) -> None:
        self._made: tuple[Any, ...] = ()
        self._go = False
        self.player = Player()
        super().__init__(**options)
        self.player.restart, self.player.set_option = self._restart, self._set
        traitlets.link((self.player, "error"), (self, "error"))
        for name in ("status", "index"):
            traitlets.dlink((self.player, name), (self, name))
        self.body = Box([self.player])
        self.player.observe(self._show_curve, "about")  # told of every run, and of there being none
        self.observe(lambda _: self.later(self._prepare), list(self.PARTS))
        self.observe(self._changed, [*self.SETTINGS, *self.OPTIONS])
        self.now(self._prepare)
        self._tell()

    def _run(self) -> Run[Any] | None:
        """A run, or None where something is missing."""
        raise NotImplementedError

    def _loaded(self) -> dict[str, Any]:
        """More for the player to tell about the run that it has been given."""
        return {}

    def _empty(self) -> None:
        """Say what is missing."""
        raise NotImplementedError

    def _makes(self) -> bool:
        """Whether it can make another run."""
        return True

    def _settings(self) -> dict[str, Any]:
        """What the page says of the settings, besides the seed."""
        efforts = dict(presets.EFFORTS)
        if self.steps not in efforts:
            efforts[str(self.steps)] = self.steps
        return {"steps": str(self.steps), "efforts": efforts, "restart": self.run is not None}

    @property
    def caption(self) -> str:
        """What is played."""
        raise NotImplementedError

    @traitlets.validate("steps")
    def _effort(self, proposal: Any) -> Any:
        presets.number_of_steps(proposal.value)
        return proposal.value

    def _prepare(self) -> None:
        """Make a run and load it; what was asked of the one before is asked of this one."""
        asked, self._go = "play" if self._go else self.player.asked, False
        self._made = self._choices()
        try:
            run = self._run()
        except Exception:
            self.player.unload()
            self.player.about = {"caption": self.caption, "hint": self.FAILED}
            raise
        if run is None:
            self.player.unload()
            self._empty()
        else:
            self.player.load(run)
            self.player.about = {"caption": self.caption, "file": slug(self.caption), "hint": "", **self._loaded()}
            if asked in ("play", "step"):
                getattr(self.player, asked)()
        self._tell()

    def _choices(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in (*self.SETTINGS, *self.OPTIONS))

    def _changed(self, _change: Any) -> None:
        if self.status == "idle" and self._makes():
            self.later(self._prepare)
        self._tell()

    def _tell(self) -> None:
        """Say the settings to the page."""
        settings = {"seed": self.seed if self._makes() else None, "stale": self._stale(), **self._settings()}
        self.player.settings = {name: value for name, value in settings.items() if value is not None}

    def _stale(self) -> bool:
        """Whether what counts from the next start is otherwise by now."""
        return self._made != self._choices() and self.status != "idle"

    def _set(self, name: str, value: Any) -> None:
        if name not in self.SETTINGS:
            raise LookupError(f"the page cannot set {name!r}")
        if name == "seed":
            value = int(value)
        self.set_trait(name, int(value) if name == "steps" and str(value).isdigit() else value)

    def _restart(self, another_seed: bool = False) -> None:
        if not self._makes():
            raise ValueError("this run can be played once only: give a callable that makes it, run=lambda seed: ...")
        self._go = True
        if another_seed:
            self.seed += max(1, self.player.about.get("count", 1))
        self.later(self._prepare)

    def play(self, *, block: bool = False) -> None:
        """Begin, go on, or begin again when it has ended; with ``block=True`` to the end, in the calling thread."""
        if self.status in ("stopped", "done", "failed") and self._makes():
            if not block:
                self._restart()
                return
            self._prepare()
        self.player.play(block=block)

    def step(self) -> None:
        """Take one step, then halt."""
        self.player.step()

    def restart(self, seed: int | None = None) -> None:
        """Begin anew, with another seed if one is given."""
        if seed is not None:
            self.seed = seed
        self._restart()

    def turn(self, name: str, value: float) -> None:
        """Move a slider: it acts at the next step."""
        self.player.turn(name, value)

    def result(self) -> Any:
        """What the steps taken so far amount to; stops the run."""
        worker.wait(self)
        return self.player.result()

    @property
    def run(self) -> Run[Any] | None:
        """What is played."""
        return self.player.run

    @traitlets.observe("active")
    def _show_curve(self, _change: Any = None) -> None:
        # Not before it is in view: bqplot complains about a figure of no size.
        if self.active and hasattr(self, "body"):
            self.body.children = [self.player, *([] if self.run is None else [self.player.curve.figure])]

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until what was asked for is loaded; what is played goes on."""
        return worker.wait(self, timeout)

    def describe(self) -> str:
        """What is played, and how far it is."""
        if self.run is None:
            return self.caption
        return f"{self.caption}, {self.run.taken} of {self.player.total}" if self.player.total else f"{self.caption}, {self.run.taken}"
