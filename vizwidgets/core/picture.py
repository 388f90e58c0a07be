"""From tensors to pixels and back: normalising, colour maps, tiling, overlays, encoding."""

from __future__ import annotations

import io
from functools import cache
from math import ceil, isfinite, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

# Knots of two perceptually even maps, safe for colour-blind people: viridis (van der Walt and Smith 2015), and a
# blue-white-red one around zero after ColorBrewer's RdBu (Brewer and Harrower 2003).
_KNOTS = {
    "sequential": "440154 472c7a 3b518b 2c718e 21908d 27ad81 5cc863 aadc32 fde725",
    "diverging": "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
}
NAN_COLOUR = (255, 0, 255)


@cache
def colour_table(kind: str) -> NDArray[np.uint8]:
    """256 colours (256, 3): "sequential" from dark to bright, "diverging" blue through white (0) to red, or "grey"."""
    if kind == "grey":
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    knots = np.array([[int(k[i : i + 2], 16) for i in (0, 2, 4)] for k in _KNOTS[kind].split()], float)
    at = np.linspace(0, len(knots) - 1, 256)
    channels = [np.interp(at, np.arange(len(knots)), knots[:, c]) for c in range(3)]
    return np.stack(channels, 1).round().astype(np.uint8)


def limits(maps: Tensor) -> tuple[float, float]:
    """The scale that maps are shown on: 0 to the maximum, or symmetric around 0 where anything is negative."""
    low, high = (v.item() for v in torch.aminmax(maps))
    if not (isfinite(low) and isfinite(high)):  # only then look at every value
        finite = maps[torch.isfinite(maps)]
        if finite.numel() == 0:
            return 0.0, 1.0
        low, high = finite.min().item(), finite.max().item()
    if low < 0:
        high = max(-low, high)
        return -high, high
    return 0.0, high or 1.0


def readable_limits(maps: Tensor, share: float = 0.995) -> tuple[float, float]:
    """Like `limits`, but up to the size that `share` of the values stay within: a few peaks would leave all else dark."""
    low, high = limits(maps)
    sample = maps.flatten()[:: max(1, maps.numel() // 20_000) | 1].abs().float()  # a share is known well enough from these
    sample = sample[torch.isfinite(sample)]
    if sample.numel() >= 500:
        top = sample.kthvalue(max(1, int(share * sample.numel()))).values.item()
        if 0 < top < high / 1.5:  # else the peaks are no nuisance, and nothing is clipped
            return (-top if low < 0 else 0.0), top
    return low, high


def to_bytes(maps: Tensor, low: float | Tensor, high: float | Tensor) -> NDArray[np.uint8]:
    """Values as 0 ... 255 on the scale from `low` to `high`; beyond it they are clipped, NaN becomes 0."""
    scaled = (maps - low) / (high - low)
    return scaled.nan_to_num(0, 1, 0).clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


def colourise(values: Tensor, low: float | None = None, high: float | None = None) -> NDArray[np.uint8]:
    """Maps (..., H, W) as colours (..., H, W, 3): diverging around 0 where the scale is signed.

    Marked are NaN in magenta, and what lies beyond the scale: in white, or black on a signed scale.
    """
    if low is None or high is None:
        low, high = limits(values)
    rgb = colour_table("diverging" if low < 0 else "sequential")[to_bytes(values, low, high)]
    margin = (high - low) / 255
    rgb[((values > high + margin) | (values < low - margin)).cpu().numpy()] = 0 if low < 0 else 255
    rgb[torch.isnan(values).cpu().numpy()] = NAN_COLOUR
    return rgb


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """An image (C, H, W) in [0, 1] as (H, W, 3) bytes; of other than three channels the mean is shown in grey."""
    image = image.detach().float()
    if image.shape[0] != 3:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    return image.nan_to_num(0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def tile(
    pictures: NDArray[np.uint8], columns: int | None = None, gap: int = 1, background: int = 255
) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) in rows of `columns`, `gap` pixels between them."""
    n, h, w, _ = pictures.shape
    columns = columns or columns_for(n, h, w)
    rows = ceil(n / columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), background, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = picture
    return sheet


def columns_for(n: int, h: int, w: int) -> int:
    """Columns in which `n` pictures (h, w) make a sheet that is about square, none of them empty."""
    return min(n, ceil(sqrt(n * h / w)))


def enlarge(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture (H, W, 3) magnified by a whole number so that its shorter side is near `side` pixels; never blurred."""
    factor = max(1, round(side / max(1, min(pixels.shape[:2]))))
    return pixels.repeat(factor, 0).repeat(factor, 1)


def overlay(image: NDArray[np.uint8], colours: NDArray[np.uint8], opacity: float = 0.6) -> NDArray[np.uint8]:
    """Colours (h, w, 3), enlarged to the image (H, W, 3), over it."""
    size = (image.shape[1], image.shape[0])
    over = np.asarray(PILImage.fromarray(colours).resize(size, PILImage.Resampling.BILINEAR), float)
    return (image * (1 - opacity) + over * opacity).round().astype(np.uint8)


def png(picture: PILImage.Image, text: dict[str, str] | None = None) -> bytes:
    """The picture as PNG, with texts inside."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value, zip=True)
    buffer = io.BytesIO()
    picture.save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def jpeg(picture: PILImage.Image, quality: int = 85) -> bytes:
    """The picture as JPEG."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()
