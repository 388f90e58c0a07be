"""Still pictures of widgets that show text rather than images, for viewers without a kernel."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

INK, DIM, BAR, TRACK = "#212121", "#5f5f5f", "#0072b2", "#e8e8e8"
_LINE = 20


def text_table(rows: Sequence[tuple[str, str]], more: int = 0) -> PILImage.Image:
    """Two columns of text; `more` rows are left out and counted below."""
    font = ImageFont.load_default(13)
    lines = [*rows, *([(f"... and {more} more", "")] if more else [])]
    left = max(font.getlength(a) for a, _ in lines) if lines else 0
    right = max(font.getlength(b) for _, b in lines) if lines else 0
    picture = PILImage.new("RGB", (round(left + right) + 40, _LINE * len(lines) + 8), "white")
    draw = ImageDraw.Draw(picture)
    for i, (a, b) in enumerate(lines):
        draw.text((8, 4 + i * _LINE), a, INK, font)
        draw.text((left + 32, 4 + i * _LINE), b, DIM, font)
    return picture


def bar_chart(bars: Sequence[tuple[str, float]]) -> PILImage.Image:
    """Labels with bars for shares in [0, 1], and the shares in per cent."""
    font = ImageFont.load_default(13)
    left = round(max((font.getlength(name) for name, _ in bars), default=0)) + 16
    picture = PILImage.new("RGB", (left + 240, _LINE * len(bars) + 8), "white")
    draw = ImageDraw.Draw(picture)
    for i, (name, share) in enumerate(bars):
        y = 4 + i * _LINE
        draw.text((8, y), name, INK, font)
        draw.rectangle((left, y + 4, left + 160, y + 13), TRACK)
        draw.rectangle((left, y + 4, left + 160 * share, y + 13), BAR)
        draw.text((left + 170, y), f"{share:.1%}".replace("%", " %"), DIM, font)
    return picture
