"""Pictures that work offline: procedural flowers, and photographs that installed packages ship."""

from vizwidgets.data.flowers import BACKGROUNDS, COLOURS, KINDS, TEXTURES, Flower, Flowers, draw, drawing_hashes
from vizwidgets.data.photographs import PHOTOGRAPHS, photograph

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "KINDS",
    "PHOTOGRAPHS",
    "TEXTURES",
    "Flower",
    "Flowers",
    "draw",
    "drawing_hashes",
    "photograph",
]
