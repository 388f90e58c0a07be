"""From the wheel to the Explorer on the screen: `vizwidgets app` and `vizwidgets lab`, and the size of their processes.

Not part of the default list. With ``VIZWIDGETS_INSTALL=1`` the wheel is installed with all its dependencies into an empty
environment first, which takes a network, some minutes and 5 GB; else the commands are those of this environment.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lab import CHROMIUM, FLAGS
from started import ROOT, SHOWN, Started
from test_wheel import Environment, build, run_all

from .timing import table

ROUNDS = 3


def measure() -> str:
    """The times as a Markdown section."""
    from playwright.sync_api import sync_playwright

    rows = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, start = Path(name), Started
        if os.environ.get("VIZWIDGETS_INSTALL"):
            wheel = build(ROOT, folder / "wheel")
            began = time.perf_counter()
            environment = Environment(folder / "environment")
            done = environment.install(f"{wheel}[lab]")
            assert done.returncode == 0, done.stderr
            rows.append(['`pip install "vizwidgets[lab]"`', f"{time.perf_counter() - began:.0f}", "", "", ""])
            start = environment.start  # type: ignore[assignment]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for command, arguments, then in (("app", (), None), ("lab", ("course",), run_all)):
            rounds = [_once(browser, start, folder, (command, *arguments), then) for _ in range(ROUNDS)]
            for label, chosen in (("first", rounds[0]), ("best of the others", min(rounds[1:], key=lambda r: r[1]))):
                rows.append([f"`vizwidgets {command}`, {label}", *(f"{v:.1f}" for v in chosen)])
    head = ["", "to the page's address, s", "to the Explorer, s", "server, GB", "kernel, GB"]
    return "## from the command to the Explorer on screen\n\n" + table(head, rows)


def _once(browser: Any, start: Any, folder: Path, arguments: tuple[str, ...], then: Callable[[Any], None] | None) -> list[float]:
    began = time.perf_counter()
    started = start(folder, *arguments)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    try:
        address = started.address()
        listening = time.perf_counter() - began
        page = context.new_page()
        page.goto(address, wait_until="commit")
        if then:
            then(page)
        page.wait_for_selector(SHOWN, timeout=180_000)
        shown = time.perf_counter() - began
        return [listening, shown, _size(started.process.pid), _size(started.kernels()[0].pid)]
    finally:
        context.close()
        started.interrupt()


def _size(pid: int) -> float:
    """Memory that would come free with the process, in GB."""
    import psutil

    return psutil.Process(pid).memory_full_info().uss / 1e9
