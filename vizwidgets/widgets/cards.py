"""Pictures with words below, as `PatchGrid` and `NeighborGrid` show them: in bytes for the page, and still."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from vizwidgets.core.image import Image
from vizwidgets.core.picture import jpeg, png

from .stills import DIM, INK

SMALL = 64  # pixels a side up to which every pixel is to be seen as it is


def coded(picture: PILImage.Image) -> bytes:
    """A picture as PNG if it is small, else as JPEG."""
    return png(picture) if max(picture.size) <= SMALL else jpeg(picture, 90)


def opened(data: bytes) -> PILImage.Image:
    """A picture that `coded` has made."""
    return PILImage.open(io.BytesIO(data)).convert("RGB")


def shown(picture: PILImage.Image, **more: Any) -> dict[str, Any]:
    """A picture for `framed` in the page, with its size in pixels."""
    return {"data": coded(picture), "size": [picture.height, picture.width], **more}


def reduced(image: Image, side: int) -> PILImage.Image:
    """The picture of an image, its longer side at most `side` pixels."""
    picture = image.picture()
    picture.thumbnail((side, side))
    return picture


Card = tuple[list[PILImage.Image], str]
Row = tuple[str, list[Card]]


def cards_sheet(rows: list[Row], side: int = 96, columns: int = 9) -> PILImage.Image:
    """Rows of pictures with a line of text below each, and a title above each row."""
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    placed: list[tuple[int, int, Card, bool]] = []
    titles, y, width = [], 8, max(round(font.getlength(title)) for title, _ in rows) + 16
    for title, cards in rows:
        titles.append((y, title))
        y += 22
        wide = max((len(pictures) for pictures, _ in cards), default=1) * (side + 2) + 6
        for i, card in enumerate(cards):
            placed.append((8 + i % columns * wide, y + i // columns * (side + 22), card, len(cards) == 1))
            width = max(width, 8 + (i % columns + 1) * wide)
        y += -(-len(cards) // columns) * (side + 22) + 6
    sheet = PILImage.new("RGB", (width, y), "white")
    draw = ImageDraw.Draw(sheet)
    for top, title in titles:
        draw.text((8, top), title, INK, font)
    for left, top, (pictures, words), alone in placed:
        for i, picture in enumerate(pictures):
            scale = side / max(picture.size)
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            way = PILImage.Resampling.NEAREST if max(picture.size) <= SMALL else PILImage.Resampling.BICUBIC
            sheet.paste(picture.resize(size, way), (left + i * (side + 2), top))
        room = width - left if alone else len(pictures) * (side + 2)
        while words and small.getlength(words) > room:
            words = words[:-2].rstrip() + "…" if len(words) > 2 else ""
        draw.text((left, top + side + 3), words, DIM, small)
    return sheet
