"""Photographs that scikit-learn and scikit-image ship in their wheels: at hand without a network."""

from __future__ import annotations

import difflib
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

_SKLEARN, _SKIMAGE = ("sklearn", "datasets/images"), ("skimage", "data")
_FILES = {
    "flower": (*_SKLEARN, "flower.jpg"),
    "china": (*_SKLEARN, "china.jpg"),
    "astronaut": (*_SKIMAGE, "astronaut.png"),
    "chelsea": (*_SKIMAGE, "chelsea.png"),
    "coffee": (*_SKIMAGE, "coffee.png"),
    "motorcycle": (*_SKIMAGE, "motorcycle_left.png"),
    "rocket": (*_SKIMAGE, "rocket.jpg"),
    "hubble_deep_field": (*_SKIMAGE, "hubble_deep_field.jpg"),
    "brick": (*_SKIMAGE, "brick.png"),
    "grass": (*_SKIMAGE, "grass.png"),
    "gravel": (*_SKIMAGE, "gravel.png"),
}

PHOTOGRAPHS: tuple[str, ...] = tuple(_FILES)


def photograph(name: str) -> Image.Image:
    """A photograph from an installed package; neither is it downloaded nor is the package imported.

    Parameters
    ----------
    name : str
        One of `PHOTOGRAPHS`. "brick", "grass" and "gravel" are textures without colour.

    Returns
    -------
    PIL.Image.Image
        In mode RGB, at the size in which it is shipped (about 600 x 400).

    Raises
    ------
    LookupError
        For a name that is not there, or if the package that ships the photograph is not installed.

    Examples
    --------
    >>> photograph("chelsea").size
    (451, 300)
    """
    if name not in _FILES:
        near = difflib.get_close_matches(str(name), PHOTOGRAPHS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise LookupError(f"no photograph {name!r}{hint} There are: {', '.join(PHOTOGRAPHS)}")
    package, folder, file = _FILES[name]
    spec = find_spec(package)
    path = Path(spec.origin).parent / folder / file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise LookupError(f"the photograph {name!r} comes with {package}, which is not installed here with its pictures")
    with Image.open(path) as picture:
        return picture.convert("RGB")
