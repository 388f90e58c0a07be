"""Activation maps: what every channel of a layer answers to an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vizwidgets.core.capture import activations
from vizwidgets.core.image import Image, pixels
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import ActivationMaps


def activation_maps(net: Net | nn.Module, images: Tensor | Image, layer: str) -> ActivationMaps:
    """The activations of every channel of `layer`.

    Parameters
    ----------
    net : Net or torch.nn.Module
    images : Tensor or Image
        (B, C, H, W) in [0, 1].
    layer : str
        A name from ``net.layers``.

    Returns
    -------
    ActivationMaps
        `maps` (B, C, H, W); a linear layer gives (B, C, 1, 1).

    Raises
    ------
    LookupError
        For an unknown layer; the nearest names are listed.

    References
    ----------
    Yosinski, Clune, Nguyen, Fuchs, Lipson: Understanding neural networks through deep visualization, 2015.

    Examples
    --------
    >>> net = vizwidgets.load("flowers")
    >>> activation_maps(net, torch.rand(1, 3, 96, 96), "stage2")
    ActivationMaps(maps 1×40×24×24, layer='stage2')
    """
    net, x = as_net(net), pixels(images)
    with torch.inference_mode():
        maps = activations(net, x, layer)[layer]
    maps = (maps if maps.dtype == torch.float64 else maps.float()).cpu().clone(memory_format=torch.contiguous_format)
    recipe = make_recipe(net, "activation_maps", {"images": x}, {"layer": layer})
    return ActivationMaps(maps, layer, recipe=recipe)
