"""`vizwidgets app`: the Explorer alone as a page, through Voilà."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from . import CommandError
from .serving import browser, free_port, require

_SECONDS_WITHOUT_PAGE = 120
# Whatever else is installed for JupyterLab is not loaded by the page.
_EXTENSIONS = ["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget", "bqplot", "bqscales"]


def app(options: argparse.Namespace) -> int:
    """Check everything, then serve the page until it is ended."""
    require("voila", "Voilà")
    port = free_port(options.port, options.default_port, options.ip)
    request = {"network": options.network, "folder": os.getcwd()}
    for name in ("weights", "labels", "image"):
        if (given := getattr(options, name)) is not None:
            path = Path(given).expanduser().absolute()
            if not path.is_file():
                what = "is a folder, no file" if path.is_dir() else "does not exist"
                raise CommandError(f"--{name}: {str(given)!r} {what}")
            request[name] = str(path)
    print(f"Looking at {options.network} ...", flush=True)
    # In a process of its own: the server needs no PyTorch, and is a third as large without.
    if subprocess.run([sys.executable, "-m", "vizwidgets_command.check", json.dumps(request)]).returncode:
        return 1
    with tempfile.TemporaryDirectory(prefix="vizwidgets-") as folder:
        page = Path(folder) / "page.ipynb"
        page.write_text(json.dumps(_notebook(request)), encoding="utf-8")
        _serve(page, port, options)
    return 0


def _notebook(request: dict[str, str]) -> dict[str, object]:
    cell: dict[str, object] = {
        "cell_type": "code", "id": "page", "metadata": {}, "execution_count": None, "outputs": [],
        "source": f"from vizwidgets_command.page import page\npage({request!r})",
    }  # fmt: skip
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    title = f"{request['network'].rpartition(':')[2]} · vizwidgets"
    return {"nbformat": 4, "nbformat_minor": 5, "cells": [cell], "metadata": {"kernelspec": python, "title": title}}


def _serve(page: Path, port: int, options: argparse.Namespace) -> None:
    from traitlets.config import Config
    from voila.app import Voila

    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(options.ip, options.ip)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    class Server(Voila):  # type: ignore[misc]
        def launch_browser(self) -> None:  # called once it listens
            opened = browser(options.browser)
            print(f"The Explorer is at {address}\nCtrl-C ends it.", flush=True)
            if opened is not None:
                opened.open(address)

    logging.getLogger("tornado").setLevel(logging.ERROR)
    Server.launch_instance([str(page)], config=Config({
        "Voila": {
            "ip": options.ip, "port": port, "port_retries": 0, "log_level": logging.ERROR,
            # A page that closes ends its kernel by a message that cannot carry the cookie that is asked for otherwise.
            # What can be done without it needs the kernel's random name.
            "tornado_settings": {"disable_check_xsrf": True},
        },
        "VoilaConfiguration": {"theme": options.theme, "extension_allowlist": _EXTENSIONS, "show_tracebacks": False},
        # For pages that could not say that they close, as when a computer is switched off.
        "MappingKernelManager": {"cull_idle_timeout": _SECONDS_WITHOUT_PAGE, "cull_interval": 30},
    }))  # fmt: skip
