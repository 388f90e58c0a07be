"""The images behind rows, of `Features` say, for widgets that show many and are asked for a few."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any, Protocol

import traitlets
from PIL import Image as PILImage

from vizwidgets.core.image import Image
from vizwidgets.core.picture import jpeg
from vizwidgets.data.image_set import ImageSet
from vizwidgets.methods.embedding import Features

from .base import VizWidget, shows_errors
from .worker import worker

LARGEST = 96  # pixels
BUDGET = 0.15  # seconds for an answer: the page asks again for what is missing, or for what it wants by then


class Pictures(Protocol):
    """Rows with a name, an image and a thumbnail each."""

    def __len__(self) -> int:
        """Rows."""

    def name(self, row: int) -> str:
        """What a row is called."""

    def image(self, row: int) -> Image | None:
        """The image itself, if there is one."""

    def thumbnail(self, row: int, side: int = 64) -> PILImage.Image | None:
        """The image with at most `side` pixels on its longer side."""


def answer(pictures: Pictures, send: Callable[..., None], rows: Sequence[int], side: int) -> None:
    """Send names and thumbnails as JPEG of these rows, or of the first ones within `BUDGET` seconds."""
    end, names, found = time.monotonic() + BUDGET, [], []
    for row in rows:
        picture = pictures.thumbnail(row, side)
        names.append(pictures.name(row))
        found.append(b"" if picture is None else jpeg(picture))
        if time.monotonic() > end:
            break
    send({"look": side, "rows": list(rows[: len(names)]), "names": names}, found)


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


class Picks(VizWidget):
    """Mixin of the widgets that show rows of features, of which one is picked: `index`, which `image` follows."""

    index = traitlets.Any(None, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    _gallery: Pictures | None = None

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


class Looks(Picks):
    """`Picks` whose page asks for thumbnails of any size: ``{"cmd": "look", "rows", "side"}``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._looks: dict[int, object] = {}  # owners of what is asked for, by its size
        super().__init__(*args, **kwargs)

    def _look(self, content: dict[str, Any]) -> None:
        pictures, rows, side = self._gallery, self._checked(content["rows"]), int(content["side"])
        if pictures is not None:
            worker.submit(self._looks.setdefault(side, object()), lambda: self._answer(pictures, rows, side))

    @shows_errors
    def _answer(self, pictures: Pictures, rows: list[int], side: int) -> None:
        answer(pictures, self.send, rows, side)  # type: ignore[attr-defined]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all that was asked for is shown."""
        return super().wait(timeout) and all(worker.wait(owner, timeout) for owner in self._looks.values())

    def close(self) -> None:
        """End everything with the widget."""
        for owner in self._looks.values():
            worker.drop(owner)
        super().close()
