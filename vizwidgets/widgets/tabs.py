"""A row of tabs."""

from __future__ import annotations

from typing import Any

import traitlets
from anywidget import AnyWidget

from .base import VizWidget, script, shows_errors, style


class Tabs(VizWidget, AnyWidget):
    """A row of tabs; `index` is the chosen one. What belongs to them is shown and hidden by whoever owns them.

    Those of ipywidgets are not used because Notebook 7 takes their arrow keys away.

    Parameters
    ----------
    titles : list of str
    index : int

    Examples
    --------
    >>> Tabs(["Channels", "Filters"])
    Tabs(Channels)
    """

    _esm = script("tabs")
    _css = style()

    titles: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def __init__(self, titles: list[str], **options: Any) -> None:
        super().__init__(titles=titles, **options)
        self.on_msg(self._receive)

    @traitlets.validate("index")
    def _in_range(self, proposal: Any) -> int:
        if not 0 <= proposal.value < len(self.titles):
            raise ValueError(f"index {proposal.value} is out of range; there are {len(self.titles)} tabs, counted from 0")
        return int(proposal.value)

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("cmd") == "turn":
            self.index = int(content["index"])

    def describe(self) -> str:
        """Title of the chosen one."""
        return self.titles[self.index] if self.titles else ""
