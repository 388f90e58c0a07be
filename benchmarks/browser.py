"""JupyterLab and Chromium, as the browser tests have them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lab import CHROMIUM, FLAGS, Lab, Notebook, write_notebook

__all__ = ["CHROMIUM", "FLAGS", "Lab", "Notebook", "open_lab", "write_notebook"]


@contextmanager
def open_lab() -> Iterator[tuple[Lab, Path, Any]]:
    """A server, the folder that it shows, and a browser, for the length of the body."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        try:
            lab.wait()
            yield lab, Path(folder), playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        finally:
            lab.stop()
