"""The one thread that computes what widgets ask for, so that the notebook stays free."""

from __future__ import annotations

import atexit
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

import torch

TURN = 0.2  # seconds a run may go on before another gets its turn


class Worker:
    """Interactive jobs go first, one newest-wins slot per owner; runs take turns of `TURN` seconds or one step.

    A job or turn handles its own exceptions: nothing is ever printed from the thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()
        self._runs: deque[tuple[Hashable, Callable[[], bool]]] = deque()
        self._busy: Hashable | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._threads = torch.get_num_threads()

    def submit(self, owner: Hashable, job: Callable[[], None]) -> None:
        """Do `job` soon; a job of the same owner that has not begun is dropped."""
        with self._changed:
            self._jobs.pop(owner, None)
            self._jobs[owner] = job
            self._start()

    def play(self, owner: Hashable, step: Callable[[], bool]) -> None:
        """Call `step` in turns with the other runs until it returns False; a run of the same owner is replaced."""
        with self._changed:
            self._runs = deque(r for r in self._runs if r[0] != owner)
            self._runs.append((owner, step))
            self._start()

    def drop(self, owner: Hashable) -> None:
        """Forget everything of `owner` that has not begun."""
        with self._changed:
            self._jobs.pop(owner, None)
            self._runs = deque(r for r in self._runs if r[0] != owner)
            self._changed.notify_all()

    def wait(self, owner: Hashable, timeout: float | None = None) -> bool:
        """Wait until nothing of `owner` is waiting or running; False after `timeout` seconds. Never waits for itself."""
        if threading.current_thread() is self._thread:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._has(owner), timeout)

    def close(self) -> None:
        """End the thread; what is under way is finished first."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._runs.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5)

    def _has(self, owner: Hashable) -> bool:
        return self._busy is owner or owner in self._jobs or any(r[0] is owner for r in self._runs)

    def _start(self) -> None:
        # A thread begins with OpenMP's own number, whatever torch was told; other sums of floats would come out.
        if threading.current_thread() is threading.main_thread():
            self._threads = torch.get_num_threads()
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._work, name="vizwidgets-worker", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._jobs or self._runs or self._closed)
                if self._closed:
                    return
                job: Any = None
                if self._jobs:
                    owner, job = self._jobs.popitem(last=False)
                else:
                    owner, step = self._runs.popleft()
                self._busy = owner
            if torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)
            if job is not None:
                _quietly(job)
            elif self._take_turn(step):
                with self._changed:
                    if not any(r[0] is owner for r in self._runs):
                        self._runs.append((owner, step))

    def _take_turn(self, step: Callable[[], bool]) -> bool:
        end = time.monotonic() + TURN
        while _quietly(step):
            if self._closed or self._jobs or time.monotonic() >= end:
                return True
        return False


def _quietly(call: Callable[[], Any]) -> Any:
    # Whoever hands work in reports its failures; what still comes through must not end the thread.
    try:
        return call()
    except Exception:
        return False


worker = Worker()
atexit.register(worker.close)
