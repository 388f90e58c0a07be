"""Evaluation mode for as long as somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of the body; every flag is put back."""
    held: list[nn.Module] = _HELD.__dict__.setdefault("modules", [])
    if any(m is module for m in held):  # a walk through all modules takes as long as a small pass
        yield
        return
    training = [m for m in submodules(module) if m.training]
    for m in training:
        m.training = False
    held.append(module)
    try:
        yield
    finally:
        held.pop()
        for m in training:
            m.training = True


_HELD = threading.local()


def submodules(module: nn.Module) -> list[nn.Module]:
    """The module and all within it; `module.modules()` takes several times as long, and this is done in every step."""
    found: list[nn.Module | None] = [module]
    for m in found:
        if m is not None and m._modules:
            found.extend(m._modules.values())
    return [m for m in found if m is not None]
