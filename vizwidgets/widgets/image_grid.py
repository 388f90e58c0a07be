"""A map of images as a grid of them, to zoom into; with the distances that the grid hides as seams."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage

from vizwidgets.core.picture import colour_table
from vizwidgets.methods.mosaic import Mosaic

from .base import script, shows_errors, style
from .gallery import Gallery, Looks

ABOUT = {
    "place": "Images where their points are on the map; of several in a cell, one.",
    "fill": "In every cell the image that is nearest on the map; some are seen several times.",
    "assign": "Each image in a cell of its own, near its place on the map.",
}


class ImageGrid(Looks, AnyWidget):
    """The images of a `Mosaic`, with zoom; between neighbours seams that tell how far apart they really are.

    Parameters
    ----------
    mosaic : Mosaic
        Of `vizwidgets.image_grid`, of any kind; only "assign" has seams.
    seams : bool
        Show them.
    index : int or None
        The chosen row of the features.

    Attributes
    ----------
    image : Image or None
        The chosen image. It follows `index`; set from elsewhere, it stays what it is.

    Raises
    ------
    TypeError, IndexError
        For what is no mosaic, and for rows that there are not.

    References
    ----------
    Karpathy: t-SNE visualization of CNN codes, 2014.

    Examples
    --------
    >>> ImageGrid(vizwidgets.image_grid(embedding, kind="assign", cells=16))
    ImageGrid(16 × 16, assign, 240 of 240 images)
    """

    _esm = script("image_grid", "pan_zoom", "thumbnails")
    _css = style()

    mosaic = traitlets.Instance(Mosaic, allow_none=True)
    seams = traitlets.Bool(True).tag(sync=True)
    picked = traitlets.Int(-1).tag(sync=True)
    about: Any = traitlets.Dict(help="size, cells, distances and classes").tag(sync=True)
    _gallery: Gallery | None = None

    def __init__(self, mosaic: Mosaic | None = None, **options: Any) -> None:
        if mosaic is not None and not isinstance(mosaic, Mosaic):
            raise TypeError(f"a grid shows a Mosaic, not {type(mosaic).__name__}: image_grid(embedding) makes one")
        super().__init__(mosaic=mosaic, **options)
        self.on_msg(self._receive)
        self._take()
        self.observe(lambda _: self._take(), "mosaic")
        self.observe(lambda _: self._mark(), "index")

    def _take(self) -> None:
        mosaic = self.mosaic
        if mosaic is None:
            self._gallery, self.about, self.index = None, {}, None
            return
        features = mosaic.embedding.features
        if self._gallery is not None and self._gallery.features is not features:
            self.index = None  # rows of other features mean nothing here
        self._gallery = Gallery(features)
        self.index = self.index  # what was set before there were rows is checked now
        right, down = mosaic.seams or (None, None)
        self.about = {
            "title": f"{mosaic.shown:,} of {len(features):,} images", "kind": ABOUT[mosaic.kind], "rows": mosaic.cells.shape[0], "columns": mosaic.cells.shape[1],
            "cells": np.ascontiguousarray(mosaic.cells, "<i4").tobytes(), "count": len(features), "pictures": features.images is not None,
            "right": b"" if right is None else np.ascontiguousarray(right, "<f4").tobytes(),
            "down": b"" if down is None else np.ascontiguousarray(down, "<f4").tobytes(),
            "scale": list(mosaic.scale), "colours": colour_table("sequential").tobytes(),
            "classes": [features.label_name(row) or "" for row in range(len(features))] if features.labels is not None else [],
        }  # fmt: skip
        self._mark()

    def _mark(self) -> None:
        self.picked, self.error = -1 if self.index is None else self.index, ""
        self.later(self._open)

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        command = content.get("cmd")
        if command == "pick":
            self.index = content["value"]
        elif command == "seams":
            self.seams = bool(content["value"])
        elif command == "look":
            self._look(content)

    def still(self) -> PILImage.Image | None:
        """The grid, at most some 600 pixels wide, so that a page that holds it stays small."""
        if self.mosaic is None:
            return None
        return self.mosaic.picture(side=max(8, min(48, 600 // self.mosaic.cells.shape[1])), seams=self.seams)

    def describe(self) -> str:
        """Size, kind, and how many images are seen."""
        mosaic = self.mosaic
        if mosaic is None:
            return ""
        rows, columns = mosaic.cells.shape
        return f"{rows} × {columns}, {mosaic.kind}, {mosaic.shown} of {len(mosaic.embedding.features)} images"
