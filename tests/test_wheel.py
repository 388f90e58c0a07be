"""What is handed out: the wheel's content, and that it works where there is nothing else."""

from __future__ import annotations

import configparser
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import psutil
import pytest
from started import ROOT, SHOWN, Started, offline

ENTRY = {"vizwidgets": "vizwidgets_command:main"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


def build(root: Path, folder: Path, kind: str = "wheel") -> Path:
    """Build in another process: a builder reads files of the folder it is in."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)], cwd=root, check=True, capture_output=True)
    return next(folder.iterdir())


def content(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as z:
        return {n: z.read(n) for n in z.namelist()}


def test_the_wheel_holds_everything_and_nothing_else(wheel):
    inside = content(wheel)
    own = {n for n in inside if ".dist-info/" not in n}
    wanted = {
        str(p.relative_to(ROOT)): p
        for package in ("vizwidgets", "vizwidgets_command")
        for p in (ROOT / package).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    kinds = {Path(n).suffix for n in wanted}
    assert kinds == {".py", ".js", ".css", ".safetensors"}, "another kind of file: is it meant to be handed out?"
    notebooks = {f"vizwidgets_command/notebooks/{p.name}": p for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert len(notebooks) >= 3
    assert own == {*wanted, *notebooks}
    assert all(inside[n] == p.read_bytes() for n, p in {**wanted, **notebooks}.items())

    info = next(n for n in inside if n.endswith("/METADATA")).partition("/")[0]
    assert inside[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    entries = configparser.ConfigParser()
    entries.read_string(inside[f"{info}/entry_points.txt"].decode())
    assert dict(entries["console_scripts"]) == ENTRY
    metadata = inside[f"{info}/METADATA"].decode()
    assert "Provides-Extra: lab" in metadata and "jupyterlab" in metadata
    assert wheel.stat().st_size < 14e6  # half of it are the pictures in the notebooks


@pytest.mark.long
def test_the_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build(ROOT, tmp_path / "sdist", "sdist")) as tar:
        names = {n.partition("/")[2] for n in tar.getnames()}
        assert not [n for n in names if "__pycache__" in n or n.startswith((".venv", "dist"))]
        assert {"tests/test_wheel.py", "notebooks/execute.py", "Makefile", "README.md", "docs/design.md"} <= names
        tar.extractall(tmp_path / "source", filter="data")
    again = build(next((tmp_path / "source").iterdir()), tmp_path / "again")
    assert content(again) == content(wheel)


class Environment:
    """A virtual environment, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.variables = folder, {}
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"

    def install(self, *what: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "--quiet", *what],
                              capture_output=True, text=True, cwd=self.folder)  # fmt: skip

    def start(self, folder: Path, *arguments: str) -> Started:
        return Started(folder, *arguments, command=(str(self.bin / "vizwidgets"),), environment=self.variables)

    def works(self, browser, folder: Path) -> None:
        """The package is this one's, and both commands show the Explorer, without a network."""
        code = "import vizwidgets, vizwidgets_command as c; print(vizwidgets.__file__, c.__file__)"
        done = subprocess.run([self.bin / "python", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        assert all(f.startswith(str(self.folder)) for f in done.stdout.split()), done.stdout
        self.shows(browser, self.start(folder, "app"), lambda page: None)
        self.shows(browser, self.start(folder, "lab", "course"), run_all)
        assert sorted(p.name for p in (folder / "course").glob("*.ipynb")) == sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb"))

    def shows(self, browser, started: Started, then) -> None:
        context, asked = browser.new_context(), []
        offline(context, asked)
        page = context.new_page()
        try:
            page.goto(started.address(), wait_until="commit")
            then(page)
            page.wait_for_selector(SHOWN, timeout=180_000)
            kernel = started.kernels()[0].cmdline()[0]
            assert kernel.startswith(str(self.folder)), kernel
        finally:
            context.close()
            status = started.interrupt()
        assert status == 0 and "Traceback" not in started.text, started.text
        assert not psutil.pid_exists(started.process.pid)


def run_all(page) -> None:
    """Run the notebook that is open in JupyterLab, as a user does."""
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=120_000)
    page.get_by_text("(ipykernel) | Idle").wait_for(timeout=120_000)  # in the status bar; earlier it would ask for a kernel
    page.locator(".lm-MenuBar-item", has_text="Run").click()
    page.locator("[data-command='runmenu:run-all']").click()


@pytest.mark.browser
def test_the_wheel_beside_its_dependencies(browser, wheel, tmp_path):
    """Installed alone into an environment that sees the dependencies of this one, but not the checkout."""
    environment = Environment(tmp_path / "environment")
    done = environment.install("--no-deps", "--no-index", str(wheel))
    assert done.returncode == 0, done.stderr
    packages = next((environment.folder / "lib").glob("python3*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])  # its own .pth files are not followed
    shared = Path(sys.prefix) / "share" / "jupyter"
    environment.variables = {"JUPYTER_PATH": str(shared), "JUPYTERLAB_DIR": str(shared / "lab")}
    environment.works(browser, tmp_path)


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment(browser, wheel, tmp_path):
    """Installed with all that it needs; takes a network, some minutes and 5 GB."""
    environment = Environment(tmp_path / "environment")
    done = environment.install(f"{wheel}[lab]")
    if "Failed to establish a new connection" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    environment.works(browser, tmp_path)
