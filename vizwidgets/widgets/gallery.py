"""The images behind the rows of `Features`, for widgets that show many and are asked for a few."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any

import traitlets
from PIL import Image as PILImage

from vizwidgets.core.image import Image
from vizwidgets.core.picture import jpeg
from vizwidgets.data.image_set import ImageSet
from vizwidgets.methods.embedding import Features

from .base import VizWidget

LARGEST = 96  # pixels
BUDGET = 0.15  # seconds for an answer: the page asks again for what is missing, or for what it wants by then


class Gallery:
    """Images, thumbnails and names of the rows of some `Features`.

    Parameters
    ----------
    features : Features
    images : ImageSet, optional
        In place of the features' own.
    """

    def __init__(self, features: Features, images: ImageSet | None = None) -> None:
        self.features = features
        self.images = features.images if images is None else images

    def __len__(self) -> int:
        """Rows."""
        return len(self.features.vectors)

    def _place(self, row: int) -> int:
        rows = self.features.rows
        return row if rows is None else int(rows[row])

    def name(self, row: int) -> str:
        """File name, or number in the set."""
        if self.images is not None:
            return str(self.images.sources[self._place(row)])
        return str(self.features.sources[row]) if self.features.sources else f"#{row}"

    def image(self, row: int) -> Image | None:
        """The image as the network takes it; None where only vectors are known."""
        if self.images is None:
            return None
        return self.images.image(self._place(row), self.features.net)

    def thumbnail(self, row: int, side: int = 64) -> PILImage.Image | None:
        """The image with `side` pixels on its longer side, at most `LARGEST`."""
        if self.images is None:
            return None
        picture = self.images.thumbnail(self._place(row), LARGEST)  # one size for all, since decoding takes the time
        return picture.resize([max(1, round(s * side / LARGEST)) for s in picture.size]) if side < LARGEST else picture

    def answer(self, send: Callable[..., None], rows: Sequence[int], side: int) -> None:
        """Send names and thumbnails as JPEG of these rows, or of the first ones within `BUDGET` seconds."""
        end, names, pictures = time.monotonic() + BUDGET, [], []
        for row in rows:
            picture = self.thumbnail(row, side)
            names.append(self.name(row))
            pictures.append(b"" if picture is None else jpeg(picture))
            if time.monotonic() > end:
                break
        send({"look": side, "rows": list(rows[: len(names)]), "names": names}, pictures)


class Picks(VizWidget):
    """Mixin of the widgets that show rows of features, of which one is picked: `index`, which `image` follows."""

    index = traitlets.Any(None, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    _gallery: Gallery | None = None

    @traitlets.validate("index")
    def _is_row(self, proposal: Any) -> int | None:
        if proposal.value is None or index(proposal.value) == -1:
            return None
        return self._checked([proposal.value])[0]

    def _checked(self, rows: Iterable[Any]) -> list[int]:
        """The rows as numbers; IndexError for one that there is not."""
        found, gallery = [index(r) for r in rows], self._gallery
        wrong = [] if gallery is None else [r for r in found if not 0 <= r < len(gallery)]
        if wrong:
            raise IndexError(f"there is no row {wrong[0]}: there are {len(gallery or ())}, counted from 0")
        return found

    def _open(self) -> None:
        """Let `image` follow."""
        row, gallery = self.index, self._gallery
        image = None if row is None or gallery is None else gallery.image(row)
        if row == self.index and (image is not None or row is None):
            self.image = image
