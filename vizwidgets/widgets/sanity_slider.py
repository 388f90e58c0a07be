"""Which maps notice that the network is destroyed: its layers made random, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from math import isfinite
from typing import Any

import traitlets
from anywidget import AnyWidget
from ipywidgets import VBox
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run, Step
from vizwidgets.core.picture import png
from vizwidgets.core.targets import Logit, Probability, Target
from vizwidgets.methods.attributions import name_of, named
from vizwidgets.methods.sanity import ORDERS, SanityReport, SanityStep, sanity_check, weighted_layers
from vizwidgets.methods.similarity import MEASURES

from . import sanity_view as view
from .adversarial_view import percent, probabilities
from .attribution_view import photo, sheet
from .base import TargetTrait, script, shows_errors, style
from .playback import Playback, Plays
from .worker import worker

PAUSE = 0.25  # seconds between two states that are shown while it runs
READY = 2.0  # seconds that it waits with being shown
OPTIONS = ("net", "image", "target", "methods", "order", "layers", "seed")


class SanityPlayer(Playback, AnyWidget):
    """The page's side of `SanitySlider`: slider, maps, and the buttons of the run.

    Besides what `Playback` says, the page sends ``{"cmd": "set", "name": "position" | "measure" | "order", "value"}``.
    """

    _esm = script("sanity_slider", "asking")
    _css = style()

    position = traitlets.Int(0, min=0).tag(sync=True)
    measure = traitlets.Enum(MEASURES, MEASURES[0]).tag(sync=True)
    about: Any = traitlets.Dict(help="what does not change while a run is played").tag(sync=True)
    first: Any = traitlets.Dict(help="the maps of the network as it is, by method").tag(sync=True)
    state: Any = traitlets.Dict(help="the maps at the slider's position, by method").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        self.curves = view.Curves()
        self.restart: Callable[[], None] = lambda: None
        self.set_order: Callable[[str], None] = lambda order: None
        self._between = object()  # owner of what is done between two steps
        self._drawn, self._followed = 0.0, 0
        self.following = True
        self._forget()
        super().__init__(**options)
        self.observe(self._moved, ["position", "measure"])

    def _forget(self) -> None:
        self.taken: dict[str, list[SanityStep]] = {}
        self.failed: dict[str, str] = {}
        self.said: list[SanityStep] = []
        self._says: Callable[[SanityStep], Any] = lambda step: None
        self._seen: Any = None

    def begin(self, run: Run[view.Turn], methods: list[str], says: Callable[[SanityStep], Any], about: dict[str, Any]) -> None:
        """Take a run of these methods in place of the one before."""
        self._forget()
        self.load(run)
        self.about = {**about, "colours": self.curves.begin(methods, len(about["layers"]))}
        self.taken, self._says = {name: [] for name in methods}, says
        self.look()

    def unload(self) -> None:
        """Forget the run: there is none to play."""
        self._drop()
        self._forget()
        self._run, self.status, self.error = None, "idle", ""
        self.total, self.index, self.remaining = 0, 0, 0.0
        self.about, self.first, self.state = {}, {}, {}

    def _moved(self, change: Any) -> None:
        if change.name == "position" and change.new != self._followed:
            self.following = False
        self.later(self.look)

    @property
    def _jobs(self) -> Hashable:
        return self._between

    @shows_errors
    def _command(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        command, name, value = content.get("cmd"), content.get("name"), content.get("value")
        if command == "play" and self.status in ("stopped", "done", "failed"):
            self.restart()
        elif command != "set":
            super()._command(widget, content, buffers)
        elif name == "position":
            self.following = False
            self.position = int(value)  # type: ignore[arg-type]
        elif name == "measure":
            self.set_trait("measure", value)
        elif name == "order":
            self.set_order(str(value))

    def _after(self, run: Run[Any], step: Step) -> None:
        assert isinstance(step, view.Turn)
        if step.error:
            if step.method in self.taken:
                self.failed[step.method] = step.error
        elif step.step is not None:
            self.taken.get(step.method, self.said).append(step.step)
        if run.taken == len(self.taken) + 1 or time.monotonic() - self._drawn > PAUSE:
            self.look()

    def _settle(self, status: str) -> bool:
        self.look()
        return super()._settle(status)

    def look(self) -> None:
        """Show the maps at the slider's position, and how alike they have been so far."""
        if not self.taken:
            return
        going = [steps for name, steps in self.taken.items() if name not in self.failed]
        at, self._drawn = self.position, time.monotonic()
        if self.following and self.status in ("waiting", "running"):
            at = max(0, min(map(len, going), default=0) - 1)
        at = min(at, len(self.about["layers"]))
        if at != self.position:
            self._followed = self.position = at
        seen = (at, self.measure, [len(s) for s in self.taken.values()], len(self.said), list(self.failed))
        if seen == self._seen:
            return
        self._seen = seen
        self.first = {name: self._tile(name, 0) for name in self.taken}
        self.state = {
            "position": at, "tiles": {name: self._tile(name, at) for name in self.taken},
            "says": self._says(self.said[at]) if at < len(self.said) else None, "seq": self.state.get("seq", 0) + 1,
        }  # fmt: skip
        self.curves.draw({name: [float(s.scores[self.measure][0]) for s in steps] for name, steps in self.taken.items()})
        self.curves.mark(at)

    def _tile(self, name: str, place: int) -> dict[str, Any]:
        if place < len(self.taken[name]):
            return view.tile(self.taken[name][place])
        return {"error": self.failed[name]} if name in self.failed else {}

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run halts and everything is shown."""
        return worker.wait(self._between, timeout) and super().wait(timeout) and worker.wait(self._between, timeout)

    def close(self) -> None:
        """End the run with the widget."""
        worker.drop(self._between)
        self.curves.close()
        super().close()


class SanitySlider(Plays, VBox):
    """The maps of several methods while layer after layer of the network is made random.

    A map that stays as it was does not show what the network has learned. The runs of `vizwidgets.sanity_check`, one for each
    method, take turns; the slider goes to any state that has been reached. The network itself is not changed.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Image, or anything that `vizwidgets.image` takes
        One image.
    target : Target, optional
        By default the logit of the class that the network sees; it stays the same in all states.
    methods : sequence of str or callable
        As of `vizwidgets.sanity_check`.
    order, layers, seed
        As of `vizwidgets.sanity_check`.
    measure : str
        Of the similarity to the first map, one of `vizwidgets.methods.similarity.MEASURES`.
    position : int
        Layers that are random, from 0, in what is shown; while it runs it follows, until it is set.
    block : bool
        Play to the end before it is shown, in the calling thread.

    Attributes
    ----------
    results : dict of str to SanityReport
    status : str
        Of the run; see `play`, `pause` and `stop`.

    Raises
    ------
    LookupError, TypeError, ValueError
        For what `vizwidgets.sanity_check` does not take, and for more than one image.

    References
    ----------
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity checks for saliency maps, 2018.

    Examples
    --------
    >>> SanitySlider(net, x, methods=("saliency", "Grad-CAM"))
    SanitySlider(logit of poppy; saliency, Grad-CAM; 13 layers, cascading)
    """

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    target = TargetTrait()
    methods: Any = traitlets.Any(())
    order = traitlets.Enum(ORDERS, ORDERS[0])
    layers = traitlets.Any(None, allow_none=True)
    seed = traitlets.Int(0)
    measure = traitlets.Enum(MEASURES, MEASURES[0])
    position = traitlets.Int(0, min=0)

    def __init__(
        self, net: Net | nn.Module | None = None, image: Any = None, target: Target | None = None,
        methods: Iterable[str | Callable[..., Any]] = ("saliency", "guided backprop", "Grad-CAM"), *, block: bool = False,
        **options: Any,
    ) -> None:  # fmt: skip
        net = None if net is None else as_net(net)
        self._runs: dict[str, Run[SanityStep]] = {}
        self.player = SanityPlayer()
        super().__init__(
            net=net, image=None if image is None else open_image(image, net), target=target, methods=methods, **options
        )
        self.player.set_order, self.player.restart = self._set_order, self.restart
        self.player.following = "position" not in options
        for name in ("measure", "position", "error"):
            traitlets.link((self, name), (self.player, name))
        traitlets.dlink((self.player, "status"), (self, "status"))
        self.add_class("vw-sanity")
        self.children = [self.player]
        self._show_curves()
        self.now(lambda: self._prepare(not block))
        self.observe(lambda _: self.later(self._prepare), list(OPTIONS))
        if block:
            self.player.play(block=True)

    @traitlets.validate("methods")
    def _known(self, proposal: Any) -> tuple[str | Callable[..., Any], ...]:
        methods = proposal.value
        methods = (methods,) if isinstance(methods, str) or callable(methods) else tuple(methods)
        for method in methods:
            named(method)
        return methods

    def _prepare(self, play: bool = True) -> None:
        """Make the runs, and play them from their beginning."""
        player, net, image = self.player, self.net, self.image
        self._runs = {}
        if net is None or image is None or not self.methods:
            player.unload()
            return
        if len(image.pixels) != 1:
            raise ValueError(f"one image is looked at at a time, not {len(image.pixels)}: image[:1], say")
        target = Logit(int(probabilities(net, image.pixels).argmax())) if self.target is None else self.target.resolve(net)
        options = {"order": self.order, "layers": self.layers, "seed": self.seed}
        runs = {name_of(m): sanity_check(m, net, image, target, **options) for m in self.methods}
        probe = sanity_check(view.prediction, net, image, target, **options)
        groups = weighted_layers(net, self.layers)
        layers = list(groups) if self.order == "bottom-up" else list(reversed(groups))
        wanted = int(target.index) if isinstance(target, (Logit, Probability)) else -1
        self._runs = runs
        player.begin(
            view.in_turns({"": probe, **runs}), list(runs), lambda step: view.says(step, net, wanted),
            {"aim": target.describe(net), "order": self.order, "orders": list(ORDERS), "measures": list(MEASURES), "layers": layers,
             "picture": png(photo(image)), "size": list(image.pixels.shape[2:])},
        )  # fmt: skip
        if play:
            player.play()

    @shows_errors
    def _set_order(self, order: str) -> None:
        self.order = order

    def play(self, *, block: bool = False) -> None:
        """Begin, go on, or begin again when it has ended; with ``block=True`` to the end, in the calling thread."""
        if self.status in ("stopped", "done", "failed"):
            if not block:
                self.restart()
                return
            self._prepare(play=False)
        self.player.play(block=block)

    def restart(self) -> None:
        """Begin anew."""
        self.later(self._prepare)

    @property
    def results(self) -> dict[str, SanityReport]:
        """What the steps so far amount to, by method, those that failed left out; waits until the run halts."""
        self.wait()
        return {name: r.so_far() for name, r in self._runs.items() if r.last is not None and name not in self.player.failed}

    @traitlets.observe("active")
    def _show_curves(self, _change: Any = None) -> None:
        # Not before it is in view: bqplot complains about a figure of no size.
        if self.active:
            self.children = [self.player, self.player.curves.figure]

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for what is asked, but not for a long run: it goes on while it is shown."""
        return worker.wait(self, timeout) and self.player.wait(READY if timeout is None else min(timeout, READY))

    def still(self) -> PILImage.Image | None:
        """The maps of the network as it is, and those at the slider's position."""
        player, image = self.player, self.image
        if image is None or not player.taken:
            return None
        at, names = self.position, list(player.taken)
        says = player.state.get("says")
        said = f"says {says['first']}, {percent(says['chance'])}" if says else ""
        now = f"{at} of {len(player.about['layers'])} layers random"
        tiles = [(name, "", self._map(name, 0)) for name in names]
        tiles += [(now, said, None), *((name, self._alike(name, at), self._map(name, at)) for name in names)]
        return sheet(image, tiles, f"{player.about['aim']}; {self.order}", columns=len(names) + 1)

    def _map(self, name: str, place: int) -> PILImage.Image | None:
        steps = self.player.taken[name]
        return steps[place].attribution.picture() if place < len(steps) else None

    def _alike(self, name: str, place: int) -> str:
        steps = self.player.taken[name]
        if place >= len(steps):
            return self.player.failed.get(name, "")
        value = float(steps[place].scores[self.measure][0])
        return f"{self.measure} {value:.2f}" if isfinite(value) else "a map is constant"

    def describe(self) -> str:
        """Target, methods, and how many layers in which order."""
        about = self.player.about
        if not about:
            return ""
        return f"{about['aim']}; {', '.join(self.player.taken)}; {len(about['layers'])} layers, {self.order}"
