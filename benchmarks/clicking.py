"""From a click on a layer to its channels on the screen, in JupyterLab in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from .browser import Notebook, open_lab, write_notebook
from .timing import table

# Two layers with n channels of 28x28 each, so that every click changes the layer.
CELL = """
import torch, vizwidgets as vw
from torch import nn
torch.manual_seed(0)
def stack(n):
    return nn.Sequential(nn.Conv2d(3, n, 3, stride=8, padding=1), nn.ReLU(), nn.Conv2d(n, n, 3, padding=1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 10))
net = vw.as_net(stack({n}), size=224)
explorer = vw.Explorer(net, layer="1")
explorer
"""

FORWARD = """
import time, statistics
def timed(layer):
    time.sleep(0.15)    # a click comes to a kernel that has been idle; so must the pass it is compared with
    began = time.perf_counter()
    vw.activation_maps(net, explorer.image, layer)
    return time.perf_counter() - began
print(json.dumps(statistics.median(timed("3") for _ in range(10)) * 1e3))
"""

CLICK = """
(layer) => new Promise((done) => {
  const grid = document.querySelector('.vw-grid'), began = performance.now();
  const watch = new MutationObserver(() => {       // the grid has drawn; the next frame shows it when its tasks are done
    watch.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
  });
  watch.observe(grid, { attributes: true, attributeFilter: ["data-seq"] });
  document.querySelector(`[data-layer="${layer}"].vw-tree-row`).click();
})
"""


class Received:
    """Bytes that came to a page over its websockets."""

    def __init__(self, page: Any) -> None:
        self.count = 0
        page.on("websocket", lambda socket: socket.on("framereceived", self._add))

    def _add(self, payload: str | bytes) -> None:
        self.count += len(payload)


def explorers(*sizes: int) -> Iterator[tuple[int, Notebook, Received]]:
    """An Explorer of each size in a notebook in Chromium."""
    with open_lab() as (lab, folder, browser):
        for n in sizes:
            write_notebook(folder / f"{n}.ipynb", [CELL.replace("{n}", str(n))])
            page = browser.new_page(viewport={"width": 1400, "height": 1100})
            received = Received(page)
            book = Notebook(page, lab, f"{n}.ipynb")
            book.run(0)
            page.wait_for_selector(".vw-grid[data-seq]:not([data-seq=''])")
            page.wait_for_timeout(1000)
            yield n, book, received
            book.close()
            page.close()


def measure() -> str:
    """The times as a Markdown section."""
    rows, limits = [], {64: 60, 512: 80, 2048: 150}
    for n, book, received in explorers(*limits):
        # Clicks go to "3" and back; the way there is what counts, with its pass through the whole stack.
        there, sent = [], []
        for _ in range(11):
            before = received.count
            there.append(book.page.evaluate(CLICK, "3"))
            book.page.wait_for_timeout(150)
            sent.append(received.count - before)
            book.page.evaluate(CLICK, "1")
            book.page.wait_for_timeout(150)
        forward, click = book.python(FORWARD), median(there[1:])
        rows.append([f"{n}", f"{median(sent) / 1e3:.0f}", f"{forward:.0f}", f"{click:.0f}", f"{click - forward:.0f}", f"{limits[n]}"])
    head = ["channels of 28×28", "kB received", "forward pass to the layer, ms", "click to painted, ms", "difference", "limit"]
    return "## layer click to grid on screen (median of 10)\n\n" + table(head, rows)
