"""The one place that registers forward hooks. They act in the thread that asked for them, and are gone on every exit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

OnOutput = Callable[[str, int, Tensor], Tensor | None]


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that stands for a module's output: itself, or the first one in a tuple, list or dict."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    for value in values:
        found = first_tensor(value)
        if found is not None:
            return found
    return None


def _replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """`output` with its tensor `old` exchanged for `new`, in the same kind of container."""
    if output is old:
        return new
    if isinstance(output, dict):
        changed = {k: _replaced(v, old, new) for k, v in output.items()}
        try:
            return type(output)(changed)
        except TypeError:
            return changed
    if isinstance(output, (tuple, list)):
        items = [_replaced(v, old, new) for v in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return output


@contextmanager
def on_outputs(
    root: nn.Module, names: Iterable[str], handle: OnOutput, on_pass: Callable[[tuple[Any, ...]], None] | None = None
) -> Iterator[None]:
    """Call `handle(name, call, output)` for each output of the named submodules while the body runs.

    `call` counts the calls of that module within one forward pass of `root`, from 0. What `handle` returns is handed on in
    place of the output; None hands on the output itself. `on_pass(inputs)` is called at the start of each pass; without it the
    body makes a single pass.
    """
    thread = threading.get_ident()
    calls: dict[str, int] = {}

    def start(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if threading.get_ident() == thread and on_pass is not None:
            calls.clear()
            on_pass(inputs)

    def watch(name: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if threading.get_ident() != thread:
                return None
            call = calls.get(name, 0)
            calls[name] = call + 1
            tensor = first_tensor(output)
            if tensor is None:
                return None
            new = handle(name, call, tensor)
            return None if new is None else _replaced(output, tensor, new)

        return hook

    handles: list[Any] = []
    try:
        if on_pass is not None:
            handles.append(root.register_forward_pre_hook(start))
        for name in names:
            handles.append(root.get_submodule(name).register_forward_hook(watch(name)))
        yield
    finally:
        for hook in handles:
            hook.remove()


class on_pass_through:  # noqa: N801 - used as a function is; as a class it takes half of a generator's time, at each gradient
    """Hand on `handle(input, output)` in place of what `module` gives, while the body runs."""

    def __init__(self, module: nn.Module, handle: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._module, self._handle = module, handle

    def __enter__(self) -> None:
        thread, handle = threading.get_ident(), self._handle

        def hook(_module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            return handle(inputs[0], output) if threading.get_ident() == thread and inputs else None

        self._registered = self._module.register_forward_hook(hook)

    def __exit__(self, *_error: Any) -> None:
        self._registered.remove()
