"""Images made by optimisation: for a class, a channel or a neuron; exaggerating another image; from activations alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizwidgets.core.capture import activations
from vizwidgets.core.image import Image, pixels
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageOptimizer, ImageStep
from vizwidgets.core.params import FourierImage, Params, PixelImage
from vizwidgets.core.references import Distance, Similarity
from vizwidgets.core.regularizers import TotalVariation
from vizwidgets.core.targets import Each, Target

from .presets import number_of_steps, preset
from .rendering import best_so_far, rendering_run


def visualize(
    net: Net | nn.Module, target: Target | Sequence[Target], *, steps: int | str = "normal", size: int | tuple[int, int] | None = None,
    preset: str = "fourier", batch: int = 1, init: Tensor | Image | None = None, lr: float | None = None, seed: int = 0,
) -> Run[ImageStep]:  # fmt: skip
    """Images that a target likes most, grown from noise: feature visualization.

    Parameters
    ----------
    net : Net or torch.nn.Module
    target : Target, or several
        What shall rise: ``Logit("rose")``, ``Channel("stage2", 12)``, sums of such. Of several, each gets an image.
    steps : int or str
        Or an effort: "draft" (64), "normal" (256), "paper" (512).
    size : int or (int, int), optional
        In pixels; by default that of the images that the network was trained with.
    preset : str
        How the image is kept readable; a name from ``PRESETS``: "none", "l2", "total variation", "blur", "norm clipping",
        "contribution clipping", "jitter", "transformations", "fourier".
    batch : int
        How many images; image `i` is the only one of seed ``seed + i``.
    init : Tensor or Image, optional
        Images (B, C, H, W) to start from instead of noise.
    lr : float, optional
        Learning rate; by default that of the preset.
    seed : int
        Of the noise and the transforms.

    Returns
    -------
    Run
        Of `ImageStep`; its result is a `Rendering`.

    Raises
    ------
    LookupError, ValueError, TypeError
        For what the network does not have, an unknown preset, or an image that is none, before anything is computed.

    References
    ----------
    Olah, Mordvintsev, Schubert: Feature visualization, Distill, 2017. Yosinski, Clune, Nguyen, Fuchs, Lipson: Understanding
    neural networks through deep visualization, 2015. Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2014.

    Examples
    --------
    >>> visualize(vizwidgets.load("flowers"), Logit("rose"), steps=4).result()
    Rendering(image 1×3×96×96, scores 4×1)
    """
    net = as_net(net)
    target = target if isinstance(target, Target) else Each(tuple(target))
    if isinstance(target, Each):
        batch = len(target.targets)
    start = None if init is None else pixels(init)
    if start is not None and len(start) == 1 < batch:
        start = start.expand(batch, -1, -1, -1)
    chosen = _preset(preset)
    total, rate = number_of_steps(steps), chosen.lr if lr is None else float(lr)
    image = _params(chosen.params, net, size, batch, start, seed)
    asked = target if chosen.penalty is None else target - chosen.penalty
    optimizer = ImageOptimizer(net, asked, image, transforms=chosen.transforms, lr=rate, rules=chosen.rules, seed=seed)
    options = {"target": target, "steps": total, "size": size, "preset": preset, "batch": batch, "lr": rate, "seed": seed}
    return rendering_run(optimizer, total, net, "visualize", {"init": start}, options, optimizer)


def caricature(
    net: Net | nn.Module, image: Tensor | Image, layer: str, *, power: float = 1.0, steps: int | str = "normal",
    preset: str = "fourier", from_image: bool = False, lr: float | None = None, seed: int = 0,
) -> Run[ImageStep]:  # fmt: skip
    """An image that a layer sees as another one, only more so.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Tensor or Image
        (1, C, H, W) in [0, 1].
    layer : str
        A name from ``net.layers``.
    power : float
        How much the direction of the activations counts beside their strength: 0, 0.5, 1 or 2, say; see `Similarity`.
    steps, preset, lr, seed
        As of `visualize`.
    from_image : bool
        Start from the image itself rather than from noise.

    Returns
    -------
    Run
        Of `ImageStep`; its result is a `Rendering`.

    References
    ----------
    Mordvintsev's caricatures, in the notebooks of Lucid, 2018.

    Examples
    --------
    >>> caricature(net, x, "stage3", steps=4).result()
    Rendering(image 1×3×96×96, scores 4×1)
    """
    net, x = as_net(net), _one(image)
    reference = _reference(net, x, layer)
    chosen = _preset(preset)
    total, rate = number_of_steps(steps), chosen.lr if lr is None else float(lr)
    params = _params(chosen.params, net, (x.shape[2], x.shape[3]), 1, x if from_image else None, seed)
    # The product grows with the square of what a layer gives; divided by that, its weight against a penalty does not.
    target: Target = (1 / float(reference.square().sum().clamp(min=1e-30))) * Similarity(layer, reference, power)
    asked = target if chosen.penalty is None else target - chosen.penalty
    optimizer = ImageOptimizer(net, asked, params, transforms=chosen.transforms, lr=rate, rules=chosen.rules, seed=seed)
    options = {"layer": layer, "power": power, "steps": total, "preset": preset, "from_image": from_image, "lr": rate, "seed": seed}
    return rendering_run(optimizer, total, net, "caricature", {"image": x}, options, optimizer)


def invert(
    net: Net | nn.Module, image: Tensor | Image, layer: str, *, steps: int | str = "normal", smooth: float = 0.05,
    lr: float = 1.0, seed: int = 0,
) -> Run[ImageStep]:  # fmt: skip
    """An image with the same activations as another: what a layer still knows of it.

    Minimises the squared distance of the activations over their squared length, plus `smooth` times the total variation, by
    L-BFGS on the Fourier coefficients. On the pixels, which change fine detail more readily than broad areas, the same loss
    ends in pictures that have lost their colours and brightness in layers that still know them.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Tensor or Image
        (1, C, H, W) in [0, 1]; only its activations are used.
    layer : str
        A name from ``net.layers``, the class output included.
    steps, lr, seed
        As of `visualize`.
    smooth : float
        Weight of the total variation.

    Returns
    -------
    Run
        Of `ImageStep`, whose image is the best of those scored so far; its result is a `Rendering`.

    References
    ----------
    Mahendran, Vedaldi: Understanding deep image representations by inverting them, 2015.

    Examples
    --------
    >>> invert(net, x, "stage2", steps=4).result()
    Rendering(image 1×3×96×96, scores 4×1)
    """
    net, x = as_net(net), _one(image)
    reference = _reference(net, x, layer)
    total = number_of_steps(steps)
    target: Target = -Distance(layer, reference)
    if smooth:
        target = target - float(smooth) * TotalVariation()
    start = FourierImage(size=(x.shape[2], x.shape[3]), channels=x.shape[1], seed=seed)
    optimizer = ImageOptimizer(net, target, start, optimizer="lbfgs", lr=lr, seed=seed)
    options = {"layer": layer, "steps": total, "smooth": smooth, "lr": lr, "seed": seed}
    return rendering_run(best_so_far(optimizer), total, net, "invert", {"image": x}, options, optimizer)


_preset = preset  # the option of that name hides the function


def _one(image: Any) -> Tensor:
    x = pixels(image)
    if len(x) != 1:
        raise ValueError(f"one image (1, C, H, W) is taken, not {len(x)}")
    return x


def _reference(net: Net, x: Tensor, layer: str) -> Tensor:
    with torch.no_grad():
        return activations(net, x, layer)[layer].detach()


def _params(kind: str, net: Net, size: int | tuple[int, int] | None, batch: int, init: Tensor | None, seed: int) -> Params:
    make = FourierImage if kind == "fourier" else PixelImage
    if init is not None:
        return make(init=init)
    height, width = net.size if size is None else (size, size) if isinstance(size, int) else size
    if min(height, width) < 8:
        raise ValueError(f"an image has at least 8×8 pixels, not {height}×{width}")
    return make(size=(int(height), int(width)), batch=batch, channels=net.channels, seed=seed)
