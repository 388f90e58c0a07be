"""The table of attributions, and how one of them, or one's own, is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image, pixels
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run, score
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Logit, Probability, Target

from .attribution import deconvnet, gradcam, guided_backprop, guided_gradcam, integrated_gradients, saliency, smoothgrad

# One's own may be added: f(net, images, target) -> Attribution, or in Captum's manner f(images, class number) -> Tensor.
ATTRIBUTIONS: dict[str, Callable[..., Any]] = {
    "saliency": saliency,
    "guided backprop": guided_backprop,
    "deconvnet": deconvnet,
    "SmoothGrad": smoothgrad,
    "integrated gradients": integrated_gradients,
    "Grad-CAM": gradcam,
    "guided Grad-CAM": guided_gradcam,
}


def attribute(
    method: str | Callable[..., Any], net: Net | nn.Module, images: Tensor | Image, target: Target, **options: Any
) -> Attribution:
    """An attribution by its name in `ATTRIBUTIONS`, or by a function of one's own.

    Parameters
    ----------
    method : str or callable
        A function whose first parameter is called `net` gets (net, images, target) and gives an `Attribution`, or a `Run`
        that ends in one. Any other is taken for one of Captum's manner, ``captum.attr.Saliency(net).attribute``: it gets the
        images in [0, 1] and ``target=`` the number of the class, and gives (B, C, H, W), whose colours are added up; a
        smaller map is enlarged to the images.
    net : Net or torch.nn.Module
    images : Tensor or Image
        (B, C, H, W) in [0, 1].
    target : Target
        For a method of Captum's manner a `Logit` or `Probability`.
    **options
        Of the method.

    Returns
    -------
    Attribution

    Raises
    ------
    LookupError
        For an unknown name.
    TypeError, ValueError
        For a target that the method does not take, or a result that is no attribution of these images.

    Examples
    --------
    >>> attribute("Grad-CAM", net, x, Logit("rose")).map.shape
    torch.Size([1, 96, 96])
    """
    call = named(method)
    net, x = as_net(net), pixels(images)
    if takes_net(call):
        found = call(net, x, target, **options)
        found = found.result() if isinstance(found, Run) else found
        if not isinstance(found, Attribution):
            raise TypeError(f"{name_of(method)} gives {type(found).__name__}; a function of (net, images, target) gives an Attribution")
        return found
    return _in_captums_manner(call, name_of(method), net, x, target, options)


def named(method: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function of that name in `ATTRIBUTIONS`; a function is itself."""
    if callable(method):
        return method
    if method not in ATTRIBUTIONS:
        raise LookupError(unknown("attribution", str(method), ATTRIBUTIONS))
    return ATTRIBUTIONS[method]


def name_of(method: str | Callable[..., Any]) -> str:
    """What to call it: its name in `ATTRIBUTIONS`, or its own."""
    if isinstance(method, str):
        return method
    if isinstance(method, partial):
        return name_of(method.func)
    listed = [name for name, call in ATTRIBUTIONS.items() if call is method]
    owner = getattr(method, "__self__", None)
    own = type(owner).__name__ if owner is not None else getattr(method, "__name__", type(method).__name__)
    return listed[0] if listed else own


def takes_net(method: Callable[..., Any]) -> bool:
    """Whether it is given the network; in Captum's manner it has one already."""
    return next(iter(inspect.signature(method).parameters), "") == "net"


def _in_captums_manner(
    call: Callable[..., Any], name: str, net: Net, x: Tensor, target: Target, options: dict[str, Any]
) -> Attribution:
    aim = target.resolve(net)
    if not isinstance(aim, (Logit, Probability)):
        raise TypeError(f"{name} takes the number of a class, so the target is a Logit or a Probability, not {target!r}")
    with net.lock, torch.inference_mode(False), torch.enable_grad():
        found = call(x.detach().clone().requires_grad_(), target=int(aim.index), **options)
    if not isinstance(found, Tensor) or found.ndim != 4 or len(found) != len(x):
        came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{name} gives (B, C, H, W) for images {tuple(x.shape)}, not {came}")
    values = found.detach().cpu().to(x.dtype)
    if values.shape[2:] != x.shape[2:]:
        values = F.interpolate(values, x.shape[2:], mode="bilinear", align_corners=False)
    with torch.no_grad():
        scores = score(net, aim, x).cpu()
    return Attribution(values.sum(1), scores, values if values.shape[1] == x.shape[1] else None)
