"""Named ways of keeping an optimised image readable, each switched on alone, and how long to optimise."""

from __future__ import annotations

from dataclasses import dataclass

from vizwidgets.core.errors import unknown
from vizwidgets.core.pixel_rules import ClipContribution, ClipNorm, Decay, PeriodicBlur, PixelRule
from vizwidgets.core.regularizers import L2, TotalVariation
from vizwidgets.core.targets import Target

EFFORTS = {"draft": 64, "normal": 256, "paper": 512}


@dataclass(frozen=True)
class Preset:
    """How an image is parameterised, what is asked of it besides the target, and the learning rate that goes with it.

    Attributes
    ----------
    params : str
        "pixels" or "fourier".
    transforms : str
        A name from ``TRANSFORMS``.
    penalty : Target or None
        Taken off the target.
    rules : tuple of PixelRule
    lr : float
    """

    params: str = "pixels"
    transforms: str = "none"
    penalty: Target | None = None
    rules: tuple[PixelRule, ...] = ()
    lr: float = 0.02


PRESETS: dict[str, Preset] = {
    "none": Preset(),
    "l2": Preset(penalty=100 * L2()),
    "total variation": Preset(penalty=30 * TotalVariation()),
    "blur": Preset(rules=(PeriodicBlur(1.0, 4),)),
    "norm clipping": Preset(rules=(Decay(1e-3), ClipNorm(0.3))),
    "contribution clipping": Preset(rules=(Decay(1e-3), ClipContribution(0.3))),
    "jitter": Preset(transforms="jitter"),
    "transformations": Preset(transforms="default"),
    "fourier": Preset("fourier", "default", lr=0.05),
}


def preset(name: str) -> Preset:
    """The preset of that name; LookupError with the nearest names if there is none."""
    if name not in PRESETS:
        raise LookupError(unknown("preset", name, PRESETS))
    return PRESETS[name]


def number_of_steps(steps: int | str) -> int:
    """Steps as a number: itself, or that of "draft", "normal" or "paper"."""
    if isinstance(steps, str):
        if steps not in EFFORTS:
            raise LookupError(unknown("effort", steps, EFFORTS))
        return EFFORTS[steps]
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps are a number from 1, or one of {', '.join(map(repr, EFFORTS))}, not {steps!r}")
    return steps
