"""What methods return: tensors with a picture, and the recipe that made them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from .picture import colourise, enlarge, png, readable_limits, tile, to_pixels
from .recipe import KEY, dumps


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Base of all results. `recipe` holds what made it; `vizwidgets.rerun(recipe)` makes it again."""

    recipe: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def picture(self) -> PILImage.Image:
        """The result as one picture."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Write the picture as PNG, with the recipe inside; gives the path."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ValueError(f"a result is saved as .png, not as {path.suffix or 'a file without ending'}: {path.name}")
        path.write_bytes(png(self.picture(), {KEY: dumps(self.recipe)}))
        return path

    def plot(self, ax: Any = None) -> Any:
        """Draw the picture on a matplotlib axes (a new one by default) and give the axes."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots()[1]
        ax.imshow(np.asarray(self.picture()), interpolation="nearest")
        ax.set_axis_off()
        return ax

    def _repr_png_(self) -> bytes:
        return png(self.picture())

    def __repr__(self) -> str:
        """Class and shapes."""
        parts = [
            f"{f.name} {'×'.join(map(str, v.shape)) or 'scalar'}" if isinstance(v, Tensor) else f"{f.name}={v!r}"
            for f in fields(self)
            if f.name != "recipe"
            for v in [getattr(self, f.name)]
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, eq=False, repr=False)
class ActivationMaps(Result):
    """Activations of one layer.

    Attributes
    ----------
    maps : Tensor
        (B, C, H, W), float32 (float64 stays), on the CPU.
    layer : str
    """

    maps: Tensor
    layer: str

    def picture(self) -> PILImage.Image:
        """All channels of the first image, on one common scale: signed around white, or from dark (0) to bright.

        Where a few peaks would leave all else dark they lie beyond the scale, and are white (black on a signed scale).
        """
        maps = self.maps[0]
        low, high = readable_limits(maps)
        side = 56 if len(maps) <= 64 else 36 if len(maps) <= 256 else 24
        tiles = np.stack([enlarge(t, side) for t in colourise(maps, low, high)])
        return PILImage.fromarray(tile(tiles, gap=2))

    def channel(self, index: int) -> PILImage.Image:
        """One channel of the first image, large, on the scale of the whole layer."""
        low, high = readable_limits(self.maps[0])
        return PILImage.fromarray(enlarge(colourise(self.maps[0, index], low, high), 192))


@dataclass(frozen=True, eq=False, repr=False)
class Filters(Result):
    """The weights of one layer.

    Attributes
    ----------
    weights : Tensor
        (C_out, C_in, h, w), float32 (float64 stays), on the CPU.
    layer : str
    """

    weights: Tensor
    layer: str

    def colours(self) -> NDArray[np.uint8]:
        """The filters (C_out, h, w, 3) as colours on one common scale, grey for 0; they need three input channels."""
        if self.weights.shape[1] != 3:
            raise ValueError(f"only filters on three channels show as colours; these have {self.weights.shape[1]}")
        top = self.weights.abs().max().clamp(min=1e-30)
        return np.stack([to_pixels(w) for w in 0.5 + 0.5 * self.weights / top])

    def picture(self) -> PILImage.Image:
        """In colour, a tile for each filter; or, on other than three channels, signed maps: a row for each of the first 16
        filters, a column for each of the first 24 channels that they read. One scale for all.
        """
        if self.weights.shape[1] == 3:
            return PILImage.fromarray(tile(np.stack([enlarge(t, 56) for t in self.colours()]), gap=4))
        shown = self.weights[:16, :24]
        top = self.weights.abs().max().item() or 1.0
        tiles = colourise(shown.flatten(0, 1), -top, top)
        return PILImage.fromarray(tile(np.stack([enlarge(t, 18) for t in tiles]), columns=shown.shape[1], gap=2))


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Result):
    """How much each pixel of the images matters for a target.

    Attributes
    ----------
    map : Tensor
        (B, H, W), float32 (float64 stays), on the CPU; in units of the score (occlusion, integrated gradients, gradient times
        input), of the score by pixel value (gradients), or without one (Grad-CAM).
    scores : Tensor
        (B,): the target's score of each image.
    values : Tensor or None
        (B, C, H, W): the same colour by colour, where a method tells the colours apart.
    """

    map: Tensor
    scores: Tensor
    values: Tensor | None = None

    def picture(self) -> PILImage.Image:
        """The maps side by side, each on a scale of its own: signed around white, or from dark (0) to bright."""
        tiles = [colourise(m[None], *readable_limits(m[None]))[0] for m in self.map]
        return PILImage.fromarray(tile(np.stack(tiles), gap=2 if len(tiles) > 1 else 0))


@dataclass(frozen=True, eq=False, repr=False)
class Rendering(Result):
    """Images made by optimisation.

    Attributes
    ----------
    image : Tensor
        (B, C, H, W) in [0, 1], on the CPU.
    scores : Tensor
        (steps, B): the score before each step.
    frames : tuple of Tensor
        The way there: (B, C, H, W), uint8, some 60 at even distances, the last among them.
    """

    image: Tensor
    scores: Tensor
    frames: tuple[Tensor, ...] = ()

    def picture(self) -> PILImage.Image:
        """The images side by side."""
        return sheet(self.image)

    def save(self, path: str | Path) -> Path:
        """Write the picture as .png, or the way there as an animated .gif or .webp, with the recipe inside; gives the path."""
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in (".gif", ".webp"):
            return super().save(path) if kind == ".png" else _refuse(path)
        frames = [sheet(f / 255) for f in self.frames]
        frames = [f if f.size == frames[-1].size else f.resize(frames[-1].size) for f in frames]
        recipe = dumps(self.recipe).encode()
        inside: dict[str, Any] = {"comment": recipe} if kind == ".gif" else {"xmp": recipe, "lossless": True}
        times = [80] * (len(frames) - 1) + [2000]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0, **inside)
        return path

    def __repr__(self) -> str:
        """Shapes."""
        shapes = (f"{n} {'×'.join(map(str, getattr(self, n).shape))}" for n in ("image", "scores"))
        return f"Rendering({', '.join(shapes)})"


def sheet(images: Tensor) -> PILImage.Image:
    """Images (B, C, H, W) in [0, 1] as one picture, in a grid when there are several."""
    return PILImage.fromarray(tile(np.stack([to_pixels(x) for x in images]), gap=2 if len(images) > 1 else 0))


def _refuse(path: Path) -> Path:
    raise ValueError(f"a rendering is saved as .png, .gif or .webp, not as {path.suffix or 'a file without ending'}: {path.name}")
