"""OptimizationCanvas in JupyterLab: mouse, keys, pixels, while the notebook stays free."""

from __future__ import annotations

import io

import numpy as np
import pytest
from everybody import MISFITS, check_axe
from PIL import Image as PILImage

pytestmark = pytest.mark.browser

# A step takes as long as on a slow machine, so that there is time to press buttons.
CANVAS = """import time, torch, vizwidgets as vw
from vizwidgets.core.optimize import Run
torch.set_num_threads(1)
net = vw.load('flowers')
class Slow(vw.ImageOptimizer):
    pause = {pause}
    def step(self):
        time.sleep(self.pause)
        return super().step()
def make(seed):
    start = vw.FourierImage(size=(64, 64), seed=seed)
    optimizer = Slow(net, vw.Logit('rose'), start)
    return Run(optimizer, {total}, controls=optimizer)
canvas = vw.OptimizationCanvas(run=make)
canvas"""
STATE = "print(json.dumps([canvas.status, canvas.index, canvas.error]))"
PICTURE = ".vw-stage > canvas"


def canvas_cell(pause=0.05, total=400):
    return CANVAS.replace("{pause}", str(pause)).replace("{total}", str(total))


def pixels(page, selector=PICTURE):
    return np.asarray(PILImage.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB"), float)


def status(page, *wanted, view=0):
    page.wait_for_function("([wanted, view]) => wanted.includes(document.querySelectorAll('.vw-player')[view]?.dataset.status)",
                           arg=[list(wanted), view], timeout=30_000)  # fmt: skip


def shows(page, at_least, view=0):
    page.wait_for_function("([n, view]) => Number(document.querySelectorAll('.vw-player')[view].dataset.shown || 0) >= n",
                           arg=[at_least, view], timeout=30_000)  # fmt: skip


def test_play_pause_look_back_stop(notebook):
    book = notebook(canvas_cell(), "6 * 7")
    page = book.page
    status(page, "idle")
    size = page.locator(".vw-optimization").bounding_box()
    page.locator(".vw-main").click()
    shows(page, 3)
    early = pixels(page)
    assert early.std() > 1
    shows(page, 25)
    grown = pixels(page)
    assert np.abs(grown - early).mean() > 3, "the picture does not grow"

    book.run(1)      # another cell, meanwhile
    assert page.locator(".jp-OutputArea-output").last.text_content().strip() == "42"
    assert book.python(STATE)[0] == "running"
    page.wait_for_function("() => document.querySelectorAll('.vw-curve path.line').length === 1"
                           " && document.querySelector('.vw-curve path.line').getAttribute('d').length > 50")  # fmt: skip

    page.get_by_role("button", name="Pause").click()
    status(page, "paused")
    page.wait_for_timeout(400)
    held, taken = pixels(page), book.python(STATE)[1]
    page.wait_for_timeout(600)
    assert np.array_equal(pixels(page), held)
    assert book.python(STATE)[1] == taken

    page.get_by_role("button", name="one step").click()
    shows(page, taken + 1)
    assert book.python(STATE)[:2] == ["paused", taken + 1]
    held = pixels(page)

    # Back with the arrow keys while it goes on: the past stays, until one is at its right end again.
    page.get_by_role("button", name="Play").click()
    # Steps 9 and 17 are among those kept, however many there are by now.
    page.get_by_label("look back").fill("9")
    page.wait_for_function("() => document.querySelector('.vw-player').dataset.shown === '9'")
    page.wait_for_timeout(300)
    back = pixels(page)
    assert np.abs(back - early).mean() < np.abs(held - early).mean()
    assert page.locator(".vw-numbers").text_content().startswith("step 9 of 400")
    page.get_by_label("look back").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.vw-player').dataset.shown === '17'")
    page.wait_for_timeout(500)
    assert page.locator(".vw-player").get_attribute("data-shown") == "17"
    assert page.locator(".vw-numbers").text_content().startswith("step 17 of 400")
    before = book.python(STATE)[1]
    page.get_by_role("button", name="back to now").click()
    shows(page, before)

    page.get_by_role("button", name="stop", exact=True).click()
    status(page, "stopped")
    state = book.python(STATE)
    assert state[0] == "stopped" and 30 < state[1] < 400 and state[2] == ""
    after = page.locator(".vw-optimization").bounding_box()
    assert (after["width"], after["height"]) == (size["width"], size["height"]), "the layout jumps"


def test_keys_sliders_and_files(notebook, tmp_path):
    book = notebook(canvas_cell(pause=0.02))
    page = book.page
    status(page, "idle")
    page.locator(".vw-main").focus()
    page.keyboard.press("Enter")
    shows(page, 2)
    page.locator(PICTURE).focus()
    page.keyboard.press("Space")
    status(page, "paused")
    page.keyboard.press("Space")
    status(page, "running")
    page.get_by_label("total variation").focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    page.get_by_label("learning rate").fill("70")
    page.wait_for_timeout(500)
    changed = book.python("print(json.dumps([canvas.run.controls.lr, repr(canvas.run.controls.target)]))")
    assert changed[0] == 0.32 and changed[1].startswith("Logit('rose') - ") and "TotalVariation" in changed[1]
    assert page.locator(".vw-legend b").count() == 3
    for kind in ("PNG", "WebP"):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        assert download.value.suggested_filename == f"logit-of-rose.{kind.lower()}"
        download.value.save_as(tmp_path / kind)
        assert PILImage.open(tmp_path / kind).size == (64, 64)
    page.get_by_role("button", name="start again with another seed").click()
    page.wait_for_function("() => document.querySelector('[aria-label=seed]').value === '1'")
    status(page, "running")
    assert book.python("print(json.dumps([canvas.seed, canvas.run.controls.lr]))") == [1, 0.32]
    book.python("canvas.stop()")


def test_a_batch_grows_together_and_a_click_enlarges(notebook):
    cell = "import vizwidgets as vw\nnet = vw.load('flowers')\n" \
        "canvas = vw.OptimizationCanvas(net, [vw.Channel('stage3', i) for i in range(4)], steps=6, size=32)\ncanvas"  # fmt: skip
    book = notebook(cell)
    page = book.page
    status(page, "idle")
    page.locator(".vw-main").click()
    status(page, "done")
    shows(page, 6)
    tiles = page.locator(".vw-stage .vw-tiles")
    picture = pixels(page, ".vw-stage .vw-tiles canvas")
    h, w = picture.shape[0] // 2, picture.shape[1] // 2
    images = np.array(book.python("print(json.dumps(canvas.image.mul(255).tolist()))"))
    tile = picture[h + 6 : 2 * h - 24, 6 : w - 6].mean((0, 1))      # the third, above its caption
    assert np.abs(tile - images[2].mean((1, 2))).max() < 12
    tiles.locator("canvas").click(position={"x": 20, "y": h + 20})
    page.get_by_role("button", name="all · channel 2").wait_for()
    large = pixels(page)
    assert np.abs(np.asarray(PILImage.fromarray(large.astype(np.uint8)).resize((32, 32), PILImage.Resampling.BOX), float).mean((0, 1))
                  - images[2].mean((1, 2))).max() < 12  # fmt: skip
    page.keyboard.press("Escape")
    tiles.wait_for(state="visible")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="all · channel 1").click()
    tiles.wait_for(state="visible")


def test_two_take_turns_and_a_failure_is_said(notebook):
    failing = """def broken():
    for step in make(0):
        if step.index == 5:
            raise ValueError('the lamp went out')
        yield step
other = vw.OptimizationCanvas(run=Run(broken(), 50), title='lamp')
other"""
    book = notebook(canvas_cell(pause=0.02), failing)
    page = book.page
    status(page, "idle", view=1)
    page.locator(".vw-main").first.click()
    shows(page, 2)
    page.locator(".vw-main").nth(1).click()
    status(page, "failed", view=1)
    assert page.locator(".vw-player .vw-error").nth(1).text_content() == "the lamp went out"
    index = book.python(STATE)[1]
    shows(page, index + 3)
    book.python("canvas.close()")
    page.wait_for_function("() => document.querySelectorAll('.vw-player').length === 1")


def test_in_the_explorer(notebook):
    book = notebook("import vizwidgets as vw\nexplorer = vw.explore()\nexplorer")
    page = book.page
    page.get_by_role("tab", name="Visualize").click()
    page.wait_for_selector(".vw-stage-empty:has-text('choose a class or a channel')")
    assert page.locator(".vw-main").is_disabled()
    page.locator(".vw-classes button").nth(1).click()
    page.wait_for_function("() => document.querySelector('.vw-player-head .vw-title').textContent.startsWith('logit of')")
    assert book.python("print(json.dumps([explorer.canvas.status, explorer.canvas.index]))") == ["idle", 0]
    page.locator(".vw-main").click()
    shows(page, 2)
    assert page.locator(".vw-curve svg").first.bounding_box()["width"] > 200
    page.get_by_role("tab", name="Channels").click()
    page.wait_for_timeout(1500)
    taken = book.python("print(json.dumps(explorer.canvas.run.taken))")
    page.wait_for_timeout(500)
    assert book.python("print(json.dumps([explorer.canvas.run.taken, explorer.canvas.status]))") == [taken, "paused"]
    page.get_by_role("tab", name="Visualize").click()
    shows(page, taken + 1)
    book.python("explorer.close(); explorer.canvas.close()")


STATES = (
    "import torch, vizwidgets as vw\nfrom vizwidgets.core.optimize import Run\nnet = vw.load('flowers')\nvw.OptimizationCanvas(net)",
    "vw.OptimizationCanvas(net, vw.Logit('rose'))",
    "vw.OptimizationCanvas(net, vw.Logit('rose'), steps=4, size=32, preset='l2', block=True)",
    "vw.OptimizationCanvas(net, [vw.Channel('stage3', i) for i in range(9)], steps=2, size=32, block=True)",
    "canvas = vw.OptimizationCanvas(net, vw.Logit('rose'), steps=4, size=32)\ncanvas.step()\ncanvas.wait()\n"
    "canvas.error, canvas.seed = 'There is no layer stag2; did you mean stage2?', 3\ncanvas",
)


def test_axe_finds_nothing_and_narrow_cells_fit(notebook):
    book = notebook(*STATES, viewport={"width": 1300, "height": 4200})
    page = book.page
    status(page, "paused", view=4)
    page.wait_for_timeout(1000)
    check_axe(book, contrasts=80, targets=30)
    page.add_style_tag(content=".jp-OutputArea-output > .lm-Widget { width: 320px !important; }")
    page.wait_for_timeout(1000)
    boxes = page.locator(".jp-OutputArea-output > .lm-Widget")
    assert boxes.count() == len(STATES)
    page.evaluate("() => document.querySelectorAll('.vw-curve').forEach((e) => e.replaceChildren())")      # bqplot's own affair
    misfits = {i: [m for m in b.evaluate(MISFITS) if "vw-scrub" not in m] for i, b in enumerate(boxes.all())}
    assert misfits == {i: [] for i in range(len(STATES))}
