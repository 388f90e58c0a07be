"""How many images fit into memory at once: on a CPU running out ends the process, it does not raise."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from .net import Net

# Limits and use of the group of processes that a container is, in versions 2 and 1 of Linux' control groups.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available() -> int:
    """Bytes that can be had without swapping, the limit of a container included; 2 GB where that cannot be known."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
    except (OSError, StopIteration):
        pass
    for limit, used in _GROUPS:
        try:
            found.append(int(Path(limit).read_text(encoding="ascii")) - int(Path(used).read_text(encoding="ascii")))
        except (OSError, ValueError):  # "max" is no number: no limit
            continue
    return max(0, min(found)) if found else 2_000_000_000


def images_at_once(net: Net, size: tuple[int, int], *, share: float = 0.5) -> int:
    """How many images of `size` can go through forward and backward together in `share` of the memory that is free.

    An estimate from the shapes in the layer table: each output is held for the way back, and some for a copy.
    """
    area = (size[0] * size[1]) / (net.size[0] * net.size[1])
    outputs = sum(torch.Size(row.shape).numel() for row in net.layers.values() if row.shape is not None and row.kind != "Sequential")
    bytes_each = max(1, round(outputs * area * 4 * 2))
    return max(1, int(available() * share) // bytes_each)


def check_memory(net: Net, size: tuple[int, int], layers: Iterable[str]) -> None:
    """ValueError if one image of `size` does not go forward to the deepest of `layers` and back in the memory that is free.

    The message says which size would.
    """
    order = net.layers.order
    rows = [net.layers[name] for name in order[: 1 + max(order.index(name) for name in layers)]]
    # What contains others gives what the last of them gives, and what is written over in place shares its memory.
    holds = {name.rpartition(".")[0] for name in (row.module_name for row in rows)}
    single = [row.shape for row in rows if row.shape and row.module_name not in holds and not row.overwritten]
    area = (size[0] * size[1]) / (net.size[0] * net.size[1])
    # Each is held for the way back, with its gradient; the optimizer holds some 30 pictures.
    needed = 8 * area * sum(torch.Size(shape).numel() for shape in single) + 4 * 30 * net.channels * size[0] * size[1]
    free = available()
    if needed > free:
        longest = int(max(size) * (free / needed) ** 0.5) // 16 * 16
        raise ValueError(
            f"a picture of {size[1]}×{size[0]} pixels takes some {needed / 1e9:.1f} GB in {net.name or 'this network'}, and {free / 1e9:.1f} GB "
            f"are free; {f'size={longest} would fit' if longest else 'no size would fit'}"
        )
