"""Small changes that fool a network: FGSM, PGD, and images of nothing that it is sure of."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vizwidgets.core.image import Image, pixels
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run, gradient
from vizwidgets.core.optimizer import ImageStep
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Rendering
from vizwidgets.core.targets import Probability, Target

from .rendering import rendering_run


def fgsm(net: Net | nn.Module, image: Tensor | Image, target: Target, *, eps: float = 4 / 255) -> Rendering:
    """One step of `eps` along the sign of the gradient: the fast gradient sign method.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Tensor or Image
        (B, C, H, W) in [0, 1].
    target : Target
        What shall rise: ``-Logit("rose")`` to lose a class, ``Logit("daisy")`` to win one.
    eps : float
        How much a pixel may change, in [0, 1] pixel units.

    Returns
    -------
    Rendering

    References
    ----------
    Goodfellow, Shlens, Szegedy: Explaining and harnessing adversarial examples, 2015.

    Examples
    --------
    >>> fgsm(net, x, -Logit("rose")).image.shape
    torch.Size([1, 3, 96, 96])
    """
    net, x = as_net(net), pixels(image)
    _check_eps(eps)
    scores, grad = gradient(net, target, x)
    changed = _within(x + eps * grad.cpu().sign(), x, eps)
    frames = tuple((v * 255).round().to(torch.uint8) for v in (x, changed))
    recipe = make_recipe(net, "fgsm", {"image": x}, {"target": target, "eps": eps})
    return Rendering(changed, scores.cpu()[None], frames, recipe=recipe)


def pgd(
    net: Net | nn.Module, image: Tensor | Image, target: Target, *, eps: float = 4 / 255, norm: str = "inf", steps: int = 10,
    lr: float | None = None, mask: Tensor | None = None, seed: int | None = None,
) -> Run[ImageStep]:  # fmt: skip
    """The change within a bound that a target likes most: projected gradient ascent.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Tensor or Image
        (B, C, H, W) in [0, 1].
    target : Target
        What shall rise: ``Logit("daisy") - Logit("rose")``, say.
    eps : float
        The bound, in [0, 1] pixel units: of each pixel (norm "inf"), or of the root of the summed squares (norm "2").
    norm : str
        "inf" or "2".
    steps : int
    lr : float, optional
        Length of a step in the same norm; by default 2.5 eps / steps.
    mask : Tensor, optional
        (H, W) or (B, 1, H, W): only pixels where it is not zero may change.
    seed : int, optional
        Start from a random place within the bound rather than from the image itself.

    Returns
    -------
    Run
        Of `ImageStep`; its result is a `Rendering`. The bound and [0, 1] hold after every step.

    References
    ----------
    Madry, Makelov, Schmidt, Tsipras, Vladu: Towards deep learning models resistant to adversarial attacks, 2018.

    Examples
    --------
    >>> pgd(net, x, Logit("daisy") - Logit("rose"), steps=3).result()
    Rendering(image 1×3×96×96, scores 3×1)
    """
    net, x = as_net(net), pixels(image)
    _check_eps(eps)
    target.resolve(net)
    if norm not in ("inf", "2"):
        raise LookupError(f"the norm is 'inf' or '2', not {norm!r}")
    if steps < 1:
        raise ValueError(f"there is at least one step, not {steps}")
    rate = 2.5 * eps / steps if lr is None else float(lr)
    allowed = torch.ones_like(x[:, :1]) if mask is None else _mask(mask, x)
    project = _within if norm == "inf" else _within_ball

    def climb() -> Iterator[ImageStep]:
        changed = x
        if seed is not None:
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x) * 2 - 1
            changed = project(x + eps * noise * allowed, x, eps)
        for index in range(1, steps + 1):
            scores, grad = gradient(net, target, changed)
            grad = grad.cpu() * allowed
            if norm == "inf":
                way = grad.sign()
            else:
                way = grad / grad.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
            changed = project(changed + rate * way, x, eps)
            yield ImageStep(index, {"score": scores.cpu()}, changed.clone())

    options = {"target": target, "eps": eps, "norm": norm, "steps": steps, "lr": rate, "seed": seed}
    return rendering_run(climb(), steps, net, "pgd", {"image": x, "mask": mask}, options)


def fool(
    net: Net | nn.Module, target: Target, *, confidence: float = 0.99, steps: int = 200, lr: float = 1 / 255, batch: int = 1,
    seed: int = 0,
) -> Run[ImageStep]:  # fmt: skip
    """Images of nothing, from noise, that the network is sure of.

    Signed gradient steps on the pixels, with nothing that would make them readable; images that have reached `confidence`
    are left alone, and the run ends when all have.

    Parameters
    ----------
    net : Net or torch.nn.Module
    target : Target
        A `Logit`, whose class's probability is watched.
    confidence : float
        In (0, 1).
    steps : int
        At most.
    lr : float
        Step in [0, 1] pixel units.
    batch : int
        How many images.
    seed : int
        Of the noise; image `i` is the only one of seed ``seed + i``.

    Returns
    -------
    Run
        Of `ImageStep`, with the ``"probability"`` among its scores; its result is a `Rendering`.

    References
    ----------
    Nguyen, Yosinski, Clune: Deep neural networks are easily fooled, 2015.

    Examples
    --------
    >>> fool(vizwidgets.load("flowers"), Logit("rose"), steps=2).result().image.shape
    torch.Size([1, 3, 96, 96])
    """
    net = as_net(net)
    index = getattr(target.resolve(net), "index", None)
    if getattr(target, "layer", None) is not None or index is None:
        raise TypeError(f"the target is a class, Logit(...), not {target!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is between 0 and 1, not {confidence}")
    sure = Probability(index)
    noise = [torch.rand(net.channels, *net.size, generator=torch.Generator().manual_seed(seed + i)) for i in range(batch)]

    def climb() -> Iterator[ImageStep]:
        images = torch.stack(noise)
        reached = torch.zeros(batch)
        for index in range(1, steps + 1):
            scores, grad = gradient(net, target, images)
            with torch.no_grad():
                going = (reached < confidence).view(-1, 1, 1, 1)
                images = torch.where(going, (images + lr * grad.cpu().sign()).clamp(0, 1), images)
                reached = sure({"output": net(images)}).cpu()
            yield ImageStep(index, {"score": scores.cpu(), "probability": reached}, images.clone())
            if bool((reached >= confidence).all()):
                return

    options = {"target": target, "confidence": confidence, "steps": steps, "lr": lr, "batch": batch, "seed": seed}
    return rendering_run(climb(), steps, net, "fool", {}, options)


def _check_eps(eps: float) -> None:
    if not eps > 0:
        raise ValueError(f"eps is above 0, in [0, 1] pixel units (4 / 255, say), not {eps}")


def _mask(mask: Tensor, x: Tensor) -> Tensor:
    mask = mask if mask.dim() == 4 else mask[None, None]
    if mask.dim() != 4 or mask.shape[2:] != x.shape[2:] or mask.shape[1] != 1 or mask.shape[0] not in (1, len(x)):
        raise ValueError(f"the mask is {x.shape[2]}×{x.shape[3]}, one for each image or one for all, not {tuple(mask.shape)}")
    return (mask != 0).to(x)


def _within(changed: Tensor, x: Tensor, eps: float) -> Tensor:
    return changed.clamp(x - eps, x + eps).clamp(0, 1)


def _within_ball(changed: Tensor, x: Tensor, eps: float) -> Tensor:
    # Clipping to [0, 1] only brings pixels nearer to the image's, which are there.
    change = changed - x
    length = change.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
    return (x + change * (eps / length).clamp(max=1)).clamp(0, 1)
