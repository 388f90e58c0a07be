"""What `AdversarialSlider` shows: pictures in 8 bits, their difference, classes before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from torch import Tensor

from vizwidgets.core.net import Net
from vizwidgets.core.picture import to_pixels

from .stills import BAR, DIM, INK, TRACK

AFTER = "#d55e00"


def eight_bit(x: Tensor) -> Tensor:
    """The image as a file of 8 bits holds it, in [0, 1]."""
    return (x.detach().clamp(0, 1) * 255).round() / 255


def probabilities(net: Net, x: Tensor) -> Tensor:
    """(classes,) of one image; ValueError if they are no numbers."""
    with torch.inference_mode():
        found = net(x)[0].softmax(0).cpu()
    if not bool(found.isfinite().all()):
        raise ValueError(f"{net.name or 'the network'} gives NaN for this image: its weights, or the image, are not finite")
    return found


def class_rows(rows: list[int], before: Tensor, after: Tensor, target: int, k: int) -> list[int]:
    """The classes to show: a class keeps its row as long as it can, and the first ones of both are always among them."""
    k = min(k, len(before))
    rows = rows or before.topk(k).indices.tolist()
    wanted = [int(before.argmax()), int(after.argmax()), target, *after.topk(min(2, k)).indices.tolist()]
    wanted = list(dict.fromkeys(i for i in wanted if i >= 0))[:k]
    weight = torch.maximum(before, after)
    for new in wanted:
        if new not in rows:
            least = min((i for i in rows if i not in wanted), key=lambda i: float(weight[i]))
            rows = [new if i == least else i for i in rows]
    return rows


def measures(original: Tensor, changed: Tensor) -> dict[str, Any]:
    """Both as pixels, and how far they are from each other: in levels, in pixels, in length."""
    change = changed - original
    levels = (change * 255).round().abs()
    h, w = original.shape[2:]
    return {
        "height": h,
        "width": w,
        "channels": original.shape[1],
        "original": to_pixels(original[0]).tobytes(),
        "changed": to_pixels(changed[0]).tobytes(),
        "largest": int(levels.max()),
        "share": (levels.amax(1) > 0).float().mean().item(),
        "length": change.norm().item(),
    }


def difference(frame: dict[str, Any], amplify: int) -> NDArray[np.uint8]:
    """What was added, times `amplify`, around grey (H, W, 3)."""
    original, changed = _pixels(frame, "original"), _pixels(frame, "changed")
    return np.clip(128 + amplify * (changed.astype(int) - original), 0, 255).astype(np.uint8)


def percent(p: float) -> str:
    """A probability for people, which is 0 or 100 % only if it is."""
    return "< 0.1 %" if 0 < p < 0.001 else "> 99.9 %" if 0.999 < p < 1 else f"{100 * p:.1f} %"


def before_and_after(frame: dict[str, Any], classes: list[str], amplify: int, side: int = 208) -> PILImage.Image:
    """The three pictures, and bars for the classes before and after."""
    shown = {
        f"before: {classes[frame['first'][0]]}": _pixels(frame, "original"),
        f"after: {classes[frame['first'][1]]}": _pixels(frame, "changed"),
        f"difference, {amplify} times": difference(frame, amplify),
    }
    size = (side, round(side * frame["height"] / frame["width"]))
    large = {title: PILImage.fromarray(values).resize(size, PILImage.Resampling.NEAREST) for title, values in shown.items()}
    return pictures_and_classes(large, frame["rows"], classes)


def pictures_and_classes(shown: dict[str, PILImage.Image], rows: list[dict[str, Any]], classes: list[str]) -> PILImage.Image:
    """Pictures of one size with their titles, and two bars for each class, before and after."""
    font, (side, height) = ImageFont.load_default(13), next(iter(shown.values())).size
    left = round(max(font.getlength(classes[r["index"]]) for r in rows)) + 20
    sheet = PILImage.new("RGB", (max(len(shown) * (side + 8) + 8, left + 400), height + 40 + 26 * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (title, picture) in enumerate(shown.items()):
        x = 8 + i * (side + 8)
        draw.text((x, 4), title, INK, font)
        sheet.paste(picture, (x, 24))
    for i, row in enumerate(rows):
        y = height + 34 + 26 * i
        draw.text((8, y + 1), classes[row["index"]], INK, font)
        for p, colour, top in ((row["before"], BAR, y), (row["after"], AFTER, y + 10)):
            draw.rectangle((left, top, left + 240, top + 8), TRACK)
            draw.rectangle((left, top, left + 240 * p, top + 8), colour)
        draw.text((left + 252, y + 1), f"{percent(row['before'])} -> {percent(row['after'])}", DIM, font)
    return sheet


def _pixels(frame: dict[str, Any], name: str) -> NDArray[np.uint8]:
    return np.frombuffer(frame[name], np.uint8).reshape(frame["height"], frame["width"], 3)
