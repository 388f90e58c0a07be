"""The page of `vizwidgets app`, as it is made in the kernel of each visitor."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from IPython.display import display
from ipywidgets import HTML, VBox

from . import CommandError

_STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def page(request: Mapping[str, str]) -> None:
    """Show a title bar and the Explorer, or what went wrong."""
    from .network import explorer

    try:
        shown = explorer(request)
        parts = [_bar(shown.net.name, _HELP), shown]
    except Exception as e:
        text = str(e) if isinstance(e, CommandError) else f"{type(e).__name__}: {e}"
        parts = [_bar("vizwidgets", ""), HTML(f'<div class="vwp-error" role="alert"><pre>{escape(text)}</pre>{_AGAIN}</div>')]
    box = VBox(parts)
    box.add_class("vwp")
    display(box)


def _bar(name: str, about: str) -> HTML:
    return HTML(
        f"<style>{_STYLE}</style>"
        f'<header class="vwp-bar"><h1>{escape(name)}</h1><span>{escape(about)}</span>'
        '<a class="vwp-to-dark" href="?theme=dark">dark</a><a class="vwp-to-light" href="?theme=light">light</a></header>'
    )


_HELP = "Choose a picture or open one of your own, pick a layer, click a channel to see it large."
_AGAIN = "<p>Put it right, then load this page again.</p>"
