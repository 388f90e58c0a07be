"""What `OcclusionSlider` shows: a patch on a picture, what the network says of it, the map in bytes, the still picture."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw
from torch import Tensor

from vizwidgets.core.net import Net
from vizwidgets.core.optimize import read
from vizwidgets.core.picture import colourise, readable_limits, to_pixels
from vizwidgets.core.targets import Logit, Probability, Sum, Target

Box = tuple[int, int, int, int]  # y0, x0, y1, x1

MOST_VALUES = 500_000  # pixels that go to the page; of larger pictures every second, third, ...
MOST_PIXELS = 4_000_000  # of an image: a larger one takes seconds and a gigabyte for each window
HATCH = (128, 128, 128)


def answers(net: Net, target: Target | None, image: Tensor) -> tuple[Tensor, float, Target]:
    """Probabilities (classes,) of one image, the target's score, and the target: by default the probability of the first class.

    All in one pass; ValueError if they are no numbers.
    """
    with torch.no_grad():
        acts = read(net, Sum(((1, Logit(0)), *([(1, target)] if target else []))), image)
        found = acts["output"][0].softmax(0).cpu()
        target = target or Probability(int(found.argmax()))
        score = float(target(acts)[0])
    if not (bool(found.isfinite().all()) and np.isfinite(score)):
        raise ValueError(f"{net.name or 'the network'} gives NaN for this image: its weights, or the image, are not finite")
    return found, score, target


def geometry(size: tuple[int, int], window: Any, stride: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Window and stride as (height, width): a seventh of the image and a quarter of the window where they are not given."""
    tall, wide = window if isinstance(window, (tuple, list)) else (window, window)
    tall, wide = (tall, wide) if window is not None else (max(1, size[0] // 7), max(1, size[1] // 7))
    down, across = stride if isinstance(stride, (tuple, list)) else (stride, stride)
    return (tall, wide), (down, across) if stride is not None else (max(1, tall // 4), max(1, wide // 4))


def windows(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> int:
    """How many windows there are."""
    down, across = (ceil((a - w) / s) + 1 for a, w, s in zip(size, window, stride, strict=True))
    return down * across


def fitted(box: Box | None, window: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of the window's size around the middle of `box`, or of the image, within the image."""
    y0, x0, y1, x1 = box or (0, 0, *size)
    y = max(0, min(size[0] - window[0], (y0 + y1 - window[0]) // 2))
    x = max(0, min(size[1] - window[1], (x0 + x1 - window[1]) // 2))
    return y, x, y + window[0], x + window[1]


def patched(image: Tensor, cover: Tensor, box: Box, only_window: bool) -> Tensor:
    """The image (1, C, H, W) with the box hidden by the cover, or all but the box."""
    inside = torch.zeros(image.shape[2:], dtype=torch.bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    return torch.where(inside != only_window, cover, image)


def coarser(size: tuple[int, int]) -> int:
    """Every how manieth pixel of an image goes to the page."""
    return max(1, ceil(sqrt(size[0] * size[1] / MOST_VALUES)))


def pictures(image: Tensor, cover: Tensor, step: int) -> dict[str, Any]:
    """Image and cover as pixels for the page."""
    small, over = (to_pixels(F.avg_pool2d(v, step, ceil_mode=True)[0] if step > 1 else v[0]) for v in (image, cover))
    return {
        "size": list(image.shape[2:]),
        "height": small.shape[0],
        "width": small.shape[1],
        "photo": small.tobytes(),
        "cover": over.tobytes(),
    }


def packed(values: Tensor, step: int) -> bytes:
    """A map (H, W) as 32-bit numbers, row by row; before them the end of its scale."""
    shown = values[::step, ::step].float()
    return np.concatenate(([readable_limits(shown)[1]], shown.flatten().numpy())).astype("<f4").tobytes()


def shown_over(picture: NDArray[np.uint8], values: Tensor, opacity: float) -> NDArray[np.uint8]:
    """The map (H, W) over the picture (H, W, 3), the stronger the farther from 0; what no window covers is hatched.

    As in the page the picture loses its colours, so that those of the map are seen.
    """
    picture = picture + opacity * (picture.mean(2, keepdims=True) - picture)
    top = readable_limits(values)[1]
    colours = colourise(values, -top, top).astype(float)
    share = (values.abs() / top).clamp(max=1).sqrt().numpy()
    missing = values.isnan().numpy()
    y, x = np.indices(missing.shape)
    colours[missing], share[missing] = HATCH, np.asarray((x + y) % 4 < 2)[missing]
    share = share[..., None] * opacity
    return (picture * (1 - share) + colours * share).round().astype(np.uint8)


def outlined(picture: NDArray[np.uint8], box: Box, side: int) -> PILImage.Image:
    """The picture (H, W, 3) at a width of `side`, with the box outlined."""
    height = round(side * picture.shape[0] / picture.shape[1])
    sheet = PILImage.fromarray(picture).resize((side, height), PILImage.Resampling.NEAREST)
    y0, x0, y1, x1 = (round(v * side / picture.shape[1]) for v in box)
    draw = ImageDraw.Draw(sheet)
    for grow, colour in ((0, "black"), (1, "white")):
        draw.rectangle((x0 - grow, y0 - grow, x1 - 1 + grow, y1 - 1 + grow), outline=colour)
    return sheet
