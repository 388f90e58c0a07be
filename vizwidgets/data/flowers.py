"""Procedural flowers: twelve kinds, drawn from numbers, with masks and the parameters that drew them.

Shape, colour, texture and background can each follow the label or be drawn independently of it, so that a network can be
trained to cheat by one of them, and caught. Item `i` of a seed is the same picture whatever the batch, order or worker,
and the same flower at any size.
"""

from __future__ import annotations

import difflib
import hashlib
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from vizwidgets.data import _kinds, _scenes
from vizwidgets.data._canvas import Canvas, blurred
from vizwidgets.data._petals import Brush, Pose

KINDS: tuple[str, ...] = tuple(_kinds.KINDS)
COLOURS: tuple[str, ...] = tuple(_kinds.COLOURS)
TEXTURES: tuple[str, ...] = tuple(kind.texture for kind in _kinds.KINDS.values())
BACKGROUNDS: tuple[str, ...] = tuple(_scenes.SCENES)

# Every aspect has random numbers of its own: turning one switch leaves everything else of the picture as it was.
_LABEL, _SHAPE, _COLOUR, _TEXTURE, _BACKGROUND, _POSE, _PETALS, _SCENE, _STEM, _FRONT, _GRAIN = range(11)


def _random(parameters: dict[str, Any], aspect: int) -> np.random.Generator:
    return np.random.default_rng([parameters["seed"], parameters["index"], aspect])


@dataclass(frozen=True, eq=False)
class Flower:
    """One drawing.

    Attributes
    ----------
    image : numpy.ndarray
        Pixels (H, W, 3), uint8.
    label, name : int, str
        The class and its name, `KINDS[label]`. With ``shape="class"`` it is also what is drawn.
    masks : dict of numpy.ndarray
        Boolean (H, W): "petals", "disc" (florets, stamens, lip), "flower" (petals or disc) and "background" (all that is
        neither flower nor in front of it, so stem and leaves too). Whatever stands in front of the flower is in none.
    parameters : dict
        Everything that determines the picture, ready for JSON; `draw(parameters, size)` draws it again.
    """

    image: np.ndarray
    label: int
    name: str
    masks: dict[str, np.ndarray]
    parameters: dict[str, Any]

    def picture(self) -> Image.Image:
        """The drawing as a PIL image."""
        return Image.fromarray(self.image)

    def _repr_png_(self) -> bytes | None:
        return self.picture()._repr_png_()


def draw(parameters: dict[str, Any], size: int = 96) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw the flower that `parameters` describe.

    Parameters
    ----------
    parameters : dict
        As found in `Flower.parameters`.
    size : int
        Height and width in pixels, at least 16.

    Returns
    -------
    image : numpy.ndarray
        Pixels (size, size, 3), uint8.
    masks : dict of numpy.ndarray
        Boolean (size, size), see `Flower`.
    """
    canvas = Canvas(size)
    kind = _kinds.KINDS[parameters["shape"]]
    pose = Pose(*parameters["centre"], *(parameters[name] for name in ("radius", "roll", "tilt", "lean", "light")))
    _scenes.SCENES[parameters["background"]](canvas, _random(parameters, _SCENE))
    _scenes.stem(canvas, _random(parameters, _STEM), pose, thickness=kind.stem, leaves=kind.leaves, slender=kind.slender,
                 start=kind.start * pose.radius)
    rng = _random(parameters, _PETALS)
    base, tip, accent = (np.clip(c + parameters["tint"], 0.0, 1.0) for c in _kinds.COLOURS[parameters["colour"]])
    kind.draw(canvas, pose, Brush(base, tip, accent, parameters["texture"], rng.random((64, 8))), rng)
    if parameters["front"] != "nothing":
        _scenes.occlude(canvas, _random(parameters, _FRONT), parameters["front"], pose.light)
    return _develop(canvas, parameters), _masks(canvas)


def _develop(canvas: Canvas, parameters: dict[str, Any]) -> np.ndarray:
    """What a camera adds: falling light, exposure, warmth, blur and grain; pixels (H, W, 3), uint8."""
    size = canvas.size
    x, y = canvas.x, canvas.y
    light = parameters["light"]
    shade = 1.0 + 0.07 * (x * np.cos(light) + y * np.sin(light)) - parameters["vignette"] * (x * x + y * y)
    gain = parameters["exposure"] * (1.0 + parameters["warmth"] * np.array([1.0, 0.0, -1.0]))
    planes = (np.clip(canvas.rgb, 0.0, 1.0) * gain[:, None] * shade).reshape(3, size, size)
    deviation = parameters["blur"] * size / 2.0
    if deviation > 0.15:
        planes = blurred(planes, deviation)
    if parameters["grain"]:
        planes = planes + parameters["grain"] * _random(parameters, _GRAIN).standard_normal((size, size))
    return (np.clip(planes, 0.0, 1.0).transpose(1, 2, 0) * 255.0 + 0.5).astype(np.uint8)


def _masks(canvas: Canvas) -> dict[str, np.ndarray]:
    petals, disc, front = (c.reshape(canvas.size, canvas.size) for c in (canvas.petals, canvas.disc, canvas.front))
    flower = petals + disc > 0.5
    return {
        "flower": flower,
        "disc": flower & (disc > petals),
        "petals": flower & (disc <= petals),
        "background": ~flower & (front <= 0.5),
    }


class Flowers(Dataset):
    """A data set of procedural flowers.

    Labels are balanced (each run of twelve items holds every kind once) and in random order. Training and held-out sets
    are sets of different seeds.

    Parameters
    ----------
    n : int
        Number of drawings; item `i` does not depend on it.
    seed : int
        At least 0.
    size : int
        Height and width in pixels, at least 16.
    shape, colour, texture, background : str
        "class": determined by the label. "random": independent of the label. Or one name for all items: of `KINDS`,
        `COLOURS`, `TEXTURES`, `BACKGROUNDS`. Colour also takes "shared": one of the kind's own four families, each of
        which other kinds have too; they belong to the shape.
    clean : bool
        Nothing in front, no blur and no grain.
    transform : callable, optional
        Applied to the image tensor.

    Raises
    ------
    ValueError
        For a switch, size, seed or length that is not allowed.

    Examples
    --------
    >>> flowers = Flowers(n=1200, seed=1, background="class")
    >>> image, label = flowers[0]                  # (3, 96, 96) float32 in [0, 1], int
    >>> flowers.flower(0).masks["petals"].mean()   # the share of the picture that is petals
    """

    classes = KINDS

    def __init__(self, n: int = 1000, seed: int = 0, size: int = 96, *, shape: str = "class", colour: str = "shared",
                 texture: str = "class", background: str = "random", clean: bool = False,
                 transform: Callable[[torch.Tensor], Any] | None = None):
        for name, value, least in (("n", n, 0), ("seed", seed, 0), ("size", size, 16)):
            if operator.index(value) < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        self.shape = _checked("shape", shape, KINDS)
        self.colour = _checked("colour", colour, COLOURS, "shared")
        self.texture = _checked("texture", texture, TEXTURES)
        self.background = _checked("background", background, BACKGROUNDS)
        self.n, self.seed, self.size, self.clean, self.transform = n, seed, size, clean, transform

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        options = ("n", "seed", "size", "shape", "colour", "texture", "background", "clean")
        return f"Flowers({', '.join(f'{name}={getattr(self, name)!r}' for name in options)})"

    def __getitem__(self, index: int) -> tuple[Any, int]:
        flower = self.flower(index)
        image = torch.from_numpy(flower.image).permute(2, 0, 1).to(torch.float32) / 255.0
        return (image if self.transform is None else self.transform(image)), flower.label

    def label(self, index: int) -> int:
        """The label of item `index`, without drawing it."""
        block, place = divmod(self._position(index), len(KINDS))
        return int(np.random.default_rng([self.seed, block, _LABEL]).permutation(len(KINDS))[place])

    def flower(self, index: int) -> Flower:
        """Item `index` with its masks and parameters."""
        parameters = self.parameters(index)
        image, masks = draw(parameters, self.size)
        return Flower(image, parameters["label"], KINDS[parameters["label"]], masks, parameters)

    def parameters(self, index: int) -> dict[str, Any]:
        """Everything that determines item `index`, without drawing it; angles in radians, lengths in half pictures."""
        index = self._position(index)
        label = self.label(index)
        names = {"seed": self.seed, "index": index}

        def choose(aspect: int, switch: str, options: tuple[str, ...]) -> str:
            if switch in ("class", "random"):
                return options[label if switch == "class" else _random(names, aspect).integers(len(options))]
            return switch

        shape = choose(_SHAPE, self.shape, KINDS)
        kind = _kinds.KINDS[shape]
        if self.colour == "shared":
            colour = kind.colours[_random(names, _COLOUR).integers(len(kind.colours))]
        else:
            colour = choose(_COLOUR, self.colour, COLOURS)
        texture = choose(_TEXTURE, self.texture, TEXTURES)
        background = choose(_BACKGROUND, self.background, BACKGROUNDS)
        rng = _random(names, _POSE)
        front = ("leaf", "grass", *["nothing"] * 5)[rng.integers(7)]
        return {
            **names, "label": label, "name": KINDS[label],
            "shape": shape, "shape_label": KINDS.index(shape), "colour": colour,
            "texture": texture, "texture_label": TEXTURES.index(texture), "background": background,
            "centre": [rng.uniform(-0.14, 0.14), rng.uniform(-0.20, 0.04)],
            "radius": rng.uniform(0.62, 0.78), "roll": rng.uniform(-1.0, 1.0) * kind.roll,
            "tilt": rng.uniform(0.0, 1.0) * kind.tilt, "lean": rng.uniform(-0.6, 0.6), "light": rng.uniform(-2.6, -0.5),
            "tint": rng.uniform(-0.05, 0.05, 3).tolist(), "exposure": rng.uniform(0.90, 1.05), "warmth": rng.uniform(-0.04, 0.06),
            "vignette": rng.uniform(0.03, 0.14), "front": "nothing" if self.clean else front,
            "blur": 0.0 if self.clean else max(0.0, rng.uniform(-0.008, 0.010)),
            "grain": 0.0 if self.clean else rng.uniform(0.002, 0.011),
        }

    def _position(self, index: int) -> int:
        index = operator.index(index)
        if not -self.n <= index < self.n:
            raise IndexError(f"item {index} of {self.n} drawings")
        return index % self.n


def _checked(name: str, value: str, options: tuple[str, ...], *more: str) -> str:
    allowed = ("class", "random", *more, *options)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name}={value!r}{hint} Allowed: {', '.join(allowed)}")
    return value


def drawing_hashes(seed: int = 0, n: int = 10) -> list[str]:
    """SHA-256 of the pixels of items 0 to `n` - 1 at 96 px with default switches: the version of the drawing."""
    flowers = Flowers(n, seed)
    return [hashlib.sha256(flowers.flower(i).image.tobytes()).hexdigest() for i in range(n)]
