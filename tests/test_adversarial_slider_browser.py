"""AdversarialSlider in JupyterLab: drag, keys, pixels and bars that move, the file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PILImage

pytestmark = pytest.mark.browser

CELL = """import torch, vizwidgets as vw
torch.set_num_threads(1)
net = vw.load('flowers')
x = vw.image(vw.data.Flowers(1, seed=7).flower(0).image, net)
slider = vw.AdversarialSlider(net, x, eps=0)
slider"""
# The pixels that a canvas holds, without alpha.
PIXELS = """(c) => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  return [c.width, c.height, Array.from(d).filter((_, i) => i % 4 < 3)]; }"""
BARS = "() => [...document.querySelectorAll('.vw-pairs .vw-bar-row')].map((r) => r.textContent)"


def pixels(page, place):
    width, height, values = page.locator(".vw-three canvas").nth(place).evaluate(PIXELS)
    return np.array(values).reshape(height, width, 3)


def settled(page, book, eps):
    """Wait until this bound is worked out to its last step and painted."""
    page.wait_for_function("(t) => document.querySelector('.vw-adversarial .vw-knobs output').textContent === t", arg=f"{eps} / 255")
    for _ in range(100):      # the page asks for the newest value when the one before has been answered
        levels, number = book.python("slider.wait(20)\nprint(json.dumps([slider.eps * 255, slider.frame['seq']]))")
        if abs(levels - eps) < 1e-6:
            break
        page.wait_for_timeout(50)
    page.wait_for_function("(n) => document.querySelector('.vw-adversarial').dataset.seq === String(n)", arg=number)


def test_drag_keys_and_the_file(notebook, tmp_path):
    book = notebook(CELL, viewport={"width": 1200, "height": 1000}, device_scale_factor=2)
    page = book.page
    settled(page, book, 0)
    original = pixels(page, 0)
    assert np.array_equal(pixels(page, 1), original)
    assert (pixels(page, 2) == 128).all(), "no change is grey"
    assert page.get_by_role("button", name="Save as PNG").is_disabled()
    bars, size = page.evaluate(BARS), page.locator(".vw-adversarial").bounding_box()
    assert page.locator(".vw-three canvas").first.evaluate("(c) => c.clientWidth * devicePixelRatio > 2 * c.width"), "it is enlarged"

    # Drag to the middle: the pictures follow while the button is down.
    box = page.get_by_label("eps", exact=True).bounding_box()
    x, y = box["x"] + 8, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(20):
        page.mouse.move(x + i * (box["width"] - 16) / 40, y)
        page.wait_for_timeout(15)
    page.wait_for_function("() => document.querySelector('.vw-fooled') && document.querySelector('.vw-adversarial').dataset.done === 'true'")
    page.mouse.up()
    levels = int(page.get_by_label("eps", exact=True).input_value())
    assert 10 <= levels <= 20
    settled(page, book, levels)
    change = pixels(page, 1) - original
    assert np.array_equal(pixels(page, 0), original)
    assert np.abs(change).max() == levels
    assert np.array_equal(pixels(page, 2), np.clip(128 + 16 * change, 0, 255))
    assert page.evaluate(BARS) != bars
    assert page.get_by_role("status").filter(has_text="no longer poppy").count() == 1
    assert page.locator(".vw-adversarial-size").text_content().startswith(f"Largest change: {levels} of 255 levels")
    kept = page.evaluate("() => [...document.querySelectorAll('.vw-pairs .vw-bar-name')].map((n) => n.textContent)")
    now = page.locator(".vw-adversarial").bounding_box()
    assert (now["width"], now["height"]) == (size["width"], size["height"]), "the layout jumps"

    # By keys alone: the bound, a class to win, back again.
    page.get_by_label("eps", exact=True).focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    settled(page, book, 3)
    assert np.abs(pixels(page, 1) - original).max() == 3
    assert page.evaluate("() => [...document.querySelectorAll('.vw-pairs .vw-bar-name')].map((n) => n.textContent)")[0] == kept[0]
    row = page.locator(".vw-pairs button", has_text="rose")
    row.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.vw-pairs [aria-pressed=true] .vw-bar-name')?.textContent === 'rose'")
    assert book.python("print(json.dumps([slider.target == vw.Logit(2), slider.wait(20), slider.error]))") == [True, True, ""]
    assert page.get_by_label("target", exact=True).evaluate("(s) => s.selectedOptions[0]?.textContent") == "to rose"
    page.get_by_label("target", exact=True).select_option(label="away from poppy")
    page.wait_for_function("() => !document.querySelector('.vw-pairs [aria-pressed=true]')")
    page.get_by_label("eps", exact=True).focus()
    page.keyboard.press("PageUp")
    levels = int(page.get_by_label("eps", exact=True).input_value())
    settled(page, book, levels)

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").press("Enter")
    download.value.save_as(tmp_path / "changed.png")
    saved = np.asarray(PILImage.open(tmp_path / "changed.png")).astype(int)
    assert np.array_equal(saved, pixels(page, 1))
    assert 0 < np.abs(saved - original).max() <= levels
    assert download.value.suggested_filename.startswith("poppy-")

    book.python("slider.norm, slider.eps = '2', 1.6")
    page.wait_for_function("() => document.querySelector('.vw-adversarial .vw-knobs output').textContent === '1.6'")
    book.python("slider.target = vw.Logit('rse')")
    page.wait_for_selector(".vw-adversarial .vw-error:has-text('did you mean')")
    assert page.problems == []
