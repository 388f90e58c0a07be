"""A browser, a JupyterLab and notebooks in it, for every file with browser tests; nothing starts before it is asked for."""

from __future__ import annotations

import os

import pytest
from lab import CHROMIUM, FLAGS, Lab, Notebook, write_notebook


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        if os.environ.get("VIZWIDGETS_REQUIRE_BROWSER"):
            pytest.fail("Chromium is required and not installed")
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium; or set CHROMIUM to its path)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    server = Lab(tmp_path_factory.mktemp("lab"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def context(browser):
    # One context: its cache makes every load of JupyterLab after the first faster.
    made = browser.new_context(viewport={"width": 1400, "height": 1100})
    yield made
    made.close()


@pytest.fixture
def notebook(lab, context, browser, request):
    """Make a notebook of cells, open it and run all of them."""
    opened, contexts = [], []

    def make(*cells, **options):
        name = f"{request.node.name}-{len(opened)}.ipynb"
        write_notebook(lab.root / name, cells)
        home = browser.new_context(**options) if options else context
        contexts.extend([home] if options else [])
        page = home.new_page()
        page.problems = []
        page.on("pageerror", lambda e: page.problems.append(str(e)))
        page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
        made = Notebook(page, lab, name)
        opened.append(made)
        for i in range(len(cells)):
            made.run(i)
        return made

    yield make
    for made in opened:
        made.close()
        ours = [p for p in made.page.problems if "vw" in p or "widget" in p.lower()]
        made.page.close()
        assert ours == []
    for home in contexts:
        home.close()
