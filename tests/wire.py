"""A stand-in for the comm of a widget: what Python sends is kept, what the page would send can be given."""

from __future__ import annotations

from typing import Any


class Wire:
    def __init__(self, widget: Any) -> None:
        self.widget, self.sent = widget, []
        self.comm_id = "wire"
        widget.comm = None
        widget.comm = self
        self.sent.clear()

    def send(self, data: Any = None, metadata: Any = None, buffers: Any = None) -> None:
        self.sent.append((data, list(buffers or [])))

    def on_msg(self, _callback: Any) -> None: ...

    def close(self, *_: Any, **__: Any) -> None: ...

    def receive(self, content: dict[str, Any], *buffers: bytes) -> None:
        """A custom message from the page."""
        self.widget._handle_custom_msg(content, list(buffers))

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [d["content"] for d, _ in self.sent if d.get("method") == "custom"]

    @property
    def states(self) -> list[dict[str, Any]]:
        return [d["state"] for d, _ in self.sent if d.get("method") == "update"]

    @property
    def size(self) -> int:
        """Bytes of all buffers."""
        return sum(len(b) for _, buffers in self.sent for b in buffers)
