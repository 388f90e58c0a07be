"""What the network says of an image."""

from __future__ import annotations

from typing import Any

import torch
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.targets import Logit, Probability, class_index

from .base import VizWidget, script, shows_errors, style
from .stills import bar_chart


class TopClasses(VizWidget, AnyWidget):
    """The `k` most probable classes as bars; a click makes a class the `target`.

    Parameters
    ----------
    net : Net or torch.nn.Module
    image : Image, or anything that `vizwidgets.image` takes
    k : int
    target : Target

    Examples
    --------
    >>> TopClasses(net, x)
    TopClasses(rose 99.1 %)
    """

    _esm = script("top_classes")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    target = traitlets.Any(None, allow_none=True)
    k = traitlets.Int(5, min=1)
    bars: Any = traitlets.List().tag(sync=True)
    _selected = traitlets.Int(-1).tag(sync=True)

    def __init__(self, net: Net | nn.Module | None = None, image: Any = None, **options: Any) -> None:
        net = None if net is None else as_net(net)
        super().__init__(net=net, image=None if image is None else open_image(image, net), **options)
        self.on_msg(self._receive)
        self.now(self._show)
        self.observe(lambda _: self.later(self._show), ["net", "image", "k"])

    def _show(self) -> None:
        net, image = self.net, self.image
        if net is None or image is None:
            self.bars = []
            return
        with torch.inference_mode():
            probability = net(image.pixels)[0].softmax(0).cpu()
        top = probability.topk(min(self.k, len(probability)))
        self.bars = [
            {"label": net.label(i), "probability": p, "index": i}
            for p, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]
        self.error = ""

    @traitlets.observe("target")
    @shows_errors
    def _mark(self, _change: Any) -> None:
        chosen = isinstance(self.target, (Logit, Probability)) and self.net is not None
        self._selected = class_index(self.net, self.target.index) if chosen else -1  # type: ignore[union-attr, arg-type]

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("cmd") == "pick":
            self.target = Logit(int(content["index"]))

    def still(self) -> PILImage.Image | None:
        """The bars."""
        return bar_chart([(b["label"], b["probability"]) for b in self.bars]) if self.bars else None

    def describe(self) -> str:
        """The first class."""
        return f"{self.bars[0]['label']} {self.bars[0]['probability']:.1%}".replace("%", " %") if self.bars else ""
