"""Pictures that work offline: procedural flowers and textures, and photographs that installed packages ship."""

from vizwidgets.data.flowers import BACKGROUNDS, COLOURS, KINDS, TEXTURES, Flower, Flowers, draw, drawing_hashes
from vizwidgets.data.photographs import PHOTOGRAPHS, photograph
from vizwidgets.data.swatches import SWATCHES, swatch

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "KINDS",
    "PHOTOGRAPHS",
    "SWATCHES",
    "TEXTURES",
    "Flower",
    "Flowers",
    "draw",
    "drawing_hashes",
    "photograph",
    "swatch",
]
