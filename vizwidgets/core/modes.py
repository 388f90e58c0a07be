"""Evaluation mode for as long as somebody looks."""

from __future__ import annotations

import threading
from typing import Any

from torch import nn


class evaluating:  # noqa: N801 - used as a function is; as a class it takes a third of a generator's time, at each step
    """Evaluation mode for the length of the body; every flag is put back."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._training: list[nn.Module] = []

    def __enter__(self) -> None:
        held: list[nn.Module] = _HELD.__dict__.setdefault("modules", [])
        # A walk through all modules takes as long as a small pass, so it is done once for bodies within bodies.
        if not any(m is self._module for m in held):
            self._training = [m for m in submodules(self._module) if m.training]
            for m in self._training:
                m.training = False
        held.append(self._module)

    def __exit__(self, *_error: Any) -> None:
        _HELD.modules.pop()
        for m in self._training:
            m.training = True


_HELD = threading.local()


def submodules(module: nn.Module) -> list[nn.Module]:
    """The module and all within it; `module.modules()` takes several times as long, and this is done in every step."""
    found: list[nn.Module | None] = [module]
    for m in found:
        if m is not None and m._modules:
            found.extend(m._modules.values())
    return [m for m in found if m is not None]
