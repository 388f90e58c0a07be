"""A map of images as images: at their place, as a filled grid, or each in a cell of its own with seams between them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import torch
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont, ImageOps
from torch import Tensor

from vizwidgets.core.errors import unknown
from vizwidgets.core.picture import colour_table
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Result

from .neighbors import nearest, pair_distances
from .projections import Embedding
from .scatter import DIM, INK, picture_of, unit_square

KINDS = ("place", "fill", "assign")
MOST_CELLS = 64  # along a side of an assignment, which takes seconds for 4,096 images and eight times as long for twice as many


@dataclass(frozen=True, eq=False, repr=False)
class Mosaic(Result):
    """A grid of images, made by `image_grid`.

    Attributes
    ----------
    cells : Tensor
        (rows, columns): the row of the features that each cell shows, -1 for none; the first row is at the top of the map.
    embedding : Embedding
    kind : {"place", "fill", "assign"}
    seams : tuple of Tensor or None
        Of "assign": the distance of the vectors across each seam, to the right (rows, columns - 1) and down (rows - 1, columns);
        NaN beside a cell that is empty.
    side : int
        Of a cell, in pixels.
    """

    cells: Tensor
    embedding: Embedding
    kind: str
    seams: tuple[Tensor, Tensor] | None = None
    side: int = 48

    @property
    def shown(self) -> int:
        """How many different images are shown; the others have no cell of their own."""
        return len(self.cells[self.cells >= 0].unique())

    @property
    def scale(self) -> tuple[float, float]:
        """The smallest and the largest distance across a seam: the ends of the colours."""
        values = torch.cat([s.flatten() for s in self.seams or ()] or [torch.empty(0)])
        values = values[~values.isnan()]
        return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)

    def picture(self, side: int | None = None, seams: bool = True) -> PILImage.Image:
        """The grid, its cells `side` pixels large; with seams, coloured from dark (alike) to bright, and the scale below."""
        side = side or self.side
        lines = self.seams if seams else None
        gap = max(3, side // 10) if lines else 0
        rows, columns = self.cells.shape
        sheet = PILImage.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
        for (y, x), row in np.ndenumerate(self.cells.numpy()):
            if row >= 0:
                tile = ImageOps.fit(picture_of(self.embedding.features, int(row), 2 * side), (side, side))
                sheet.paste(tile, (x * (side + gap), y * (side + gap)))
        if lines:
            self._draw(ImageDraw.Draw(sheet), lines, side, gap)
        return self._captioned(sheet, bool(lines))

    def _draw(self, draw: ImageDraw.ImageDraw, lines: tuple[Tensor, Tensor], side: int, gap: int) -> None:
        """The seams, and where four of them meet the brightest, so that lines go on."""
        right, down = (v.numpy() for v in lines)
        meet = np.fmax(np.fmax(right[:-1], right[1:]), np.fmax(down[:, :-1], down[:, 1:]))
        low, high = self.scale
        step = side + gap
        for values, left, top, width, height in ((right, side, 0, gap, side), (down, 0, side, side, gap), (meet, side, side, gap, gap)):
            for (y, x), value in np.ndenumerate(values):
                if not np.isnan(value):
                    colour = colour_table("sequential")[round(255 * (value - low) / (high - low)) if high > low else 0]
                    x0, y0 = x * step + left, y * step + top
                    draw.rectangle((x0, y0, x0 + width - 1, y0 + height - 1), tuple(colour.tolist()))

    def _captioned(self, sheet: PILImage.Image, seams: bool) -> PILImage.Image:
        """What is shown, and the scale of the seams."""
        font, features = ImageFont.load_default(13), self.embedding.features
        text = f"{self.shown} of {len(features)} images"
        low, high = self.scale
        metric = {"l2": "L2", "cosine": "1 - cosine"}[self.embedding.metric]
        scale = (f"distance of neighbours ({metric}): {low:.3g}", f"{high:.3g}") if seams and high > low else None
        wide = font.getlength(text) + 8
        below = scale is not None and wide + font.getlength("".join(scale)) + 150 > sheet.width
        width = max(sheet.width, round(max(wide, 0 if scale is None else font.getlength("".join(scale)) + 140 + (0 if below else wide))))
        whole = PILImage.new("RGB", (width, sheet.height + (44 if below else 24)), "white")
        whole.paste(sheet, (0, 0))
        draw = ImageDraw.Draw(whole)
        draw.text((2, sheet.height + 5), text, INK, font)
        if scale is not None:
            top = sheet.height + (25 if below else 5)
            left = 2 if below else whole.width - font.getlength("".join(scale)) - 132
            draw.text((left, top), scale[0], DIM, font)
            bar = PILImage.fromarray(np.repeat(colour_table("sequential")[None], 10, 0)).resize((110, 10))
            left += font.getlength(scale[0]) + 8
            whole.paste(bar, (round(left), top + 4))
            draw.text((left + 118, top), scale[1], DIM, font)
        return whole

    def __repr__(self) -> str:
        """Size and kind."""
        return f"Mosaic({self.cells.shape[0]} × {self.cells.shape[1]}, {self.kind!r}, {self.shown} of {len(self.embedding.features)} images)"


def image_grid(embedding: Embedding, *, kind: str = "place", cells: int | None = None, side: int | None = None) -> Mosaic:
    """A map of images as images.

    "place" shows images where their points are, moved to the next cell; of those that share a cell the one nearest its centre is
    shown. "fill" shows in every cell the image nearest its centre, so that one image may be seen several times. "assign" gives
    each image a cell of its own, such that the sum of squared distances from point to cell is as small as can be; between neighbours
    are seams that tell how far apart their vectors really are, which the grid hides.

    Where there are more images than cells "assign" takes some of them, at even distances in the order of the set; where there are
    fewer it takes the smallest square that holds them. The map is stretched to fill the grid.

    Parameters
    ----------
    embedding : Embedding
    kind : {"place", "fill", "assign"}
    cells : int, optional
        Along a side; by default 40 for "place", which then shows more of them, else 20; at most 64 for "assign".
    side : int, optional
        Of a cell, in pixels, from 8; by default such that the grid has 960.

    Returns
    -------
    Mosaic

    Raises
    ------
    LookupError, ValueError
        For an unknown kind, and sizes that are not allowed.

    References
    ----------
    Karpathy: t-SNE visualization of CNN codes, 2014.

    Examples
    --------
    >>> image_grid(pca(Features(torch.rand(100, 8))), kind="assign", cells=8)
    Mosaic(8 × 8, 'assign', 64 of 100 images)
    """
    if kind not in KINDS:
        raise LookupError(unknown("kind of grid", kind, KINDS))
    cells = cells if cells is not None else 40 if kind == "place" else 20
    most = MOST_CELLS if kind == "assign" else 200
    for what, value, least, largest in (("cells", cells, 1, most), ("side", 48 if side is None else side, 8, 512)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= largest:
            raise ValueError(f"{what} is a whole number from {least} to {largest}, not {value!r}")
    at = unit_square(embedding.plane.astype(float), stretch=True)
    at[:, 1] = 1 - at[:, 1]  # rows go down, the map goes up
    if kind == "assign":
        cells = min(cells, ceil(sqrt(len(at))))
    side = side or max(8, min(96, 960 // cells))
    centres = (np.arange(cells) + 0.5) / cells
    centres = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)  # x, y of the cells, row by row
    grid = {"place": _place, "fill": _fill, "assign": _assign}[kind](at, centres)
    shown = torch.from_numpy(grid).view(cells, cells)
    recipe = make_recipe(None, "image_grid", {}, {"kind": kind, "cells": cells, "side": side}) | {"embedding": embedding.recipe}
    return Mosaic(shown, embedding, kind, _seams(embedding, shown) if kind == "assign" else None, side, recipe=recipe)


def _place(at: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """For each cell the nearest to its centre among the points within, -1 where there is none."""
    cells = round(sqrt(len(centres)))
    column, row = np.minimum((at * cells).astype(int), cells - 1).T
    cell = row * cells + column
    order = np.lexsort((((at - centres[cell]) ** 2).sum(1), cell))
    taken, first = np.unique(cell[order], return_index=True)
    grid = np.full(len(centres), -1)
    grid[taken] = order[first]
    return grid


def _fill(at: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """For each cell the point nearest to its centre."""
    return nearest(torch.from_numpy(at), torch.from_numpy(centres), 1)[0][:, 0].numpy()


def _assign(at: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """A cell for each point, or for as many as there are cells, at the least sum of squared distances."""
    from scipy.optimize import linear_sum_assignment

    chosen = np.arange(len(at))
    if len(at) > len(centres):
        chosen = np.linspace(0, len(at) - 1, len(centres)).round().astype(int)
    cost = ((at[chosen, None] - centres) ** 2).sum(2)
    which, cell = linear_sum_assignment(cost)
    grid = np.full(len(centres), -1)
    grid[cell] = chosen[which]
    return grid


def _seams(embedding: Embedding, cells: Tensor) -> tuple[Tensor, Tensor]:
    """The distances of the vectors of cells side by side, and one above the other."""
    vectors = embedding.features.vectors

    def across(a: Tensor, b: Tensor) -> Tensor:
        found = pair_distances(vectors, a.clamp(min=0).flatten(), vectors, b.clamp(min=0).flatten(), embedding.metric).view(a.shape)
        return found.masked_fill((a < 0) | (b < 0), torch.nan)

    return across(cells[:, :-1], cells[:, 1:]), across(cells[:-1], cells[1:])
