"""The layer table: what a network consists of, found by running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import unknown
from .hooks import on_outputs
from .layout import DIMENSIONS, LAYOUTS, Grid, guess, map_size
from .modes import first_weight
from .receptive_field import FieldTracker, ReceptiveField


@dataclass(frozen=True)
class Layer:
    """One row of the table.

    Attributes
    ----------
    name : str
        As in ``module.named_modules()``; a module that runs several times in a pass has a row per call: ``"relu:0"``.
    kind : str
        The module's class.
    shape : tuple of int or None
        (C, H, W) of what `extract` gives for an image of the network's own size; None for a module that does not run.
    parameters : int
        Learned numbers in it, those of its submodules included.
    receptive_field : ReceptiveField or None
        None where a position sees the whole image.
    layout : str or None
        How the module itself lays its output out: "NCHW", "NHWC", "tokens" or "vector"; None if it is none of these.
    overwritten : bool
        Whether a later in-place operation writes over its output.
    """

    name: str
    kind: str
    shape: tuple[int, int, int] | None
    parameters: int
    receptive_field: ReceptiveField | None = None
    layout: str | None = None
    overwritten: bool = False

    @property
    def module_name(self) -> str:
        """The name without the call."""
        return self.name.partition(":")[0]

    @property
    def call(self) -> int | None:
        """Which of its calls in a pass, from 0; None for a module that runs once."""
        _, colon, call = self.name.partition(":")
        return int(call) if colon else None


class LayerTable(Mapping[str, Layer]):
    """The layers of a network by name, in the order in which they stand in it; `order` is the order in which they run."""

    def __init__(self, rows: list[Layer], order: tuple[str, ...]) -> None:
        self._rows = {r.name: r for r in rows}
        self.order = order

    def __getitem__(self, name: str) -> Layer:
        """The row called `name`, or a LookupError that names the nearest ones."""
        if name in self._rows:
            return self._rows[name]
        calls = [n for n in self._rows if n.partition(":")[0] == name]
        if calls:
            raise LookupError(
                f"layer {name!r} runs {len(calls)} times in one pass; name the call: {calls[0]!r} ... {calls[-1]!r}"
            )
        raise LookupError(unknown("layer", name, self._rows))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def readable(self, name: str) -> Layer:
        """The row called `name` if its output can be seen as maps, or an error that says why not."""
        row = self[name]
        if row.shape is None:
            raise LookupError(f"layer {name!r} ({row.kind}) does not run in a forward pass, so it has no activations")
        if row.layout is None:
            raise ValueError(
                f"the output of layer {name!r} is laid out in an unknown way; "
                f"say how with as_net(module, layouts={{{name!r}: ...}}), one of {', '.join(LAYOUTS)}"
            )
        return row

    def __repr__(self) -> str:
        head = ("layer", "kind", "shape", "parameters", "receptive field")
        lines = [head] + [
            (r.name, r.kind, "does not run" if r.shape is None else "×".join(map(str, r.shape)), f"{r.parameters:,}",
             "" if r.shape is None else str(r.receptive_field or "whole image"))
            for r in self._rows.values()
        ]  # fmt: skip
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


@dataclass
class _Seen:
    name: str
    call: int
    output: Tensor
    version: int
    field: ReceptiveField | None


def layer_table(module: nn.Module, size: Grid, channels: int, layouts: Mapping[str, str]) -> LayerTable:
    """Run `module` once on an image of its own size and, for the layouts, once on one that is not square.

    The module must be in evaluation mode. The second run may fail (a network may insist on its size); the first may not.
    """
    for name, given in layouts.items():
        if given not in LAYOUTS:
            raise ValueError(f"layouts[{name!r}]: {unknown('layout', given, LAYOUTS)}")
    modules = {n: m for n, m in module.named_modules() if n}
    for name in layouts:
        if name.partition(":")[0] not in modules:
            raise LookupError(f"layouts: {unknown('layer', name, modules)}")
    seen = _watched(module, list(modules), size, channels)
    side = size[0] if size[0] < 128 else -(-size[0] // 64) * 32
    oblong = (side, side + 32 * max(1, side // 64))
    try:
        oblong_shapes = {(s.name, s.call): s.output.shape for s in _watched(module, list(modules), oblong, channels)}
    except Exception:
        oblong, oblong_shapes = size, {}

    found = _layouts(seen, oblong_shapes, size, oblong)
    calls: dict[str, int] = {}
    for s in seen:
        calls[s.name] = max(calls.get(s.name, 0), s.call + 1)
    rows: list[Layer] = []
    by_key = {(s.name, s.call): s for s in seen}
    grids = _grids(seen, found)
    for name, m in modules.items():
        parameters = sum(p.numel() for p in m.parameters())
        kind = type(m).__name__
        if name not in calls:
            rows.append(Layer(name, kind, None, parameters))
        for call in range(calls.get(name, 0)):
            s = by_key[name, call]
            row_name = name if calls[name] == 1 else f"{name}:{call}"
            layout = layouts.get(row_name) or layouts.get(name) or found[name, call]
            if layout is not None and s.output.dim() != DIMENSIONS[layout]:
                raise ValueError(
                    f"layouts: the output of {row_name!r} has {s.output.dim()} dimensions, {tuple(s.output.shape)}; "
                    f"{layout} has {DIMENSIONS[layout]}"
                )
            rows.append(
                Layer(row_name, kind, _maps_shape(s.output, layout, grids), parameters, s.field, layout,
                      s.output._version != s.version)
            )  # fmt: skip
    order = tuple(s.name if calls[s.name] == 1 else f"{s.name}:{s.call}" for s in seen)
    return LayerTable(rows, order)


def _watched(module: nn.Module, names: list[str], size: Grid, channels: int) -> list[_Seen]:
    parameter = first_weight(module)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, channels, *size, generator=generator)
    if parameter is not None:
        image = image.to(parameter.device, parameter.dtype)
    seen: list[_Seen] = []
    with torch.no_grad(), FieldTracker(image) as tracker:

        def keep(name: str, call: int, output: Tensor) -> None:
            # The outputs stay referenced to the end, so that their version tells whether something wrote over them.
            seen.append(_Seen(name, call, output, output._version, tracker.field(output)))

        with on_outputs(module, names, keep):
            module(image)
    return seen


def _layouts(seen: list[_Seen], oblong_shapes: Mapping[Any, Any], size: Grid, oblong: Grid) -> dict[Any, str | None]:
    grids, oblong_grids = [size], [oblong]
    found: dict[Any, str | None] = {}
    for s in seen:
        key = (s.name, s.call)
        shape = oblong_shapes.get(key)
        image, known = (oblong, oblong_grids) if shape is not None else (size, grids)
        layout = _by_width(tuple(s.output.shape), shape) or guess(tuple(shape if shape is not None else s.output.shape), image, known)
        found[key] = layout
        if layout in ("NCHW", "NHWC"):
            grids.insert(0, map_size(tuple(s.output.shape), layout, grids))
            if shape is not None:
                oblong_grids.insert(0, map_size(tuple(shape), layout, oblong_grids))
    return found


def _by_width(square: tuple[int, ...], oblong: Any) -> str | None:
    """The layout of an output of which only the width has changed from one image to the other."""
    if oblong is None or len(square) != 4 or len(oblong) != 4 or square[0] != 1:
        return None
    changed = [i for i, (a, b) in enumerate(zip(square, oblong, strict=True)) if a != b]
    return "NCHW" if changed == [3] else "NHWC" if changed == [2] else None


def _grids(seen: list[_Seen], found: Mapping[Any, str | None]) -> list[Grid]:
    return [
        map_size(tuple(s.output.shape), layout, [])
        for s in reversed(seen)
        if (layout := found[s.name, s.call]) in ("NCHW", "NHWC")
    ]


def _maps_shape(output: Tensor, layout: str | None, grids: list[Grid]) -> tuple[int, int, int]:
    if layout is None:
        return (1, *tuple(output.shape[1:]), 1, 1)[:3]  # type: ignore[return-value]
    channels = output.shape[1] if layout in ("NCHW", "vector") else output.shape[-1]
    return (channels, *map_size(tuple(output.shape), layout, grids))
