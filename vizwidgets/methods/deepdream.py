"""DeepDream: whatever a layer sees in an image, more of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizwidgets.core.image import Image, pixels
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run, gradient
from vizwidgets.core.optimizer import ImageStep
from vizwidgets.core.regularizers import Energy
from vizwidgets.core.targets import Target

from .rendering import rendering_run

JITTER = 32


def deepdream(
    net: Net | nn.Module, image: Tensor | Image, layer: str | Target, *, steps: int = 10, octaves: int = 4, scale: float = 1.4,
    lr: float = 1.5 / 255, zoom: int = 0, seed: int = 0,
) -> Run[ImageStep]:  # fmt: skip
    """An image in which a layer sees more of whatever it sees there already.

    Gradient ascent on the layer's energy at several sizes, coarse to fine; the detail found at one is carried to the next.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Tensor or Image
        (B, C, H, W) in [0, 1].
    layer : str or Target
        A name from ``net.layers``, best after a ReLU; or any target.
    steps : int
        Updates at each size.
    octaves : int
        How many sizes, each `scale` times the one before, up to that of the image.
    scale : float
        Above 1.
    lr : float
        Step in [0, 1] pixel units, for a gradient divided by its mean absolute value.
    zoom : int
        So many times more: enlarge the middle of the dream by 5 % and dream on. The result's `frames` are the finished dreams.
    seed : int
        Of the shifts between updates.

    Returns
    -------
    Run
        Of `ImageStep`, each at the size of its octave; its result is a `Rendering`.

    References
    ----------
    Mordvintsev, Olah, Tyka: Inceptionism, 2015.

    Examples
    --------
    >>> deepdream(net, x, "stage3", steps=2, octaves=2).result()
    Rendering(image 1×3×96×96, scores 4×1)
    """
    net, x = as_net(net), pixels(image)
    target = layer if isinstance(layer, Target) else Energy(layer)
    target.resolve(net)
    if octaves < 1 or steps < 1 or zoom < 0:
        raise ValueError(f"octaves and steps are at least 1 and zoom at least 0, not {octaves}, {steps} and {zoom}")
    if scale <= 1:
        raise ValueError(f"each octave is larger than the one before: scale is above 1, not {scale}")
    sizes = [tuple(max(1, round(n / scale**k)) for n in x.shape[2:]) for k in reversed(range(octaves))]
    if octaves > 1 and min(sizes[0]) < 16:
        raise ValueError(f"the smallest of {octaves} octaves would have {sizes[0][0]}×{sizes[0][1]} pixels; take fewer")
    random = torch.Generator().manual_seed(seed)

    def dream() -> Iterator[ImageStep]:
        index, base = 0, x
        for again in range(zoom + 1):
            detail = torch.zeros_like(_resized(base, sizes[0]))
            for size in sizes:
                plain = _resized(base, size)
                dreamt = (plain + _resized(detail, size)).clamp(0, 1)
                for _ in range(steps):
                    scores, dreamt = _update(net, target, dreamt, lr, random)
                    index += 1
                    yield ImageStep(index, {"score": scores}, dreamt.clone())
                detail = dreamt - plain
            if again < zoom:
                base = _enlarged(dreamt)

    options = {"layer": layer, "steps": steps, "octaves": octaves, "scale": scale, "lr": lr, "zoom": zoom, "seed": seed}
    one = octaves * steps
    # Of a sequence the finished dreams are shown: coarse octaves in between would flicker.
    return rendering_run(
        dream(), (zoom + 1) * one, net, "deepdream", {"image": x}, options, shown=lambda step: not zoom or step.index % one == 0
    )


def _update(net: Net, target: Target, images: Tensor, lr: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    reach = min(JITTER, *images.shape[2:])
    shift = [int(n) for n in torch.randint(-reach, reach + 1, (2,), generator=random)]
    scores, grad = gradient(net, target, images.roll(shift, (2, 3)))
    grad = grad.roll([-n for n in shift], (2, 3)).cpu()
    return scores.cpu(), (images + lr * grad / grad.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-30)).clamp(0, 1)


def _resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def _enlarged(images: Tensor, share: float = 0.05) -> Tensor:
    h, w = images.shape[2:]
    dy, dx = max(1, round(h * share / 2)), max(1, round(w * share / 2))
    return _resized(images[:, :, dy : h - dy, dx : w - dx], (h, w))
