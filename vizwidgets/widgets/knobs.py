"""What may be turned while an image is being made: learning rate and regularisers, or weights of styles and their layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vizwidgets.core.errors import unknown
from vizwidgets.core.regularizers import L2, TotalVariation
from vizwidgets.core.targets import Sum, Target, terms
from vizwidgets.methods.presets import Preset

PENALTIES: dict[str, type[Target]] = {"total variation": TotalVariation, "L2": L2}
STYLE, LAYER, MIX = "style_weight", "layer ", "mix "


@dataclass(frozen=True)
class Knob:
    """A number that may be turned from `low` to `high`, in even steps or on a logarithmic scale; `off` if it may be 0 as well."""

    name: str
    low: float
    high: float
    off: bool = False
    even: bool = False
    group: str = ""


KNOBS = {
    "lr": Knob("learning rate", 1e-4, 10),
    **{name: Knob(name, 1e-3, 1e3, off=True) for name in PENALTIES},
}


def knobs(controls: Any) -> dict[str, Knob]:
    """What can be turned of a style transfer or of an `ImageOptimizer`; nothing of anything else."""
    if hasattr(controls, STYLE):
        found = {STYLE: Knob("style weight", 0.1, 1000, off=True)}
        if len(controls.mix) > 1:
            found.update((f"{MIX}{i}", Knob(f"style {i + 1}", 0, 1, even=True, group="mix")) for i in range(len(controls.mix)))
        found.update((LAYER + layer, Knob(layer, 0, 2, even=True, group="layers")) for layer in controls.layer_weights)
        return found
    if hasattr(controls, "lr") and isinstance(getattr(controls, "target", None), Target):
        return dict(KNOBS)
    return {}


def values(controls: Any) -> dict[str, float]:
    """How far everything is turned."""
    if hasattr(controls, STYLE):
        layers = {LAYER + layer: float(weight) for layer, weight in controls.layer_weights.items()}
        mix = {f"{MIX}{i}": float(share) for i, share in enumerate(controls.mix) if len(controls.mix) > 1}
        return {STYLE: float(controls.style_weight), **layers, **mix}
    if not knobs(controls):
        return {}
    return {"lr": float(controls.lr), **{name: weight(controls.target, kind) for name, kind in PENALTIES.items()}}


def of_preset(chosen: Preset) -> dict[str, float]:
    """How far everything is turned at the start of a run with this preset."""
    weights = {name: 0.0 if chosen.penalty is None else -weight(chosen.penalty, kind) for name, kind in PENALTIES.items()}
    return {"lr": chosen.lr, **weights}


def turn(controls: Any, turned: Mapping[str, float]) -> None:
    """Set these; to be called between two steps."""
    if hasattr(controls, STYLE):
        now = {**values(controls), **turned}
        controls.style_weight = now[STYLE]
        controls.layer_weights = {layer: now[LAYER + layer] for layer in controls.layer_weights}
        if len(controls.mix) > 1:
            controls.mix = tuple(now[f"{MIX}{i}"] for i in range(len(controls.mix)))
        return
    for name, value in turned.items():
        if name == "lr":
            controls.lr = value
        else:
            controls.target = weighted(controls.target, PENALTIES[name], value)


def checked(known: Mapping[str, Knob], name: str, value: Any) -> float:
    """The value, if there is such a knob and it goes so far."""
    if name not in known:
        raise LookupError(unknown("slider", name, known))
    knob, value = known[name], float(value)
    if not (knob.low <= value <= knob.high or (knob.off and value == 0)):
        off = "0, or " if knob.off else ""
        raise ValueError(f"{knob.name} is {off}from {knob.low:g} to {knob.high:g}, not {value:g}")
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
