"""The bundled networks: `build(name)` gives one with its weights, from a file in the package."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from vizwidgets.models.flowernet import FlowerNet

WEIGHTS = Path(__file__).parent / "weights"
NAMES: tuple[str, ...] = tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))

__all__ = ["NAMES", "WEIGHTS", "FlowerNet", "build"]


def build(name: str) -> tuple[FlowerNet, dict[str, Any]]:
    """A bundled network and what is known about it.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    net : FlowerNet
        In evaluation mode, float32. It takes normalised images: ``(x - mean) / std``.
    metadata : dict
        "labels" (list of str), "size" (pixels), "mean" and "std" (3 floats each), "accuracy" on held-out drawings and
        "training_accuracy" on those it learned from (shares), "recipe" (dict), "drawing_hashes" (of the drawings it was
        trained with), "name", "format".

    Raises
    ------
    LookupError
        For a name that is not bundled.

    Examples
    --------
    >>> net, metadata = build("flowers")
    >>> metadata["labels"][0]
    'daisy'
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise LookupError(f"no bundled network {name!r}{hint} Bundled: {', '.join(NAMES)}")
    with safe_open(WEIGHTS / f"{name}.safetensors", framework="pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items()}
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    net = FlowerNet(len(metadata["labels"]))
    net.load_state_dict(state)
    return net.eval(), metadata
