"""`vizwidgets lab`: the notebooks in a folder of the user's, and JupyterLab on the first."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import warnings
from pathlib import Path

from . import CommandError
from .serving import browser, free_port, require

_HERE = Path(__file__).parent
_MANIFEST = ".vizwidgets.json"


def shipped() -> list[Path]:
    """The notebooks that come with the package, or lie beside it in a clone."""
    for folder in (_HERE / "notebooks", _HERE.parent / "notebooks"):
        if found := sorted(folder.glob("*.ipynb")):
            return found
    raise CommandError(f"the notebooks are missing from {_HERE}; install vizwidgets again")


def copy(notebooks: list[Path], folder: Path) -> list[str]:
    """Bring the notebooks into a folder, and write over nothing that was changed there.

    A file of the manifest in the folder knows what was copied before. What still is as it was copied is brought up to
    date. What is not stays, and if there is a newer version, that is put beside it as ``NAME.new.ipynb``.

    Returns
    -------
    list of str
        What was done, a line each.
    """
    known = _manifest(folder)
    before, lines = dict(known), []
    copied = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for notebook in notebooks:
            content = notebook.read_bytes()
            target, new = folder / notebook.name, _digest(content)
            if _digest_of(target) not in (None, new, known.get(notebook.name)):
                if known.get(notebook.name) == new:
                    lines.append(f"{notebook.name}: yours is kept.")
                    continue
                target = _beside(target, new, known)
                lines.append(f"{notebook.name}: yours is kept; the version of this release is {target.name}.")
            if _digest_of(target) != new:
                _write(target, content)
                copied += 1
            known[target.name] = new
        if known != before:
            _write(folder / _MANIFEST, json.dumps({"format": 1, "copied": known}, indent=1).encode())
    except OSError as e:
        raise CommandError(f"the notebooks cannot be written to {str(folder)!r}: {e.strerror or e}. Give another folder: "
                           "vizwidgets lab FOLDER") from e  # fmt: skip
    what = f"{copied} notebook{'s' * (copied != 1)} copied to" if copied else "The notebooks are in"
    return [f"{what} {folder}", *lines]


def lab(options: argparse.Namespace) -> int:
    """Copy the notebooks and run JupyterLab until it is ended; then the process ends."""
    require("jupyterlab", "JupyterLab")
    port = free_port(options.port, options.default_port)
    folder = Path(options.folder).expanduser().absolute()
    notebooks = shipped()
    print("\n".join(copy(notebooks, folder)), flush=True)
    opens = browser(options.browser) is not None
    print("JupyterLab starts; Ctrl-C ends it.", flush=True)
    from jupyterlab.labapp import LabApp

    arguments = [
        f"--ServerApp.root_dir={folder}", f"--LabApp.default_url=/lab/tree/{notebooks[0].name}",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.open_browser={opens}",
        "--ServerApp.answer_yes=True",  # a single Ctrl-C is meant
        "--Application.log_level=ERROR",  # the address is written at a higher level
    ]  # fmt: skip
    if hasattr(os, "getuid") and os.getuid() == 0:  # as in many containers
        arguments.append("--allow-root")
    with contextlib.suppress(ImportError):
        import voila  # noqa: F401  (it turns on Jupyter's warnings about Jupyter; if not here, then later)
    warnings.simplefilter("ignore", DeprecationWarning)
    LabApp.launch_instance(arguments)
    sys.stdout.flush()
    os._exit(0)  # all is stopped, but a thread that Jupyter began at its start would keep the process for a minute


def _manifest(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / _MANIFEST).read_bytes())["copied"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # without it, whatever differs counts as changed


def _beside(target: Path, new: str, known: dict[str, str]) -> Path:
    """A name for the new version that takes nothing else's place."""
    for i in range(1, 1000):
        path = target.with_suffix(f".new{'' if i == 1 else i}.ipynb")
        if _digest_of(path) in (None, new, known.get(path.name)):
            return path
    raise CommandError(f"there are too many versions beside {target}; delete some")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str | None:
    try:
        return _digest(path.read_bytes())
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, also when the disk is full."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
