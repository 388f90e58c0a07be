"""A picture of one's own given to the page: very large ones, and files that are none; the kernel and the others go on."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image as PILImage

pytestmark = pytest.mark.browser

EXPLORER = "import vizwidgets as vw\nexplorer = vw.explore()\nexplorer"
CAPTION, ERROR = ".vw-chooser .vw-dim", ".vw-chooser .vw-error"
CONNECTION = """() => { window.states = [];
  window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.connectionStatusChanged.connect(
    (_, state) => window.states.push(state)); }"""
# A drop is made from a file of the page's own: no script may make one from a path.
HELPER = """() => { const i = document.createElement('input'); i.type = 'file'; i.id = 'dropped'; document.body.append(i); }"""
DROP = """() => { const data = new DataTransfer(); data.items.add(document.getElementById('dropped').files[0]);
  document.querySelector('.vw-chooser').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); }"""
SLOWEST = """() => { window.slowest = 0; let last = performance.now();
  const frame = (now) => { window.slowest = Math.max(window.slowest, now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame); }"""


@pytest.fixture
def page(notebook):
    book = notebook(EXPLORER)
    book.page.wait_for_selector(".vw-thumbs button")
    book.page.evaluate(CONNECTION)
    book.page.evaluate(HELPER)
    book.page.book = book
    return book.page


def drop(page, path):
    page.set_input_files("#dropped", path)
    page.evaluate(DROP)


def text_begins(page, selector, text):
    page.wait_for_function("([s, t]) => document.querySelector(s).textContent.startsWith(t)", arg=[selector, text], timeout=60_000)


def source(page):
    return page.book.python("print(json.dumps(explorer.image.source))")


def goes_on(page):
    """A click still reaches the kernel, over the connection that there was."""
    name = page.locator(".vw-thumbs button").nth(3).get_attribute("title")
    page.locator(".vw-thumbs button").nth(3).click()
    text_begins(page, CAPTION, name)
    assert source(page) == name
    page.wait_for_function("(s) => document.querySelector(s).textContent === ''", arg=ERROR)
    assert page.evaluate("() => window.states") == []


def test_a_photograph_of_50_megabytes_is_dropped(page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), dtype=np.uint8)
    noise[:, :600] //= 2
    whole = np.tile(noise, (9, 10, 1))
    whole[:4500] //= 2
    exif = PILImage.Exif()
    exif[0x0112] = 6  # lies on its side: what is on top is shown on the right
    photo = tmp_path / "huge.jpg"
    PILImage.fromarray(whole).save(photo, quality=82, exif=exif)
    assert photo.stat().st_size > 40e6
    page.evaluate(SLOWEST)
    drop(page, photo)
    text_begins(page, CAPTION, "huge.jpg; made smaller in the page: 9000×12000 to 1536×2048")
    print(f"slowest frame {page.evaluate('() => window.slowest'):.0f} ms")
    assert source(page) == "huge.jpg"
    left, right = page.book.python(
        "print(json.dumps([explorer.image.pixels[..., :40].mean().item(), explorer.image.pixels[..., 56:].mean().item()]))")  # fmt: skip
    assert left > 2 * right > 0
    goes_on(page)


def test_the_message_is_never_longer_than_a_server_takes(page, tmp_path):
    # Just below the limit of 8 MB as it is, just above it made smaller; what is no picture and too large is refused.
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1650, 3), dtype=np.uint8)
    picture = tmp_path / "noise.png"
    PILImage.fromarray(noise).save(picture, compress_level=0)
    assert 7.9e6 < picture.stat().st_size < 8e6
    drop(page, picture)
    text_begins(page, CAPTION, "noise.png; resized 1650×1600")
    picture.write_bytes(picture.read_bytes() + bytes(100_000))
    drop(page, picture)
    text_begins(page, CAPTION, "noise.png; made smaller in the page: 1650×1600 to 1650×1600")
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(20_000_000))
    drop(page, film)
    text_begins(page, ERROR, "film.mp4 has 20 MB, and this browser cannot make a smaller picture of it; up to 8 MB are taken here")
    text_begins(page, CAPTION, "noise.png; made smaller")
    assert source(page) == "noise.png"
    goes_on(page)


def test_files_that_are_no_pictures_are_dropped(page, tmp_path):
    before, whole = source(page), tmp_path / "whole.png"
    PILImage.effect_noise((90, 90), 80).save(whole)
    half = whole.read_bytes()[: whole.stat().st_size // 2]
    for name, content, said in (("notes.txt", b"this is no picture", "notes.txt is not an image of a known format (18 bytes"),
                                ("empty.png", b"", "empty.png is empty: 0 bytes"),
                                ("cut.png", half, "cut.png is a damaged image")):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        drop(page, tmp_path / name)
        text_begins(page, ERROR, said)
        assert source(page) == before
    # A text dragged over from elsewhere carries no file.
    page.evaluate("() => { const d = new DataTransfer(); d.setData('text/plain', 'hello');"
                  " document.querySelector('.vw-chooser').dispatchEvent(new DragEvent('drop', { dataTransfer: d, bubbles: true })); }")  # fmt: skip
    assert source(page) == before
    goes_on(page)
