"""Playing a `Run`: play, pause, step and stop, progress, and frames that the page can keep up with."""

from __future__ import annotations

import time
from typing import Any

import traitlets

from vizwidgets.core.optimize import Run, Step
from vizwidgets.core.picture import jpeg

from .base import VizWidget, message, shows_errors
from .worker import worker

MAX_FPS = 15
WINDOW = 2  # frames that may be on their way to the page unacknowledged
SILENCE = 1.0  # seconds after which a frame is sent all the same: the page may be hidden or gone


class Playback(VizWidget):
    """Mixin of the widgets that play a `Run`; put before AnyWidget.

    The page sends ``{"cmd": "play" | "pause" | "step" | "stop"}`` and ``{"ack": number}``; frames go out as JPEG in custom
    messages ``{"frame": number, "index": step}``. The traits are written by whoever takes the steps, and by nobody else:
    `status`, `index` (steps taken), `total`, `frame` (the last picture) and `error`.
    """

    status = traitlets.Enum(
        ["idle", "waiting", "running", "paused", "stopped", "done", "failed"], "idle"
    ).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)
    remaining = traitlets.Float(0.0, help="estimated seconds to the end").tag(sync=True)
    frame = traitlets.Bytes(b"").tag(sync=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._run: Run[Any] | None = None
        self._wish, self._blocking, self._halt = "pause", False, object()
        self._sent = self._acked = 0
        self._last_frame = self._due = self._busy_seconds = 0.0
        self._pictured: tuple[Any, bytes] = (None, b"")
        super().__init__(*args, **kwargs)
        self.on_msg(self._command)  # type: ignore[attr-defined]

    def load(self, run: Run[Any]) -> None:
        """Take `run` in place of the one before, which ends; it waits to be played."""
        self._drop()
        self._run, self._wish, self._busy_seconds, self.remaining = run, "pause", 0.0, 0.0
        self.total, self.index, self.error, self.status = len(run), run.taken, "", "idle"

    def start(self, run: Run[Any], *, block: bool = False) -> None:
        """Play `run` from its beginning, in place of the one before; see `play`."""
        self.load(run)
        self.play(block=block)

    def play(self, *, block: bool = False) -> None:
        """Go on.

        With ``block=True`` to the end, in the calling thread; the notebook's interrupt stops the run and keeps what there is.
        """
        if not block:
            self._ask("play")
            return
        worker.drop(self)
        worker.wait(self)
        self._wish, self._blocking = "play", True
        try:
            while self._run is not None and self._step():
                pass
        except KeyboardInterrupt:
            self._run.stop()  # type: ignore[union-attr]
            self._settle("stopped")
        finally:
            self._blocking = False

    @property
    def asked(self) -> str:
        """What it has been asked to do and has not yet done: "play", "step" or "stop"; else "pause"."""
        return self._wish if self.status in ("waiting", "running") else "pause"

    @property
    def run(self) -> Run[Any] | None:
        """What is played."""
        return self._run

    def pause(self) -> None:
        """Halt after the step that is under way."""
        self._ask("pause")

    def step(self) -> None:
        """Take one step, then halt."""
        self._ask("step")

    def stop(self) -> None:
        """End the run; what there is stays."""
        self._ask("stop")

    def result(self) -> Any:
        """What the steps taken so far amount to; stops the run."""
        if self._run is None:
            raise ValueError("nothing has been started yet")
        self.stop()
        self.wait()
        return self._run.result()

    def _ask(self, wish: str) -> None:
        if self._run is None or self.status in ("stopped", "done", "failed") or (self.status, wish) == ("idle", "pause"):
            return
        self._wish = wish
        if self._blocking:  # the loop there sees it before its next step
            return
        if self.status == "idle" and wish in ("play", "step"):
            self.status = "waiting"
        worker.play(self, self._step)
        if wish in ("pause", "stop"):  # before the other runs have their turns
            worker.submit(self._halt, self._look)

    @shows_errors
    def _command(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if "ack" in content:
            self._acked = max(self._acked, int(content["ack"]))
        elif content.get("cmd") in ("play", "pause", "step", "stop"):
            getattr(self, content["cmd"])()

    def _look(self) -> None:
        if self._wish in ("pause", "stop"):
            self._step()

    def _step(self) -> bool:
        run, wish = self._run, self._wish
        assert run is not None
        if wish == "stop":
            run.stop()
            return self._settle("stopped")
        if wish == "pause":
            return self._settle("paused")
        if self.status != "running":
            self.status = "running"
        began = time.monotonic()
        try:
            self._before(run)
            taken = next(run)
        except StopIteration:
            return self._settle("done")
        except Exception as e:
            self.error = message(e)
            return self._settle("failed")
        if run is not self._run:  # another has been loaded meanwhile
            return False
        self._busy_seconds += time.monotonic() - began
        self._after(run, taken)
        self._show(run, taken)
        if wish == "step" and self._wish == "step":
            self._wish = "pause"
        return True

    def _before(self, run: Run[Any]) -> None:
        """Called before each step, by whoever takes it."""

    def _after(self, run: Run[Any], step: Step) -> None:
        """Called after each step, by whoever takes it."""

    def _show(self, run: Run[Any], step: Step) -> None:
        now = time.monotonic()
        free = self._sent - self._acked < WINDOW or now - self._last_frame >= SILENCE
        if now < self._due or not free:
            return
        # From when it was due, not from now: else steps of 40 ms would give every third, not every second.
        self._last_frame, self._due = now, (self._due if now - self._due < 1 / MAX_FPS else now) + 1 / MAX_FPS
        self._count(run)
        shown = self._picture(step)
        if shown:
            self._sent += 1
            self.send({"frame": self._sent, "index": run.taken}, [shown])  # type: ignore[attr-defined]

    def _picture(self, step: Step) -> bytes:
        """A step's picture as JPEG, made once; empty if it has none."""
        if self._pictured[0] is not step:
            picture = step.picture()
            self._pictured = (step, b"" if picture is None else jpeg(picture))
        return self._pictured[1]

    def _count(self, run: Run[Any]) -> None:
        self.index = run.taken
        self.remaining = round(self._busy_seconds / max(1, run.taken) * (len(run) - run.taken), 1)

    def _settle(self, status: str) -> bool:
        run = self._run
        assert run is not None
        self._count(run)
        if run.last is not None:
            self.frame = self._picture(run.last)
        self.status = status
        return False

    def ready(self, timeout: float | None = None) -> bool:
        """At once: what is played goes on while it is shown."""
        return True

    def close(self) -> None:
        """End the run with the widget."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        worker.drop(self)
        worker.drop(self._halt)
        if self._run is not None:
            self._run.stop()


class Together:
    """Several `Playback`s behind one set of buttons: they go on and halt together, and each is done by itself."""

    def __init__(self, *players: Playback) -> None:
        self.players = players

    @property
    def status(self) -> str:
        """Theirs, of several the one that says most: as long as one is running, they are."""
        said = {player.status for player in self.players}
        return next(s for s in ("running", "waiting", "paused", "idle", "stopped", "done", "failed") if s in said)

    def play(self, *, block: bool = False) -> None:
        """Go on with those that are not at their end; see `Playback.play`."""
        for player in self.players:
            if not (block and any(p.status == "stopped" for p in self.players)):  # the notebook's interrupt stops all
                player.play(block=block)

    def pause(self) -> None:
        """Halt all of them."""
        for player in self.players:
            player.pause()

    def stop(self) -> None:
        """End all of them."""
        for player in self.players:
            player.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all of them halt."""
        return all(player.wait(timeout) for player in self.players)

    def close(self) -> None:
        """Close all of them."""
        for player in self.players:
            player.close()


class Plays(VizWidget):
    """Mixin of the boxes around a `Playback`, their `player`; out of view it halts, in view again it goes on."""

    status = traitlets.Unicode("idle", help="of the run; set by whoever takes the steps")
    player: Any
    _suspended = False

    def pause(self) -> None:
        """Halt after the step that is under way."""
        self.player.pause()

    def stop(self) -> None:
        """End the run; what there is stays."""
        self.player.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run halts."""
        return super().wait(timeout) and self.player.wait(timeout)

    @traitlets.observe("active")
    def _catch_up(self, change: Any) -> None:
        if not self.active and self.player.status in ("waiting", "running"):
            self._suspended = True
            self.player.pause()
        elif self.active and self._suspended:
            self._suspended = False
            self.player.play()
        super()._catch_up(change)

    def close(self) -> None:
        """End the run with the widget."""
        if hasattr(self, "player"):  # not so where the constructor has refused its arguments
            self.player.close()
        super().close()
