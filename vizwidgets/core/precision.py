"""Passes in fewer bits, for previews."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import unknown
from .net import Net

PRECISIONS = ("full", "bfloat16")


def check_precision(net: Net, precision: str) -> None:
    """LookupError for an unknown precision, ValueError for one that the network's device does not have."""
    if precision not in PRECISIONS:
        raise LookupError(unknown("precision", precision, PRECISIONS))
    if precision == "bfloat16" and not has_bfloat16(_device(net)):
        raise ValueError("this processor has no bfloat16, so it would be slower rather than faster: precision='full'")


@contextmanager
def in_precision(net: Net, precision: str) -> Iterator[None]:
    """In the body, and in this thread, the network computes in that precision; its weights stay as they are."""
    with torch.autocast(_device(net).type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def _device(net: Net) -> torch.device:
    return next((p.device for p in net.module.parameters()), torch.device("cpu"))


def has_bfloat16(device: torch.device | None = None) -> bool:
    """Whether the device, by default the processor, computes with bfloat16."""
    device = device or torch.device("cpu")
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
