"""The learned weights themselves: first-layer filters in colour, and the weights of any convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vizwidgets.core.net import Net, as_net
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Filters


def first_layer_filters(net: Net | nn.Module) -> Filters:
    """The filters of the first convolution that runs: what the network looks for in the pixels.

    Parameters
    ----------
    net : Net or torch.nn.Module

    Returns
    -------
    Filters
        `weights` (C_out, C_in, h, w); with three input channels they show as colours.

    Raises
    ------
    ValueError
        If the network has no convolution.

    References
    ----------
    Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012.

    Examples
    --------
    >>> first_layer_filters(vizwidgets.load("flowers"))
    Filters(weights 24×3×7×7, layer='stem.conv')
    """
    net = as_net(net)
    found = weighted_layers(net)
    convolutions = [n for n in found if net.layers[n].kind == "Conv2d"]
    if not convolutions:
        raise ValueError(f"{net.name} has no convolution, so it has no first-layer filters")
    return _filters(net, convolutions[0], "first_layer_filters", {})


def layer_weights(net: Net | nn.Module, layer: str) -> Filters:
    """The weights of one convolution or linear layer.

    Beyond the first layer a weight says how one channel reads another, not what it looks for in the picture: there is a small
    map for each pair of channels, and its meaning depends on what all the channels before have come to mean.

    Parameters
    ----------
    net : Net or torch.nn.Module
    layer : str
        A convolution or linear layer from ``net.layers``.

    Returns
    -------
    Filters
        `weights` (C_out, C_in, h, w), C_in per group of a grouped convolution; of a linear layer (C_out, C_in, 1, 1).

    Raises
    ------
    LookupError
        For an unknown layer, or one without weights of its own; those that have some are listed.

    Examples
    --------
    >>> layer_weights(vizwidgets.load("flowers"), "stage2.0.conv1")
    Filters(weights 40×24×3×3, layer='stage2.0.conv1')
    """
    net = as_net(net)
    row = net.layers[layer]
    if row.module_name not in {n.partition(":")[0] for n in weighted_layers(net)}:
        near = [n for n in weighted_layers(net) if n.startswith(row.module_name + ".")] or weighted_layers(net)
        raise LookupError(
            f"layer {layer!r} ({row.kind}) has no weights of its own; look at {', '.join(map(repr, near[:6]))}"
            + (" ..." if len(near) > 6 else "")
        )
    return _filters(net, layer, "layer_weights", {"layer": layer})


def weighted_layers(net: Net) -> list[str]:
    """Names of the convolutions and linear layers that run, in that order."""
    modules = dict(net.module.named_modules())
    kinds = (nn.Conv2d, nn.Linear)
    return [n for n in net.layers.order if isinstance(modules[n.partition(":")[0]], kinds)]


def orientation(filters: Filters) -> tuple[Tensor, Tensor]:
    """How the edge or the stripes of each filter run, and how clearly.

    From the second moments of the power spectrum of the filter's strongest colour component (the structure tensor of Bigün and
    Granlund, in the frequency domain).

    Parameters
    ----------
    filters : Filters
        Of at least 3×3 weights.

    Returns
    -------
    angle : Tensor
        (C_out,) in degrees, from 0 to 180: 0 runs horizontally, 90 vertically, 45 from bottom left to top right.
    clarity : Tensor
        (C_out,) from 0 (no direction: a blob, a flat colour) to 1 (a perfect stripe).

    References
    ----------
    Bigün, Granlund: Optimal orientation detection of linear symmetry, 1987.

    Examples
    --------
    >>> angle, clarity = orientation(first_layer_filters(vizwidgets.load("flowers")))
    >>> angle.shape
    torch.Size([24])
    """
    w = filters.weights.double()
    if min(w.shape[2:]) < 3:
        raise ValueError(f"filters of {w.shape[2]}×{w.shape[3]} weights have no direction; at least 3×3 are needed")
    # The component of largest energy over the colours; its sign does not matter here.
    _, _, right = torch.linalg.svd(w.flatten(2), full_matrices=False)
    strongest = right[:, 0].unflatten(1, w.shape[2:])
    strongest = strongest - strongest.mean((1, 2), keepdim=True)
    size = 32
    power = torch.fft.fft2(strongest, s=(size, size)).abs().square()
    fy, fx = torch.meshgrid(torch.fft.fftfreq(size), torch.fft.fftfreq(size), indexing="ij")
    yy, xx, xy = ((power * f).sum((1, 2)) for f in (fy * fy, fx * fx, fy * fx))
    # Rows grow downwards; the edge runs across the direction of the frequency.
    frequency = 0.5 * torch.atan2(-2 * xy, xx - yy)
    angle = torch.rad2deg(frequency + torch.pi / 2) % 180
    clarity = ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy).clamp(min=1e-30)
    return angle.float(), clarity.float()


def colour_opponency(filters: Filters) -> Tensor:
    """How much of each filter compares colours rather than brightness.

    The share of its squared weights that is left when the mean over the colours is taken out at each place: 0 for a filter
    that sees in black and white, 2/3 for one that looks at a single colour, 1 for one colour against another.

    Parameters
    ----------
    filters : Filters
        With three input channels.

    Returns
    -------
    Tensor
        (C_out,) from 0 to 1.

    Examples
    --------
    >>> colour_opponency(first_layer_filters(vizwidgets.load("flowers"))).shape
    torch.Size([24])
    """
    w = filters.weights
    if w.shape[1] != 3:
        raise ValueError(f"colours are compared by filters on three channels; these have {w.shape[1]}")
    chroma = w - w.mean(1, keepdim=True)
    return chroma.square().sum((1, 2, 3)) / w.square().sum((1, 2, 3)).clamp(min=1e-30)


def _filters(net: Net, layer: str, method: str, options: dict[str, str]) -> Filters:
    weights = net.module.get_submodule(layer.partition(":")[0]).get_parameter("weight").detach()
    weights = (weights if weights.dtype == torch.float64 else weights.float()).cpu().clone()
    weights = weights if weights.dim() == 4 else weights[:, :, None, None]
    return Filters(weights, layer, recipe=make_recipe(net, method, {}, options))
