"""Frames while scrolling through the channels of a layer, in JupyterLab in Chromium."""

from __future__ import annotations

from statistics import median

from .clicking import explorers
from .timing import table

RUNS = 7

RECORD = """
() => {
  window.gaps = []; window.recording = true;
  let last = performance.now();
  requestAnimationFrame(function tick(now) {
    window.gaps.push(now - last); last = now;
    if (window.recording) requestAnimationFrame(tick);
  });
}
"""


def measure() -> str:
    """The times as a Markdown section."""
    rows = []
    for n, book, _ in explorers(2048):
        page, tiles = book.page, book.page.locator(".vw-grid .vw-tiles")
        tiles.hover()
        page.evaluate("() => document.querySelector('.vw-grid .vw-tiles').scrollTo(0, 0)")
        gaps, worst = [], []
        for run in range(RUNS):      # down and up again, in turn
            page.wait_for_timeout(300)
            drawn = int(page.locator(".vw-grid").get_attribute("data-drawn"))
            page.evaluate(RECORD)
            while page.evaluate("(down) => { const e = document.querySelector('.vw-grid .vw-tiles');"
                                " return down ? e.scrollTop + e.clientHeight < e.scrollHeight - 1 : e.scrollTop > 1; }", run % 2 == 0):  # fmt: skip
                page.mouse.wheel(0, 120 if run % 2 == 0 else -120)
                page.wait_for_timeout(16)
            taken = page.evaluate("() => { window.recording = false; return window.gaps.slice(1); }")
            assert int(page.locator(".vw-grid").get_attribute("data-drawn")) > drawn + 20, "nothing was drawn"
            gaps += taken
            worst.append(max(taken))
        rows.append([f"{n}", f"{len(gaps)}", f"{median(gaps):.1f}", f"{median(worst):.0f}", f"{max(worst):.0f}", "50"])
    head = ["channels of 28×28", "frames", "median frame, ms", "longest, median of runs", "longest of all", "limit"]
    return f"## scrolling through all channels and back ({RUNS} runs)\n\n" + table(head, rows)
