"""An image that grows while one looks on: play, pause, turn the sliders, look back, save."""

from __future__ import annotations

from typing import Any

import traitlets
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageOptimizer
from vizwidgets.core.targets import Each, Target
from vizwidgets.methods import images, presets

from . import knobs
from .captions import caption, captioned, common_layer
from .makes_runs import MakesRuns
from .player import endless
from .stills import text_table

NOTHING = "Nothing to visualize yet: choose a class or a channel."


class OptimizationCanvas(MakesRuns):
    """Plays a run and shows its picture as it grows, with the curve of its score.

    Given a network and a target it makes its runs itself, by `vizwidgets.visualize`. A new `target` starts anew if the run is
    being played, and waits for *play* otherwise; `preset`, `steps` and `seed` count from the next start. Learning rate and
    regularisers act on the running optimization, and are written into the recipe.

    Parameters
    ----------
    net : Net or torch.nn.Module
    target : Target, or several
        What shall rise; of several, each gets an image.
    run : Run, ImageOptimizer or callable
        What to play instead. A callable is given the seed and makes a run: then it can be started again.
    preset, steps, seed, batch, size, init, lr
        As of `vizwidgets.visualize`.
    block : bool
        Play to the end before it is shown, in the calling thread.

    Examples
    --------
    >>> OptimizationCanvas(net, vizwidgets.Logit("rose"))
    OptimizationCanvas(logit of rose, 0 of 256)
    >>> OptimizationCanvas(net, [vizwidgets.Channel("stage3", i) for i in range(9)])
    OptimizationCanvas(9 channels of stage3, 0 of 256)
    >>> OptimizationCanvas(run=lambda seed: vizwidgets.invert(net, x, "stage2", seed=seed))
    OptimizationCanvas(minus distance at stage2 - 0.05 * total variation, 0 of 256)
    """

    SETTINGS = ("preset", "steps", "seed")
    OPTIONS = ("batch", "size", "init", "lr")
    PARTS = ("net", "target")

    net = traitlets.Instance(Net, allow_none=True)
    target = traitlets.Any(None, allow_none=True)
    preset = traitlets.Unicode("fourier")
    batch = traitlets.Int(1, min=1)
    size = traitlets.Any(None, allow_none=True)
    init = traitlets.Any(None, allow_none=True)
    lr = traitlets.Any(None, allow_none=True)
    title = traitlets.Unicode("", help="the caption; by default what the target is called")

    def __init__(
        self, net: Net | nn.Module | None = None, target: Any = None, *, run: Any = None, block: bool = False, **options: Any
    ) -> None:
        if run is not None and (net is not None or target is not None):
            raise TypeError("either a run is played, or one is made for a network and a target: give the one or the other")
        if run is not None and not (isinstance(run, (Run, ImageOptimizer)) or callable(run)):
            raise TypeError(f"a Run, an ImageOptimizer, or a callable that makes a Run of a seed is played, not {type(run).__name__}")
        self._given = run
        super().__init__(net=None if net is None else as_net(net), target=target, **options)
        self.observe(self._changed, "title")
        self.children = [self.body.add_class("vw-optimization-body")]
        self.add_class("vw-optimization")
        if block:
            self.play(block=True)

    @traitlets.validate("target")
    def _targets(self, proposal: Any) -> Target | None:
        target = proposal.value
        if target is None or isinstance(target, Target):
            return target
        if isinstance(target, (str, int)):
            raise TypeError(f"a target is one of vizwidgets' targets, not {target!r}: Logit({target!r}), say")
        return Each(tuple(target))

    @traitlets.validate("preset")
    def _known_preset(self, proposal: Any) -> str:
        presets.preset(proposal.value)
        return str(proposal.value)

    def _run(self) -> Run[Any] | None:
        if self._given is None:
            if self.net is None or self.target is None:
                return None
            return images.visualize(self.net, self.target, **{name: getattr(self, name) for name in (*self.SETTINGS, *self.OPTIONS)})
        run = self._given(self.seed) if self._makes() else self._given
        return endless(run) if isinstance(run, ImageOptimizer) else run

    def _loaded(self) -> dict[str, Any]:
        if isinstance(self.target, Each) and self.net is not None:
            one = common_layer(self.target)
            labels = [f"channel {t.index}" if one else t.describe(self.net) for t in self.target.targets]  # type: ignore[attr-defined]
        else:
            labels = [f"seed {self.seed + i}" for i in range(self.batch)] if self.batch > 1 else []
        return {"labels": labels}

    def _empty(self) -> None:
        self.player.about = {"caption": "", "hint": NOTHING}
        self.player.show_sliders(knobs.KNOBS, knobs.of_preset(presets.preset(self.preset)))

    def _makes(self) -> bool:
        return self._given is None or not isinstance(self._given, (Run, ImageOptimizer))

    def _changed(self, change: Any) -> None:
        if change.name == "preset":
            self.player.turned.clear()
        super()._changed(change)

    def _settings(self) -> dict[str, Any]:
        if self._given is not None:
            return {"restart": self._makes()}
        menu = {"key": "preset", "name": "preset", "options": [[name, name] for name in presets.PRESETS], "value": self.preset}
        return {**super()._settings(), "menus": [menu], "restart": None not in (self.net, self.target)}

    @property
    def image(self) -> Tensor | None:
        """The last images (B, C, H, W) in [0, 1], if the run makes some."""
        return None if self.run is None else getattr(self.run.last, "image", None)

    @property
    def caption(self) -> str:
        """What is played."""
        if self.title or self._given is not None:
            controls = self.player.controls
            named = isinstance(getattr(controls, "target", None), Target) and getattr(controls, "net", None) is not None
            return self.title or (caption(controls.target, controls.net) if named else "a run")
        return "" if self.net is None or self.target is None else caption(self.target, self.net)

    def still(self) -> PILImage.Image | None:
        """The last picture, with its caption."""
        last = None if self.run is None else self.run.last
        picture = None if last is None else last.picture()
        if picture is None:
            return text_table([(self.describe(), "")]) if self.describe() else None
        return captioned(picture, self.describe())
