"""`vizwidgets app` in Chromium: the page, a click, a file, and what becomes of the kernels."""

from __future__ import annotations

import re
import time

import pytest
from lab import grid_shows
from PIL import Image as PILImage
from started import SHOWN, Started, offline
from test_browser import LARGE, TILES, click_tile, pixels

pytestmark = pytest.mark.browser

# Voilà asks for a set of icons there; none of them is used.
ICONS = "https://cdn.jsdelivr.net/npm/@fortawesome/"
NET = """
import os, sys
import torch
from torch import nn
def small():
    if os.path.exists("gone"): raise RuntimeError("<b>the file is gone</b>")
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
"""


@pytest.fixture(scope="module")
def app(browser, tmp_path_factory):
    """The app as it comes."""
    started = Started(tmp_path_factory.mktemp("app"), "app")
    try:
        started.address()
        yield started
    finally:
        status = started.interrupt()
    assert status == 0 and "Traceback" not in started.text, started.text


@pytest.fixture
def page(browser, app):
    """A page of the app without a network, and that nothing else was asked for."""
    asked, problems = [], []
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    offline(context, asked)
    page = context.new_page()
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.goto(app.address() + "?theme=dark", wait_until="commit")
    page.wait_for_selector(SHOWN, timeout=120_000)
    yield page
    page.close(run_before_unload=True)
    assert [a for a in asked if not a.startswith(ICONS)] == [] and problems == []
    gone(app)
    context.close()


def gone(app, left=0):
    """Wait until no more kernels than these run."""
    end = time.monotonic() + 60
    while len(app.kernels()) > left:
        assert time.monotonic() < end, "the kernel outlives its page"
        time.sleep(0.1)


def test_the_page(app, page):
    assert page.title() == "flowers · vizwidgets"
    assert page.locator("h1").text_content() == "flowers"
    assert len(app.kernels()) == 1
    grid_shows(page, "stage2")
    old = pixels(page, TILES)
    page.locator("[data-layer='stage3']").first.click()
    grid_shows(page, "stage3")
    new = pixels(page, TILES)
    assert new.std() > 20 and (new.shape != old.shape or abs(new - old).mean() > 5)
    click_tile(page, 9)
    page.wait_for_function("() => document.querySelector('.vw-grid-detail .vw-title').textContent === 'channel 9 (selected)'")

    # Dark was asked for in the address; the other one is a click away.
    colour = "() => getComputedStyle(document.querySelector('h1')).color"
    assert min(map(int, re.findall(r"\d+", page.evaluate(colour))[:3])) > 150, "dark text on a dark page"
    assert page.locator(".vwp-bar a:visible").all_text_contents() == ["light"]


def test_a_file_of_ones_own(page, tmp_path):
    picture, text = tmp_path / "mine.png", tmp_path / "notes.png"
    PILImage.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 60).save(picture)
    text.write_text("these are notes")
    grid_shows(page, "stage2")
    old, shown = pixels(page, TILES), page.locator(".vw-picture").get_attribute("src")
    page.set_input_files(".vw-chooser input[type=file]", text)
    page.wait_for_function("() => document.querySelector('.vw-chooser .vw-error').textContent.startsWith('notes.png')")
    assert page.locator(".vw-picture").get_attribute("src") == shown
    page.set_input_files(".vw-chooser input[type=file]", picture)
    page.wait_for_function("() => document.querySelector('.vw-chooser .vw-dim').textContent.startsWith('mine.png')")
    page.wait_for_function("(old) => document.querySelector('.vw-picture').src !== old", arg=shown)
    page.wait_for_timeout(1000)
    assert page.locator(".vw-chooser .vw-error").text_content() == ""
    assert abs(pixels(page, TILES) - old).mean() > 3


def test_it_fits(page):
    for width in (1600, 800, 380):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(500)
        assert page.evaluate("() => document.documentElement.scrollWidth") == width
        box = page.locator(".vwp").bounding_box()
        assert box["width"] <= 1200 and abs(box["x"] - (width - box["x"] - box["width"])) <= 20, "in the middle"
        spill = "() => Math.max(...[...document.querySelectorAll('.vwp .vw')].map((e) => e.getBoundingClientRect().right))"
        assert page.evaluate(spill) <= width
        assert page.locator(LARGE).is_visible()


def test_ones_own_network_and_what_goes_wrong_later(browser, app, tmp_path):
    """A network of one's own on a port that was asked for; then its file breaks, and a new page says so."""
    (tmp_path / "mine.py").write_text(NET.replace('"gone"', repr(str(tmp_path / "gone"))))
    (tmp_path / "names.txt").write_text("cats\n<i>dogs</i>\n")
    first = Started(tmp_path, "app", "mine.py:small", "--labels", "names.txt")
    context = browser.new_context()  # closing a page of `browser.new_page` ends its context before it has said good-bye
    page = context.new_page()
    try:
        address = first.address()
        assert address != app.address(), "the default port is taken by the other one"
        assert f"is taken by another program; using {address.rstrip('/').rpartition(':')[2]}." in first.text
        page.goto(address, wait_until="commit")
        page.wait_for_selector(SHOWN, timeout=120_000)
        assert page.locator("h1").text_content() == "small"
        assert sorted(page.locator(".vw-bar-name").all_text_contents()) == ["<i>dogs</i>", "cats"]
        (tmp_path / "gone").touch()
        page.goto(address, wait_until="commit")
        page.wait_for_selector(".vwp-error", timeout=120_000)
        assert "RuntimeError: <b>the file is gone</b>" in page.locator(".vwp-error").text_content()
        page.close(run_before_unload=True)
        gone(first)
    finally:
        status = first.interrupt()
        context.close()
    assert status == 0 and "Traceback" not in first.text
