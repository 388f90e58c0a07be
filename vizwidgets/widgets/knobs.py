"""What may be turned while an image is being optimised: the learning rate, and how much each regulariser counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vizwidgets.core.errors import unknown
from vizwidgets.core.regularizers import L2, TotalVariation
from vizwidgets.core.targets import Sum, Target, terms
from vizwidgets.methods.presets import Preset

PENALTIES: dict[str, type[Target]] = {"total variation": TotalVariation, "L2": L2}


@dataclass(frozen=True)
class Knob:
    """A number that may be turned, on a logarithmic scale between two powers of ten; `off` if it may be 0 as well."""

    name: str
    low: int
    high: int
    off: bool


KNOBS = {
    "lr": Knob("learning rate", -4, 1, False),
    **{name: Knob(name, -3, 3, True) for name in PENALTIES},
}


def values(controls: Any) -> dict[str, float]:
    """What can be turned of an `ImageOptimizer`, and how far it is turned; nothing of what is none."""
    if not (hasattr(controls, "lr") and isinstance(getattr(controls, "target", None), Target)):
        return {}
    return {"lr": float(controls.lr), **{name: weight(controls.target, kind) for name, kind in PENALTIES.items()}}


def of_preset(chosen: Preset) -> dict[str, float]:
    """How far everything is turned at the start of a run with this preset."""
    weights = {name: 0.0 if chosen.penalty is None else -weight(chosen.penalty, kind) for name, kind in PENALTIES.items()}
    return {"lr": chosen.lr, **weights}


def turn(controls: Any, name: str, value: float) -> None:
    """Set one of them; to be called between two steps."""
    if name == "lr":
        controls.lr = value
    else:
        controls.target = weighted(controls.target, PENALTIES[name], value)


def checked(name: str, value: Any) -> float:
    """The value, if there is such a knob and it goes so far."""
    if name not in KNOBS:
        raise LookupError(unknown("slider", name, KNOBS))
    knob, value = KNOBS[name], float(value)
    if not (10.0**knob.low <= value <= 10.0**knob.high or (knob.off and value == 0)):
        off = "0, or " if knob.off else ""
        raise ValueError(f"{knob.name} is {off}from {10.0**knob.low:g} to {10.0**knob.high:g}, not {value:g}")
    return value


def weight(target: Target, kind: type[Target]) -> float:
    """How much is taken off the target for a regulariser of this kind."""
    return float(-sum(w for w, t in terms(target) if isinstance(t, kind)))


def weighted(target: Target, kind: type[Target], value: float) -> Target:
    """The target with another weight for the regularisers of this kind; one is added where there is none."""
    old = [t for _, t in terms(target) if isinstance(t, kind)]
    rest = tuple(term for term in terms(target) if not isinstance(term[1], kind))
    if not value:
        if not rest:
            raise ValueError("nothing is left to optimise when the only regulariser is off")
        return rest[0][1] if len(rest) == 1 and rest[0][0] == 1 else Sum(rest)
    return Sum((*rest, (-value, old[0] if old else kind())))
