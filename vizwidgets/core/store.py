"""Arrays on disk that are filled row by row and survive being killed: .npy files, a manifest and the progress.

``manifest.json`` is written once, ``progress.json`` after each batch, by renaming a finished file. An array has its full
size from the beginning and takes place on the disk only as it is filled; of its rows those before ``done`` count.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
_MANIFEST, _PROGRESS, _NEW = "manifest.json", "progress.json", ".new"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Rows:
    """Arrays with a row for each image of a set, in a folder.

    Attributes
    ----------
    path : Path
    manifest : dict
        "format", "made_from", "sources" (a name for each row), "arrays" ({name: {"shape": of a row, "dtype", ...}}), and
        whatever else the one who began it put in.
    done : int
        Rows so far.
    skipped : list of (int, str)
        Those among them that hold nothing, and why.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        try:
            self.manifest: dict[str, Any] = json.loads((self.path / _MANIFEST).read_text(encoding="utf-8"))
            version = self.manifest["format"]
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"there is no store in {str(self.path)!r}: it has no {_MANIFEST}") from None
        except (ValueError, KeyError, TypeError) as e:
            raise ValueError(f"{_MANIFEST} in {str(self.path)!r} is damaged, or is not of a store: {e}") from e
        if version > FORMAT:
            raise ValueError(f"the store has format {version}; this version reads up to {FORMAT}: update vizwidgets")
        self.done, self.skipped = 0, []
        self._starts: dict[str, int] = {}  # where the rows begin in each file
        if (self.path / _PROGRESS).exists():
            progress = json.loads((self.path / _PROGRESS).read_text(encoding="utf-8"))
            self.done, self.skipped = progress["done"], [tuple(s) for s in progress["skipped"]]

    @classmethod
    def begin(cls, path: str | Path, manifest: Mapping[str, Any]) -> Rows:
        """The store in `path` if it was made from the same, else a new one in an empty or new folder.

        ValueError where it was made from something else, FileExistsError where the folder holds something else.
        """
        path = Path(path).expanduser()
        if not (path / _MANIFEST).exists():
            if path.exists() and (not path.is_dir() or any(p.suffix != _NEW for p in path.iterdir())):
                raise FileExistsError(f"{str(path)!r} holds something else than a store; a new one takes a folder that is empty or not there")
            path.mkdir(parents=True, exist_ok=True)
            with _explained(path, 0):
                _replace(path / _MANIFEST, {"format": FORMAT, **manifest})
        rows = cls(path)
        there, given = rows.manifest["made_from"], json.loads(json.dumps(manifest["made_from"]))
        differing = [f"{k} was {_short(there.get(k))} and is {_short(given.get(k))}" for k in given | there if there.get(k) != given.get(k)]
        if differing:
            raise ValueError(f"the store in {str(path)!r} was made from something else: {'; '.join(differing)}. Give another path")
        rows._make_room()
        return rows

    def __len__(self) -> int:
        """Rows in all."""
        return len(self.manifest["sources"])

    def write(self, first: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put rows from `first` on; they count after `commit`."""
        with _explained(self.path, self.done):
            for name, values in arrays.items():
                with open(self._file(name), "r+b") as file:
                    row, dtype = self._row(name), self._dtype(name)
                    if name not in self._starts:
                        self._starts[name] = _offset(file)
                    file.seek(self._starts[name] + first * int(np.prod(row)) * dtype.itemsize)
                    file.write(np.ascontiguousarray(values, dtype).data)

    def commit(self, done: int, skipped: Sequence[tuple[int, str]] = ()) -> None:
        """From now on `done` rows are there, also when the process is killed."""
        with _explained(self.path, self.done):
            _replace(self.path / _PROGRESS, {"done": done, "skipped": [*self.skipped, *skipped]})
        self.done = done
        self.skipped += skipped

    def array(self, name: str) -> NDArray[Any]:
        """The rows so far, as a read-only memory map."""
        return np.load(self._file(name), mmap_mode="r")[: self.done]

    def parts(self, name: str, rows: int = 1024) -> Iterator[tuple[int, NDArray[Any]]]:
        """First row and rows of one part after the other; none of the file stays in memory."""
        for first in range(0, self.done, rows):
            yield first, np.array(self.array(name)[first : first + rows])

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.npy"

    def _row(self, name: str) -> tuple[int, ...]:
        return tuple(self.manifest["arrays"][name]["shape"])

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(self.manifest["arrays"][name]["dtype"])

    def _make_room(self) -> None:
        """Create the arrays that are not there; OSError if what is still to come does not fit on the disk."""
        each = sum(int(np.prod(self._row(n))) * self._dtype(n).itemsize for n in self.manifest["arrays"])
        needed, free = each * (len(self) - self.done), shutil.disk_usage(self.path).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"the store in {str(self.path)!r} needs {needed / 1e9:,.3f} GB more, and {free / 1e9:,.3f} GB are free")
        with _explained(self.path, self.done):
            for name in self.manifest["arrays"]:
                shape, dtype = (len(self), *self._row(name)), self._dtype(name)
                if self._file(name).exists():
                    continue
                new = self.path / f"{name}.npy{_NEW}"
                with open(new, "wb") as file:
                    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    file.truncate(file.tell() + int(np.prod(shape)) * dtype.itemsize)
                os.replace(new, self._file(name))


def _offset(file: Any) -> int:
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return file.tell()


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    new = path.with_name(path.name + _NEW)
    new.write_text(json.dumps(content), encoding="utf-8")
    os.replace(new, path)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-10:]}"


@contextmanager
def _explained(path: Path, done: int) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno not in _FULL:
            raise
        raise OSError(
            e.errno, f"the disk is full. The {done} images recorded in {str(path)!r} are kept: make room, and record to the same path goes on there"
        ) from e
