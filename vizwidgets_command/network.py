"""The network that was asked for on the command line, and the Explorer on it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

import vizwidgets as vw
from vizwidgets.core.errors import unknown
from vizwidgets.weights import read_state

from . import CommandError

_OURS = (__file__, "<frozen ", importlib.__file__)


def explorer(request: Mapping[str, str]) -> Any:
    """The Explorer that `vizwidgets app` shows.

    Parameters
    ----------
    request : mapping
        `network`, and where given `weights`, `labels` and `image` (absolute paths); `folder` is where the command was
        started.

    Raises
    ------
    CommandError
        With what is wrong, in words for the person at the command line.
    """
    try:
        net = _network(request)
    except (LookupError, ValueError, TypeError, OSError) as e:
        raise CommandError(_text(e)) from e
    try:
        return vw.Explorer(net, request.get("image"))
    except (LookupError, ValueError, TypeError, OSError, RuntimeError) as e:
        what = "" if isinstance(e, (LookupError, ValueError, OSError)) else f"{request['network']} cannot be looked into: "
        raise CommandError(what + _text(e)) from e


def _network(request: Mapping[str, str]) -> vw.Net:
    name, labels = request["network"], _labels(request.get("labels"))
    if ":" in name:
        net = _own(name, Path(request["folder"]))
        if "weights" in request:
            _fill(net.module, Path(request["weights"]), name)
    elif name.endswith(".py"):
        raise ValueError(f"say what in {name} is the network: {name}:NAME")
    else:
        net = vw.load(name, weights=request.get("weights"))
    if labels is None:
        return net
    with torch.no_grad():
        classes = net(torch.zeros(1, net.channels, *net.size)).shape[1]
    if len(labels) != classes:
        raise ValueError(f"{len(labels)} labels for the {classes} classes of {name}")
    return replace(net, labels=tuple(labels))


def _own(name: str, folder: Path) -> vw.Net:
    """The network behind ``FILE.py:NAME`` or ``MODULE:NAME``."""
    source, _, attribute = name.rpartition(":")
    found: Any = _module(source, folder)
    try:
        found = getattr(found, attribute)
    except AttributeError:
        names = [n for n, v in vars(found).items() if not n.startswith("_") and (callable(v) or isinstance(v, vw.Net))]
        raise LookupError(f"{source}: {unknown('network', attribute, names)}") from None
    if not isinstance(found, (vw.Net, nn.Module)) and callable(found):
        function = found
        found = _users(lambda: function(), f"{attribute}()")
    if not isinstance(found, (vw.Net, nn.Module)):
        raise TypeError(f"{name} is of type {type(found).__name__}; it has to be a torch.nn.Module, a vizwidgets.Net, or a function "
                        "without arguments that gives one")  # fmt: skip
    return found if isinstance(found, vw.Net) else replace(vw.as_net(found), name=attribute)


def _module(source: str, folder: Path) -> ModuleType:
    if not source.endswith(".py"):
        sys.path.insert(0, str(folder))
        try:
            return _users(lambda: importlib.import_module(source), source)
        except ModuleNotFoundError as e:
            raise LookupError(f"there is no module {e.name!r} in {folder} or among the installed packages") from e
    path = (folder / Path(source).expanduser()).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no file {source!r}")
    sys.path.insert(0, str(path.parent))  # as `python FILE.py` would
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    _users(lambda: spec.loader.exec_module(module), path.name)  # type: ignore[union-attr]
    return module


def _users(call: Any, what: str) -> Any:
    """Run code of the user's; if it raises, say where, without the frames that are none of his."""
    try:
        return call()
    except (Exception, SystemExit) as e:
        if isinstance(e, ModuleNotFoundError) and e.name and f"{what}.".startswith(f"{e.name}."):
            raise
        frames = [f for f in traceback.extract_tb(e.__traceback__) if not f.filename.startswith(_OURS)]
        lines = [*traceback.format_list(frames[-4:]), *traceback.format_exception_only(e)]
        raise CommandError(f"{what} raises an error:\n{''.join(lines).rstrip()}") from e


def _fill(module: nn.Module, weights: Path, name: str) -> None:
    try:
        module.load_state_dict(read_state(weights))
    except RuntimeError as e:
        lines = str(e).splitlines()
        detail = lines[1] if len(lines) > 1 else lines[0]
        raise ValueError(f"{weights.name} does not belong to {name}: {detail.strip()[:200]}") from e


def _labels(path: str | None) -> list[str] | None:
    if path is None:
        return None
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
        labels = json.loads(text) if file.suffix == ".json" else [line.strip() for line in text.splitlines() if line.strip()]
    except ValueError as e:  # not UTF-8, not JSON
        raise ValueError(f"{file.name} is no list of class names: {e}") from e
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{file.name} is no list of class names: one on each line, or in a .json file a list of texts")
    return labels


def _text(e: BaseException) -> str:
    return str(e.args[0]) if isinstance(e, KeyError) and e.args else str(e) or type(e).__name__
