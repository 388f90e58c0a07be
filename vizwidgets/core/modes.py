"""Evaluation mode for as long as somebody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of the body; every flag is put back."""
    training = _training(module)
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


def _training(module: nn.Module) -> list[nn.Module]:
    # By hand: `module.modules()` takes several times as long, and this is done twice in every step of an optimization.
    found, ahead = [], [module]
    while ahead:
        m = ahead.pop()
        if m.training:
            found.append(m)
        if m._modules:
            ahead.extend(child for child in m._modules.values() if child is not None)
    return found
