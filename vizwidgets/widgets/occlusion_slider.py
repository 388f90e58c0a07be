"""What the network still says when a patch hides a part of the image: by hand, and for all places as a map."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from operator import index
from typing import Any

import torch
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run, Step
from vizwidgets.core.picture import colour_table, to_pixels
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Each, Logit, Probability, Target
from vizwidgets.methods.occlusion import FILLS, OcclusionStep, filling, occlusion

from . import occlusion_view as view
from .adversarial_view import class_rows, pictures_and_classes
from .base import TargetTrait, script, shows_errors, style
from .playback import Playback
from .worker import worker

KINDS: dict[str, type[Logit] | type[Probability]] = {"probability": Probability, "logit": Logit}
OPTIONS = ("net", "image", "target", "window", "stride", "fill", "only_window")
ENDED = ("stopped", "done", "failed")


@dataclass
class _Scene:
    """What stays as it is while the patch is moved."""

    net: Net
    image: Tensor
    cover: Tensor
    target: Target
    window: tuple[int, int]
    before: Tensor
    score: float
    start: Callable[[], Run[OcclusionStep]]


class OcclusionSlider(Playback, AnyWidget):
    """A patch that hides a part of the image, what the network says with it, and the map of `vizwidgets.occlusion`.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Image, or anything that `vizwidgets.image` takes
    target : Target, optional
        What the sentence and the map are about; by default ``Probability`` of the class that the network sees.
    window, stride : int or (int, int), optional
        Height and width of the patch, and the distance of the map's windows, in pixels; by default a seventh of the image,
        and a quarter of the window.
    fill : str, float, Tensor or Image
        What hides: "grey", "mean", "blur", "noise", a value in [0, 1], or another image.
    only_window : bool
        Hide all but the patch.
    box : (int, int, int, int), optional
        Where the patch is: y0, x0, y1, x1. One of another size changes the window.
    opacity : float
        Of the map over the picture.
    k : int
        Rows of classes.

    Attributes
    ----------
    map : Attribution or None
        The map as far as it is, once the run halts; None when an option has changed since.
    status, index, total
        Of the run that fills the map; see `play`, `pause`, `stop` and `result`.

    Raises
    ------
    LookupError, TypeError, ValueError
        For what `vizwidgets.occlusion` does not take, several images, and scores that are not finite.

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks, 2014.

    Examples
    --------
    >>> OcclusionSlider(net, x)
    OcclusionSlider(poppy -> poppy, 13×13 at (41, 41))
    """

    _esm = script("occlusion_slider", "asking")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    target = TargetTrait()
    window = traitlets.Any(None, allow_none=True)
    stride = traitlets.Any(None, allow_none=True)
    fill = traitlets.Any("grey")
    only_window = traitlets.Bool(False)
    box = traitlets.Any(None, allow_none=True)
    opacity = traitlets.Float(0.8, min=0, max=1).tag(sync=True)
    k = traitlets.Int(6, min=2)
    map = traitlets.Instance(Attribution, allow_none=True, read_only=True)
    about: Any = traitlets.Dict(help="what does not change with the patch's place").tag(sync=True)
    pictures: Any = traitlets.Dict(help="the image and what hides it, as pixels").tag(sync=True)
    patch: Any = traitlets.Dict(help="where the patch is, and the classes with it: they move together").tag(sync=True)

    def __init__(self, net: Net | nn.Module | None = None, image: Any = None, **options: Any) -> None:
        self._between = object()  # owner of what is done between two steps of the run
        self._scene: _Scene | None = None
        self._key: Any = None
        self._answered: Any = None
        self._fitted: Any = None
        self._seen: tuple[Any, Any] = (None, None)
        self._rows: tuple[Any, list[int]] = (None, [])
        self._wanted = self._lost = False
        super().__init__(**options)
        self.net = None if net is None else as_net(net)
        self.image = None if image is None else open_image(image, self.net)
        if self.box is not None and self.window is None:
            self.window = _size(self.box)
        self.now(self._work)
        self.observe(lambda _: self.later(self._work), [*OPTIONS, "k"])
        self.observe(self._moved, "box")

    # --- what may be set

    @traitlets.validate("window", "stride")
    def _is_pair(self, proposal: Any) -> Any:
        return tuple(proposal.value) if isinstance(proposal.value, list) else proposal.value

    @traitlets.validate("fill")
    def _is_fill(self, proposal: Any) -> Any:
        fill = proposal.value
        if isinstance(fill, Tensor):
            return Image(fill if fill.dim() == 4 else fill[None], "picture")
        if isinstance(fill, (str, int, float, Image)):
            return fill
        raise TypeError(f"what hides is one of {', '.join(FILLS)}, a value in [0, 1] or an image, not {type(fill).__name__}")

    @traitlets.validate("box")
    def _is_box(self, proposal: Any) -> view.Box | None:
        if proposal.value is None:
            return None
        try:
            y0, x0, y1, x1 = (index(v) for v in proposal.value)
        except (TypeError, ValueError):
            y0 = x0 = y1 = x1 = 0
        if not (y0 < y1 and x0 < x1):
            raise traitlets.TraitError(f"a box is four whole numbers y0, x0, y1, x1 with y0 < y1 and x0 < x1, not {proposal.value!r}")
        return y0, x0, y1, x1

    def _moved(self, change: Any) -> None:
        if change.new == self._fitted:  # set by the worker
            return
        if change.new is not None and _size(change.new) != self._window():
            self.window = _size(change.new)
        self.later(self._work)

    def _window(self) -> Any:
        size = (1, 1) if self.image is None else self.image.pixels.shape[2:]
        return view.geometry((size[0], size[1]), self.window, 1)[0]

    @shows_errors
    def _command(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        command, name, value = content.get("cmd"), content.get("name"), content.get("value")
        if command != "set":
            super()._command(widget, content, buffers)
        elif name == "box":
            y, x = (int(v) for v in value)  # type: ignore[union-attr]
            tall, wide = self._window()
            self.box = (y, x, y + tall, x + wide)
        elif name == "target":
            self.target = None if value is None else KINDS.get(self.about["kind"], Probability)(int(value))
        elif name == "kind":
            self.target = KINDS[str(value)](self.about["own"] if self.about["index"] < 0 else self.about["index"])
        elif name in ("window", "stride"):
            self.set_trait(name, int(value))  # type: ignore[arg-type]
        elif name in ("fill", "only_window", "opacity"):
            self.set_trait(name, value)

    # --- the patch

    def _work(self) -> None:
        """Look at what has changed; the run is begun anew when that makes its map another one."""
        wanted, self._wanted = self._wanted, False
        key = tuple(getattr(self, name) for name in OPTIONS)
        if key != self._key:
            self._key = None
            self._begin()
            self._key = key
        box = self.box
        if self._answered != (key, box, self.k):
            self._answered = (key, self._answer(box), self.k)
        self.error = ""
        if wanted and self._scene is not None:
            self._reload()
            super().play()

    def _begin(self) -> None:
        net, image, self._scene = self.net, self.image, None
        same = self._seen[0] is not None and self._seen[0][:2] == (net, image)
        self._lost = same and (self._lost or self.index > 0)
        self._unload()
        if net is None or image is None:
            self.about, self.pictures, self.patch = {}, {}, {}
            return
        x = image.pixels
        size = (x.shape[2], x.shape[3])
        if len(x) != 1:
            raise ValueError(f"one image is looked at at a time, not {len(x)}: image[:1], say")
        if size[0] * size[1] > view.MOST_PIXELS:
            raise ValueError(f"an image of {size[1]}×{size[0]} pixels is too large for this; vizwidgets.image(source, net) makes it smaller")
        target = None if self.target is None else self.target.resolve(net)
        if isinstance(target, Each):
            raise ValueError(f"there is one target at a time, not {len(target.targets)}")
        if self._seen[0] != (net, image, target):
            self._seen = ((net, image, target), view.answers(net, target, x))
        before, score, target = self._seen[1]
        options = {name: getattr(self, name) for name in ("window", "stride", "fill", "only_window")}

        def start() -> Run[OcclusionStep]:
            return occlusion(net, image, target, **options)

        self.load(start())
        window, stride = view.geometry(size, self.window, self.stride)
        cover = filling(x, self.fill)
        self._scene = _Scene(net, x, cover, target, window, before, score, start)
        pictures = view.pictures(x, cover, view.coarser(size))
        if pictures != self.pictures:
            self.pictures = pictures
        is_class = isinstance(target, (Logit, Probability))
        self.about = {
            "classes": [net.label(i) for i in range(len(before))], "own": int(before.argmax()), "chosen": self.target is not None,
            "index": int(target.index) % len(before) if is_class else -1, "kind": type(target).__name__.lower() if is_class else "score",
            "aim": target.describe(net), "window": list(window), "stride": list(stride), "windows": view.windows(size, window, stride),
            "fill": _called(self.fill), "fills": list(FILLS), "only": self.only_window, "notes": list(image.notes),
            "channels": x.shape[1], "colours": colour_table("diverging").tobytes(), "lost": self._lost,
        }  # fmt: skip

    def _answer(self, asked: view.Box | None) -> view.Box | None:
        """Show what the network says with the patch there, or as near as it can be; gives where that is."""
        scene = self._scene
        if scene is None:
            return asked
        box = view.fitted(asked, scene.window, (scene.image.shape[2], scene.image.shape[3]))
        after, score, _ = view.answers(scene.net, scene.target, view.patched(scene.image, scene.cover, box, self.only_window))
        fixed = (*self._seen[0][:2], self.k)
        rows = class_rows(self._rows[1] if self._rows[0] == fixed else [], scene.before, after, self.about["index"], self.k)
        self._rows = (fixed, rows)
        self.patch = {
            "box": list(box), "before": scene.score, "after": score, "first": [int(scene.before.argmax()), int(after.argmax())],
            "rows": [{"index": i, "before": scene.before[i].item(), "after": after[i].item()} for i in rows],
            "seq": self.patch.get("seq", 0) + 1,
        }  # fmt: skip
        if box != asked == self.box:
            self._fitted = box
            self.box = box
        return box

    # --- the map

    def play(self, *, block: bool = False) -> None:
        """Fill the map, go on after a pause, or begin anew when it was stopped or is done.

        With ``block=True`` to the end, in the calling thread; the notebook's interrupt stops it and keeps what there is.
        """
        if not block:
            self._wanted = True
            self.later(self._work)
            return
        self.ready()
        worker.drop(self)
        worker.wait(self)
        self._work()
        if self._scene is None:
            raise ValueError("there is nothing to play yet: a network and an image are needed")
        self._reload()
        super().play(block=True)

    def _reload(self) -> None:
        if self.status in ENDED:
            assert self._scene is not None
            self.load(self._scene.start())

    def load(self, run: Run[Any]) -> None:
        """Take a run in place of the one before."""
        super().load(run)
        self.frame = b""
        self.set_trait("map", None)

    def _unload(self) -> None:
        self._drop()
        self._run, self.status, self.frame = None, "idle", b""
        self.total, self.index, self.remaining = 0, 0, 0.0
        self.set_trait("map", None)

    def _picture(self, step: Step) -> bytes:
        """The map as numbers rather than as a picture: the page tells the value under the pointer."""
        assert isinstance(step, OcclusionStep)
        return view.packed(step.map[0], view.coarser((step.map.shape[1], step.map.shape[2])))

    def _settle(self, status: str) -> bool:
        if self._run is not None and self._run.last is not None:
            self.set_trait("map", self._run.so_far())
        return super()._settle(status)

    def _ask(self, wish: str) -> None:
        if wish in ("pause", "stop"):
            self._wanted = False
        super()._ask(wish)

    @property
    def _jobs(self) -> Hashable:
        return self._between

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until it has looked at what was set; the run goes on."""
        return worker.wait(self._between, timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for that and for the run; False if `timeout` seconds were not enough."""
        return self.ready(timeout) and super().wait(timeout)

    def close(self) -> None:
        """End the run with the widget."""
        worker.drop(self._between)
        super().close()

    # --- for viewers without a kernel

    def still(self) -> PILImage.Image | None:
        """The image with the patch, the map over the image, and the classes before and after."""
        scene, shown, last = self._scene, self.patch, self._run.last if self._run is not None else None
        if scene is None or not shown:
            return None
        box = tuple(shown["box"])
        with torch.no_grad():
            hidden = to_pixels(view.patched(scene.image, scene.cover, box, self.about["only"])[0])
        titles = {f"{self.about['classes'][shown['first'][1]]}, with the patch": view.outlined(hidden, box, 320)}
        if last is not None:
            name = f"map: {self.about['aim']}"
            titles[name] = view.outlined(view.shown_over(to_pixels(scene.image[0]), last.map[0], self.opacity), box, 320)
        return pictures_and_classes(titles, shown["rows"], self.about["classes"])

    def describe(self) -> str:
        """What the network says before and with the patch, and where that is."""
        self.ready(60)
        if not self.patch:
            return ""
        first, last = (self.about["classes"][i] for i in self.patch["first"])
        y0, x0, y1, x1 = self.patch["box"]
        done = f", map of {self.about['windows']} windows" if self.status == "done" else ""
        return f"{first} -> {last}, {y1 - y0}×{x1 - x0} at ({y0}, {x0}){done}"


def _size(box: view.Box) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


def _called(fill: Any) -> str:
    return fill if isinstance(fill, str) else fill.source if isinstance(fill, Image) else f"value {fill:g}"
