"""A map of many points: to its first drawing, and frames while it is panned, in JupyterLab in Chromium, beside bqplot."""

from __future__ import annotations

from statistics import median
from typing import Any

from .browser import Notebook, open_lab, write_notebook
from .scrolling import RECORD
from .timing import table

# How far each is dragged, in moves of the mouse: a frame of bqplot takes seconds where there are many points.
MOVES = {500: (60, 60), 2000: (60, 30), 10_000: (60, 6), 50_000: (60, 2)}
LIMIT = {10_000: "20"}

# Twelve groups, as a t-SNE of classes has them; the bqplot figure is as large as the map.
CELLS = (
    """import numpy as np, torch, vizwidgets as vw, bqplot
vw.EmbeddingScatter
random = np.random.default_rng(0)
labels = random.integers(0, 12, {n})
points = (random.normal(size=({n}, 2)) + 8 * random.normal(size=(12, 2))[labels]).astype(np.float32)
embedding = vw.Embedding(points, vw.Features(torch.zeros({n}, 1), labels=labels))
embedding.__dict__["trustworthiness"], embedding.__dict__["neighborhood_hit"] = float("nan"), None   # they take minutes of 50,000""",
    "scatter = vw.EmbeddingScatter(embedding)\nscatter",
    """x, y = bqplot.LinearScale(), bqplot.LinearScale()
dots = bqplot.Scatter(x=points[:, 0], y=points[:, 1], color=labels, scales={{"x": x, "y": y, "color": bqplot.ColorScale()}}, default_size=16)
figure = bqplot.Figure(marks=[dots], interaction=bqplot.interacts.PanZoom(scales={{"x": [x], "y": [y]}}), animation_duration=0)
figure.layout.width, figure.layout.height = "720px", "540px"
figure""",
)

# Runs a cell; milliseconds until `painted` holds and a frame has shown it.
FIRST = """
([cell, painted]) => new Promise((done) => {
  const began = performance.now(), look = new Function(`return ${painted}`), app = window.jupyterapp;
  app.shell.currentWidget.content.activeCellIndex = cell;
  app.commands.execute('notebook:run-cell');
  (function wait() {
    if (look()) requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
    else requestAnimationFrame(wait);
  })();
})
"""
OURS, THEIRS = ".vw-scatter-stage", ".bqplot .mouse_event_rect, .bqplot .plotarea_events"


def measure(sizes: tuple[int, ...] = tuple(MOVES)) -> str:
    """The times as a Markdown section."""
    rows = []
    with open_lab() as (lab, folder, browser):
        for n in sizes:
            write_notebook(folder / f"{n}.ipynb", [c.format(n=n) for c in CELLS])
            page = browser.new_page(viewport={"width": 1400, "height": 1600})
            page.set_default_timeout(600_000)
            book = Notebook(page, lab, f"{n}.ipynb")
            book.run(0)
            rows.append(_row(page, n))
            book.close()
            page.close()
    head = ["points", "first drawing, ms", "bqplot", "frame while panning, ms", "longest", "limit", "bqplot's frame, ms"]
    return "## a map of points, first drawing and panning\n\n" + table(head, rows)


def _row(page: Any, n: int) -> list[str]:
    first = page.evaluate(FIRST, [1, f"document.querySelector('.vw-scatter')?.dataset.drawn && document.querySelector('{OURS}').clientWidth"])
    page.wait_for_timeout(1000)
    frames = _pan(page, OURS, MOVES[n][0])
    theirs = page.evaluate(FIRST, [2, f"document.querySelectorAll('.bqplot .dot').length >= {n}"])
    page.wait_for_timeout(1000)
    slow = _pan(page, THEIRS, MOVES[n][1])
    return [f"{n:,}", f"{first:.0f}", f"{theirs:.0f}", f"{median(frames):.1f}", f"{max(frames):.0f}", LIMIT.get(n, "-"), f"{median(slow):.0f}"]


def _pan(page: Any, where: str, moves: int) -> list[float]:
    """Drag to and fro; milliseconds between frames."""
    target = page.locator(where).first
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drawn = page.evaluate("() => Number(document.querySelector('.vw-scatter').dataset.drawn)")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 8, y)
    page.evaluate(RECORD)
    for i in range(moves):
        page.mouse.move(x + (60 - abs(i % 40 - 20) * 4), y + (i % 20) * 3)
        page.wait_for_timeout(16)
    taken: list[float] = page.evaluate("() => { window.recording = false; return window.gaps.slice(1); }")
    page.mouse.up()
    if where == OURS:
        now = page.evaluate("() => Number(document.querySelector('.vw-scatter').dataset.drawn)")
        assert now > drawn + moves / 3, "nothing was drawn"
    return taken
