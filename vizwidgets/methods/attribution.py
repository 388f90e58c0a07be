"""Which pixels matter for a score: gradients of several kinds, and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizwidgets.core.capture import extract
from vizwidgets.core.errors import unknown
from vizwidgets.core.hooks import on_outputs
from vizwidgets.core.image import Image, finite_pixels
from vizwidgets.core.memory import images_at_once
from vizwidgets.core.modes import evaluating
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import finite_scores, gradient, joined, on_cpu, read
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.relu import NotInGraphError, Rule, deconvolved, guide, guided, relu_backward
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import INPUT, OUTPUT, Target, of_image

AT_ONCE = 16  # more images in a pass bring nothing on a few cores

KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "absolute": lambda values, images: values.abs().amax(1),
    "signed": lambda values, images: values.sum(1),
    "times input": lambda values, images: (values * images).sum(1),
}


def saliency(net: Net | nn.Module, images: Tensor | Image, target: Target, *, kind: str = "absolute") -> Attribution:
    """The gradient of the target with respect to the image.

    Parameters
    ----------
    net : Net or torch.nn.Module
    images : Tensor or Image
        (B, C, H, W) in [0, 1].
    target : Target
        ``Logit("rose")``, ``Logit("rose") - Logit("daisy")``, ``Channel("stage2", 12)``, ...
    kind : str
        How the colours of a pixel become one number: "absolute", the largest absolute value; "signed", their sum;
        "times input", the sum of the gradient times the image.

    Returns
    -------
    Attribution
        `map` (B, H, W), and `values` (B, C, H, W), the gradient itself.

    Raises
    ------
    LookupError
        For a layer, class or channel that the network does not have, or an unknown kind.
    ValueError
        For a target that does not depend on the image.

    References
    ----------
    Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2014.

    Examples
    --------
    >>> saliency(net, x, Logit("rose")).map.shape
    torch.Size([1, 96, 96])
    """
    return _gradients(net, images, target, "saliency", kind)


def guided_backprop(net: Net | nn.Module, images: Tensor | Image, target: Target, *, kind: str = "absolute") -> Attribution:
    """The gradient with, at each ReLU, only what raises the score and was let through on the way forward.

    Parameters, returns and errors are as of `saliency`.

    Raises
    ------
    TypeError
        For a network with activations other than ReLU and ReLU6.

    References
    ----------
    Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for simplicity, 2015.

    Examples
    --------
    >>> guided_backprop(net, x, Logit("rose")).map.shape
    torch.Size([1, 96, 96])
    """
    return _gradients(net, images, target, "guided_backprop", kind, guided)


def deconvnet(net: Net | nn.Module, images: Tensor | Image, target: Target, *, kind: str = "absolute") -> Attribution:
    """The gradient with, at each ReLU, only what raises the score, let through on the way forward or not.

    Parameters, returns and errors are as of `guided_backprop`.

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks, 2014.

    Examples
    --------
    >>> deconvnet(net, x, Logit("rose")).map.shape
    torch.Size([1, 96, 96])
    """
    return _gradients(net, images, target, "deconvnet", kind, deconvolved)


def smoothgrad(
    net: Net | nn.Module, images: Tensor | Image, target: Target, *, samples: int = 50, noise: float = 0.15,
    kind: str = "absolute", seed: int = 0,
) -> Attribution:  # fmt: skip
    """The mean gradient over noisy copies of the image.

    Parameters
    ----------
    net, images, target, kind
        As of `saliency`.
    samples : int
        How many copies.
    noise : float
        Standard deviation of the noise, as a share of the distance from the image's darkest to its brightest value.
    seed : int
        Of the noise; every image of a batch gets the same.

    Returns
    -------
    Attribution

    References
    ----------
    Smilkov, Thorat, Kim, Viégas, Wattenberg: SmoothGrad, 2017.

    Examples
    --------
    >>> smoothgrad(net, x, Logit("rose"), samples=4).map.shape
    torch.Size([1, 96, 96])
    """
    net, x, target = _checked(net, images, target, kind)
    if samples < 1 or not noise >= 0:
        raise ValueError(f"there is at least one sample, and noise is not negative: {samples} samples of noise {noise}")
    generator = torch.Generator().manual_seed(seed)
    changes = noise * torch.randn(samples, *x.shape[1:], generator=generator, dtype=x.dtype)
    values = []
    for i, image in enumerate(x):
        copies = image + (image.max() - image.min()) * changes
        values.append(_mean_gradient(net, of_image(target, i), copies, torch.full((samples,), 1 / samples, dtype=x.dtype)))
    options = {"target": target, "samples": samples, "noise": noise, "kind": kind, "seed": seed}
    return _attribution(net, x, torch.stack(values), _scores(net, target, x), kind, make_recipe(net, "smoothgrad", {"images": x}, options))


def integrated_gradients(
    net: Net | nn.Module, images: Tensor | Image, target: Target, *, baseline: Tensor | float = 0.0, steps: int = 50,
    kind: str = "signed",
) -> Attribution:  # fmt: skip
    """What each pixel adds to the score on the straight way from a baseline to the image.

    The map adds up to the score less that of the baseline (completeness), as nearly as the number of steps allows.

    Parameters
    ----------
    net, images, target
        As of `saliency`.
    baseline : float or Tensor
        One value for all pixels (0 is black), or an image that broadcasts to the images.
    steps : int
        Points on the way, by the Gauss-Legendre rule.
    kind : str
        "signed" or "absolute".

    Returns
    -------
    Attribution

    References
    ----------
    Sundararajan, Taly, Yan: Axiomatic attribution for deep networks, 2017.

    Examples
    --------
    >>> integrated_gradients(net, x, Logit("rose"), steps=8).map.shape
    torch.Size([1, 96, 96])
    """
    net, x, target = _checked(net, images, target, kind)
    if kind == "times input":
        raise ValueError("integrated gradients are multiplied by the way from the baseline already: kind is 'signed' or 'absolute'")
    if steps < 1:
        raise ValueError(f"there is at least one step, not {steps}")
    start = torch.as_tensor(baseline, dtype=x.dtype).expand_as(x)
    points, weights = (torch.from_numpy(v).to(x.dtype) for v in np.polynomial.legendre.leggauss(steps))
    at, share = ((points + 1) / 2).view(-1, 1, 1, 1), weights / 2
    values = [
        (image - dark) * _mean_gradient(net, of_image(target, i), dark + at * (image - dark), share)
        for i, (image, dark) in enumerate(zip(x, start, strict=True))
    ]
    kept = baseline if isinstance(baseline, (int, float)) else start.clone()
    options = {"target": target, "baseline": kept, "steps": steps, "kind": kind}
    return _attribution(net, x, torch.stack(values), _scores(net, target, x), kind, make_recipe(net, "integrated_gradients", {"images": x}, options))


def gradcam(
    net: Net | nn.Module, images: Tensor | Image, target: Target, *, layer: str | None = None, positive: bool = True
) -> Attribution:
    """The maps of a layer, each weighted by how much the target rises with it, added up and enlarged to the image.

    Parameters
    ----------
    net, images, target
        As of `saliency`.
    layer : str, optional
        By default the deepest one with maps on which the target depends.
    positive : bool
        Show only what speaks for the target.

    Returns
    -------
    Attribution
        Without `values`: the maps know no colours.

    Raises
    ------
    LookupError
        For a layer that does not exist, or does not come before the target.
    ValueError
        For a network without a layer of maps larger than 1×1.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM, 2017.

    Examples
    --------
    >>> gradcam(net, x, Logit("rose"), layer="stage3").map.shape
    torch.Size([1, 96, 96])
    """
    net, x, target = _checked(net, images, target)
    found = [] if layer is not None else _with_maps(net, target)
    maps, scores = [], []
    for first in range(0, len(x), _at_once(net, x)):
        part = x[first : first + _at_once(net, x)]
        cam, score, layer = _gradcam(net, part, target.images(first, len(part)), layer, found)
        maps.append(cam)
        scores.append(score)
    cam = joined(maps)
    cam = F.interpolate((cam.clamp(min=0) if positive else cam)[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    recipe = make_recipe(net, "gradcam", {"images": x}, {"target": target, "layer": layer, "positive": positive})
    return Attribution(on_cpu(cam), finite_scores(net, on_cpu(joined(scores))), recipe=recipe)


def guided_gradcam(
    net: Net | nn.Module, images: Tensor | Image, target: Target, *, layer: str | None = None, kind: str = "absolute"
) -> Attribution:
    """Guided backpropagation where Grad-CAM is positive: their product.

    Parameters, returns and errors are as of `guided_backprop` and `gradcam`.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM, 2017.

    Examples
    --------
    >>> guided_gradcam(net, x, Logit("rose"), layer="stage3").map.shape
    torch.Size([1, 96, 96])
    """
    net, x, target = _checked(net, images, target, kind)
    cam, fine = gradcam(net, x, target, layer=layer), guided_backprop(net, x, target)
    assert fine.values is not None
    options = {"target": target, "layer": cam.recipe["options"]["layer"], "kind": kind}
    return _attribution(net, x, cam.map[:, None] * fine.values, fine.scores, kind, make_recipe(net, "guided_gradcam", {"images": x}, options))


def _gradients(
    net: Net | nn.Module, images: Tensor | Image, target: Target, method: str, kind: str, rule: Rule | None = None
) -> Attribution:
    net, x, target = _checked(net, images, target, kind)
    # Before the passes, which go through the same modules: what is asked of memory once is there for both.
    recipe = make_recipe(net, method, {"images": x}, {"target": target, "kind": kind})
    scores, values = [], []
    for first in range(0, len(x), _at_once(net, x)):
        part = x[first : first + _at_once(net, x)]
        score, value = _ruled_gradient(net, target.images(first, len(part)), part, rule)
        scores.append(on_cpu(score))
        values.append(on_cpu(value))
    return _attribution(net, x, joined(values), joined(scores), kind, recipe)


def _ruled_gradient(net: Net, target: Target, images: Tensor, rule: Rule | None) -> tuple[Tensor, Tensor]:
    if rule is guided:
        with suppress(NotInGraphError):
            return gradient(net, target, images, on_graph=guide)
    with nullcontext() if rule is None else relu_backward(rule, only=True):
        return gradient(net, target, images)


def _mean_gradient(net: Net, target: Target, images: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of the gradients at several images."""
    total = torch.zeros_like(images[0])
    for some, share in zip(images.split(_at_once(net, images)), weights.split(_at_once(net, images)), strict=True):
        total += (gradient(net, target, some)[1].cpu() * share.view(-1, 1, 1, 1)).sum(0)
    return total


def _gradcam(net: Net, images: Tensor, target: Target, layer: str | None, others: list[str]) -> tuple[Tensor, Tensor, str]:
    """The map before it is enlarged, the scores, and the layer: that one, or the first of the others which has a say."""
    layers = others if layer is None else [layer]

    def begin(name: str, call: int, output: Tensor) -> Tensor | None:
        torch.set_grad_enabled(True)
        # A branch beside the first layer comes from before it.
        return None if output.requires_grad else output.detach().requires_grad_()

    with net.lock, evaluating(net.module), torch.inference_mode(False):
        # The graph begins at the first of the layers: to make that of all before them takes a tenth of the time.
        with torch.no_grad(), on_outputs(net.module, {net.layers[n].module_name for n in layers}, begin), extract(net, *layers) as acts:
            scores = target(read(net, target, images))
        if not scores.requires_grad:
            gradient(net, target, images)  # which tells whether it depends on the image at all
            acts.clear()
        found = [name for name in layers if name in acts]
        grads = torch.autograd.grad(scores.sum(), [acts[name] for name in found], allow_unused=True) if found else ()
        for name, grad in zip(found, grads, strict=True):
            if grad is not None and (layer is not None or bool((grad != 0).any())):
                maps = acts[name].detach()
                return (grad.mean((2, 3), keepdim=True) * maps).sum(1).to(images.dtype), scores.detach(), name
    if layer is not None:
        raise LookupError(f"{target!r} does not depend on layer {layer!r}: it does not come before the target")
    raise ValueError(f"{target!r} depends on no layer with maps")


def _with_maps(net: Net, target: Target) -> list[str]:
    """The last layers to run up to those that the target reads whose output is larger than 1×1, the deepest first."""
    order = net.layers.order
    if OUTPUT not in target.layers:
        last = max((order.index(net.layers.readable(name).name) for name in target.layers - {INPUT}), default=-1)
        order = order[: last + 1]
    rows = [net.layers[name] for name in reversed(order)]
    found = [r.name for r in rows if r.shape is not None and r.layout is not None and r.shape[1] * r.shape[2] > 1]
    if not found:
        raise ValueError(f"Grad-CAM needs maps, and no layer of {net.name} on which {target!r} depends has any larger than 1×1")
    return found[:24]


def _checked(net: Net | nn.Module, images: Tensor | Image, target: Target, kind: str = "signed") -> tuple[Net, Tensor, Target]:
    net = as_net(net)
    if kind not in KINDS:
        raise LookupError(unknown("kind", kind, KINDS))
    if not isinstance(target, Target):
        raise TypeError(f"a target is one of vizwidgets' targets, not {target!r}: Logit({target!r}), say")
    return net, finite_pixels(images), target.resolve(net)


def _at_once(net: Net, images: Tensor) -> int:
    return 1 if len(images) == 1 else min(AT_ONCE, images_at_once(net, (images.shape[2], images.shape[3])))


def _scores(net: Net, target: Target, images: Tensor) -> Tensor:
    found = []
    with torch.no_grad():
        for first in range(0, len(images), AT_ONCE):
            part = images[first : first + AT_ONCE]
            aim = target.images(first, len(part))
            found.append(aim(read(net, aim, part)).cpu())
    return joined(found)


def _attribution(net: Net, images: Tensor, values: Tensor, scores: Tensor, kind: str, recipe: dict[str, Any]) -> Attribution:
    return Attribution(KINDS[kind](values, images), finite_scores(net, scores), values, recipe=recipe)
