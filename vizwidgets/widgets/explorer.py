"""The Explorer: picture, layers and channels of a network, linked."""

from __future__ import annotations

from typing import Any

import traitlets
from ipywidgets import HBox, VBox
from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.image import Image
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.picture import to_pixels
from vizwidgets.data.image_set import image_set
from vizwidgets.load import load
from vizwidgets.methods.filters import weighted_layers

from .base import VizWidget
from .channel_grid import ChannelGrid
from .filter_grid import FilterGrid
from .image_chooser import ImageChooser
from .layer_picker import LayerPicker
from .optimization_canvas import OptimizationCanvas
from .sets import NeighboursTab, PatchesTab
from .tabs import Tabs
from .top_classes import TopClasses
from .why import Why

OFFERED = 8  # images of a set to choose from


class Explorer(VizWidget, VBox):
    """A network to look into: choose a picture, pick a layer, see its channels, click one to see it large, ask why.

    `image`, `layer` and `target` are traits, so that other widgets can be linked to them.

    Parameters
    ----------
    net : Net, torch.nn.Module or str
        A name is loaded; by default the bundled network.
    image : anything that `vizwidgets.image` takes
        By default the first of `images`, or a bundled picture.
    layer : str
        By default one early enough that its maps can be read.
    images : anything that `vizwidgets.image_set` takes, optional
        A folder, say: then there are tabs for what the channels answer to in these images, and for which of them are near each
        other, and some of these images are offered in place of bundled pictures.

    Examples
    --------
    >>> Explorer()
    Explorer(flowers, stage2)
    """

    net = traitlets.Instance(Net)
    image = traitlets.Instance(Image, allow_none=True)
    layer = traitlets.Unicode(None, allow_none=True)
    target = traitlets.Any(None, allow_none=True)

    def __init__(
        self, net: Net | nn.Module | str | None = None, image: Any = None, *, layer: str | None = None, images: Any = None,
        **options: Any,
    ) -> None:  # fmt: skip
        images = None if images is None else image_set(images)
        net = load(net or "flowers") if net is None or isinstance(net, str) else as_net(net)
        layer = layer or _readable_layer(net)
        net.layers.readable(layer)
        self.chooser = ImageChooser(net, None if images is None else images.some(OFFERED, net), image)
        own = self.chooser.image
        self.classes = TopClasses(net, own)
        self.picker = LayerPicker(net, layer)
        self.grid = ChannelGrid(net, own, layer)
        # A tab per method; one that is not in view computes nothing.
        self.panels: dict[str, Any] = {"Channels": self.grid}
        if weighted_layers(net):
            self.filters = self.panels["Filters"] = FilterGrid(net, own, layer, active=False)
        self.canvas = self.panels["Visualize"] = OptimizationCanvas(net, active=False)
        self.why = self.panels["Why"] = Why(net, active=False)
        if images is not None:
            self.patches = self.panels["Patches"] = PatchesTab(net, images, layer=layer, active=False)
            self.neighbours = self.panels["Neighbours"] = NeighboursTab(net, images, layer=layer, active=False)
        super().__init__(net=net, image=own, layer=layer, **options)
        panels = list(self.panels.values())
        for name, parts in (("image", [self.chooser, self.classes]), ("layer", [self.picker]), ("target", [self.classes])):
            for part in (*parts, *panels):
                if part.has_trait(name):
                    traitlets.link((self, name), (part, name))
        self.tabs = Tabs(list(self.panels))
        self.tabs.observe(self._turn, "index")
        self._turn(None)
        self.add_class("vw-explorer")
        body = HBox([_column("left", [self.chooser, self.classes]), _column("right", [self.picker, self.tabs, *panels])])
        self.children = [body.add_class("vw-explorer-body")]

    def _turn(self, _change: Any) -> None:
        for i, panel in enumerate(self.panels.values()):
            panel.layout.display = None if i == self.tabs.index else "none"
            panel.active = i == self.tabs.index

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything that was asked for is shown; what is being visualized goes on."""
        return all(part.ready(timeout) for part in (self.classes, *self.panels.values()))

    def still(self) -> PILImage.Image | None:
        """The picture beside the channels."""
        if self.image is None:
            return None
        picture = PILImage.fromarray(to_pixels(self.image.pixels[0]))
        picture = picture.resize((224, round(224 * picture.height / picture.width)), PILImage.Resampling.BICUBIC)
        classes, maps = self.classes.still(), self.grid.still()
        left = [p for p in (picture, classes) if p is not None]
        width = max(p.width for p in left)
        height = max(sum(p.height + 8 for p in left), maps.height if maps else 0)
        sheet = PILImage.new("RGB", (width + 16 + (maps.width if maps else 0), height), "white")
        y = 0
        for part in left:
            sheet.paste(part, (0, y))
            y += part.height + 8
        if maps is not None:
            sheet.paste(maps, (width + 16, 0))
        return sheet

    def describe(self) -> str:
        """Network and layer."""
        return f"{self.net.name}, {self.layer}"


def _column(side: str, parts: list[Any]) -> VBox:
    return VBox(parts).add_class(f"vw-explorer-{side}")


def explore(net: Net | nn.Module | str | None = None, image: Any = None, **options: Any) -> Explorer:
    """Look into a network: the bundled one on a bundled picture unless others are given. See `Explorer`.

    Examples
    --------
    >>> explore("flowers", layer="stage1")
    Explorer(flowers, stage1)
    """
    return Explorer(net, image, **options)


def _readable_layer(net: Net) -> str:
    """A stage in the middle of those whose maps still have a dozen rows, or else the next best thing."""
    rows = [r for r in map(net.layers.__getitem__, net.layers.order) if r.layout is not None and r.shape is not None]
    if not rows:
        raise ValueError(f"{net.name} has no layer whose output can be shown")
    large = [r for r in rows if r.shape and min(r.shape[1:]) >= min(12, min(net.size) // 4)] or rows
    for depth in range(1, 4):
        stages = [r for r in large if r.name.count(".") < depth]
        if len(stages) > 2:
            return stages[len(stages) // 2].name
    return large[len(large) // 2].name
