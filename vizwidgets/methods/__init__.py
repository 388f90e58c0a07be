"""One module per chapter of the field, on top of the core; no method registers a hook itself."""

from collections.abc import Callable
from typing import Any

from vizwidgets.methods.activations import activation_maps
from vizwidgets.methods.filters import colour_opponency, first_layer_filters, layer_weights, orientation

METHODS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (activation_maps, first_layer_filters, layer_weights)}

__all__ = ["METHODS", "activation_maps", "colour_opponency", "first_layer_filters", "layer_weights", "orientation"]
