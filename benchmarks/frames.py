"""Frames on the screen while an image is being optimised, in JupyterLab in Chromium, and what they cost the kernel."""

from __future__ import annotations

from .browser import Notebook, open_lab, write_notebook
from .timing import table

SECONDS, SIDE = 8, 128

# Threads' own processor time: what the worker spends on all but the steps, and what sending costs in the main thread.
CELL = f"""
import time, vizwidgets as vw
net = vw.load("flowers")
spent = {{"step": 0.0}}
class Timed(vw.ImageOptimizer):
    def step(self):
        began = time.perf_counter()
        taken = super().step()
        spent["step"] += time.perf_counter() - began
        return taken
optimizer = Timed(net, vw.Logit("rose"), vw.FourierImage(size=({SIDE}, {SIDE}), batch={{batch}}), transforms="default")
canvas = vw.OptimizationCanvas(run=optimizer)
canvas
"""
BEGIN = "spent['step'], at, began = 0.0, canvas.run.taken, time.perf_counter()"
END = "passed = time.perf_counter() - began; print(json.dumps([canvas.run.taken - at, 1 - spent['step'] / passed, passed]))"
FRAMES = "() => Number(document.querySelector('.vw-player').dataset.frames)"
# How long ago the step was taken that the screen shows; and whether the page is left behind.
BEHIND = "print(json.dumps([canvas.run.taken, canvas.player._sent - canvas.player._acked]))"


def measure() -> str:
    """The rates as a Markdown section."""
    rows = []
    for batch in (1, 9):
        rows.append(_row(batch))
    head = ["images", "steps/s", "frames/s", "of steps", "limit, frames/s", "not spent in steps", "limit", "frames on their way"]
    return f"## frames of a running optimization ({SIDE}×{SIDE}, {SECONDS} s)\n\n" + table(head, rows)


def _row(batch: int) -> list[str]:
    with open_lab() as (lab, folder, browser):
        write_notebook(folder / "frames.ipynb", [CELL.replace("{batch}", str(batch))])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        book = Notebook(page, lab, "frames.ipynb")
        book.run(0)
        page.locator(".vw-main").click()
        page.wait_for_function("() => Number(document.querySelector('.vw-player').dataset.frames || 0) > 20", timeout=120_000)
        book.python(BEGIN)
        before = page.evaluate(FRAMES)
        page.wait_for_timeout(SECONDS * 1000)
        frames = page.evaluate(FRAMES) - before
        steps, elsewhere, passed = book.python(END)
        _, under_way = book.python(BEHIND)
        book.python("canvas.stop()")
        book.close()
    limit = min(10.0, steps / passed)
    return [f"{batch}", f"{steps / passed:.1f}", f"{frames / passed:.1f}", f"{frames / steps:.0%}".replace("%", " %"),
            f"{limit:.1f}", f"{elsewhere:.1%}".replace("%", " %"), "10 %", f"{under_way}"]  # fmt: skip
