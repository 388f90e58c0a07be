"""A server of JupyterLab, or of Notebook, on a free loopback port, and how to drive it with Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]  # fmt: skip

# No news prompt, no toasts, and every cell attached to the page whether it is on screen or not.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}

EXPLORER = "import vizwidgets as vw\nexplorer = vw.explore()\nexplorer"

_KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
_IDLE = f"() => {{ const k = {_KERNEL}; return k && k.status === 'idle' && k.connectionStatus === 'connected'; }}"


class Lab:
    """A server of its own: nothing of the user's settings is read or written. `app` is "lab" or "notebook"."""

    def __init__(self, root: Path, app: str = "lab") -> None:
        self.root, self.app, self.token = root, app, secrets.token_hex(16)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        home = root / ".home"
        config = home / "config" / "labconfig"
        config.mkdir(parents=True)
        (config / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
        environment = {
            **os.environ, "HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "IPYTHONDIR": str(home / "ipython"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        }  # fmt: skip
        self.log = root / "lab.log"
        module, settings = {"lab": ("jupyterlab", "LabApp"), "notebook": ("notebook", "JupyterNotebookApp")}[app]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
                 f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
                 f"--ServerApp.root_dir={root}", f"--{settings}.expose_app_in_browser=True"],
                cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait(self, timeout: float = 90) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log.read_text(errors='replace')[-2000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url("api/status"), timeout=2):
                return
            time.sleep(0.1)
        raise TimeoutError(self.log.read_text(errors="replace")[-2000:])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)


class Notebook:
    """A notebook open in a page."""

    def __init__(self, page: Any, lab: Lab, name: str) -> None:
        self.page, self.lab, self.name = page, lab, name
        self.open()

    def open(self) -> None:
        path = "lab/tree" if self.lab.app == "lab" else "notebooks"
        self.page.goto(self.lab.url(f"{path}/{self.name}") + "&reset")
        self.page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context", timeout=90_000)
        self.page.wait_for_function(_IDLE, timeout=90_000)
        self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")

    def run(self, index: int, timeout: float = 120) -> None:
        """Run one cell by its index: a click in an output makes that cell the active one."""
        self.page.evaluate(
            "async (i) => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i;"
            " await window.jupyterapp.commands.execute('notebook:run-cell'); }", index)  # fmt: skip
        self.page.wait_for_function(_IDLE, timeout=timeout * 1000)

    def python(self, code: str) -> Any:
        """Run code in the notebook's kernel beside its cells and give what it prints, read as JSON."""
        out = self.page.evaluate(
            f"""async (code) => {{ let text = ''; const k = {_KERNEL};
              const f = k.requestExecute({{ code, store_history: false }});
              f.onIOPub = (m) => {{ if (m.header.msg_type === 'stream') text += m.content.text;
                                   if (m.header.msg_type === 'error') text += JSON.stringify(m.content.evalue); }};
              await f.done; return text; }}""", "import json\n" + code)  # fmt: skip
        return json.loads(out) if out.strip() else None

    def theme(self, name: str) -> None:
        self.page.evaluate("(t) => window.jupyterapp.commands.execute('apputils:change-theme', { theme: t })", name)
        dark = str("Light" in name).lower()
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{dark}'")

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


def grid_shows(page: Any, layer: str, view: int = 0) -> None:
    """Wait until a grid has painted this layer."""
    page.wait_for_function(
        "([layer, view]) => { const g = document.querySelectorAll('.vw-grid')[view];"
        " return g && g.dataset.seq && g.querySelector('.vw-title').textContent === layer; }",
        arg=[layer, view], timeout=30_000)  # fmt: skip
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
