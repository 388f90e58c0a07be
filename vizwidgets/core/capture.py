"""Reading what layers compute: `extract`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from torch import Tensor, nn

from .hooks import on_outputs
from .layers import Layer
from .layout import Grid, from_maps, map_size, to_maps
from .net import Net, as_net

R = TypeVar("R")


class Activations(dict[str, Tensor]):
    """Activations by layer name, each (B, C, H, W); filled by every forward pass in the body of `extract`."""

    def __missing__(self, name: str) -> Tensor:
        have = ", ".join(map(repr, self)) or "none yet: call the network in the body of extract"
        raise LookupError(f"no activations of {name!r}; there are {have}")


@contextmanager
def extract(net: Net | nn.Module, *layers: str) -> Iterator[Activations]:
    """Collect the activations of `layers` from the forward passes in the body.

    Every layout comes out as (B, C, H, W): maps as they are, channels-last maps and tokens rearranged (class and register
    tokens left out), a linear layer as (B, C, 1, 1). The tensors are in the autograd graph, in the module's dtype and on
    its device, and no later in-place operation changes them. When the body is left, for whatever reason, no hook remains.

    Parameters
    ----------
    net : Net or torch.nn.Module
    *layers : str
        Names from ``net.layers``; ``"relu:1"`` is the second call of a module that runs several times in a pass.

    Yields
    ------
    Activations
        A dict from layer name to tensor.

    Raises
    ------
    LookupError
        For an unknown layer (the nearest names are listed), one that does not run, or a module that runs several times
        when no call is named.

    Examples
    --------
    >>> net = vizwidgets.load("flowers")
    >>> with extract(net, "stage2") as acts:
    ...     scores = net(torch.rand(1, 3, 96, 96))
    >>> acts["stage2"].shape
    torch.Size([1, 40, 24, 24])
    """
    net = as_net(net)
    if not layers:
        raise TypeError("extract needs at least one layer name: extract(net, 'layer', ...)")
    with _collecting(net, [net.layers.readable(name) for name in layers]) as acts:
        yield acts


class _Deepest(Exception):
    """Raised by a hook when the last layer that is wanted has been computed."""


def activations(net: Net, images: Tensor, *layers: str) -> Activations:
    """The activations of `layers` for `images`; the forward pass ends at the deepest of them."""
    rows = [net.layers.readable(name) for name in layers]
    last = rows[0] if len(rows) == 1 else max(rows, key=lambda row: net.layers.order.index(row.name))
    # The innermost takes the exception: to pass one through a generator costs as much as a hook.
    with net.lock, _collecting(net, rows, (images.shape[2], images.shape[3]), last) as acts, suppress(_Deepest):
        net(images)
    return acts


def reduced(net: Net, images: Tensor, layers: Iterable[str], reduce: Callable[[str, Tensor], R]) -> dict[str, R]:
    """What `reduce(layer, maps)` makes of the activations (B, C, H, W) of each layer, while `images` pass.

    The maps are not copied, as they need not be when little is made of them at once: `reduce` keeps none of them, for what
    follows may write over them. The forward pass ends at the deepest layer.
    """
    rows = {(row.module_name, row.call or 0): row for row in map(net.layers.readable, layers)}
    last = max(rows.values(), key=lambda row: net.layers.order.index(row.name))
    size = (images.shape[2], images.shape[3])
    found: dict[str, R] = {}

    def take(name: str, call: int, output: Tensor) -> None:
        row = rows.get((name, call))
        if row is None:
            return
        found[row.name] = reduce(row.name, to_maps(output, row.layout or "", _grid(tuple(output.shape), row, net.size, size)))
        if row is last:
            raise _Deepest

    with net.lock, on_outputs(net.module, {row.module_name for row in rows.values()}, take), suppress(_Deepest):
        net(images)
    return found


@contextmanager
def _collecting(net: Net, layers: list[Layer], size: Grid | None = None, last: Layer | None = None) -> Iterator[Activations]:
    """What `extract` does; of a single pass with images of that `size`, which ends after `last` with `_Deepest`."""
    rows = {(row.module_name, row.call or 0): row for row in layers}
    acts = Activations()
    unguarded: list[tuple[str, Tensor, int]] = []
    image: list[Grid] = [size or net.size]

    def begin(inputs: tuple[Any, ...]) -> None:
        first = next((i for i in inputs if isinstance(i, Tensor) and i.dim() == 4), None)
        image[0] = net.size if first is None else (first.shape[2], first.shape[3])

    def keep(name: str, call: int, output: Tensor) -> Tensor | None:
        row = rows.get((name, call))
        if row is None:
            return None
        assert row.shape is not None and row.layout is not None
        grid = _grid(tuple(output.shape), row, net.size, image[0])
        maps = to_maps(output, row.layout, grid)
        acts[row.name] = maps
        if last is not None and (name, call) == (last.module_name, last.call or 0):
            raise _Deepest
        if row.overwritten:
            # The successor gets a copy to write over; the activations stay as they are, upstream of it in the graph.
            return from_maps(maps, output, row.layout).clone()
        if not maps.is_inference():  # inference tensors keep no version
            unguarded.append((row.name, maps, maps._version))
        return None if maps is output else from_maps(maps, output, row.layout)

    with on_outputs(net.module, {r.module_name for r in rows.values()}, keep, None if size else begin):
        yield acts
    for name, maps, version in unguarded:
        if maps._version != version and acts.get(name) is maps:
            raise RuntimeError(f"the activations of {name!r} were written over by an in-place operation after they were taken")


def _grid(shape: tuple[int, ...], row: Layer, size: Grid, image: Grid) -> Grid:
    """Rows and columns of the maps for an image of another size than the table was made with."""
    assert row.shape is not None
    _, h, w = row.shape
    if row.layout != "tokens":
        return map_size(shape, row.layout or "", [])
    scaled = (round(h * image[0] / size[0]), round(w * image[1] / size[1]))
    return map_size(shape, "tokens", [(h, w), scaled] if image == size else [scaled, (h, w)])
