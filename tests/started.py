"""The command `vizwidgets` as a process: its lines, the address that it says, its children, its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).parents[1]
NOWHERE = "http://127.0.0.1:9"  # nobody answers there: whoever wants a network has none
SHOWN = ".vw-grid[data-seq]:not([data-seq=''])"


class Started:
    """`vizwidgets ARGUMENTS --no-browser`, without a network, and with nothing of the user's settings read or written.

    Parameters
    ----------
    folder : Path
        Where it is started.
    arguments : str
    command : sequence of str
        The command itself; by default that of this checkout.
    environment : dict
        Variables besides.
    """

    def __init__(self, folder: Path, *arguments: str, command: tuple[str, ...] = (sys.executable, "-m", "vizwidgets_command"),
                 environment: dict[str, str] | None = None) -> None:  # fmt: skip
        home = folder / ".home"
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "PYTHON"))}
        variables |= {"HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "PYTHONUNBUFFERED": "1"}
        variables |= {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "no_proxy": "127.0.0.1,localhost"}
        if command[0] == sys.executable:
            variables["PYTHONPATH"] = str(ROOT)
        variables |= environment or {}
        self.lines: list[str] = []
        self.process = subprocess.Popen([*command, *arguments, "--no-browser"], cwd=folder, env=variables, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout or ()), daemon=True)
        self._reader.start()

    def address(self, timeout: float = 120) -> str:
        """Where its page is, once it has said so."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"http://127\.0\.0\.1:\d+/\S*", self.text):
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"no address within {timeout} s:\n{self.text}")

    @property
    def text(self) -> str:
        """All that it has printed."""
        return "".join(list(self.lines))

    def kernels(self) -> list[psutil.Process]:
        """Its kernels that run."""
        children = psutil.Process(self.process.pid).children()
        return [c for c in children if c.status() != psutil.STATUS_ZOMBIE and "ipykernel_launcher" in " ".join(c.cmdline())]

    def interrupt(self) -> int:
        """Press Ctrl-C and wait; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)
            raise
        finally:
            self._reader.join(5)


def offline(context: object, asked: list[str]) -> None:
    """Let a browser's context reach this computer alone; what else is asked for is refused and listed."""

    def route(route) -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", None):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    context.route("**/*", route)
