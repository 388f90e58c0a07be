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
from vizwidgets.methods.common import common_channels
from vizwidgets.methods.deepdream import deepdream
from vizwidgets.methods.embedding import Features, embed
from vizwidgets.methods.faithfulness import deletion, insertion, pointing_game, share_inside
from vizwidgets.methods.filters import colour_opponency, first_layer_filters, layer_weights, orientation
from vizwidgets.methods.gram import default_style_layers, default_texture_layers, gram_texture
from vizwidgets.methods.images import caricature, invert, visualize
from vizwidgets.methods.mosaic import Mosaic, image_grid
from vizwidgets.methods.neighbors import Neighbors, agreement, neighbors
from vizwidgets.methods.occlusion import occlusion
from vizwidgets.methods.patches import Patches, PatchTable, top_patches
from vizwidgets.methods.presets import EFFORTS, PRESETS
from vizwidgets.methods.projections import Embedding, neighborhood_hit, pca, trustworthiness
from vizwidgets.methods.record import record
from vizwidgets.methods.sanity import class_sensitivity, sanity_check
from vizwidgets.methods.shapebias import ShapeBias, Stimuli, drawn_conflicts, shape_bias
from vizwidgets.methods.similarity import similarity
from vizwidgets.methods.store import Store
from vizwidgets.methods.style import StyleControls, default_content_layer, style_transfer
from vizwidgets.methods.stylising import Stylised, cue_conflict, stylised
from vizwidgets.methods.texture import Texture, efros_leung
from vizwidgets.methods.tsne import tsne, umap

# What makes a result: `rerun` finds it by its name.
METHODS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (
    activation_maps, first_layer_filters, layer_weights, visualize, caricature, invert, deepdream, fgsm, pgd, fool,
    saliency, guided_backprop, deconvnet, smoothgrad, integrated_gradients, gradcam, guided_gradcam, occlusion,
    deletion, insertion, gram_texture, style_transfer,
)}
METHODS["top_patches"] = lambda net, images, channel, **given: top_patches(net, images, **given).result()[channel]
METHODS["efros_leung"] = lambda _net, **given: efros_leung(**given)
METHODS["sanity_check"] = lambda net, method, **given: sanity_check(method, net, **given)


def _of_vectors(method: Callable[..., Any]) -> Callable[..., Any]:
    def again(_net: None, vectors: Any = None, labels: Any = None, **given: Any) -> Any:
        if vectors is None:
            raise ValueError(f"the vectors were too many for the recipe: {method.__name__}(features, ...) with its options makes the result again")
        return method(Features(vectors, labels), **given)

    return again


def _of_images(_net: Any, **_options: Any) -> Any:
    raise ValueError("the recipe says which images it was of, but does not hold them: the same call with its options makes the result again")


METHODS |= {f.__name__: _of_vectors(f) for f in (neighbors, pca, tsne, umap)}
METHODS |= {f.__name__: _of_images for f in (embed, image_grid, cue_conflict, stylised)}
METHODS["drawn_conflicts"] = lambda _net, **options: drawn_conflicts(**options)


def _of_stimuli(net: Any, images: Any = None, shapes: Any = None, textures: Any = None, classes: Any = None, **options: Any) -> Any:
    if images is None:
        raise ValueError("the stimuli were too many for the recipe: shape_bias(net, stimuli) makes the result again")
    return shape_bias(net, Stimuli(images, shapes, textures, tuple(classes)), **options)


METHODS["shape_bias"] = _of_stimuli

__all__ = [
    "ATTRIBUTIONS", "EFFORTS", "METHODS", "PRESETS", "Embedding", "Features", "Mosaic", "Neighbors", "PatchTable",
    "Patches", "ShapeBias", "Stimuli", "Store", "StyleControls", "Stylised", "Texture", "activation_maps", "agreement", "attribute",
    "caricature", "class_sensitivity", "colour_opponency", "common_channels", "cue_conflict", "deconvnet", "deepdream",
    "default_content_layer", "default_style_layers", "default_texture_layers", "deletion", "drawn_conflicts",
    "efros_leung", "embed", "fgsm", "first_layer_filters", "fool", "gradcam", "gram_texture", "guided_backprop",
    "guided_gradcam", "image_grid", "insertion", "integrated_gradients", "invert", "layer_weights", "neighborhood_hit",
    "neighbors", "occlusion", "orientation", "pca", "pgd", "pointing_game", "record", "saliency", "sanity_check",
    "shape_bias", "share_inside", "similarity", "smoothgrad", "style_transfer", "stylised", "top_patches", "trustworthiness",
    "tsne", "umap", "visualize",
]  # fmt: skip
