"""The layers of a network as a tree."""

from __future__ import annotations

from typing import Any

import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.layers import Layer
from vizwidgets.core.net import Net, as_net

from .base import VizWidget, script, shows_errors, style
from .stills import text_table


class LayerPicker(VizWidget, AnyWidget):
    """A network as a tree that folds, with shapes, parameters and receptive fields; a click sets `layer`.

    Parameters
    ----------
    net : Net or torch.nn.Module
    layer : str
        The picked layer.

    Examples
    --------
    >>> LayerPicker(net, "stage2")
    LayerPicker(stage2 of flowers)
    """

    _esm = script("layer_picker")
    _css = style()

    net = traitlets.Instance(Net, allow_none=True)
    layer = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    rows: Any = traitlets.List().tag(sync=True)
    order: Any = traitlets.List().tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    about = traitlets.Unicode("").tag(sync=True)

    def __init__(self, net: Net | nn.Module | None = None, layer: str | None = None, **options: Any) -> None:
        net = None if net is None else as_net(net)
        if net is not None and layer is not None:
            net.layers.readable(layer)
        super().__init__(net=net, layer=layer, **options)
        self.on_msg(self._receive)

    @traitlets.observe("net")
    @shows_errors
    def _list(self, _change: Any) -> None:
        if self.net is None:
            self.order, self.rows = [], []
            return
        table = self.net.layers
        parents = {name.rpartition(".")[0] for name in table}
        self.title = self.net.name
        total = sum(p.numel() for p in self.net.module.parameters())
        size = "×".join(map(str, (self.net.channels, *self.net.size)))
        self.about = f"{_short(total)} parameters, images of {size}"
        self.order = list(table.order)
        self.rows = [_row(r, r.name not in parents) for r in table.values()]

    @traitlets.observe("layer")
    @shows_errors
    def _check(self, change: Any) -> None:
        if self.net is not None and change.new is not None:
            self.net.layers.readable(change.new)
            self.error = ""

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("cmd") == "pick":
            self.layer = str(content["layer"])

    def still(self) -> PILImage.Image | None:
        """The tree down to its second level."""
        shown = [r for r in self.rows if r["level"] < (2 if len(self.rows) > 30 else 9)]
        lines = [(f"{'    ' * r['level']}{r['short']}  {r['kind']}", r["shape"]) for r in shown]
        return text_table(lines[:40], max(0, len(lines) - 40)) if lines else None

    def describe(self) -> str:
        """Layer and network."""
        return f"{self.layer or 'no layer'} of {self.net.name if self.net else 'no network'}"


def _row(r: Layer, leaf: bool) -> dict[str, Any]:
    parent, _, short = r.name.rpartition(".")
    runs = r.shape is not None
    sees = "sees the whole image" if r.receptive_field is None else f"sees {r.receptive_field} pixels"
    return {
        "name": r.name,
        "short": short,
        "parent": parent,
        "level": r.name.count("."),
        "kind": r.kind,
        "shape": _shape(r.shape) if r.shape is not None else "does not run",
        "size": list(r.shape or ()),
        "parameters": _short(r.parameters),
        "field": sees if runs else "",
        "pickable": runs and r.layout is not None,
        "leaf": leaf,
    }


def _shape(shape: tuple[int, int, int]) -> str:
    return str(shape[0]) if shape[1:] == (1, 1) else "×".join(map(str, shape))


def _short(n: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return str(n)
