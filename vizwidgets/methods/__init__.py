"""One module per chapter of the field, on top of the core; no method registers a hook itself."""

from collections.abc import Callable
from typing import Any

from vizwidgets.methods.activations import activation_maps

METHODS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (activation_maps,)}

__all__ = ["METHODS", "activation_maps"]
