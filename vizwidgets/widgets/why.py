"""The Explorer's tab about reasons: maps of several methods, and a patch that hides a part of the picture."""

from __future__ import annotations

from typing import Any

import traitlets
from ipywidgets import VBox
from PIL import Image as PILImage

from vizwidgets.core.image import Image
from vizwidgets.core.net import Net

from .attribution_viewer import AttributionViewer
from .base import VizWidget
from .occlusion_slider import OcclusionSlider
from .tabs import Tabs


class Why(VizWidget, VBox):
    """An `AttributionViewer` and an `OcclusionSlider` behind two tabs; made when it is first in view.

    Grad-CAM follows `layer` when that changes, not before: the layer that it finds itself is the better one to begin with.

    Parameters
    ----------
    net : Net
    image : Image
    target : Target
    layer : str

    Examples
    --------
    >>> Why(net, image=x)
    Why(Maps)
    """

    net = traitlets.Instance(Net)
    image = traitlets.Instance(Image, allow_none=True)
    target = traitlets.Any(None, allow_none=True)
    layer = traitlets.Unicode(None, allow_none=True)

    def __init__(self, net: Net, **options: Any) -> None:
        self.tabs = Tabs(["Maps", "Hide a patch"])
        self.parts: list[Any] = []
        super().__init__(net=net, **options)
        self.tabs.observe(self._turn, "index")
        self._turn(None)

    @traitlets.observe("active")
    def _turn(self, _change: Any) -> None:
        if self.active and not self.parts:
            self._make()
        for i, part in enumerate(self.parts):
            seen = i == self.tabs.index
            part.layout.display = None if seen else "none"
            part.active = self.active and seen
            if not part.active and part.has_trait("status"):
                part.pause()  # out of view nothing is computed

    def _make(self) -> None:
        self.viewer = AttributionViewer(self.net, self.image, active=False)
        self.patch = OcclusionSlider(self.net, self.image, active=False)
        self.parts = [self.viewer, self.patch]
        for part in self.parts:
            for name in ("image", "target"):
                traitlets.link((self, name), (part, name))
        self.observe(self._follow, "layer")
        self.children = [self.tabs, *self.parts]

    def _follow(self, change: Any) -> None:
        shape = self.net.layers[change.new].shape if change.new in self.net.layers else None
        if shape is not None and shape[1] * shape[2] > 1:
            self.viewer.layer = change.new

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything that was asked for is shown."""
        return all(part.wait(timeout) for part in self.parts)

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for what has not begun; a map that is being filled goes on."""
        return all(part.ready(timeout) for part in self.parts)

    def still(self) -> PILImage.Image | None:
        """What the chosen tab shows."""
        return self.parts[self.tabs.index].still() if self.parts else None

    def describe(self) -> str:
        """The chosen tab."""
        return self.tabs.titles[self.tabs.index]
