"""One module per chapter of the field, on top of the core; no method registers a hook itself."""

from collections.abc import Callable
from typing import Any

from vizwidgets.methods.activations import activation_maps
from vizwidgets.methods.adversarial import fgsm, fool, pgd
from vizwidgets.methods.attribution import (
    deconvnet,
    gradcam,
    guided_backprop,
    guided_gradcam,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from vizwidgets.methods.attributions import ATTRIBUTIONS, attribute
from vizwidgets.methods.deepdream import deepdream
from vizwidgets.methods.faithfulness import deletion, insertion, pointing_game, share_inside
from vizwidgets.methods.filters import colour_opponency, first_layer_filters, layer_weights, orientation
from vizwidgets.methods.images import caricature, invert, visualize
from vizwidgets.methods.occlusion import occlusion
from vizwidgets.methods.presets import EFFORTS, PRESETS
from vizwidgets.methods.sanity import class_sensitivity, sanity_check
from vizwidgets.methods.similarity import similarity

# What makes a result: `rerun` finds it by its name.
METHODS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (
    activation_maps, first_layer_filters, layer_weights, visualize, caricature, invert, deepdream, fgsm, pgd, fool,
    saliency, guided_backprop, deconvnet, smoothgrad, integrated_gradients, gradcam, guided_gradcam, occlusion,
    deletion, insertion,
)}
METHODS["sanity_check"] = lambda net, method, **given: sanity_check(method, net, **given)

__all__ = [
    "ATTRIBUTIONS", "EFFORTS", "METHODS", "PRESETS", "activation_maps", "attribute", "caricature", "class_sensitivity",
    "colour_opponency", "deconvnet", "deepdream", "deletion", "fgsm", "first_layer_filters", "fool", "gradcam",
    "guided_backprop", "guided_gradcam", "insertion", "integrated_gradients", "invert", "layer_weights", "occlusion",
    "orientation", "pgd", "pointing_game", "saliency", "sanity_check", "share_inside", "similarity", "smoothgrad", "visualize",
]  # fmt: skip
