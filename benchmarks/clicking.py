"""From a click on a layer to its channels on the screen, in JupyterLab in Chromium."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lab import CHROMIUM, FLAGS, Lab, Notebook, write_notebook

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


def measure() -> str:
    """The times as a Markdown section."""
    from playwright.sync_api import sync_playwright

    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        try:
            lab.wait()
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for n, allowed in ((64, 60), (512, 80), (2048, 150)):
                write_notebook(Path(folder) / f"{n}.ipynb", [CELL.replace("{n}", str(n))])
                book = Notebook(browser.new_page(viewport={"width": 1400, "height": 1100}), lab, f"{n}.ipynb")
                book.run(0)
                book.page.wait_for_selector(".vw-grid[data-seq]:not([data-seq=''])")
                book.page.wait_for_timeout(1000)
                # Clicks go to "3" and back; the way there is what counts, with its pass through the whole stack.
                there = []
                for _ in range(11):
                    there.append(book.page.evaluate(CLICK, "3"))
                    book.page.wait_for_timeout(150)
                    book.page.evaluate(CLICK, "1")
                    book.page.wait_for_timeout(150)
                forward = book.python(FORWARD)
                click = median(there[1:])
                rows.append([str(n), f"{n * 784 / 1e3:.0f}", f"{forward:.0f}", f"{click:.0f}", f"{click - forward:.0f}", str(allowed)])
                book.close()
        finally:
            lab.stop()
    head = ["channels of 28×28", "kB sent", "forward pass to the layer, ms", "click to painted, ms", "difference", "limit"]
    return "## layer click to grid on screen (median of 10)\n\n" + table(head, rows)
