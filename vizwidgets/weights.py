"""Weight files: fetched, read as tensors only, and put into a module they belong to."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def fetched(url: str, name: str) -> Path:
    """The file `name` in torch's folder of downloads, fetched from `url` if it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as e:
            raise unreachable(e, url, path) from e
    return path


def unreachable(e: Exception, url: str, path: Path) -> ConnectionError:
    """An error that says which file to put where."""
    return ConnectionError(
        f"the weights cannot be downloaded ({e}). Fetch {url} where there is a network, and put it to "
        f"{path}, or give it: load(..., weights={path.name!r})"
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file; nothing in it is ever executed."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {str(path)!r}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty: 0 bytes")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        raise ValueError(f"{path.name} is not a readable weights file: {_reason(e, path)}") from e
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path.name} holds no state dict (layer names with tensors)")
    return {k.removeprefix("module.").removeprefix("_orig_mod."): v for k, v in state.items()}


def _reason(e: Exception, path: Path) -> str:
    if not isinstance(e, pickle.UnpicklingError):
        return first_line(e).partition(". ")[0]
    # What torch says here advises to switch the protection off.
    code = re.search(r"GLOBAL ([\w.]+)", str(e))
    if code is None:
        with path.open("rb") as file:
            return f"it begins with {file.read(12)!r}, as no file of torch.save does"
    return f"it holds more than tensors ({code[1]}). Only tensors are read, never pickled code: save model.state_dict(), not the model"


def first_line(e: Exception) -> str:
    """What went wrong, without the pages that torch adds."""
    return (str(e) or type(e).__name__).splitlines()[0].rstrip(". ")


def fitted(build: Callable[..., nn.Module], state: dict[str, Tensor], source: str, name: str) -> nn.Module:
    """What `build` makes, with the weights in `state`; with another number of classes if the weights have one."""
    with torch.random.fork_rng(devices=[]):
        module = build()
        last, value = next(reversed(module.state_dict().items()))
        if last in state and state[last].shape[1:] == value.shape[1:] and len(state[last]) != len(value):
            module = build(num_classes=len(state[last]))  # weights of one's own classes
    own = module.state_dict()
    missing, extra = [k for k in own if k not in state], [k for k in state if k not in own]
    other = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or extra or other:
        shown = "".join(
            f"; {len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in (("missing", missing), ("not in it", extra), ("of another shape", other))
            if keys
        )
        raise ValueError(f"{source} does not belong to {name}: of its {len(own)} tensors{shown}")
    module.load_state_dict(state)
    return module.eval()


def class_names(module: nn.Module, published: tuple[str, ...], given: Any, source: str) -> tuple[str, ...]:
    """The names that were given, or else the published ones if there are as many classes."""
    classes = len(next(reversed(module.state_dict().values())))
    labels = tuple(published if len(published) == classes else ()) if given is None else tuple(given)
    if labels and len(labels) != classes:
        raise ValueError(f"{len(labels)} labels for the {classes} classes of {source}")
    return labels
