"""Error texts that say what came, what is allowed and what is nearest."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, name: object, allowed: Iterable[str]) -> str:
    """Say that `name` is no `what`, with the nearest allowed names or, if none is near, the first of them."""
    names = [str(a) for a in allowed]
    by_lower = {n.lower(): n for n in names}
    near = [by_lower[n] for n in get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)]
    if near:
        return f"no {what} {name!r}; did you mean {' or '.join(map(repr, near))}?"
    if not names:
        return f"no {what} {name!r}: there is none at all"
    shown = ", ".join(names[:12]) + (f" ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"no {what} {name!r}; there are: {shown}"
