"""Walks through a module: evaluation mode for as long as somebody looks, and what its weights are."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn


class evaluating:  # noqa: N801 - used as a function is; as a class it takes a third of a generator's time, at each step
    """Evaluation mode for the length of the body; every flag is put back."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._training: list[nn.Module] = []

    def __enter__(self) -> None:
        held: list[nn.Module] = _HELD.__dict__.setdefault("modules", [])
        # A walk through all modules takes as long as a small pass, so it is done once for bodies within bodies.
        if self._module not in _ALWAYS and not any(m is self._module for m in held):
            self._training = [m for m in submodules(self._module) if m.training]
            for m in self._training:
                m.training = False
        held.append(self._module)

    def __exit__(self, *_error: Any) -> None:
        _HELD.modules.pop()
        for m in self._training:
            m.training = True


_HELD = threading.local()
_ALWAYS: WeakSet[nn.Module] = WeakSet()


def always_evaluating(module: nn.Module) -> None:
    """Evaluation mode for good, for a module that nobody else has; `evaluating` then need not look."""
    _ALWAYS.add(module.eval())


def submodules(module: nn.Module) -> list[nn.Module]:
    """The module and all within it; `module.modules()` takes several times as long, and this is done in every step."""
    found: list[nn.Module | None] = [module]
    for m in found:
        if m is not None and m._modules:
            found.extend(m._modules.values())
    return [m for m in found if m is not None]


def stamp(module: nn.Module) -> tuple[Any, ...]:
    """What differs once a weight or a buffer has changed."""
    # Not by `state_dict`, which takes as long as a small network's pass; this is asked for every result.
    held = [v for m in submodules(module) for some in (m._parameters, m._buffers) for v in some.values() if v is not None]
    try:
        versions = [v._version for v in held]
    except RuntimeError:  # inference tensors have none
        versions = []
    return list(map(id, held)), list(map(Tensor.data_ptr, held)), versions


def first_weight(module: nn.Module) -> Tensor | None:
    """Which tells device and dtype. Asked in every pass, and `parameters()` takes several times as long."""
    for p in module._parameters.values():
        if p is not None and p.is_floating_point():
            return p
    for m in module._modules.values():
        if m is not None and (found := first_weight(m)) is not None:
            return found
    return None
