"""What to look at in a network: a `Target` gives one score per image, larger meaning more of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import unknown
from .net import Net

INPUT, OUTPUT = "input", "output"


class Target:
    """A differentiable score per image. Targets add, subtract and scale; methods maximise them.

    ``target(acts)`` takes activations by layer name, ``"input"`` (the picture) and ``"output"`` (the logits) among them,
    and gives scores (B,). Targets are values: equal ones compare equal, and the repr evaluates back.
    """

    @property
    def layers(self) -> frozenset[str]:
        """Names of the layers it reads; ``"input"`` and ``"output"`` among them."""
        return frozenset({getattr(self, "layer", OUTPUT)})

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        raise NotImplementedError

    def resolve(self, net: Net) -> Target:
        """The same target with class names turned into numbers, checked against `net`: LookupError if it has no such."""
        return self

    def images(self, first: int, count: int) -> Target:
        """The target of some images of a batch: itself, unless each image has its own."""
        return self

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return repr(self)

    def __add__(self, other: Target) -> Target:
        """The sum of two targets."""
        return Sum(terms(self) + terms(other)) if isinstance(other, Target) else NotImplemented

    def __mul__(self, weight: float) -> Target:
        """The target times a number."""
        if isinstance(weight, bool) or not isinstance(weight, (int, float, np.integer, np.floating)):
            return NotImplemented
        weight = int(weight) if isinstance(weight, (int, np.integer)) else float(weight)
        if not isfinite(weight):
            raise ValueError(f"the weight of a target is a finite number, not {weight}")
        return Sum(tuple((weight * w, t) for w, t in terms(self)))

    __rmul__ = __mul__

    def __neg__(self) -> Target:
        """What falls when the target rises."""
        return -1 * self

    def __sub__(self, other: Target) -> Target:
        """The difference of two targets."""
        return self + -1 * other if isinstance(other, Target) else NotImplemented


def terms(target: Target) -> tuple[tuple[float, Target], ...]:
    """Weights and targets of a sum; of any other target itself."""
    return target.terms if isinstance(target, Sum) else ((1, target),)


def weighted(weights: Sequence[float], scores: Sequence[Tensor]) -> Tensor:
    """The weighted sum of scores (B,) each."""
    if len(scores) == 1:
        return scores[0] if weights[0] == 1 else weights[0] * scores[0]
    return torch.stack([w * s for w, s in zip(weights, scores, strict=True)]).sum(0)


@dataclass(frozen=True, repr=False)
class Sum(Target):
    """Targets with weights, as `+`, `-` and `*` make it: always flat."""

    terms: tuple[tuple[float, Target], ...]

    @property
    def layers(self) -> frozenset[str]:
        """Names of the layers that its terms read."""
        return frozenset().union(*(t.layers for _, t in self.terms))

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        return weighted([w for w, _ in self.terms], [t(acts) for _, t in self.terms])

    def images(self, first: int, count: int) -> Target:
        """The sum of the terms of some images of a batch."""
        return Sum(tuple((w, t.images(first, count)) for w, t in self.terms))

    def resolve(self, net: Net) -> Target:
        """The sum of its terms resolved."""
        return Sum(tuple((w, t.resolve(net)) for w, t in self.terms))

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return self._joined([t.describe(net) for _, t in self.terms])

    def _joined(self, names: list[str]) -> str:
        text = ""
        for (weight, _), name in zip(self.terms, names, strict=True):
            sign = "-" if weight < 0 else "+"
            factor = "" if abs(weight) == 1 else f"{abs(weight)!r} * "
            text += f" {sign} {factor}{name}" if text else f"{'-' if weight < 0 else ''}{factor}{name}"
        return text if len(self.terms) > 1 or self.terms[0][0] != 1 else f"1 * {text}"

    def __repr__(self) -> str:
        """An expression that gives it again."""
        return self._joined([repr(t) for _, t in self.terms])


@dataclass(frozen=True)
class Each(Target):
    """A target for each image of a batch: ``Each((Channel("stage2", 0), Channel("stage2", 1)))``."""

    targets: tuple[Target, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if not self.targets:
            raise ValueError("there is no target")
        for t in self.targets:
            if not isinstance(t, Target):
                raise TypeError(f"a target is one of vizwidgets' targets, not {t!r}")

    @property
    def layers(self) -> frozenset[str]:
        """Names of the layers that its targets read."""
        return frozenset().union(*(t.layers for t in self.targets))

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        sizes = {len(v) for v in acts.values()}
        if sizes != {len(self.targets)}:
            raise ValueError(f"{len(self.targets)} targets for {max(sizes)} images")
        return torch.cat([t({k: v[i : i + 1] for k, v in acts.items()}) for i, t in enumerate(self.targets)])

    def images(self, first: int, count: int) -> Target:
        """The targets of some images of the batch."""
        return Each(self.targets[first : first + count])

    def resolve(self, net: Net) -> Target:
        """The same with every target resolved."""
        return Each(tuple(t.resolve(net) for t in self.targets))

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return "; ".join(t.describe(net) for t in self.targets)


def of_image(target: Target, index: int) -> Target:
    """The target of one image of a batch, for any number of copies of it."""
    if isinstance(target, Each):
        return target.targets[index]
    return Sum(tuple((w, of_image(t, index)) for w, t in target.terms)) if isinstance(target, Sum) else target


def unchanging(target: Target) -> bool:
    """Whether it scores by the same rule for good, as the targets of this package do; of others nobody knows."""
    if isinstance(target, (Sum, Each)):
        return all(map(unchanging, target.targets if isinstance(target, Each) else [t for _, t in target.terms]))
    return type(target).__module__.startswith("vizwidgets.")


@dataclass(frozen=True, repr=False)
class _Class(Target):
    index: int | str

    def __post_init__(self) -> None:
        if not isinstance(self.index, str):
            object.__setattr__(self, "index", _number("a class is a number or a name", self.index))

    def resolve(self, net: Net) -> Target:
        return replace(self, index=class_index(net, self.index))

    def describe(self, net: Net) -> str:
        name = self.index if isinstance(self.index, str) else net.label(self.index)
        return f"{type(self).__name__.lower()} of {name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r})"

    def _of(self, scores: Tensor) -> Tensor:
        if isinstance(self.index, str):
            raise ValueError(f"{self!r} is a name; {self!r}.resolve(net) makes it a number")
        if not -scores.shape[1] <= self.index < scores.shape[1]:
            raise LookupError(f"no class {self.index}; the network has {scores.shape[1]}, from 0 to {scores.shape[1] - 1}")
        return scores[:, self.index]


class Logit(_Class):
    """The score of a class before the softmax: ``Logit("rose")`` or ``Logit(3)``."""

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        return self._of(acts[OUTPUT])


class Probability(_Class):
    """The probability of a class, in [0, 1]: ``Probability("rose")`` or ``Probability(3)``."""

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        return self._of(acts[OUTPUT].softmax(1))


@dataclass(frozen=True, repr=False)
class Channel(Target):
    """The mean of one map of a layer: ``Channel("stage2", 12)``."""

    layer: str
    index: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", _number("a channel is a number", self.index))

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        return acts[self.layer][:, self.index].flatten(1).mean(1)

    def resolve(self, net: Net) -> Target:
        """Itself, once layer and channel are known to exist."""
        _checked(net, self.layer, self.index)
        return self

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return f"channel {self.index} of {self.layer}"

    def __repr__(self) -> str:
        """An expression that gives it again."""
        return f"Channel({self.layer!r}, {self.index})"


@dataclass(frozen=True, repr=False)
class Neuron(Target):
    """One position of one map: ``Neuron("stage2", 12, y, x)``; the middle of the map if no position is given."""

    layer: str
    index: int
    y: int | None = None
    x: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", _number("a channel is a number", self.index))
        for axis in ("y", "x"):
            if getattr(self, axis) is not None:
                object.__setattr__(self, axis, _number(f"the position {axis} is a number", getattr(self, axis)))

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        maps = acts[self.layer][:, self.index]
        y = maps.shape[1] // 2 if self.y is None else self.y
        x = maps.shape[2] // 2 if self.x is None else self.x
        if not (-maps.shape[1] <= y < maps.shape[1] and -maps.shape[2] <= x < maps.shape[2]):
            raise LookupError(f"position ({y}, {x}) is outside the {maps.shape[1]}×{maps.shape[2]} maps of {self.layer!r}")
        return maps[:, y, x]

    def resolve(self, net: Net) -> Target:
        """Itself, once layer and channel are known to exist."""
        _checked(net, self.layer, self.index)
        return self

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        where = "the middle" if self.y is None and self.x is None else f"({self.y}, {self.x})"
        return f"channel {self.index} of {self.layer} at {where}"

    def __repr__(self) -> str:
        """An expression that gives it again."""
        position = "" if self.y is None and self.x is None else f", {self.y}, {self.x}"
        return f"Neuron({self.layer!r}, {self.index}{position})"


def class_index(net: Net, name: int | str) -> int:
    """The number of a class of `net`; LookupError with the nearest names if there is no such class."""
    if isinstance(name, str):
        found = [i for i, label in enumerate(net.labels) if label == name]
        if not found:
            found = [i for i, label in enumerate(net.labels) if label.lower() == name.lower()]
        if not found:
            raise LookupError(unknown("class", name, net.labels))
        if len(found) > 1:
            raise LookupError(f"{name!r} names classes {' and '.join(map(str, found))}; give the number")
        return found[0]
    if net.labels and not -len(net.labels) <= name < len(net.labels):
        raise LookupError(f"no class {name}; {net.name} has {len(net.labels)}, from 0 to {len(net.labels) - 1}")
    return name % len(net.labels) if net.labels else name


def _number(what: str, value: Any) -> int:
    # numpy's numbers and tensors with one number are taken too, as argmax gives them.
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError:
        raise TypeError(f"{what}, not {value!r}") from None


def check_layer(net: Net, layer: str) -> tuple[int, ...]:
    """The shape of a layer's output, if a target can read it; LookupError with the nearest names otherwise."""
    shape = net.layers.readable(layer).shape
    assert shape is not None
    if layer in (INPUT, OUTPUT):
        raise LookupError(f"a layer called {layer!r} cannot be a target: the name stands for the network's own {layer}")
    return shape


def _checked(net: Net, layer: str, index: int) -> None:
    shape = check_layer(net, layer)
    if not -shape[0] <= index < shape[0]:
        raise LookupError(f"no channel {index} in layer {layer!r}; it has {shape[0]}, from 0 to {shape[0] - 1}")
