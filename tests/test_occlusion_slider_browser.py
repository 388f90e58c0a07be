"""OcclusionSlider in JupyterLab: drag, click, keys and touch, probabilities and pixels that follow, the map and its values."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytestmark = pytest.mark.browser

CELL = """import torch, vizwidgets as vw
torch.set_num_threads(1)
net = vw.load('flowers')
x = vw.image(vw.data.Flowers(64, seed=7).flower(0).image, net)
slider = vw.OcclusionSlider(net, x, window=16, stride=8, target=vw.Logit('poppy'))
asked = []
slider.on_msg(lambda _, content, buffers: asked.append(content))
slider"""
PIXELS = """(c) => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return [c.width, c.height, Array.from(d)]; }"""
ROWS = "() => [...document.querySelectorAll('.vw-pairs .vw-bar-row')].map((r) => r.textContent)"
# What the network says of the picture, made by hand, with the patch where the page says that it is.
BY_HAND = """y, x0 = {box}[:2]
hidden = x.clone(); hidden[:, :, y:y + 16, x0:x0 + 16] = 0.5
print(json.dumps([vw.score(net, vw.Logit('poppy'), v).item() for v in (x, hidden)]))"""


def pixels(page, selector):
    width, height, values = page.locator(selector).evaluate(PIXELS)
    return np.array(values).reshape(height, width, 4)


def box(page):
    return [int(v) for v in page.locator(".vw-occlusion").get_attribute("data-box").split()]


def agrees(page, book):
    """Wait until the numbers are those of the place that is shown, and compare them; gives the place."""
    page.wait_for_function("""() => { const e = document.querySelector('.vw-occlusion'), p = document.querySelector('.vw-patch'),
      s = document.querySelector('.vw-occlusion-stage'), [y, x] = e.dataset.box.split(' ').map(Number);
      return Math.abs(parseFloat(p.style.left) - 100 * x / 96) < 0.01 && Math.abs(parseFloat(p.style.top) - 100 * y / 96) < 0.01; }""")
    at = box(page)
    told = page.locator(".vw-occlusion > .vw-title").text_content()
    before, after = (float(v) for v in re.match(r"Logit of poppy: (\S+) → (\S+) with the patch here", told).groups())
    assert [before, after] == pytest.approx(book.python(BY_HAND.format(box=at)), rel=0.006)
    assert f"row {at[0]}, column {at[1]}: logit of poppy" in page.locator(".vw-patch").get_attribute("aria-valuetext")
    return at


def test_drag_click_and_keys(notebook):
    book = notebook(CELL, viewport={"width": 1200, "height": 1000}, has_touch=True)
    page = book.page
    page.wait_for_selector(".vw-occlusion[data-seq='1']")
    assert agrees(page, book) == [40, 40, 56, 56]
    rows, whole = page.evaluate(ROWS), page.locator(".vw-occlusion").bounding_box()
    photo = pixels(page, ".vw-occlusion-stage > canvas:first-child")
    assert photo.shape == (96, 96, 4) and np.ptp(photo[40:56, 40:56, :3]) > 50
    assert (pixels(page, ".vw-patch canvas")[..., :3] == 128).all(), "the patch is grey"

    # Drag: the patch is under the pointer at once, the numbers follow, and none is waited for.
    stage = page.locator(".vw-occlusion-stage").bounding_box()
    u = stage["width"] / 96
    page.mouse.move(stage["x"] + 48 * u, stage["y"] + 48 * u)
    page.mouse.down()
    for i in range(1, 31):
        page.mouse.move(stage["x"] + (48 - 0.5 * i) * u, stage["y"] + (48 - 0.8 * i) * u)
        page.wait_for_timeout(8)
    left = page.locator(".vw-patch").evaluate("(p) => [parseFloat(p.style.top), parseFloat(p.style.left)]")
    page.mouse.up()
    assert left == pytest.approx([100 * 16 / 96, 100 * 25 / 96], abs=1.1)
    at = agrees(page, book)
    assert abs(at[0] - 16) <= 1 and abs(at[1] - 25) <= 1
    assert page.evaluate(ROWS) != rows

    # A click puts it there, by its middle; keys go pixel by pixel, with Shift by strides, and to the edges.
    page.mouse.click(stage["x"] + 70.5 * u, stage["y"] + 30.5 * u)
    assert agrees(page, book)[:2] in ([22, 62], [23, 63], [22, 63], [23, 62])
    start = box(page)
    for key, (down, across) in {"ArrowRight": (0, 1), "ArrowDown": (1, 1), "Shift+ArrowLeft": (1, -7), "Shift+ArrowUp": (-7, -7)}.items():
        page.keyboard.press(key)
        assert agrees(page, book)[:2] == [start[0] + down, start[1] + across]
    page.keyboard.press("End")
    page.keyboard.press("PageDown")
    assert agrees(page, book) == [80, 80, 96, 96]
    page.keyboard.press("Home")
    assert agrees(page, book) == [80, 0, 96, 16]
    book.python("asked.clear()")      # twenty steps at once are two questions: the first, and the last when that is answered
    page.locator(".vw-patch").evaluate("(p) => { for (let i = 0; i < 20; i++) p.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowUp' })); }")
    page.wait_for_selector(".vw-occlusion[data-box='60 0 76 16']")
    agrees(page, book)
    assert 2 <= len(book.python("print(json.dumps(asked))")) <= 3
    page.touchscreen.tap(stage["x"] + 48 * u, stage["y"] + 48 * u)
    assert agrees(page, book)[0] in (40, 41)
    now = page.locator(".vw-occlusion").bounding_box()
    assert (now["width"], now["height"]) == (whole["width"], whole["height"]), "the layout jumps"

    # Python moves it too; a row chooses the class, and its kind of score stays.
    book.python("slider.box = (3, 5, 19, 21)")
    page.wait_for_selector(".vw-occlusion[data-box='3 5 19 21']")
    page.wait_for_timeout(1600)      # what was turned last is held that long
    agrees(page, book)
    page.locator(".vw-pairs button", has_text="rose").click()
    page.wait_for_function("() => document.querySelector('.vw-occlusion > .vw-title').textContent.startsWith('Logit of rose')")
    assert page.locator(".vw-pairs [aria-pressed=true] .vw-bar-name").text_content() == "rose"
    assert page.problems == []


def test_the_map_fills_and_tells_its_values(notebook):
    book = notebook(CELL, viewport={"width": 1200, "height": 1000})
    page = book.page
    page.wait_for_selector(".vw-occlusion[data-seq='1']")
    page.get_by_role("button", name="Fill the map").press("Enter")
    page.wait_for_selector(".vw-occlusion[data-status='done']")
    assert page.get_by_role("progressbar", name="map").get_attribute("aria-valuenow") == "100"
    assert page.locator(".vw-state-line").text_content() == "all 121 windows"
    book.python("wanted = vw.occlusion(net, x, vw.Logit('poppy'), window=16, stride=8).result()")
    wanted = np.array(book.python("print(json.dumps(wanted.map[0].tolist()))"))
    assert book.python("print(json.dumps(bool((slider.map.map == wanted.map).all())))")

    # Read back from the canvas: the strength is the root of the share of the scale's end, red is positive.
    shown, top = pixels(page, ".vw-occlusion-stage > canvas:nth-child(2)").astype(float), np.abs(wanted).max()
    assert np.abs((shown[..., 3] / 255) ** 2 * top - np.abs(wanted)).max() < 0.01 * top
    clear = np.abs(wanted) > 0.1 * top      # near 0 the colour is white
    assert clear.mean() > 0.1 and np.array_equal(np.sign(shown[..., 0] - shown[..., 2])[clear], np.sign(wanted)[clear])
    assert page.locator(".vw-scale span").last.text_content() == f"{top:.3g} logits"

    # The value under the pointer, against the map; a click there moves the patch.
    stage = page.locator(".vw-occlusion-stage").bounding_box()
    u = stage["width"] / 96
    for y, x in ((50, 20), (80, 88), (12, 47), tuple(int(v) for v in np.unravel_index(wanted.argmin(), wanted.shape))):
        page.mouse.move(stage["x"] + (x + 0.5) * u, stage["y"] + (y + 0.5) * u)
        told = page.locator(".vw-where + .vw-where").text_content()
        row, column = (int(v) for v in re.match(r"Row (\d+), column (\d+)", page.locator(".vw-where").first.text_content()).groups())
        assert abs(row - y) <= 1 and abs(column - x) <= 1      # the frame around the stage takes a pixel of the screen
        sign, amount = re.match(r"Map there: a (drop|rise) of (\S+) logits", told).groups()
        assert float(amount) == pytest.approx(abs(wanted[row, column]), rel=0.006)
        assert (sign == "drop") == (wanted[row, column] >= 0)
    page.mouse.click(stage["x"] + 20.5 * u, stage["y"] + 50.5 * u)
    at = agrees(page, book)
    assert abs(at[0] - 42) <= 1 and abs(at[1] - 12) <= 1

    # Opacity; the map is gone when an option is turned, and that is said; errors; the window alone.
    page.get_by_label("map opacity").press("Home")
    page.wait_for_function("() => document.querySelector('.vw-occlusion-stage > canvas:nth-child(2)').style.opacity === '0'")
    page.get_by_label("window", exact=True).press("ArrowRight")
    page.wait_for_selector(".vw-stale-note:has-text('The options have changed')")
    assert page.locator(".vw-occlusion-stage > canvas:nth-child(2)").is_hidden()
    book.python("slider.ready()")
    assert book.python("print(json.dumps([slider.window, slider.map is None]))") == [17, True]
    page.get_by_label("keep only the window").check()
    page.wait_for_function("() => document.querySelector('.vw-occlusion > .vw-title').textContent.endsWith('with only the window seen')")
    assert (pixels(page, ".vw-occlusion-stage > canvas:first-child")[..., :3] == 128).all(), "all else is hidden"
    y0, x0, y1, x1 = box(page)
    seen = book.python(f"print(json.dumps((255 * x[0, :, {y0}:{y1}, {x0}:{x1}]).round().int().permute(1, 2, 0).tolist()))")
    assert np.array_equal(pixels(page, ".vw-patch canvas")[..., :3], seen), "and not the window"
    book.python("slider.target = vw.Logit('popy')")
    page.wait_for_selector(".vw-occlusion .vw-error:has-text('did you mean')")
    assert page.problems == []
