"""StyleMixer in JupyterLab: the line between before and after, sliders while it paints, choices, files, axe, narrow cells."""

from __future__ import annotations

import pytest
from everybody import check_axe, check_widths
from PIL import Image as PILImage

pytestmark = pytest.mark.browser

CELL = """import torch, vizwidgets as vw
torch.set_num_threads(1)
net = vw.load('flowers')
mixer = vw.StyleMixer(net, torch.full((3, 64, 96), 0.9), [vw.data.swatch(n, 48) for n in ('checkerboard', 'bricks')], size=96, steps=400)
mixer"""
STATE = "print(json.dumps([mixer.status, mixer.index, mixer.split, mixer.style_weight, mixer.mix, mixer.error]))"
CANVAS, SPLIT = ".vw-stage > canvas", ".vw-split"


def status(page, *wanted):
    page.wait_for_function("(wanted) => wanted.includes(document.querySelector('.vw-player')?.dataset.status)", arg=list(wanted), timeout=60_000)


def shows(page, at_least):
    page.wait_for_function("(n) => Number(document.querySelector('.vw-player').dataset.shown || 0) >= n", arg=at_least, timeout=60_000)


EDGE = """(c) => { const { width, height } = c, data = c.getContext('2d').getImageData(0, 0, width, height).data;
  for (let x = 0; x < width; x++) {
    let other = 0;
    for (let y = 0; y < height; y++) for (let k = 0; k < 3; k++) other += Math.abs(data[4 * (y * width + x) + k] - 229.5) > 5;
    if (other > 0.06 * height) return x / width;
  }
  return 1; }"""


def edge(page):
    """Where the content, which is one light grey, ends: as a share of the width."""
    return page.locator(CANVAS).evaluate(EDGE)


def test_before_and_after_sliders_and_files(notebook, tmp_path):
    book = notebook(CELL)
    page = book.page
    status(page, "idle")
    page.wait_for_function("(s) => document.querySelector(s).width > 300", arg=CANVAS)
    assert edge(page) == 1      # nothing is painted yet: the content, whole
    assert page.locator(SPLIT).is_hidden()
    page.locator(".vw-main").click()
    shows(page, 30)
    page.locator(SPLIT).wait_for()
    page.get_by_role("button", name="Pause").click()
    status(page, "paused")
    assert edge(page) == pytest.approx(0.5, abs=0.02)
    box = page.locator(SPLIT).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 30, steps=8)
    page.mouse.up()
    assert edge(page) == pytest.approx(0.8, abs=0.03)
    page.wait_for_timeout(300)
    assert book.python(STATE)[2] == pytest.approx(0.8, abs=0.02)
    page.keyboard.press("Home")
    assert edge(page) == 0
    for _ in range(25):
        page.keyboard.press("ArrowRight")
    assert edge(page) == pytest.approx(0.25, abs=0.02)
    assert page.locator(SPLIT).get_attribute("aria-valuetext") == "content 25 %, painted 75 %"
    page.wait_for_timeout(1300)      # an old answer does not undo it
    assert (edge(page), book.python(STATE)[2]) == (pytest.approx(0.25, abs=0.02), 0.25)
    book.python("mixer.split = 0.6")
    page.wait_for_function("(s) => document.querySelector(s).value === '60'", arg=SPLIT)
    assert edge(page) == pytest.approx(0.6, abs=0.02)
    page.keyboard.press("Space")
    status(page, "running")

    # Sliders while it goes on; the layers are folded away.
    page.get_by_label("style weight").fill("75")
    assert page.get_by_label("stage1").is_hidden()
    page.get_by_text("layers of the style").click()
    page.get_by_label("stage1").fill("0")
    page.locator("input[data-key='mix 0']").fill("25")
    page.wait_for_timeout(600)
    assert [o.text_content() for o in page.locator("[data-group=mix] output").all()] == ["20 %", "80 %"]
    changed = book.python("print(json.dumps([mixer.run.controls.style_weight, mixer.run.controls.layer_weights['stage1'], mixer.run.controls.mix]))")
    assert changed == [100, 0, [0.25, 1]]
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG", exact=True).click()
    assert download.value.suggested_filename == "your-picture-in-the-style-of-your-style-and-your-style.png"
    download.value.save_as(tmp_path / "a.png")
    assert PILImage.open(tmp_path / "a.png").size == (96, 64)

    # Another style starts anew; so does a file, and what is none is said.
    page.get_by_label("mix several").uncheck()
    page.get_by_role("button", name="knit").click()
    page.wait_for_function("() => document.querySelector('.vw-player-head .vw-title').textContent === 'your picture in the style of knit'")
    status(page, "running")
    assert page.locator("[data-group=mix]").count() == 0
    bad, good = tmp_path / "bad.png", tmp_path / "mine.png"
    bad.write_bytes(b"no picture")
    PILImage.effect_mandelbrot((4000, 1000), (-2, -1, 1, 1), 40).save(good)
    content = page.locator(".vw-pictures input[type=file]").first
    content.set_input_files(bad)
    page.wait_for_function("() => document.querySelector('.vw-pictures .vw-error').textContent.includes('bad.png is not an image')")
    content.set_input_files(good)
    page.wait_for_function("() => document.querySelector('.vw-player-head .vw-title').textContent === 'mine.png in the style of knit'")
    assert "resized 4000×1000 to 1024×256" in page.locator(".vw-pictures-notes").first.text_content()
    page.get_by_role("button", name="stop", exact=True).click()
    status(page, "stopped")

    # After the end a slider offers another start.
    page.get_by_label("style weight").fill("25")
    page.get_by_role("button", name="Play again").wait_for()
    assert "It has ended" in page.locator(".vw-run-note").text_content()
    page.get_by_role("button", name="Play again").click()
    status(page, "running")
    assert book.python("print(json.dumps(mixer.run.controls.style_weight))") == 1
    book.python("mixer.close()")


STATES = (
    "import torch, vizwidgets as vw\ntorch.set_num_threads(1)\nnet = vw.load('flowers')\nvw.StyleMixer()", "vw.StyleMixer(net, size=64)",
    "mixer = vw.StyleMixer(net, style=[vw.data.swatch(n, 48) for n in ('knit', 'bricks', 'mosaic')], size=64, steps=4, init='noise', block=True)\n"
    "mixer.style_weight = 20\nmixer.error = mixer.contents.error = 'There is no layer stag2; did you mean stage2?'\nmixer",
)  # fmt: skip


def test_axe_finds_nothing_and_narrow_cells_fit(notebook):
    book = notebook(*STATES, viewport={"width": 1300, "height": 3000}, has_touch=True)
    page = book.page
    page.wait_for_function("() => document.querySelectorAll('.vw-player').length === 3 && document.querySelectorAll('.vw-player')[2].dataset.shown === '4'")
    box = page.locator(SPLIT).last.bounding_box()
    page.touchscreen.tap(box["x"] + 0.2 * box["width"], box["y"] + 0.7 * box["height"])      # a finger moves the line too
    page.wait_for_function("(s) => [...document.querySelectorAll(s)].at(-1).value === '20'", arg=SPLIT)
    for fold in page.locator(".vw-mixer summary").all():
        fold.click()
    page.wait_for_timeout(1000)
    check_axe(book, contrasts=60, targets=60)
    page.evaluate("() => document.querySelectorAll('.vw-curve').forEach((e) => e.replaceChildren())")      # bqplot's own affair
    check_widths(page, len(STATES), (320, 480, 720))
