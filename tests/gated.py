"""Small networks with named classes, a gate that their passes wait at, and waiting for what another thread does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import vizwidgets as vw

LABELS = ["ash", "birch", "cedar", "elder", "fir", "hazel", "larch", "maple"]


def small(channels: int = 3, labels: Sequence[str] | None = LABELS, *, pool: int = 1, **options: Any) -> vw.Net:
    """A convolution and a linear layer, eight classes, for images of 24 pixels."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 12, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.Linear(12 * pool * pool, 8)]
    return _sure(layers, size=24, labels=labels, channels=channels, **options)


def deeper(channels: int = 3, labels: Sequence[str] | None = LABELS[:4], *, activation: type[nn.Module] = nn.ReLU) -> vw.Net:
    """Two convolutions and a linear layer, four classes, for images of 20 pixels."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 6, 5), activation(), nn.Conv2d(6, 5, 3), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)]
    return _sure(layers, size=20, labels=labels, channels=channels)


def _sure(layers: list[nn.Module], **options: Any) -> vw.Net:
    with torch.no_grad():
        layers[-1].weight.mul_(30)  # else all classes would be about as probable
    return vw.as_net(nn.Sequential(*layers), name="trees", **options)


class Gated(nn.Module):
    """Waits before each pass until it may go on."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.gate, self.begun, self.passes = module, threading.Semaphore(10_000), 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.begun += 1
        self.gate.acquire()
        self.passes += 1
        return self.module(images)


def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.003)
