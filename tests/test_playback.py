"""Playing a run: commands, statuses, frames that the page acknowledges."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest
from anywidget import AnyWidget
from gated import until
from PIL import Image as PILImage
from wire import Wire

from vizwidgets.core.optimize import Run
from vizwidgets.widgets import playback
from vizwidgets.widgets.playback import Playback


class Player(Playback, AnyWidget):
    _esm = "export default { render() {} }"


@dataclass
class Tick:
    index: int
    scores: dict = field(default_factory=dict)

    def picture(self):
        return PILImage.new("RGB", (8, 8), (self.index % 256, 0, 0))


def ticks(count, pause=0.0, fail_at=None, gate=None):
    for i in range(1, count + 1):
        if gate is not None:
            gate.acquire()
        time.sleep(pause)
        if i == fail_at:
            raise RuntimeError("the lamp went out")
        yield Tick(i)


def test_a_run_is_played_to_its_end_without_blocking():
    player = Player()
    player.start(Run(ticks(20), 20))
    assert player.wait(5)
    assert (player.status, player.index, player.total, player.error) == ("done", 20, 20, "")
    assert player.frame.startswith(b"\xff\xd8")


def test_pause_step_play_and_stop_from_the_page():
    gate = threading.Semaphore(0)
    player = Player()
    wire = Wire(player)
    player.start(Run(ticks(50, gate=gate), 50))
    gate.release(3)
    until(lambda: player._run.taken == 3)
    wire.receive({"cmd": "pause"})
    gate.release()
    until(lambda: player.status == "paused")
    assert player.index == 4
    wire.receive({"cmd": "step"})
    gate.release()
    until(lambda: player.status == "paused" and player.index == 5)
    wire.receive({"cmd": "play"})
    gate.release(2)
    until(lambda: player._run.taken == 7)
    wire.receive({"cmd": "stop"})
    gate.release()
    until(lambda: player.status == "stopped")
    assert player._run.taken == 8
    assert player.result().index == 8


def test_a_failure_is_shown_and_the_frame_kept():
    player = Player()
    player.start(Run(ticks(10, fail_at=4), 10))
    assert player.wait(5)
    assert (player.status, player.index, player.error) == ("failed", 3, "the lamp went out")
    assert player.frame


def test_block_plays_in_this_thread_and_an_interrupt_keeps_what_there_is():
    here = threading.current_thread()

    def steps():
        for i in range(1, 4):
            assert threading.current_thread() is here
            yield Tick(i)
        raise KeyboardInterrupt

    player = Player()
    player.start(Run(steps(), 10), block=True)
    assert (player.status, player.index) == ("stopped", 3)
    assert player.result().index == 3


def test_frames_wait_for_the_page(monkeypatch):
    monkeypatch.setattr(playback, "MAX_FPS", 1000)
    monkeypatch.setattr(playback, "SILENCE", 60)
    player = Player()
    wire = Wire(player)
    player.start(Run(ticks(40, pause=0.003), 40))
    assert player.wait(5)
    assert [m["frame"] for m in wire.messages] == [1, 2]
    wire.sent.clear()
    wire.receive({"ack": 2})
    player.start(Run(ticks(40, pause=0.003), 40))
    assert player.wait(5)
    assert [m["frame"] for m in wire.messages] == [3, 4]


def test_no_more_frames_than_the_page_can_paint():
    player = Player()
    wire = Wire(player)
    wire.receive({"ack": 1000})
    began = time.monotonic()
    player.start(Run(ticks(200, pause=0.002), 200))
    assert player.wait(10)
    assert 1 <= len(wire.messages) <= (time.monotonic() - began) * playback.MAX_FPS + 1


def test_a_new_run_takes_the_place_of_the_old():
    player = Player()
    first = Run(ticks(1000, pause=0.005), 1000)
    player.start(first)
    until(lambda: first.taken > 2)
    player.start(Run(ticks(3), 3))
    assert player.wait(5)
    assert (player.status, player.total) == ("done", 3)
    taken = first.taken
    time.sleep(0.05)
    assert first.taken == taken


def test_closing_the_widget_ends_its_run():
    player = Player()
    run = Run(ticks(1000, pause=0.005), 1000)
    player.start(run)
    until(lambda: run.taken > 2)
    player.close()
    time.sleep(0.05)
    taken = run.taken
    time.sleep(0.05)
    assert run.taken == taken


def test_nothing_started_has_no_result():
    with pytest.raises(ValueError, match="nothing has been started"):
        Player().result()
