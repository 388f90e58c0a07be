"""Why this class: what several attributions say of one image, beside each other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.picture import colour_table, png
from vizwidgets.core.recipe import KEY, dumps
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Logit, Target
from vizwidgets.methods.attributions import ATTRIBUTIONS, name_of

from .adversarial_view import probabilities
from .attribution_view import describe, drawn, packed, photo, reading, scale_text, sheet, shows, stages, takes_layer
from .base import TargetTrait, VizWidget, message, script, shows_errors, style
from .captions import slug
from .worker import worker

READY = 2.0  # seconds that it waits with being shown, so that most have all their maps at once
PAUSE = 0.1  # seconds between two states of a run that are shown
SETTINGS = ("signed", "overlay", "opacity", "percentile", "index", "layer")


@dataclass
class _Case:
    """What is being looked at, and the methods that are not done with it."""

    net: Net
    image: Image
    target: Target
    todo: deque[tuple[str, Iterator[tuple[Attribution, float]]]] = field(default_factory=deque)
    keys: dict[str, Any] = field(default_factory=dict)


class AttributionViewer(VizWidget, AnyWidget):
    """What several attributions say of an image: beside each other, one of them large, alone or over the picture.

    The maps are worked out one after the other, and shown as they come; each has a scale of its own, given below it. A
    method that cannot be had of this network says so in its place.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Image, or anything that `vizwidgets.image` takes
        One image.
    target : Target, optional
        By default the logit of the class that the network sees.
    methods : sequence of str or callable
        Names from `vizwidgets.ATTRIBUTIONS`, or functions as `vizwidgets.attribute` takes them, `vizwidgets.occlusion` too.
        All of the table can be chosen in the widget.
    layer : str, optional
        Of Grad-CAM and the like; by default the deepest with maps.
    index : int
        Which of the methods is large; -1 for none.
    signed : bool, optional
        True shows what speaks for and what against the target, where a method tells, False how much each pixel matters; by
        default a map is shown as the method gives it.
    percentile : float
        Of the pixels that lie within the scale, in [90, 100]; the others are marked white, or black if signed.
    overlay : bool
        Whether the maps lie over the picture.
    opacity : float
        Of the maps over the picture, in [0, 1].

    Attributes
    ----------
    results : dict of str to Attribution

    Raises
    ------
    LookupError
        For a method, class or layer that does not exist.
    ValueError
        For more than one image.

    Examples
    --------
    >>> AttributionViewer(net, x, methods=("saliency", "Grad-CAM"))
    AttributionViewer(logit of poppy; saliency, Grad-CAM)
    """

    _esm = script("attribution_viewer", "asking")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    target = TargetTrait()
    layer = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    methods: Any = traitlets.Any(()).tag(sync=True)
    index = traitlets.Int(-1, min=-1).tag(sync=True)
    signed = traitlets.Bool(None, allow_none=True).tag(sync=True)
    overlay = traitlets.Bool(False).tag(sync=True)
    opacity = traitlets.Float(0.8, min=0, max=1).tag(sync=True)
    percentile = traitlets.Float(99.5, min=90, max=100).tag(sync=True)
    choices: Any = traitlets.List(help="all methods that can be chosen, and the trait that holds the map").tag(sync=True)
    about: Any = traitlets.Dict(help="target, classes, layers, and which maps are wanted").tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)
    colours = traitlets.Bytes(b"".join(colour_table(k).tobytes() for k in ("sequential", "diverging"))).tag(sync=True)

    def __init__(
        self, net: Net | nn.Module | None = None, image: Any = None, target: Target | None = None,
        methods: Iterable[str | Callable[..., Any]] = ("saliency", "guided backprop", "Grad-CAM"), **options: Any,
    ) -> None:  # fmt: skip
        net = None if net is None else as_net(net)
        self._calls: dict[str, Callable[..., Any]] = {}
        self._found: dict[str, tuple[Any, Attribution | Exception]] = {}
        self._case: _Case | None = None
        self._seq, self._shown_at = 0, 0.0
        self._offer(ATTRIBUTIONS)
        super().__init__(
            net=net, image=None if image is None else open_image(image, net), target=target, methods=methods, **options
        )
        self.on_msg(self._receive)
        self.now(self._begin)
        self.observe(lambda _: self.later(self._begin), ["net", "image", "target", "layer", "methods"])

    @traitlets.validate("methods")
    def _known(self, proposal: Any) -> tuple[str, ...]:
        """Their names; functions are given one, and can be chosen from now on."""
        methods = proposal.value
        methods = [methods] if isinstance(methods, str) or callable(methods) else list(methods)
        return tuple(dict.fromkeys(self._named(method) for method in methods))

    def _named(self, method: str | Callable[..., Any]) -> str:
        if not callable(method):
            if method not in self._calls:
                if method not in ATTRIBUTIONS:  # entries may have been added since
                    raise LookupError(unknown("attribution", str(method), [*self._calls, *ATTRIBUTIONS]))
                self._offer({method: ATTRIBUTIONS[method]})
            return method
        name, others = name_of(method), 1
        known = next((n for n, c in self._calls.items() if c == method), None)
        while known is None:
            known = name if others == 1 else f"{name} {others}"
            known, others = (None, others + 1) if known in self._calls else (known, others)
        self._offer({known: method})
        return known

    @traitlets.observe("methods")
    def _keep_large(self, change: Any) -> None:
        """The one that is large stays it."""
        old = change.old or ()
        large = old[self.index] if 0 <= self.index < len(old) else None
        if large is not None:
            self.index = self.methods.index(large) if large in self.methods else -1

    def _offer(self, calls: dict[str, Callable[..., Any]]) -> None:
        """Let these be chosen too. The map of each travels in a trait of its own, so that a new one does not resend the others."""
        new = {name: call for name, call in calls.items() if name not in self._calls}
        if not new:
            return
        first = len(self._calls)
        self._calls.update(new)
        self.add_traits(**{f"_map{first + i}": traitlets.Dict().tag(sync=True) for i in range(len(new))})
        self.choices = [{"name": n, "map": f"_map{i}", "what": shows(n, c), "layer": takes_layer(c)} for i, (n, c) in enumerate(self._calls.items())]

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        command, name, value = content.get("cmd"), content.get("name"), content.get("value")
        if command == "save":
            worker.submit((id(self), "save"), lambda: self._save(str(content["method"]), content.get("view", "")))
        elif command != "set":
            return
        elif name == "target":
            self.target = None if value is None else Logit(int(value))
        elif name == "methods":
            self.methods = tuple(value or ())
        elif name in SETTINGS:
            self.set_trait(name, value)

    def _begin(self) -> None:
        """Look at the picture; the maps that are not there yet come in turns of the worker."""
        net, image, self._case = self.net, self.image, None
        if net is None or image is None:
            self.about, self.picture, self.error = {}, b"", ""
            return
        if len(image.pixels) != 1:
            raise ValueError(f"one image is looked at at a time, not {len(image.pixels)}: image[:1], say")
        if self.layer is not None:
            net.layers.readable(self.layer)
        chance = probabilities(net, image.pixels)
        target = Logit(int(chance.argmax())) if self.target is None else self.target.resolve(net)
        case = _Case(net, image, target)
        wanted = {}
        for name in self.methods:
            call = self._calls[name]
            case.keys[name] = (net, image, target, self.layer if takes_layer(call) else None)
            if self._found.get(name, (None,))[0] != case.keys[name]:
                self._seq += 1
                wanted[name] = self._seq
                case.todo.append((name, stages(call, net, image, target, self.layer)))
        if self.about.get("image") != image.sha256:
            self.picture = png(photo(image))
        known = describe(net, image, target, chance)
        self.about = {**known, "given": self.target is not None, "wanted": {**self.about.get("wanted", {}), **wanted}}
        self._case, self.error = case, ""
        if case.todo:
            worker.play(self, lambda: self._advance(case))

    def _advance(self, case: _Case) -> bool:
        """Take a step of the method whose turn it is; whether there are more."""
        if case is not self._case or not case.todo:
            return False
        if not self.active:  # the others wait until it is in view again
            self._postponed = self._begin
            return False
        name, steps = case.todo.popleft()
        found: Attribution | Exception
        try:
            found, done = next(steps)
            shown = packed(found)
        except Exception as e:
            found, done, shown = e, 1.0, {"error": message(e)}
        if done < 1:
            case.todo.append((name, steps))
        else:
            self._found[name] = (case.keys[name], found)
        if done == 1 or time.monotonic() - self._shown_at > PAUSE:
            self._shown_at = time.monotonic()
            setattr(self, self._trait(name), {**shown, "done": done, "seq": self.about["wanted"][name]})
        return bool(case.todo)

    def _trait(self, method: str) -> str:
        return f"_map{list(self._calls).index(method)}"

    @property
    def results(self) -> dict[str, Attribution]:
        """The attributions by method, those that failed left out; waits for them."""
        self.wait()
        return {name: found for name, found in self._held().items() if isinstance(found, Attribution)}

    def _held(self) -> dict[str, Attribution | Exception]:
        """What has been found of what is looked at."""
        keys = {} if self._case is None else self._case.keys
        return {name: self._found[name][1] for name, key in keys.items() if self._found.get(name, (None,))[0] == key}

    def _drawn(self, name: str) -> PILImage.Image:
        found = self._found.get(name, (None, None))[1]
        if self._case is None or not isinstance(found, Attribution):
            raise ValueError(f"there is no map of {name} to save")
        opacity = self.opacity if self.overlay else None
        return drawn(reading(found, self.signed), self._case.image, self.percentile, opacity)

    def _save(self, name: str, view: str) -> None:
        """Hand the page a map as it is shown, with its recipe inside if it has one."""
        try:
            picture, found = self._drawn(name), self._found[name][1]
            data = png(picture, {KEY: dumps(found.recipe)} if isinstance(found, Attribution) and found.recipe else None)
            self.send({"file": slug(f"{name} {self.about['aim']}") + ".png", "view": view}, [data])
        except Exception as e:
            self.error = message(e)
            self.send({"file": "", "view": view})

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for the maps, but not for slow ones: they come while it is shown."""
        return self.wait(READY if timeout is None else min(timeout, READY))

    def still(self) -> PILImage.Image | None:
        """The picture and the maps, with their scales."""
        case, found = self._case, self._held()
        if case is None:
            return None
        tiles: list[tuple[str, str, PILImage.Image | None]] = []
        for name in self.methods:
            shown = found.get(name, "not worked out yet")
            if isinstance(shown, Attribution):
                tiles.append((name, scale_text(reading(shown, self.signed), self.percentile), self._drawn(name)))
            else:
                tiles.append((name, str(shown), None))
        return sheet(case.image, tiles, f"{self.about['aim']}: {self.about['source']}")

    def describe(self) -> str:
        """Target and methods."""
        return f"{self.about['aim']}; {', '.join(self.methods)}" if self.about else ""

    def close(self) -> None:
        """End what is under way with the widget."""
        self._case = None
        super().close()
