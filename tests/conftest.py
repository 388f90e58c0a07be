"""Fixtures that several files share."""

from __future__ import annotations

import os
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from browser_fixtures import browser, context, lab, notebook  # noqa: F401

import vizwidgets as vw


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Small pictures: more threads only get in each other's way, and one thread gives the same bits everywhere.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real weights and photographs that are not part of the project; tests that need them are skipped without."""
    folder = Path(os.environ.get("VIZWIDGETS_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "models").is_dir():
        pytest.skip(f"no real weights and photographs in {folder}; set VIZWIDGETS_DATA to a folder that has them")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing can be fetched, and nothing has been."""

    def refuse(*a: Any, **k: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.fixture(scope="session")
def flowers() -> vw.Net:
    """The bundled network."""
    try:
        return vw.load("flowers")
    except LookupError:  # before its first training there are no weights in the tree
        from vizwidgets.models import FlowerNet

        return vw.as_net(FlowerNet().eval(), size=96, mean=0.5, std=0.25, labels=map(str, range(12)), name="flowers")
