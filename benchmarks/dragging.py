"""From a move of the patch to its probabilities on the screen, in JupyterLab in Chromium; and a fast drag, which must not queue."""

from __future__ import annotations

from statistics import median
from typing import Any

from .browser import Notebook, open_lab, write_notebook
from .timing import table

MOVES, LIMIT = 25, 110

# Weights make no difference to the time.
CELL = """
import time, statistics, torch, torchvision, vizwidgets as vw
torch.manual_seed(0)
net = {net}
x = vw.image(vw.data.Flowers(64, seed=7, size={size}).flower(0).image, net)
slider = vw.OcclusionSlider(net, x)
slider
"""
NETS = {
    "flowers, 96 px": CELL.format(net="vw.load('flowers')", size=96),
    "squeezenet1_1, 224 px": CELL.format(net="vw.as_net(torchvision.models.squeezenet1_1())", size=224),
}

FORWARD = """
def timed():
    time.sleep(0.15)    # a move comes to a kernel that has been idle; so must the pass it is compared with
    began = time.perf_counter()
    with torch.no_grad():
        net(x)
    return time.perf_counter() - began
print(json.dumps(statistics.median(timed() for _ in range(15)) * 1e3))
"""

# Every painted answer: when it was, and how long after the last move of the pointer.
WATCH = """() => {
  const widget = document.querySelector('.vw-occlusion');
  window.answers = []; window.moved = 0;
  widget.addEventListener('pointermove', () => { window.moved = performance.now(); }, true);
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => window.answers.push(performance.now() - window.moved))))
    .observe(widget, { attributes: true, attributeFilter: ['data-seq'] });
}"""


def drag(page: Any) -> tuple[list[float], int, float]:
    """Milliseconds from each of some single moves to its answer; of a fast drag the answers, and the time to the last one."""
    stage = page.locator(".vw-occlusion-stage").bounding_box()
    page.evaluate(WATCH)
    page.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    page.mouse.down()

    def move(i: int) -> None:
        page.mouse.move(stage["x"] + stage["width"] * (0.5 + 0.3 * (i % 40) / 40), stage["y"] + stage["height"] * (0.5 - 0.3 * (i % 29) / 29))

    single = []
    for i in range(1, MOVES + 1):
        before = page.evaluate("() => window.answers.length")
        move(i)
        page.wait_for_function("(n) => window.answers.length > n", arg=before)
        single.append(page.evaluate("() => window.answers.at(-1)"))
        page.wait_for_timeout(150)
    page.evaluate("() => { window.answers = []; }")
    for i in range(1, 121):
        move(i)
        page.wait_for_timeout(4)
    page.wait_for_timeout(2000)
    page.mouse.up()
    count, last = page.evaluate("() => [window.answers.length, window.answers.at(-1)]")
    return single[5:], count, last


def measure() -> str:
    """The times as a Markdown section."""
    rows = []
    with open_lab() as (lab, folder, browser):
        for i, (name, cell) in enumerate(NETS.items()):
            write_notebook(folder / f"{i}.ipynb", [cell])
            page = browser.new_page(viewport={"width": 1200, "height": 1000})
            book = Notebook(page, lab, f"{i}.ipynb")
            book.run(0)
            page.wait_for_selector(".vw-occlusion[data-seq='1']")
            page.wait_for_timeout(1000)
            single, count, last = drag(page)
            forward, painted = book.python(FORWARD), median(single)
            rows.append([name, f"{forward:.0f}", f"{painted:.0f}", f"{painted - forward:.0f}", f"{LIMIT}", f"{count} of 120", f"{last:.0f}"])
            book.close()
            page.close()
    head = ["network", "forward pass, ms", "move to painted, ms", "difference", "limit", "a drag of 120 moves: answers", "the last one, ms after the last move"]
    return f"## patch moved to probabilities on screen (median of {MOVES - 5})\n\n" + table(head, rows)
