"""Drawings of sets of images: points coloured by class with a legend, and rows of thumbnails with a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from .embedding import class_name

if TYPE_CHECKING:
    from .embedding import Features

# Six colours that colour-blind people can tell apart (Okabe and Ito, 2008); beyond six classes the shape changes too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
SHAPES = ("circle", "square", "triangle", "diamond")
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D"}  # matplotlib's names
INK, DIM, FRAME = "#212121", "#5f5f5f", "#d0d0d0"
_FINER = 3  # drawn so many times larger, then reduced: smooth edges


def class_marker(label: int) -> tuple[str, str]:
    """Colour and shape of the points of a class."""
    return COLOURS[label % len(COLOURS)], SHAPES[label // len(COLOURS) % len(SHAPES)]


def unit_square(points: NDArray[np.floating], *, stretch: bool = False) -> NDArray[np.floating]:
    """Points (N, 2) moved into [0, 1]², their shape kept, or stretched to fill it."""
    low, high = points.min(0), points.max(0)
    span = np.where(high > low, high - low, 1.0) if stretch else np.full(2, (high - low).max() or 1.0)
    return (points - (low + high) / 2) / span + 0.5


def scatter(
    points: NDArray[np.floating], labels: NDArray[np.integer] | None = None, classes: tuple[str, ...] = (), *, side: int = 480, caption: str = "",
    legend: bool = True,
) -> PILImage.Image:  # fmt: skip
    """Points (N, 2), y upwards, on a square of `side` pixels; a legend of the classes to the right, a caption below."""
    radius = float(np.clip(side / np.sqrt(len(points)) / 4.4, 1.5, 6)) * _FINER
    margin = 4 * _FINER + radius
    at = unit_square(points)
    x, y = margin + at[:, 0] * (side * _FINER - 2 * margin), margin + (1 - at[:, 1]) * (side * _FINER - 2 * margin)
    large = PILImage.new("RGB", (side * _FINER, side * _FINER), "white")
    draw = ImageDraw.Draw(large)
    # In an order of no meaning: else the last class would cover the others.
    for i in np.random.default_rng(0).permutation(len(points)).tolist():
        _marker(draw, x[i], y[i], radius, *class_marker(0 if labels is None else int(labels[i])))
    plot = large.resize((side, side), PILImage.Resampling.BOX)
    ImageDraw.Draw(plot).rectangle((0, 0, side - 1, side - 1), outline=FRAME)
    shown = [] if labels is None or not legend else np.unique(labels).tolist()
    return _framed(plot, [(int(k), class_name(classes, int(k))) for k in shown], caption)


def _framed(plot: PILImage.Image, entries: list[tuple[int, str]], caption: str) -> PILImage.Image:
    """A drawing with its legend and caption."""
    font = ImageFont.load_default(13)
    most = plot.height // 20
    more, entries = max(0, len(entries) - most), entries[: most - (len(entries) > most)]
    texts = [fitted(name, font, 150) for _, name in entries] + ([f"... and {more + 1} more"] if more else [])
    right = 36 + round(max(map(font.getlength, texts))) if texts else 0
    sheet = PILImage.new("RGB", (plot.width + right, plot.height + (24 if caption else 0)), "white")
    sheet.paste(plot, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for i, text in enumerate(texts):
        top = 2 + 20 * i
        if i < len(entries):
            key = PILImage.new("RGB", (16 * _FINER, 16 * _FINER), "white")
            _marker(ImageDraw.Draw(key), 8 * _FINER, 8 * _FINER, 6 * _FINER, *class_marker(entries[i][0]))
            sheet.paste(key.resize((16, 16), PILImage.Resampling.BOX), (plot.width + 8, top))
        draw.text((plot.width + 28, top), text, INK, font)
    if caption:
        draw.text((2, plot.height + 4), fitted(caption, font, sheet.width - 4), DIM, font)
    return sheet


def _marker(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: str, shape: str) -> None:
    """A mark of about the same area whatever its shape, with a white rim that keeps those that overlap apart."""
    for size, fill in ((r + _FINER * 0.8, "white"), (r, colour)):
        if shape == "circle":
            draw.ellipse((x - size, y - size, x + size, y + size), fill)
        elif shape == "square":
            draw.rectangle((x - 0.88 * size, y - 0.88 * size, x + 0.88 * size, y + 0.88 * size), fill)
        elif shape == "triangle":
            draw.polygon([(x, y - 1.3 * size), (x + 1.2 * size, y + 0.85 * size), (x - 1.2 * size, y + 0.85 * size)], fill)
        else:
            draw.polygon([(x, y - 1.25 * size), (x + 1.25 * size, y), (x, y + 1.25 * size), (x - 1.25 * size, y)], fill)


def labelled_row(
    features: Features, cells: Sequence[tuple[int, str, bool | None]], *, side: int = 76, gap_after: int | None = None
) -> PILImage.Image:
    """Thumbnails side by side, each (row of the features, lines below, frame: True blue, False orange, None none)."""
    font, width, gap = ImageFont.load_default(11), side + 20, 14
    sheet = PILImage.new("RGB", (width * len(cells) + (0 if gap_after is None else gap), side + 46), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (row, text, same) in enumerate(cells):
        left = i * width + (gap if gap_after is not None and i > gap_after else 0)
        if same is not None:
            draw.rectangle((left + 5, 3, left + width - 6, side + 12), outline=COLOURS[0] if same else COLOURS[1], width=3)
        tile = picture_of(features, row, side)
        sheet.paste(tile, (left + (width - tile.width) // 2, 8 + (side - tile.height) // 2))
        for n, line in enumerate(text.split("\n")):
            line = fitted(line, font, width - 4)
            draw.text((left + (width - font.getlength(line)) / 2, side + 15 + 13 * n), line, DIM if n else INK, font)
    return sheet


def picture_of(features: Features, row: int, side: int) -> PILImage.Image:
    """The image of a row, or a tile in the colour of its class where the images are not known."""
    found = features.thumbnail(row, side)
    if found is None:
        colour = class_marker(0 if features.labels is None else int(features.labels[row]))[0]
        found = PILImage.new("RGB", (side, side), colour)
    return found


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text, on one line, cut where it is too long."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
