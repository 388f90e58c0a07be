"""What `AttributionViewer` shows: how an attribution is read, its scale, and what goes to the page."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from torch import Tensor

from vizwidgets.core.image import Image
from vizwidgets.core.net import Net
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import colourise, limits, to_bytes, to_pixels
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Logit, Probability, Target
from vizwidgets.methods.attributions import attribute, name_of, named, takes_net

from .stills import DIM, INK

TOP = 5  # classes that come first in the menu
LONGEST = 640  # rows or columns of a map that goes to the page; larger ones are averaged down

# In a few words, for people who have not read the paper.
SHOWS = {
    "saliency": "where a small change of a pixel moves the score",
    "guided backprop": "the same, by raising paths through active ReLUs only",
    "deconvnet": "the same, by raising paths only, active or not",
    "SmoothGrad": "saliency, averaged over noisy copies of the picture",
    "integrated gradients": "what each pixel adds on the way from black",
    "Grad-CAM": "regions whose maps speak for it",
    "guided Grad-CAM": "guided backprop where Grad-CAM is positive",
    "occlusion": "what the score loses when a window is hidden",
}


def shows(name: str, call: Callable[..., Any]) -> str:
    """A few words on what a method shows; of one's own, the first line of its docstring."""
    own = (inspect.getdoc(call) or "").strip().partition("\n")[0].rstrip(".") if inspect.isroutine(call) else ""
    return SHOWS.get(name, own if len(own) < 80 else "")


def takes_layer(method: str | Callable[..., Any]) -> bool:
    """Whether it looks at a layer that may be chosen."""
    return "layer" in inspect.signature(named(method)).parameters


def stages(
    method: str | Callable[..., Any], net: Net, image: Image, target: Target, layer: str | None
) -> Iterator[tuple[Attribution, float]]:
    """The attribution, and 1; of a method that is a `Run` before that what is known after each step, and the share of steps."""
    options = {"layer": layer} if layer is not None and takes_layer(method) else {}
    call = named(method)
    made = call(net, image.pixels, target, **options) if takes_net(call) else attribute(method, net, image, target, **options)
    if isinstance(made, Run):
        for step in made:
            if made.taken < len(made) and isinstance(getattr(step, "map", None), Tensor):
                yield Attribution(step.map, step.scores["score"]), made.taken / len(made)
        made = made.so_far()
    if not isinstance(made, Attribution):
        raise TypeError(f"{name_of(method)} gives {type(made).__name__}; a function of (net, images, target) gives an Attribution")
    yield made, 1.0


def reading(found: Attribution, signed: bool | None) -> Tensor:
    """The map (H, W) of the first image: as it is, what speaks for and against the target, or how much each pixel matters at all."""
    own = found.map[0]
    if signed is None:
        return own
    if not signed:
        return own.abs()
    return own if found.values is None or bool((own < 0).any()) else found.values[0].sum(0)


def ends(values: Tensor, percentile: float) -> tuple[float, float]:
    """The scale within which `percentile` of the values stay: from 0, or around 0 where any is negative."""
    low, high = limits(values)
    sizes = values[values.isfinite()].abs().flatten()
    if len(sizes):
        top = sizes.kthvalue(max(1, ceil(len(sizes) * percentile / 100))).values.item()
        if 0 < top < high:
            return (-top if low < 0 else 0.0), top
    return low, high


def packed(found: Attribution) -> dict[str, Any]:
    """Its readings as float32, which of them it is itself, and their size."""
    signed, absolute = reading(found, True), reading(found, False)
    own = "signed" if bool((found.map[0] < 0).any()) else "absolute"
    pooled = ceil(max(signed.shape) / LONGEST)
    same = torch.equal(signed.abs(), absolute)
    return {
        "score": float(found.scores[0]), "layer": found.recipe.get("options", {}).get("layer"),
        "height": ceil(signed.shape[0] / pooled), "width": ceil(signed.shape[1] / pooled), "pooled": pooled, "own": own,
        "signed": _floats(signed, pooled), "absolute": b"" if same else _floats(absolute, pooled),
    }  # fmt: skip


def describe(net: Net, image: Image, target: Target, chance: Tensor) -> dict[str, Any]:
    """What the page says of network, picture and target."""
    index = int(target.index) % len(chance) if isinstance(target, (Logit, Probability)) else -1
    rows = (net.layers[name] for name in net.layers.order)
    channels = image.pixels.shape[1]
    return {
        "aim": target.describe(net), "index": index, "own": int(chance.argmax()),
        "classes": [net.label(i) for i in range(len(chance))],
        "top": [[int(i), float(chance[i])] for i in chance.topk(min(TOP, len(chance))).indices],
        "chance": float(chance[index]) if index >= 0 else None,
        "layers": [r.name for r in rows if r.layout is not None and r.shape is not None and r.shape[1] * r.shape[2] > 1],
        "image": image.sha256, "source": image.source, "size": list(image.pixels.shape[2:]),
        "notes": [*image.notes, *([] if channels in (1, 3) else [f"shown: the mean of its {channels} channels"])],
    }  # fmt: skip


def _floats(values: Tensor, pooled: int) -> bytes:
    if pooled > 1:
        values = F.avg_pool2d(values[None, None], pooled, ceil_mode=True)[0, 0]
    return values.to(torch.float32).numpy().astype("<f4").tobytes()


def photo(image: Image) -> PILImage.Image:
    """The picture, as large as the page can show it."""
    picture = image.picture()
    picture.thumbnail((2 * LONGEST, 2 * LONGEST))
    return picture


def drawn(values: Tensor, image: Image, percentile: float, opacity: float | None, side: int = 448) -> PILImage.Image:
    """A map (H, W) in colours, alone or over the picture, its width some `side` pixels."""
    low, high = ends(values, percentile)
    h, w = image.pixels.shape[2:]
    size = (side, max(1, round(side * h / w)))
    colours = PILImage.fromarray(colourise(values, low, high)).resize(size, PILImage.Resampling.NEAREST)
    if opacity is None:
        return colours
    below = PILImage.fromarray(to_pixels(image.pixels[0])).resize(size, PILImage.Resampling.BICUBIC)
    seen = PILImage.fromarray(_alpha(values, low, high, opacity)).resize(size, PILImage.Resampling.NEAREST)
    return PILImage.composite(colours, below, seen)


def _alpha(values: Tensor, low: float, high: float, opacity: float) -> NDArray[np.uint8]:
    """How much a map hides of the picture: the more the farther a value is from 0; NaN as much as the largest."""
    share = to_bytes(values, low, high) / 255
    share = np.abs(2 * share - 1) if low < 0 else share
    share[~values.isfinite().numpy()] = 1
    return (255 * opacity * np.sqrt(share)).round().astype(np.uint8)


def scale_text(values: Tensor, percentile: float) -> str:
    """The ends of the scale, and whether anything lies beyond."""
    low, high = ends(values, percentile)
    beyond = float(values[values.isfinite()].abs().max()) > high if bool(values.isfinite().any()) else False
    return f"{low:.3g} to {high:.3g}" + (" and beyond" if beyond else "")


def sheet(image: Image, tiles: list[tuple[str, str, PILImage.Image | None]], title: str, columns: int = 4) -> PILImage.Image:
    """The picture and the maps beside each other, with names above and words below."""
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    h, w = image.pixels.shape[2:]
    side, columns = 176, min(columns, len(tiles) + 1)
    tall = round(side * h / w)
    rows = -(-(len(tiles) + 1) // columns)
    picture = PILImage.new("RGB", (columns * (side + 12) + 4, 28 + rows * (tall + 48)), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((8, 6), title, INK, font)
    first = (image.source, "", image.picture().resize((side, tall), PILImage.Resampling.BICUBIC))
    for i, (name, words, shown) in enumerate([first, *tiles]):
        x, y = 8 + i % columns * (side + 12), 28 + i // columns * (tall + 48)
        draw.text((x, y), name, INK, font)
        if shown is not None:
            picture.paste(shown.resize((side, tall), PILImage.Resampling.NEAREST), (x, y + 18))
        else:
            draw.rectangle((x, y + 18, x + side, y + 18 + tall), outline=DIM)
        draw.text((x, y + tall + 20), _cut(words, small, side), DIM, small)
    return picture


def _cut(text: str, font: Any, room: int) -> str:
    while text and font.getlength(text) > room:
        text = text[:-2].rstrip() + "…" if len(text) > 3 else ""
    return text
