"""An image that grows while one looks on: play, pause, turn the sliders, look back, save."""

from __future__ import annotations

from typing import Any

import traitlets
from ipywidgets import Box, VBox
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageOptimizer
from vizwidgets.core.targets import Each, Target
from vizwidgets.methods import images, presets

from . import knobs
from .captions import caption, captioned, common_layer, slug
from .playback import Plays
from .player import Player, endless
from .stills import text_table
from .worker import worker

SETTINGS = ("preset", "steps", "seed")
NOTHING = "Nothing to visualize yet: choose a class or a channel."


class OptimizationCanvas(Plays, VBox):
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

    net = traitlets.Instance(Net, allow_none=True)
    target = traitlets.Any(None, allow_none=True)
    preset = traitlets.Unicode("fourier")
    steps = traitlets.Any("normal")
    seed = traitlets.Int(0)
    batch = traitlets.Int(1, min=1)
    size = traitlets.Any(None, allow_none=True)
    init = traitlets.Any(None, allow_none=True)
    lr = traitlets.Any(None, allow_none=True)
    title = traitlets.Unicode("", help="the caption; by default what the target is called")
    index = traitlets.Int(0, help="steps taken; set by whoever takes them")

    def __init__(
        self, net: Net | nn.Module | None = None, target: Any = None, *, run: Any = None, block: bool = False, **options: Any
    ) -> None:
        if run is not None and (net is not None or target is not None):
            raise TypeError("either a run is played, or one is made for a network and a target: give the one or the other")
        if run is not None and not (isinstance(run, (Run, ImageOptimizer)) or callable(run)):
            raise TypeError(f"a Run, an ImageOptimizer, or a callable that makes a Run of a seed is played, not {type(run).__name__}")
        self._given, self._made, self._go = run, (), False
        self.player = Player()
        super().__init__(net=None if net is None else as_net(net), target=target, **options)
        self.player.restart, self.player.set_option = self._restart, self._set
        traitlets.link((self.player, "error"), (self, "error"))
        for name in ("status", "index"):
            traitlets.dlink((self.player, name), (self, name))
        self.children = [Box([self.player]).add_class("vw-optimization-body")]
        self.add_class("vw-optimization")
        self._show_curve()
        self.observe(lambda _: self.later(self._prepare), ["net", "target"])
        self.observe(self._changed, [*SETTINGS, "batch", "size", "init", "lr", "title"])
        self.now(self._prepare)
        self._tell()
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

    @traitlets.validate("preset", "steps")
    def _known(self, proposal: Any) -> Any:
        check: Any = presets.preset if proposal.trait.name == "preset" else presets.number_of_steps
        check(proposal.value)
        return proposal.value

    def _prepare(self) -> None:
        """Make a run and load it; what was asked of the one before is asked of this one."""
        asked, self._go = "play" if self._go else self.player.asked, False
        try:
            run = self._run()
        except Exception:
            self.player.unload()
            self.player.about = {"caption": self.caption, "hint": ""}
            raise
        if run is None:
            self.player.unload()
            self.player.about = {"caption": "", "hint": NOTHING}
            self.player.show_sliders(knobs.of_preset(presets.preset(self.preset)))
        else:
            self.player.load(run)
            self.player.about = {"caption": self.caption, "file": slug(self.caption), "labels": self._labels(), "hint": ""}
            if asked in ("play", "step"):
                getattr(self.player, asked)()
        self._tell()

    def _run(self) -> Run[Any] | None:
        self._made = self._choices()
        if self._given is None:
            if self.net is None or self.target is None:
                return None
            options = {name: getattr(self, name) for name in (*SETTINGS, "batch", "size", "init", "lr")}
            return images.visualize(self.net, self.target, **options)
        run = self._given(self.seed) if self._makes() else self._given
        return endless(run) if isinstance(run, ImageOptimizer) else run

    def _makes(self) -> bool:
        return self._given is None or not isinstance(self._given, (Run, ImageOptimizer))

    def _choices(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in SETTINGS)

    def _changed(self, change: Any) -> None:
        if change.name == "preset":
            self.player.turned.clear()
        if self.status == "idle" and self._makes():
            self.later(self._prepare)
        self._tell()

    def _tell(self) -> None:
        """Say the settings to the page."""
        settings: dict[str, Any] = {"restart": self._makes() and (self._given is not None or None not in (self.net, self.target))}
        if self._makes():
            settings["seed"] = self.seed
        if self._given is None:
            efforts = dict(presets.EFFORTS)
            if self.steps not in efforts:
                efforts[str(self.steps)] = self.steps
            settings.update(preset=self.preset, presets=list(presets.PRESETS), steps=str(self.steps), efforts=efforts)
        settings["stale"] = self._made != self._choices() and self.status != "idle"
        self.player.settings = settings

    def _set(self, name: str, value: Any) -> None:
        if name not in SETTINGS:
            raise LookupError(f"the page cannot set {name!r}")
        if name == "seed":
            value = int(value)
        self.set_trait(name, int(value) if name == "steps" and str(value).isdigit() else value)

    def _restart(self, another_seed: bool = False) -> None:
        if not self._makes():
            raise ValueError("this run can be played once only: give a callable that makes it, run=lambda seed: ...")
        self._go = True
        if another_seed:
            self.seed += max(1, self.player.about.get("count", 1))
        self.later(self._prepare)

    def play(self, *, block: bool = False) -> None:
        """Begin, go on, or begin again when it has ended; with ``block=True`` to the end, in the calling thread."""
        if self.status in ("stopped", "done", "failed") and self._makes():
            if not block:
                self._restart()
                return
            self._prepare()
        self.player.play(block=block)

    def step(self) -> None:
        """Take one step, then halt."""
        self.player.step()

    def restart(self, seed: int | None = None) -> None:
        """Begin anew, with another seed if one is given."""
        if seed is not None:
            self.seed = seed
        self._restart()

    def turn(self, name: str, value: float) -> None:
        """Move a slider, "lr", "total variation" or "L2": it acts at the next step."""
        self.player.turn(name, value)

    def result(self) -> Any:
        """What the steps taken so far amount to; stops the run."""
        worker.wait(self)
        return self.player.result()

    @property
    def run(self) -> Run[Any] | None:
        """What is played."""
        return self.player.run

    @property
    def image(self) -> Tensor | None:
        """The last images (B, C, H, W) in [0, 1], if the run makes some."""
        run = self.run
        return None if run is None else getattr(run.last, "image", None)

    @property
    def caption(self) -> str:
        """What is played."""
        if self.title or self._given is not None:
            controls = self.player.controls
            named = isinstance(getattr(controls, "target", None), Target) and getattr(controls, "net", None) is not None
            return self.title or (caption(controls.target, controls.net) if named else "a run")
        return "" if self.net is None or self.target is None else caption(self.target, self.net)

    def _labels(self) -> list[str]:
        if isinstance(self.target, Each) and self.net is not None:
            one = common_layer(self.target)
            return [f"channel {t.index}" if one else t.describe(self.net) for t in self.target.targets]  # type: ignore[attr-defined]
        return [f"seed {self.seed + i}" for i in range(self.batch)] if self.batch > 1 else []

    @traitlets.observe("active")
    def _show_curve(self, _change: Any = None) -> None:
        # Not before it is in view: bqplot complains about a figure of no size.
        if self.active and self.children:
            self.children[0].children = [self.player, self.player.curve.figure]

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until what was asked for is loaded; what is played goes on."""
        return worker.wait(self, timeout)

    def still(self) -> PILImage.Image | None:
        """The last picture, with its caption."""
        last = None if self.run is None else self.run.last
        picture = None if last is None else last.picture()
        if picture is None:
            return text_table([(self.describe(), "")]) if self.describe() else None
        return captioned(picture, self.describe())

    def describe(self) -> str:
        """What is played, and how far it is."""
        if self.run is None:
            return self.caption
        return f"{self.caption}, {self.run.taken} of {self.player.total}" if self.player.total else f"{self.caption}, {self.run.taken}"
