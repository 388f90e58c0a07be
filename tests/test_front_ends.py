"""The Explorer in every front end of the table in docs/front_ends.md that can be started here. (JupyterLab: test_browser.py.)"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from lab import EXPLORER, Lab, grid_shows, write_notebook

pytestmark = pytest.mark.browser

# Notebook 7.6 throws this once on every page, with or without widgets.
NOTEBOOKS_OWN = "Cannot read properties of undefined (reading 'schema')"
TITLE = "() => document.querySelector('.vw-grid .vw-title').textContent"


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """Notebook 7 in place of JupyterLab, for the fixture `notebook`."""
    server = Lab(tmp_path_factory.mktemp("notebook7"), "notebook")
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def test_notebook_7(notebook):
    book = notebook(EXPLORER)
    page = book.page
    grid_shows(page, "stage2")
    page.locator("[data-layer='stage3']").first.click()
    grid_shows(page, "stage3")
    assert book.python("print(json.dumps([explorer.layer, explorer.error]))") == ["stage3", ""]
    # Without a network there are messages on scripts that could not be had; errors of pages are another matter.
    assert [p for p in page.problems if p != NOTEBOOKS_OWN and not p.startswith(("Failed to load", "WebSocket"))] == []


# A thing that takes the keyboard, how to read where it is, and keys that each must change that.
KEYS = {
    "tree": (".vw-tree", "(e) => { const at = document.getElementById(e.getAttribute('aria-activedescendant')); return at.id + at.ariaExpanded; }",
             "Home ArrowDown End ArrowUp PageUp PageDown Home ArrowRight ArrowRight ArrowLeft"),
    "channels": (".vw-grid .vw-tiles", "(e) => e.querySelector('.vw-spoken').getAttribute('aria-posinset')",
                 "End Home ArrowRight ArrowDown ArrowLeft ArrowUp End PageUp PageDown"),
    "large": (".vw-grid-detail canvas", "(e) => e.parentElement.lastChild.textContent", "ArrowRight ArrowDown ArrowLeft ArrowUp"),
    "order": (".vw-grid select", "(e) => e.value", "ArrowDown ArrowUp End Home"),
    "colours": (".vw-grid select >> nth=1", "(e) => e.value", "ArrowDown ArrowUp"),
    "opacity": (".vw-grid input[type=range]", "(e) => e.value", "ArrowLeft ArrowUp Home PageUp End PageDown"),
    "filters": (".vw-filters .vw-tiles", "(e) => e.querySelector('.vw-spoken').getAttribute('aria-posinset')",
                "End Home ArrowRight ArrowDown ArrowLeft ArrowUp"),
    "number": (".vw-filters input[type=number]", "(e) => e.value", "ArrowUp ArrowDown"),
}  # fmt: skip


def test_arrow_keys_in_notebook_7(notebook):
    book = notebook(EXPLORER.replace("explore()", "explore(layer='stage1')"),
                    "vw.FilterGrid(explorer.net, explorer.image, 'stage2.0.conv1')")  # fmt: skip
    page = book.page
    grid_shows(page, "stage1")
    page.locator(".vw-grid input[type=checkbox]").check()
    page.locator(".vw-grid input[type=range]").wait_for()
    for name, (where, read, keys) in KEYS.items():
        thing = page.locator(where).locator("visible=true").first
        thing.focus()
        for i, key in enumerate(keys.split()):
            before = thing.evaluate(read)
            page.keyboard.press(key)
            page.wait_for_timeout(100)
            if i or key not in ("Home", "End"):      # the first may find it there already
                assert thing.evaluate(read) != before, f"{key} does nothing in {name}"
            assert thing.evaluate("(e) => document.activeElement === e"), f"{key} takes the focus from {name}"
    tabs = page.locator(".vw-tabs button")
    tabs.first.focus()
    for key, chosen in (("ArrowRight", 1), ("ArrowLeft", 0), ("End", 3), ("Home", 0)):
        page.keyboard.press(key)
        page.wait_for_function("(i) => document.querySelectorAll('.vw-tabs button')[i].ariaSelected === 'true'", arg=chosen)
        assert page.evaluate("() => document.activeElement.role") == "tab"


@contextlib.contextmanager
def voila(path: Path):
    """Voila serving this notebook; its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = path.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "voila", path.name, "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"],
            cwd=path.parent, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "HOME": str(path.parent), "JUPYTER_CONFIG_DIR": str(path.parent)})  # fmt: skip
    url, end = f"http://127.0.0.1:{port}/", time.monotonic() + 60
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < end, log.read_text(errors="replace")[-2000:]
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()      # it ends its kernels itself
        process.wait(20)


def test_voila(browser, tmp_path):
    write_notebook(tmp_path / "explorer.ipynb", [EXPLORER])
    page, problems = browser.new_page(), []
    page.on("pageerror", lambda e: problems.append(str(e)))
    with voila(tmp_path / "explorer.ipynb") as url:
        page.goto(url, timeout=90_000)
        grid_shows(page, "stage2")
        page.locator("[data-layer='stage3']").first.click()
        grid_shows(page, "stage3")
        page.locator(".vw-grid .vw-tiles").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('.vw-grid .vw-grid-detail').textContent.includes('channel 1 (selected)')")
        page.close()
    assert problems == []


@pytest.fixture(scope="module")
def html_manager(tmp_path_factory) -> Path:
    """The script with which exported pages show widgets, as they load it from the network."""
    folder = tmp_path_factory.mktemp("npm")
    if not shutil.which("npm"):
        pytest.skip("npm is not installed; it fetches the script that exported pages load")
    done = subprocess.run(["npm", "pack", "--silent", "@jupyter-widgets/html-manager@1"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm could not fetch @jupyter-widgets/html-manager: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "dist" / "embed-amd.js"


@pytest.mark.slow      # it needs a network
def test_exported_page(browser, tmp_path, html_manager):
    write_notebook(tmp_path / "page.ipynb", [EXPLORER, "vw.FilterGrid(explorer.net, explorer.image, 'stem')"])
    subprocess.run([sys.executable, "-m", "nbconvert", "--execute", "--to", "html", "page.ipynb"], cwd=tmp_path, check=True)
    share = Path(sys.prefix) / "share" / "jupyter"
    local = {"require": share / "voila" / "templates" / "base" / "static" / "require.min.js", "html-manager": html_manager,
             "anywidget": share / "nbextensions" / "anywidget" / "index.js"}  # fmt: skip
    page, problems, asked = browser.new_page(viewport={"width": 1300, "height": 2000}), [], set()

    def answer(route):
        name = next((n for n in reversed(local) if n in route.request.url), None)
        asked.add(name)
        if name is None:
            route.abort()
        else:
            route.fulfill(path=local[name], content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"})

    page.on("pageerror", lambda e: problems.append(str(e)))
    page.route(lambda url: url.startswith("http"), answer)
    page.goto((tmp_path / "page.html").as_uri())
    grid_shows(page, "stage2")
    assert set(local) <= asked
    # All that is to be seen comes from the state: pictures, classes, layers, channels and filters.
    assert page.locator(".vw-tree-row:visible").count() >= 7
    assert page.locator(".vw-bar-name").first.text_content()
    assert page.locator(".vw-picture").first.evaluate("(i) => i.complete && i.naturalWidth") > 100
    colours = "(c) => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    for canvas in (".vw-grid .vw-tiles canvas", ".vw-grid .vw-grid-detail canvas", ".vw-filters:visible .vw-tiles canvas"):
        assert page.locator(canvas).last.evaluate(colours) > 50, canvas
    # What the page works out itself goes on; what needs Python does nothing, and breaks nothing.
    page.locator(".vw-grid .vw-tiles canvas").first.hover(position={"x": 100, "y": 20})
    page.wait_for_function("() => !document.querySelector('.vw-grid .vw-grid-detail').textContent.includes('strongest')")
    for click in ("[data-layer='stage3']", ".vw-thumbs button >> nth=2", ".vw-tabs button >> nth=1", ".vw-bars button"):
        page.locator(click).first.click()
    page.wait_for_timeout(500)
    assert page.evaluate(TITLE) == "stage2"
    page.close()
    assert problems == []
