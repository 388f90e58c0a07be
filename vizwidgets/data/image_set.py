"""Sets of images: a folder, a list, a tensor or a data set, each seen as one small sequence."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from torch.utils.data import IterableDataset

from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image, open_image, picture_in, read_picture
from vizwidgets.core.net import Net
from vizwidgets.core.picture import to_pixels
from vizwidgets.data.labels import Labels, checked_labels, known_labels, read_labels, split

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".ppm", ".pgm",
            ".pbm", ".pnm", ".tga")  # fmt: skip
_THUMBNAILS = 4096  # kept; of 64 pixels they take 50 MB
_LOOKED_AT = 8  # items of a data set that its digest is made of
_REDUCED = ("L", "RGB", "RGBA", "LA", "CMYK", "YCbCr")  # modes that Pillow averages over; others are converted in full size


@dataclass(frozen=True)
class Batch:
    """Some images in a row, ready for a network.

    Attributes
    ----------
    first, last : int
        Images `first` to `last` - 1 of the set.
    indices : tuple of int
        Those of them that could be read.
    pixels : Tensor or None
        (len(indices), C, H, W) in [0, 1]; None where none could be read.
    skipped : tuple of (int, str)
        The others, and why.
    """

    first: int
    last: int
    indices: tuple[int, ...]
    pixels: Tensor | None
    skipped: tuple[tuple[int, str], ...]


class ImageSet:
    """A sequence of images with names and, where known, labels; made by `image_set`, not changed afterwards.

    ``set[i]`` is an image as it lies there: a PIL image, tensor or array. It raises for one that cannot be read.

    Attributes
    ----------
    sources : tuple of str
        The path of each image within the folder, or "#0", "#1", ...: text for people, never HTML.
    classes : tuple of str
        Class names; empty where there are none.
    folder : Path or None
    """

    def __init__(
        self, items: Any, sources: Sequence[str], labels: Labels | Callable[[], Labels] = None, classes: Sequence[str] = (),
        folder: Path | None = None, sampled: bool = False,
    ) -> None:  # fmt: skip
        self.sources, self.classes, self.folder = tuple(sources), tuple(classes), folder
        self._items, self._labels, self._sampled = items, labels, sampled

    def __len__(self) -> int:
        """Images in it."""
        return len(self.sources)

    def __getitem__(self, index: int) -> Any:
        """An image as it lies there: PIL image, tensor or array."""
        source = self._source(index)
        return read_picture(source) if isinstance(source, (str, Path)) else source

    def __repr__(self) -> str:
        """Size, folder and classes."""
        where = f" of {self.folder.name}" if self.folder else ""
        return f"ImageSet({len(self)} images{where}{f', {len(self.classes)} classes' if self.classes else ''})"

    def image(self, index: int, net: Net | None = None) -> Image:
        """An image prepared as `net` was trained, by `vizwidgets.image`; the same errors."""
        return replace(open_image(self._source(index), net), source=self.sources[index])

    def some(self, k: int, net: Net | None = None) -> list[Image]:
        """Up to `k` images at even distances, those of them that can be read; the first ones where a set can only be iterated."""
        found, step = [], 1 if isinstance(self._items, _Stream) else max(1, len(self) // k)
        for index in range(0, len(self), step)[:k]:
            with suppress(Exception):  # whatever a decoder or a data set of one's own raises
                found.append(self.image(index, net))
        return found

    @property
    def labels_at_hand(self) -> Labels:
        """The labels; None also where they would have to be read from the items first."""
        return None if callable(self._labels) else self._labels

    @cached_property
    def labels(self) -> Labels:
        """The class of each image, None where that is not known; -1 for one that cannot be read.

        A data set without `targets`, `labels` or the like is read once for it.
        """
        return self._labels() if callable(self._labels) else self._labels

    def label_name(self, index: int) -> str | None:
        """Name of an image's class, its number where classes have no names, None where it is not known."""
        if self.labels is None or self.labels[index] < 0:
            return None
        label = self.labels[index]
        return self.classes[label] if label < len(self.classes) else str(label)

    def thumbnail(self, index: int, side: int = 64) -> PILImage.Image:
        """An image in RGB, upright, its longer side `side` pixels; a grey square where it cannot be read. Kept for a while."""
        return self._thumbnails(range(len(self))[index], side)

    def batches(self, net: Net, batch_size: int, *, first: int = 0, threads: int | None = None) -> Iterator[Batch]:
        """The images from `first` on, prepared for `net` by some threads, two batches ahead.

        Images that cannot be read are left out of their batch and listed in it.
        """

        def load(index: int) -> Tensor | str:
            try:
                return self.image(index, net).pixels
            except Exception as e:  # whatever a decoder or a data set of one's own raises
                return str(e) or type(e).__name__

        def ask(start: int) -> None:
            rows = range(start, min(start + batch_size, len(self)))
            waiting.append((rows, [pool.submit(load, i) for i in rows]))

        pool = ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1), "vizwidgets-images")
        waiting: deque[tuple[range, list[Future[Tensor | str]]]] = deque()
        starts = iter(range(first, len(self), batch_size))
        try:
            for start in starts:
                ask(start)
                if len(waiting) > 2:
                    yield _joined(*waiting.popleft())
            while waiting:
                yield _joined(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    @cached_property
    def digest(self) -> str:
        """Tells one set from another: of names, sizes and times of files, of the content of tensors, of some items of a data set."""
        digest = hashlib.sha256(repr((len(self), self.classes)).encode())
        shown = {round(i * (len(self) - 1) / (_LOOKED_AT - 1)) for i in range(_LOOKED_AT)} if self._sampled else range(len(self))
        for i in sorted(shown):
            digest.update(f"\n{self.sources[i]}\n".encode())
            try:
                digest.update(_content(self._source(i)))
            except Exception as e:
                digest.update(type(e).__name__.encode())
        return digest.hexdigest()

    def _source(self, index: int) -> Any:
        """What `vizwidgets.image` can open: path, bytes, PIL image, array or tensor."""
        picture = split(self._items[range(len(self))[index]])[0]
        return picture.pixels if isinstance(picture, Image) else picture

    @cached_property
    def _thumbnails(self) -> Callable[[int, int], PILImage.Image]:
        return lru_cache(_THUMBNAILS)(self._thumbnail)

    def _thumbnail(self, index: int, side: int) -> PILImage.Image:
        try:
            picture = PILImage.fromarray(to_pixels(open_image(_reduced(self._source(index), 2 * side)).pixels[0]))
        except Exception:
            return PILImage.new("RGB", (side, side), (128, 128, 128))
        scale = side / max(picture.size)
        return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))


def image_set(images: Any, *, labels: Sequence[Any] | None = None, classes: Sequence[str] | None = None) -> ImageSet:
    """Images of nearly any kind as one `ImageSet`; a set that is one already stays as it is.

    Parameters
    ----------
    images : path, list, Tensor, numpy array, or data set
        A folder, with all images within it, sorted by path; where all of them lie in folders within it, the uppermost
        ones are the classes. A list of paths or of anything that `vizwidgets.image` takes. A tensor (N, C, H, W) of floats
        in [0, 1] or of uint8, an array (N, H, W, C). A data set in the manner of torchvision, whose items are images, or
        begin with an image and a label. One that can only be iterated needs a length, and gives the same each time.
    labels : sequence of int or of str, optional
        The class of each image.
    classes : sequence of str, optional
        Class names.

    Raises
    ------
    FileNotFoundError, ValueError, LookupError
        For a folder that is missing or has no images, and labels that do not fit.
    TypeError
        For what is no set of images.

    Examples
    --------
    >>> image_set(vizwidgets.data.Flowers(n=24, seed=7))
    ImageSet(24 images, 12 classes)
    """
    found = images if isinstance(images, ImageSet) else _found(images)
    if not len(found):
        raise ValueError(f"a set of images has at least one; this {type(images).__name__} is empty")
    if labels is None and classes is None:
        return found
    names = tuple(map(str, found.classes if classes is None else classes))
    given, names = (found._labels, names) if labels is None else checked_labels(labels, names, len(found))
    return ImageSet(found._items, found.sources, given, names, found.folder, found._sampled)


def _found(images: Any) -> ImageSet:
    if isinstance(images, (str, Path)):
        return _of_folder(Path(images).expanduser())
    if isinstance(images, (Tensor, np.ndarray)):
        if images.ndim != 4:
            raise ValueError(f"a set of images is a tensor (N, C, H, W) or an array (N, H, W, C), not {tuple(images.shape)}")
        return _numbered(images)
    if isinstance(images, (list, tuple)):
        if images and all(isinstance(i, (str, Path)) for i in images):
            return _of_paths([Path(i).expanduser() for i in images])
        return _numbered(images, read_labels(images, len(images)))
    if isinstance(images, (Image, PILImage.Image, bytes)):
        raise TypeError(f"this is one image ({type(images).__name__}); a set is a folder, a list: [image], a tensor or a data set")
    if hasattr(images, "batch_size") and hasattr(images, "dataset"):
        raise TypeError("a set of images gives them one by one; of a DataLoader take its data set: loader.dataset")
    streamed = isinstance(images, IterableDataset) or not hasattr(images, "__getitem__")
    if not hasattr(images, "__iter__" if streamed else "__getitem__") or isinstance(images, dict):
        raise TypeError(f"a set of images is a folder, a list, a tensor (N, C, H, W) or a data set, not {type(images).__name__}")
    try:
        n = len(images)
    except TypeError:
        raise TypeError(f"a set of images knows its length, and {type(images).__name__} does not; list(...) makes a list of it") from None
    items: Any = _Stream(images) if streamed else images
    names = getattr(getattr(images, "dataset", images), "classes", ())
    classes = tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
    sources = [f"#{i}" for i in range(n)]
    labels = known_labels(images, n)
    return ImageSet(items, sources, labels or partial(read_labels, items, n), classes, sampled=True)


def _numbered(items: Any, labels: Labels = None) -> ImageSet:
    pictures = (split(i)[0] for i in items)
    return ImageSet(items, [_text(Path(p).name) if isinstance(p, (str, Path)) else f"#{n}" for n, p in enumerate(pictures)], labels)


def _of_folder(folder: Path) -> ImageSet:
    if folder.is_file():
        raise ValueError(f"{folder.name} is a file; a set of images is a folder, or a list of paths: [path]")
    if not folder.is_dir():
        near = sorted(p.name for p in folder.parent.iterdir() if p.is_dir()) if folder.parent.is_dir() else ()
        raise FileNotFoundError(f"{unknown('folder', folder.name, near)} (in {str(folder.parent)!r})")
    paths, others = [], 0
    for place, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                paths.append(Path(place, name))
            else:
                others += 1
    if not paths:
        there = f"of its {others} files none is one of {', '.join(SUFFIXES)}" if others else "it is empty"
        raise LookupError(f"no images in the folder {folder.name!r}: {there}")
    paths.sort(key=lambda p: p.relative_to(folder).as_posix())
    parts = [p.relative_to(folder).parts for p in paths]
    if any(len(p) == 1 for p in parts):
        return ImageSet(paths, [_text("/".join(p)) for p in parts], folder=folder)
    labels, classes = checked_labels([_text(p[0]) for p in parts], (), len(parts))
    return ImageSet(paths, [_text("/".join(p)) for p in parts], labels, classes, folder)


def _of_paths(paths: list[Path]) -> ImageSet:
    try:
        folder = Path(os.path.commonpath([p.absolute().parent for p in paths]))
    except ValueError:  # on several drives
        return ImageSet(paths, [_text(p.as_posix()) for p in paths])
    return ImageSet(paths, [_text(p.absolute().relative_to(folder).as_posix()) for p in paths], folder=folder)


def _text(name: str) -> str:
    # File names are bytes on Linux, and need not be text.
    return name.encode("utf-8", "replace").decode()


def _content(source: Any) -> bytes:
    if isinstance(source, (str, Path)):
        about = os.stat(source)
        return f"{about.st_size} {about.st_mtime_ns}".encode()
    if isinstance(source, PILImage.Image):
        return f"{source.mode} {source.size}".encode() + source.tobytes()
    if isinstance(source, (Tensor, np.ndarray)):
        array = source.detach().cpu().numpy() if isinstance(source, Tensor) else source
        return f"{array.dtype} {array.shape}".encode() + array.tobytes()
    return bytes(source)


def _reduced(source: Any, side: int) -> Any:
    """A file or PIL image made smaller before all its pixels become numbers, where Pillow can."""
    if isinstance(source, (str, Path)):
        picture = picture_in(source)
        if PILImage.MAX_IMAGE_PIXELS and picture.format != "JPEG" and picture.width * picture.height > PILImage.MAX_IMAGE_PIXELS:
            raise ValueError("suspiciously large")
    elif isinstance(source, PILImage.Image):
        picture = source.copy()
    else:
        return source
    if picture.mode in _REDUCED and max(picture.size) > 2 * side:
        picture.thumbnail((side, side), PILImage.Resampling.BOX)
    return picture


def _joined(rows: range, loading: list[Future[Tensor | str]]) -> Batch:
    loaded = [(i, f.result()) for i, f in zip(rows, loading, strict=True)]
    good = [(i, x) for i, x in loaded if isinstance(x, Tensor)]
    pixels = torch.cat([x for _, x in good]) if good else None
    return Batch(rows.start, rows.stop, tuple(i for i, _ in good), pixels, tuple((i, x) for i, x in loaded if isinstance(x, str)))


class _Stream:
    """Items of something that can only be iterated, by number: read on where possible, from the start where not."""

    def __init__(self, data: Any) -> None:
        self._data, self._lock = data, threading.Lock()
        self._at, self._iterator = 0, iter(data)
        self._recent: OrderedDict[int, Any] = OrderedDict()

    def __getitem__(self, index: int) -> Any:
        with self._lock:
            if index in self._recent:
                return self._recent[index]
            if index < self._at:
                self._at, self._iterator = 0, iter(self._data)
            while self._at <= index:
                try:
                    self._recent[self._at] = next(self._iterator)
                except StopIteration:
                    raise IndexError(f"the data set ended after {self._at} items; its length says more") from None
                self._at += 1
                if len(self._recent) > 256:  # several threads ask, not quite in order
                    self._recent.popitem(last=False)
            return self._recent[index]
