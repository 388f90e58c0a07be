"""Activations in any layout seen as maps (B, C, H, W), and back.

Layouts are "NCHW", "NHWC", "tokens" (B, prefix + H * W, C) and "vector" (B, C).
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

DIMENSIONS = {"NCHW": 4, "NHWC": 4, "tokens": 3, "vector": 2}
LAYOUTS = tuple(DIMENSIONS)
MAX_PREFIX = 16
Grid = tuple[int, int]


def token_grid(tokens: int, grids: list[Grid]) -> Grid | None:
    """The rows and columns that `tokens` tokens stand for, class and register tokens not counted.

    `grids` are the map sizes seen before in the same pass, the most likely first; without a fit, the nearest square.
    """
    for h, w in grids:
        if h * w > 1 and 0 <= tokens - h * w <= MAX_PREFIX:
            return h, w
    side = isqrt(tokens)
    return (side, side) if side > 1 and tokens - side * side <= MAX_PREFIX else None


def guess(shape: tuple[int, ...], image: Grid, grids: list[Grid]) -> str | None:
    """The layout of an output of this shape (batch included) for an image of this height and width."""
    if shape[:1] != (1,):
        return None  # windows or positions moved into the batch
    if len(shape) == 2:
        return "vector"
    if len(shape) == 3:
        return "tokens" if token_grid(shape[1], grids) else None
    if len(shape) != 4:
        return None

    def misfit(size: Grid) -> float:
        # One scale for both sides, up to the rounding of strided convolutions.
        if size == (1, 1):
            return 1.0
        return abs(size[0] / image[0] - size[1] / image[1]) * max(image) / max(1, min(size)) + (
            0 if size[0] <= 2 * image[0] and size[1] <= 2 * image[1] else 10
        )

    nchw, nhwc = (shape[2], shape[3]), (shape[1], shape[2])
    if nchw in grids and nhwc not in grids:
        return "NCHW"
    if nhwc in grids and nchw not in grids:
        return "NHWC"
    return "NHWC" if misfit(nhwc) < misfit(nchw) and nhwc != (1, 1) else "NCHW"


def map_size(shape: tuple[int, ...], layout: str, grids: list[Grid]) -> Grid:
    """Height and width of the maps in an output of this shape and layout."""
    if layout == "NCHW":
        return shape[2], shape[3]
    if layout == "NHWC":
        return shape[1], shape[2]
    if layout == "tokens":
        return token_grid(shape[1], grids) or (shape[1], 1)
    return 1, 1


def to_maps(output: Tensor, layout: str, grid: Grid) -> Tensor:
    """`output` as (B, C, H, W), a view wherever one exists; prefix tokens are left out."""
    if layout == "NCHW":
        return output
    if layout == "NHWC":
        return output.permute(0, 3, 1, 2)
    if layout == "tokens":
        return output[:, output.shape[1] - grid[0] * grid[1] :].unflatten(1, grid).permute(0, 3, 1, 2)
    return output[:, :, None, None]


def from_maps(maps: Tensor, output: Tensor, layout: str) -> Tensor:
    """The inverse of `to_maps`: `output` with its maps exchanged for `maps`."""
    if layout == "NCHW":
        return maps
    if layout == "NHWC":
        return maps.permute(0, 2, 3, 1)
    if layout == "tokens":
        tokens = maps.flatten(2).transpose(1, 2)
        prefix = output[:, : output.shape[1] - tokens.shape[1]]
        return torch.cat([prefix, tokens], 1) if prefix.shape[1] else tokens
    return maps[:, :, 0, 0]
