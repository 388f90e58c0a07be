"""Texture by copying: more of a sample, or what fills a hole, pixel by pixel (Efros and Leung)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from math import isqrt
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from vizwidgets.core.errors import unknown
from vizwidgets.core.image import open_image
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import to_pixels
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Result, sheet

from .growing import Search, grow, ring_sizes, whole_windows

ORDERS = ("onion", "scanline")
MOST = 2**26  # numbers of all windows, 512 MB


@dataclass(frozen=True, eq=False, repr=False)
class Texture(Result):
    """A picture whose pixels are copies of those of a sample, made by `efros_leung`.

    Attributes
    ----------
    image : Tensor
        (1, C, h, w) in [0, 1]; what is not filled is grey, 0.5.
    origin : Tensor
        (h, w, 2), int64: row and column of the sample's pixel that each was copied from; -1 for kept and for empty ones.
    order : Tensor
        (h, w), int64: how many pixels were copied before; -1 for kept and for empty ones.
    empty : Tensor
        (h, w), bool: what is not filled, as the run was stopped.
    sample : Tensor
        (1, C, H, W).
    """

    image: Tensor
    origin: Tensor
    order: Tensor
    empty: Tensor
    sample: Tensor

    @cached_property
    def pieces(self) -> Tensor:
        """(h, w), int64: the number of the piece that each pixel belongs to, -1 where nothing was copied.

        A piece is a connected area (no diagonals) that was copied from the sample as it stands there.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        copied = (self.order >= 0).numpy()
        number = np.arange(copied.size).reshape(copied.shape)
        right, down = (same.numpy() for same in self._together())
        first = np.concatenate([number[:, :-1][right], number[:-1][down]])
        second = np.concatenate([number[:, 1:][right], number[1:][down]])
        edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(copied.size, copied.size))
        labels = connected_components(edges, directed=False)[1]
        found = np.full(copied.size, -1)
        found[copied.ravel()] = np.unique(labels[copied.ravel()], return_inverse=True)[1]
        return torch.from_numpy(found.reshape(copied.shape))

    @property
    def verbatim(self) -> float:
        """The share of copied neighbours that are neighbours in the sample, too: 1 for a copy as it stands; NaN without any."""
        copied = self.order >= 0
        pairs = int((copied[:, :-1] & copied[:, 1:]).sum() + (copied[:-1] & copied[1:]).sum())
        return sum(int(same.sum()) for same in self._together()) / pairs if pairs else float("nan")

    def _together(self) -> tuple[Tensor, Tensor]:
        """Whether a pixel and the next to the right (h, w - 1), or below (h - 1, w), stand so in the sample as well."""
        at, copied = self.origin, self.order >= 0
        right = (at[:, 1:] - at[:, :-1] == torch.tensor([0, 1])).all(2) & copied[:, :-1] & copied[:, 1:]
        down = (at[1:] - at[:-1] == torch.tensor([1, 0])).all(2) & copied[:-1] & copied[1:]
        return right, down

    def picture(self) -> PILImage.Image:
        """The image."""
        return sheet(self.image)

    def origin_picture(self) -> PILImage.Image:
        """Where it comes from: each piece in one colour, that of its middle in `key_picture`; the smaller the pieces, the more new.

        Pieces side by side differ a little in brightness too. Kept pixels are pale, empty ones grey.
        """
        pieces, copied = self.pieces, self.order >= 0
        chosen = pieces[copied]
        count = torch.bincount(chosen).clamp(min=1)[:, None]
        middles = torch.zeros(len(count), 2, dtype=torch.float64).index_add_(0, chosen, self.origin[copied].double()) / count
        colours = _place_colours(middles, self.sample.shape[2:])
        colours = colours * (0.82 + 0.18 * (torch.arange(len(colours)) * 0.618 % 1.0))[:, None]
        found = 0.5 + torch.zeros(*pieces.shape, 3, dtype=torch.float64)
        kept = ~copied & ~self.empty
        found[kept] = 0.75 + 0.2 * self.image[0].mean(0).double()[kept][:, None]
        found[copied] = colours[chosen]
        return PILImage.fromarray(to_pixels(found.permute(2, 0, 1)))

    def key_picture(self) -> PILImage.Image:
        """The colours of all places of the sample."""
        size = self.sample.shape[2:]
        places = torch.stack(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij"), -1)
        return PILImage.fromarray(to_pixels(_place_colours(places.view(-1, 2), size).view(*size, 3).permute(2, 0, 1)))


def _place_colours(places: Tensor, size: Any) -> Tensor:
    """Colours (N, 3) of places (N, 2) of a sample of that size: the hue goes across, from red to violet, bright is up."""
    y, x = (places.double() / (torch.tensor(size) - 1).clamp(min=1)).T[..., None]
    hue = 2 * torch.pi * (0.8 * x - torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) / 3)
    return (0.72 - 0.36 * y + 0.28 * torch.cos(hue)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class TextureStep:
    """The texture after some pixels more, about a ring or a row.

    Attributes
    ----------
    index : int
        Steps so far, from 1.
    scores : dict of str to Tensor
        ``"filled"`` (1,), the share of the pixels, and ``"error"`` (1,), the mean over this step's pixels of the squared difference
        between their surroundings and those that they were copied from, weighted.
    texture : Texture
        So far; without a recipe.
    """

    index: int
    scores: dict[str, Tensor]
    texture: Texture

    @property
    def image(self) -> Tensor:
        """(1, C, h, w); what is not filled is grey, 0.5."""
        return self.texture.image

    def picture(self) -> PILImage.Image:
        """The image so far."""
        return self.texture.picture()


def efros_leung(
    sample: Any, size: int | tuple[int, int] | None = None, window: int = 11, *, order: str = "onion", mask: Any = None, seed: int = 0
) -> Run[TextureStep]:
    """More of a texture, pixel by pixel, each copied from where the sample looks as what is there already; or what fills a hole.

    For each pixel all windows of the sample are compared with what is known of its surroundings, by the squared difference, weighted
    by a Gaussian. One of those within 10 % of the best is drawn by lot, and its middle copied. Nothing is learned, and no colour
    is ever mixed. The error is the mean over channels, so a grey picture is treated like the same in colour.

    It begins with three by three pixels from anywhere in the sample, and goes on as in the paper from the inside out ("onion"):
    pixels with more neighbours first, and one whose best window differs by more than 0.3 waits; or row by row ("scanline").

    Parameters
    ----------
    sample : path, bytes, PIL.Image, numpy array, tensor or Image
        As `vizwidgets.image` takes it; it is not resized.
    size : int or (int, int), optional
        Height and width in pixels, at least 3; by default 64.
    window : int
        Side of the window in pixels: odd, from 3. As large as what repeats in the sample: a smaller one makes a mess of it, a larger
        one copies whole pieces as they are.
    order : {"onion", "scanline"}
        From the middle outwards, or row by row from the top left corner.
    mask : array or Tensor, optional
        (H, W), True where the sample has a hole. It is filled from the windows without holes, and nothing else is changed. It has the
        sample's size then, and `size` is not given.
    seed : int
        At least 0.

    Returns
    -------
    Run
        Of `TextureStep`, each about a ring or a row; its result is a `Texture`.

    Raises
    ------
    ValueError, LookupError, TypeError
        For a sample smaller than the window or far too large to be searched, an even window, a mask of another size or without
        holes, holes that leave no window, an unknown order.

    References
    ----------
    Efros, Leung: Texture synthesis by non-parametric sampling, 1999.

    Examples
    --------
    >>> efros_leung(vizwidgets.data.swatch("bricks", 32), size=48).result()
    Texture(image 1×3×48×48, origin 48×48×2, order 48×48, empty 48×48, sample 1×3×32×32)
    """
    pixels = open_image(sample).pixels
    height, width = pixels.shape[2:]
    if order not in ORDERS:
        raise LookupError(unknown("order", order, ORDERS))
    _check_window(window, *pixels.shape[1:])
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"a seed is a whole number from 0, not {seed!r}")
    holes = None if mask is None else _holes(mask, (height, width), window)
    if holes is not None and size is not None:
        raise ValueError("a hole is filled in the sample's own size: give a mask or a size, not both")
    shape = (height, width) if holes is not None else _shape(64 if size is None else size)
    rng = np.random.default_rng(seed)
    values = pixels[0].double().numpy()
    if holes is not None:
        board = np.where(holes, -1, np.arange(height * width).reshape(height, width))
    else:
        board = _seeded(shape, (height, width), order, rng)
    kept = (board >= 0) & (holes is not None)
    sequence = np.where((board >= 0) & ~kept, np.cumsum((board >= 0).ravel()).reshape(shape) - 1, -1)
    search = Search(values, window, holes)
    sizes = _in_parts(ring_sizes(board < 0, order), search.at_once)

    def steps() -> Iterator[TextureStep]:
        copied, total = int((sequence >= 0).sum()), int((board < 0).sum())
        growth = grow(search, board.copy(), order, rng)
        for index, size in enumerate(sizes, 1):
            errors = []
            with search.threads():
                for y, x, source, error in islice(growth, size):
                    board[y, x], sequence[y, x] = source, copied
                    copied += 1
                    errors.append(error)
            yield step(index, sum(sizes[:index]) / total if total else 1.0, sum(errors) / max(1, len(errors)))

    def step(index: int, share: float, error: float) -> TextureStep:
        scores = {"filled": torch.tensor([share]), "error": torch.tensor([error])}
        return TextureStep(index, scores, _texture(pixels, board, sequence))

    inputs = {"sample": pixels} if holes is None else {"sample": pixels, "mask": torch.from_numpy(holes)}
    options = {"size": None if holes is not None else shape, "window": window, "order": order, "seed": seed}

    def finish(last: TextureStep) -> Texture:
        return replace(last.texture, recipe=make_recipe(None, "efros_leung", inputs, options) | {"taken": last.index})

    return Run(steps(), len(sizes), finish)


def _texture(pixels: Tensor, board: np.ndarray, sequence: np.ndarray) -> Texture:
    """What a board of pixel numbers shows; made by NumPy, for a small picture is long done before PyTorch's threads have met."""
    flat = np.pad(pixels[0].flatten(1).numpy(), ((0, 0), (0, 1)), constant_values=0.5)  # that of -1 is the last
    origin = np.where((sequence >= 0)[..., None], np.stack(np.divmod(board, pixels.shape[3]), -1), -1)
    image, places, when, empty = map(torch.from_numpy, (flat[None, :, board], origin, sequence.copy(), board < 0))
    return Texture(image, places, when, empty, pixels)


def _seeded(shape: tuple[int, int], size: tuple[int, int], order: str, rng: np.random.Generator) -> np.ndarray:
    """An empty board with three by three pixels of the sample, in its middle or its first corner."""
    board = np.full(shape, -1)
    y, x = (0, 0) if order == "scanline" else ((shape[0] - 3) // 2, (shape[1] - 3) // 2)
    top, left = int(rng.integers(size[0] - 2)), int(rng.integers(size[1] - 2))
    board[y : y + 3, x : x + 3] = (top + np.arange(3))[:, None] * size[1] + left + np.arange(3)
    return board


def _in_parts(sizes: list[int], most: int) -> list[int]:
    """How many pixels each step fills: a ring or a row, or a part of it where it is long."""
    return [n // parts + (k < n % parts) for n in sizes for parts in [-(-n // most)] for k in range(parts)] or [0]


def _check_window(window: int, channels: int, height: int, width: int) -> None:
    if isinstance(window, bool) or not isinstance(window, int) or window < 3 or window % 2 == 0:
        raise ValueError(f"a window has a pixel in its middle: its side is an odd number from 3, not {window!r}")
    if window > min(height, width):
        largest = (min(height, width) - 1) // 2 * 2 + 1
        say = f"at most {largest}" if largest >= 3 else "and this sample is too small for any"
        raise ValueError(f"the window lies within the sample, which has {height}×{width} pixels: {say}, not {window}")
    windows, numbers = (height - window + 1) * (width - window + 1), (1 + channels) * window**2
    if windows * numbers > MOST:
        side = isqrt(MOST // numbers) + window - 1
        raise ValueError(
            f"the sample of {height}×{width} pixels has {windows:,} windows of {window}×{window}, and each new pixel is compared with all of "
            f"them: at most {MOST // numbers:,}. Cut a piece out of it or make it smaller, to {side}×{side} pixels; 64×64 are often enough"
        )


def _shape(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < 3 for v in pair):
        raise ValueError(f"the size is a number of pixels from 3, or two of them (height, width), not {size!r}")
    return pair


def _holes(mask: Any, size: tuple[int, int], window: int) -> np.ndarray:
    holes = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if holes.dtype != bool:
        raise TypeError(f"a mask holds booleans, True where the hole is, not {holes.dtype}")
    if holes.shape != size:
        raise ValueError(f"the mask has the sample's height and width, {size}, not {holes.shape}")
    if not holes.any():
        raise ValueError("the mask is False everywhere: there is no hole to fill")
    if not whole_windows(holes, window).any():
        fits = next((w for w in range(window - 2, 2, -2) if whole_windows(holes, w).any()), None)
        hint = f"the largest that does has {fits}×{fits}" if fits else "not even one of 3×3 does"
        raise ValueError(f"no window of {window}×{window} pixels lies beside the holes; {hint}")
    return holes.copy()
