"""TextureLab in JupyterLab: two textures that grow by one button, the window's frame, origins, rectangles, files, axe, narrow cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from everybody import check_axe, check_keys, check_widths
from gated import until
from PIL import Image as PILImage

import vizwidgets as vw
from vizwidgets.core.picture import to_pixels
from vizwidgets.data import swatch

pytestmark = pytest.mark.browser

SETUP = "import vizwidgets as vw\n"
PIXELS = "(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 !== 3)"


def canvas(page, selector, nth=0):
    found = page.locator(selector).nth(nth)
    height, width = found.evaluate("(c) => [c.height, c.width]")
    return np.array(found.evaluate(PIXELS), np.uint8).reshape(height, width, 3)


def status(page, text):
    page.wait_for_function("(t) => document.querySelector('.vw-texture-desk').dataset.status === t", arg=text, timeout=60_000)


def painted(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(200)


def frame(page):
    return [float(v) for v in page.locator(".vw-texture-desk").get_attribute("data-frame").split(",")]


PANE = ".vw-texture-pane .vw-stage canvas"


def test_both_grow(notebook, tmp_path):
    book = notebook(SETUP + "lab = vw.TextureLab(vw.data.swatch('bricks', 48), size=40, window=7, steps=30)\nlab")
    page = book.page
    page.wait_for_selector(".vw-texture-desk[data-sample]")
    assert np.array_equal(canvas(page, ".vw-texture-sample canvas"), to_pixels(swatch("bricks", 48)[0]))
    assert page.locator(".vw-stage-empty:visible").count() == 2 and page.locator(".vw-texture-picture").is_hidden()

    # The window: as large a part of the sample as it says.
    box, inner = (page.locator(s).bounding_box() for s in (".vw-texture-sample", ".vw-texture-sample .vw-frame"))
    assert inner["width"] / box["width"] == pytest.approx(7 / 48, abs=0.01)

    page.locator(".vw-transport .vw-main").press("Enter")
    status(page, "done")
    painted(page)
    copied = vw.efros_leung(swatch("bricks", 48), 40, 7).result()
    assert np.array_equal(canvas(page, PANE), to_pixels(copied.image[0]))
    made = canvas(page, PANE, 1)
    assert made.shape == (40, 40, 3) and made.std() > 20
    assert np.array_equal(np.array(book.python("print(json.dumps((lab.statistics.pixels[0].permute(1, 2, 0) * 255).round().int().tolist()))")), made)
    assert page.locator(".vw-texture-pane").first.text_content().count("100 % filled") == 1

    # Where a pixel is from: by the pointer and by keys.
    area = page.locator(PANE).first.bounding_box()
    page.mouse.move(area["x"] + area["width"] * 8.5 / 40, area["y"] + area["height"] * 30.5 / 40)
    y, x = copied.origin[30, 8].tolist()
    page.wait_for_function("(t) => document.querySelector('.vw-texture-pane .vw-where').textContent === t", arg=f"row 30, column 8 is from row {y}, column {x}")
    assert frame(page)[:2] == [y, x]
    page.mouse.move(5, 5)
    page.locator(PANE).first.focus()
    for key in ("ArrowUp", "ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    y, x = copied.origin[19, 12].tolist()
    assert frame(page)[:2] == [y, x] and "row 19, column 12" in page.locator(".vw-texture-pane .vw-where").first.text_content()
    page.keyboard.press("Escape")
    assert page.locator(".vw-texture-pane .vw-where").first.text_content() == ""

    # The map of origins and its colours over the sample.
    page.get_by_role("checkbox", name="where it is copied from").check()
    page.wait_for_selector(".vw-texture-desk[data-keyed=true]")
    painted(page)
    assert np.array_equal(canvas(page, PANE), np.asarray(copied.origin_picture()))
    assert np.array_equal(canvas(page, ".vw-texture-sample canvas"), np.asarray(copied.key_picture()))
    page.get_by_role("checkbox", name="where it is copied from").uncheck()
    page.wait_for_selector(".vw-texture-desk[data-keyed=false]")

    # Another window: the copying only.
    page.get_by_role("slider", name="window").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert frame(page)[2] == 11
    until(lambda: book.python("print(lab.window)") == 11)
    book.python("lab.wait(60)")
    painted(page)
    assert book.python("print(json.dumps([lab.window, lab.gram.index]))") == [11, 30]
    assert np.array_equal(canvas(page, PANE), to_pixels(vw.efros_leung(swatch("bricks", 48), 40, 11).result().image[0]))
    assert np.array_equal(canvas(page, PANE, 1), made)

    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").first.click()
    assert download.value.suggested_filename == "copied.png"
    download.value.save_as(tmp_path / "copied.png")
    assert torch.equal(vw.rerun(tmp_path / "copied.png").image, vw.efros_leung(swatch("bricks", 48), 40, 11).result().image)
    page.get_by_label("start again with another seed").click()
    page.wait_for_function("() => document.querySelector('[aria-label=seed]').value === '1'")
    status(page, "done")
    assert page.problems == []


def test_samples_rectangles_and_halting(notebook, tmp_path):
    book = notebook(SETUP + "lab = vw.TextureLab(vw.data.photograph('coffee'), size=128, steps=5000)\nlab")
    page = book.page
    page.wait_for_selector(".vw-texture-desk[data-sample]")
    area, box = page.locator(".vw-texture-picture").bounding_box(), page.locator(".vw-rectangle").bounding_box()
    _, w = book.python("print(json.dumps(list(lab.picture.pixels.shape[2:])))")
    k = area["width"] / w
    assert box["width"] == pytest.approx(64 * k, abs=2)

    def sample_is(wanted, off=0):
        page.wait_for_timeout(300)
        book.python("lab.strip.wait(10)")
        found = book.python("print(json.dumps(list(lab.box)))")
        assert np.abs(np.array(found) - wanted).max() <= off, found
        shown = canvas(page, ".vw-texture-sample canvas")
        assert np.array_equal(shown, np.array(book.python("print(json.dumps((lab.sample.pixels[0].expand(3, -1, -1).permute(1, 2, 0) * 255).round().int().tolist()))")))
        return found

    # Drawn, dragged, moved and resized by keys.
    page.mouse.move(area["x"] + 20 * k, area["y"] + 30 * k)
    page.mouse.down()
    page.mouse.move(area["x"] + 40 * k, area["y"] + 50 * k, steps=3)
    page.mouse.move(area["x"] + 70 * k, area["y"] + 60 * k, steps=3)
    page.mouse.up()
    top, left, bottom, right = sample_is([30, 20, 60, 70], 2)
    page.mouse.move(area["x"] + 45 * k, area["y"] + 45 * k)
    page.mouse.down()
    page.mouse.move(area["x"] + 55 * k, area["y"] + 65 * k, steps=4)
    page.mouse.up()
    dragged = sample_is([top + 20, left + 10, bottom + 20, right + 10], 1)
    page.locator(".vw-rectangle").focus()
    for key in ("ArrowLeft", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    sample_is([dragged[0] + 4, dragged[1] - 4, dragged[2] + 4, dragged[3]])

    # Pause halts both, stop ends both.
    main = page.locator(".vw-transport .vw-main")
    main.click()
    page.wait_for_function("() => [...document.querySelectorAll('.vw-texture-pane')].every((p) => p.dataset.shown > 0)", timeout=60_000)
    main.click()
    status(page, "paused")
    book.python("lab.player.wait(30)")
    halted = book.python("print(json.dumps([p.run.taken for p in lab.player.players]))")
    page.wait_for_timeout(500)
    assert book.python("print(json.dumps([p.run.taken for p in lab.player.players]))") == halted and 0 < halted[1] < 5000
    assert {p.get_attribute("data-status") for p in page.locator(".vw-texture-pane").all()} <= {"paused", "done"}
    page.get_by_label("stop", exact=True).click()
    status(page, "stopped")

    # A file of one's own, then a swatch.
    PILImage.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 60).save(tmp_path / "mine.png")
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "mine.png"))
    page.locator(".vw-pictures button:has-text('Open')").click()
    page.wait_for_function("() => document.querySelector('.vw-texture-left').textContent.includes('mine.png: 60 × 40 pixels')")
    sample_is([0, 0, 40, 60])
    page.get_by_label("waves").click()
    page.wait_for_function("() => document.querySelector('.vw-texture-left').textContent.includes('waves: 64 × 64 pixels')")
    sample_is([0, 0, 64, 64])
    page.get_by_label("seed", exact=True).fill("7")
    page.keyboard.press("Tab")
    page.get_by_label("order of copying").select_option("scanline")
    page.get_by_label("size").select_option("48")
    page.wait_for_timeout(300)
    assert book.python("print(json.dumps([lab.seed, lab.order, lab.size, lab.status]))") == [7, "scanline", 48, "idle"]
    assert page.problems == []


def test_for_everybody(notebook):
    book = notebook(SETUP + "net = vw.load('flowers')\nlab = vw.TextureLab(vw.data.photograph('coffee'), net, size=32, steps=2, origins=True, block=True)\nlab",
                    "failed = vw.TextureLab(vw.data.swatch('knit', 20), net, window=23)\nfailed.error = 'no order onio; did you mean onion?'\nfailed",
                    viewport={"width": 1300, "height": 2200})  # fmt: skip
    page = book.page
    page.wait_for_function("() => document.querySelectorAll('.vw-texture-desk[data-sample]').length === 2")
    assert "at most 19, not 23" in page.locator(".vw-texture-pane .vw-error").nth(2).text_content()
    check_axe(book)
    check_keys(page)
    check_widths(page, 2)
    assert page.problems == []
