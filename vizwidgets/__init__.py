"""Look inside convolutional networks, live, in the notebook."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vizwidgets import data
from vizwidgets.core.capture import extract
from vizwidgets.core.image import Image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run, gradient, score
from vizwidgets.core.optimizer import ImageOptimizer
from vizwidgets.core.params import FourierImage, PixelImage
from vizwidgets.core.references import Direction, Distance, GramDistance, Reference, Similarity
from vizwidgets.core.regularizers import L2, Diversity, Energy, LAlpha, TotalVariation
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Channel, Each, Logit, Neuron, Probability, Target
from vizwidgets.data.image_set import ImageSet, image_set
from vizwidgets.data.imagenet16 import IMAGENET_16
from vizwidgets.load import image, load
from vizwidgets.methods import (
    ATTRIBUTIONS,
    EFFORTS,
    PRESETS,
    Embedding,
    Features,
    Mosaic,
    Neighbors,
    Patches,
    PatchTable,
    ShapeBias,
    Stimuli,
    Store,
    StyleControls,
    Stylised,
    Texture,
    activation_maps,
    agreement,
    attribute,
    caricature,
    class_sensitivity,
    colour_opponency,
    common_channels,
    cue_conflict,
    deconvnet,
    deepdream,
    default_content_layer,
    default_style_layers,
    default_texture_layers,
    deletion,
    drawn_conflicts,
    efros_leung,
    embed,
    fgsm,
    first_layer_filters,
    fool,
    gradcam,
    gram_texture,
    guided_backprop,
    guided_gradcam,
    image_grid,
    insertion,
    integrated_gradients,
    invert,
    layer_weights,
    neighborhood_hit,
    neighbors,
    occlusion,
    orientation,
    pca,
    pgd,
    pointing_game,
    record,
    saliency,
    sanity_check,
    shape_bias,
    share_inside,
    similarity,
    smoothgrad,
    style_transfer,
    stylised,
    top_patches,
    trustworthiness,
    tsne,
    umap,
    visualize,
)
from vizwidgets.recipe import rerun

__version__ = "0.1.0"

# Widgets are imported when one is first used: the engine works without a notebook.
_WIDGETS = {
    "AdversarialSlider": "adversarial_slider",
    "AttributionViewer": "attribution_viewer",
    "ChannelGrid": "channel_grid",
    "ConflictGrid": "conflict_grid",
    "EmbeddingScatter": "embedding_scatter",
    "Explorer": "explorer",
    "FilterGrid": "filter_grid",
    "ImageGrid": "image_grid",
    "LayerPicker": "layer_picker",
    "NeighborGrid": "neighbor_grid",
    "OcclusionSlider": "occlusion_slider",
    "OptimizationCanvas": "optimization_canvas",
    "PatchGrid": "patch_grid",
    "SanitySlider": "sanity_slider",
    "TextureLab": "texture_lab",
    "StyleMixer": "style_mixer",
    "explore": "explorer",
}

__all__ = [  # noqa: RUF022
    "load", "image", "as_net", "Net", "Image", "extract", "data", "ImageSet", "image_set",
    "record", "Store", "top_patches", "PatchTable", "Patches",
    "Target", "Logit", "Probability", "Channel", "Neuron", "Direction", "Energy", "Similarity", "Distance", "GramDistance",
    "Diversity", "Each", "TotalVariation", "L2", "LAlpha", "Reference", "score", "gradient", "Run",
    "visualize", "caricature", "invert", "deepdream", "fgsm", "pgd", "fool", "PRESETS", "EFFORTS",
    "ImageOptimizer", "PixelImage", "FourierImage",
    "occlusion", "saliency", "guided_backprop", "deconvnet", "smoothgrad", "integrated_gradients", "gradcam", "guided_gradcam",
    "ATTRIBUTIONS", "Attribution", "attribute", "sanity_check", "similarity", "class_sensitivity",
    "deletion", "insertion", "pointing_game", "share_inside",
    "Features", "embed", "Neighbors", "neighbors", "agreement", "Embedding", "pca", "tsne", "umap", "trustworthiness", "neighborhood_hit",
    "gram_texture", "style_transfer", "StyleControls", "default_texture_layers", "default_style_layers", "default_content_layer",
    "Mosaic", "image_grid", "efros_leung", "Texture",
    "EmbeddingScatter", "ImageGrid", "common_channels",
    "Stimuli", "drawn_conflicts", "cue_conflict", "Stylised", "stylised", "ShapeBias", "shape_bias", "IMAGENET_16",
    "first_layer_filters", "layer_weights", "orientation", "colour_opponency", "activation_maps", "rerun",
    "Explorer", "explore", "LayerPicker", "FilterGrid", "ChannelGrid", "OptimizationCanvas", "AdversarialSlider",
    "AttributionViewer", "OcclusionSlider", "SanitySlider", "StyleMixer", "PatchGrid", "NeighborGrid", "ConflictGrid", "TextureLab",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WIDGETS:
        value = getattr(import_module(f"vizwidgets.widgets.{_WIDGETS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vizwidgets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WIDGETS})
