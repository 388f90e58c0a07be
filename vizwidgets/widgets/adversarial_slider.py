"""How little has to change before the network says something else: the bound as a slider."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageStep
from vizwidgets.core.results import Rendering
from vizwidgets.core.targets import Logit, Probability, Target
from vizwidgets.methods.adversarial import pgd

from .adversarial_view import before_and_after, class_rows, eight_bit, measures, probabilities
from .base import TargetTrait, VizWidget, message, script, shows_errors, style
from .captions import slug
from .worker import worker

NOTCH = {"inf": 1 / 255, "2": 0.1}  # what the slider moves by
PAUSE = 0.25  # seconds after which a slow attack shows how far it is


@dataclass
class _Attack:
    net: Net
    image: Image
    original: Tensor
    before: Tensor
    run: Run[ImageStep] | None = None
    after: Tensor | None = None


class AdversarialSlider(VizWidget, AnyWidget):
    """An image changed against the network, beside the original; a slider says by how much.

    All of it is in 8 bits: the image is rounded first, then what has been made of it, and the probabilities are those of the
    pictures that are shown and saved. So changes below half a level vanish, and with norm "2" the length may come out a
    little above `eps`.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Image, or anything that `vizwidgets.image` takes
    eps : float
        The bound, in [0, 1] pixel units: of each pixel (norm "inf"), or of the root of the summed squares (norm "2"). 0
        gives the original. By default 4 / 255, or 0.4 with norm "2".
    steps : int
        Of `vizwidgets.pgd`, from 1 to 100; with norm "inf", 1 is `vizwidgets.fgsm`.
    target : Target, optional
        The class to win, ``Logit("daisy")``; a target of another kind is raised as it is. By default the class that the
        network sees is to lose.
    norm : {"inf", "2"}
    seed : int, optional
        Start from a random place within the bound.
    k : int
        Rows of classes.
    amplify : {1, 4, 16, 64}
        By how much the difference is multiplied before it is shown.

    Attributes
    ----------
    adversarial : Image
        What it has become, for other widgets: ``traitlets.dlink((slider, "adversarial"), (grid, "image"))``.

    Raises
    ------
    LookupError
        If there is no such class.
    ValueError
        If the network's scores are not finite.

    References
    ----------
    Goodfellow, Shlens, Szegedy: Explaining and harnessing adversarial examples, 2015. Madry, Makelov, Schmidt, Tsipras,
    Vladu: Towards deep learning models resistant to adversarial attacks, 2018.

    Examples
    --------
    >>> AdversarialSlider(net, x, eps=8 / 255)
    AdversarialSlider(poppy -> tulip, eps 8/255)
    """

    _esm = script("adversarial_slider", "asking")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    target = TargetTrait()
    eps = traitlets.Float(4 * NOTCH["inf"]).tag(sync=True)
    steps = traitlets.Int(10, min=1, max=100).tag(sync=True)
    norm = traitlets.Enum(["inf", "2"], "inf").tag(sync=True)
    seed = traitlets.Int(None, allow_none=True)
    k = traitlets.Int(6, min=2)
    amplify = traitlets.Enum([1, 4, 16, 64], 16).tag(sync=True)
    adversarial = traitlets.Instance(Image, allow_none=True, read_only=True)
    about: Any = traitlets.Dict(help="what does not change with the sliders").tag(sync=True)
    frame: Any = traitlets.Dict(help="pictures and classes: they move together").tag(sync=True)

    def __init__(self, net: Net | nn.Module | None = None, image: Any = None, **options: Any) -> None:
        net = None if net is None else as_net(net)
        self._attack: _Attack | None = None
        self._shown_at = 0.0
        self._rows: tuple[Any, list[int]] = (None, [])
        if "eps" not in options and options.get("norm") == "2":
            options["eps"] = 4 * NOTCH["2"]
        super().__init__(net=net, image=None if image is None else open_image(image, net), **options)
        self.on_msg(self._receive)
        self.now(self._begin)
        self.observe(lambda _: self.later(self._begin), ["net", "image", "target", "eps", "steps", "norm", "seed", "k"])

    @traitlets.validate("eps")
    def _bound(self, proposal: Any) -> float:
        eps: float = proposal.value
        if not (isfinite(eps) and eps >= 0):
            raise traitlets.TraitError(f"eps is 0 or more, in [0, 1] pixel units (4 / 255, say), not {eps}")
        if eps > 1 and self.norm == "inf":
            raise traitlets.TraitError(f"with norm 'inf' eps is at most 1, in [0, 1] pixel units; {eps:g} / 255 perhaps?")
        return eps

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        command, name, value = content.get("cmd"), content.get("name"), content.get("value")
        if command == "save":
            worker.submit((id(self), "save"), lambda: self._offer(content.get("view", "")))
        elif command != "set":
            return
        elif name == "eps":
            self.eps = float(value) * NOTCH[self.norm]  # type: ignore[arg-type]
        elif name == "norm":  # the slider stays where it is
            eps = self.eps / NOTCH[self.norm] * NOTCH[str(value)]
            with self.hold_trait_notifications():
                self.eps, self.norm = (eps, str(value))
        elif name == "target":
            self.target = None if value is None else Logit(int(value))
        elif name in ("steps", "amplify"):
            self.set_trait(name, int(value))  # type: ignore[arg-type]

    def _begin(self) -> None:
        """Look at the original and take a first step; the worker takes the others."""
        net, image, self._attack = self.net, self.image, None
        if net is None or image is None:
            self.set_trait("adversarial", None)
            self.frame, self.about, self.error = {}, {}, ""
            return
        if len(image.pixels) != 1:
            raise ValueError(f"one image is changed at a time, not {len(image.pixels)}: image[:1], say")
        x = eight_bit(image.pixels)
        attack = _Attack(net, image, x, probabilities(net, x))
        target, about = self._aim(net, attack.before)
        if self.eps:
            attack.run = pgd(net, x, target, eps=self.eps, norm=self.norm, steps=self.steps, seed=self.seed)
        if self._rows[0] != (net, image, self.k):
            self._rows = ((net, image, self.k), [])
        self._attack, self._shown_at, self.about = attack, time.monotonic(), about
        if attack.run is None:
            self._show(attack, x)
        elif self._step(attack):
            worker.play(self, lambda: self._advance(attack))

    def _aim(self, net: Net, before: Tensor) -> tuple[Target, dict[str, Any]]:
        """What is raised, and what the page is told of it."""
        own, target = int(before.argmax()), None if self.target is None else self.target.resolve(net)
        index, aim = -1, f"away from {net.label(own)}"
        if target is None:
            target = -Logit(own)
        elif isinstance(target, (Logit, Probability)):
            index = int(target.index) % len(before)
            aim = net.label(index)
            target = Logit(target.index) if index == own else Logit(target.index) - Logit(own)
        else:
            aim = target.describe(net)
        about = {"classes": [net.label(i) for i in range(len(before))], "own": own, "index": index, "aim": aim}
        return target, about

    def _advance(self, attack: _Attack) -> bool:
        if attack is not self._attack or attack.run is None or attack.run.taken == len(attack.run):
            return False
        try:
            return self._step(attack)
        except Exception as e:
            self.error = message(e)
            return False

    def _step(self, attack: _Attack) -> bool:
        """Take a step; whether there are more."""
        assert attack.run is not None
        step, more = next(attack.run), attack.run.taken < len(attack.run)
        if not more or time.monotonic() - self._shown_at > PAUSE:
            self._show(attack, eight_bit(step.image))
        return more

    def _show(self, attack: _Attack, changed: Tensor) -> None:
        before, run = attack.before, attack.run
        after = attack.after = probabilities(attack.net, changed) if run else before
        rows = class_rows(self._rows[1], before, after, self.about["index"], self.k)
        taken, steps = (run.taken, len(run)) if run else (0, 0)
        self._rows, self._shown_at = (self._rows[0], rows), time.monotonic()
        self.frame = {
            **measures(attack.original, changed),
            "rows": [{"index": i, "before": before[i].item(), "after": after[i].item()} for i in rows],
            "first": [int(before.argmax()), int(after.argmax())],
            "taken": taken, "steps": steps, "done": taken == steps, "seq": self.frame.get("seq", 0) + 1,
        }  # fmt: skip
        if taken == steps:
            self.set_trait("adversarial", Image(changed, f"{attack.image.source}, changed"))
        self.error = ""

    @property
    def before(self) -> Tensor | None:
        """Probabilities (classes,) of the original; waits for them."""
        self.wait()
        return self._attack.before if self._attack else None

    @property
    def after(self) -> Tensor | None:
        """Probabilities (classes,) of what it has become; waits for them."""
        self.wait()
        return self._attack.after if self._attack else None

    def result(self) -> Rendering:
        """The `Rendering` of `vizwidgets.pgd`, with its recipe; waits for it."""
        self.wait()
        return self._so_far()

    def _so_far(self) -> Rendering:
        if self._attack is None:
            raise ValueError("there is nothing yet: a network and an image are needed")
        if self._attack.run is None:
            raise ValueError("nothing has been changed: eps is 0")
        return self._attack.run.so_far()  # type: ignore[no-any-return]

    def _offer(self, view: str) -> None:
        """Hand the page the picture as a file; what is under way is finished first."""
        try:
            attack = self._attack
            while attack is not None and self._advance(attack):
                pass
            with tempfile.TemporaryDirectory() as folder:
                data = self._so_far().save(Path(folder) / "picture.png").read_bytes()
            self.send({"file": f"{slug(self.describe())}.png", "view": view}, [data])
        except Exception as e:
            self.error = message(e)
            self.send({"file": "", "view": view})

    def still(self) -> PILImage.Image | None:
        """The three pictures, and the classes before and after."""
        return before_and_after(self.frame, self.about["classes"], self.amplify) if self.frame else None

    def describe(self) -> str:
        """What the network says before and after, and the bound; waits for it, so that it is the same in every session."""
        self.wait(60)
        if not self.frame:
            return ""
        first, last = (self.about["classes"][i] for i in self.frame["first"])
        bound = f"{round(self.eps * 255, 2):g}/255" if self.norm == "inf" else f"{self.eps:.3g} in norm 2"
        return f"{first} -> {last}, eps {bound}"

    def close(self) -> None:
        """End what is under way with the widget."""
        self._attack = None
        super().close()
