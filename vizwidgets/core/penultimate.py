"""What the last linear layer of a network is fed with: the vector by which it tells its classes apart."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .net import Net


def classifier(net: Net) -> str:
    """The name of the linear layer, or the convolution, that runs last."""
    for name in reversed(net.layers.order):
        module = name.partition(":")[0]
        if isinstance(net.module.get_submodule(module), (nn.Linear, nn.Conv2d)):
            return module
    raise LookupError(f"{net.name or 'the network'} has neither a linear layer nor a convolution as a module: name a layer")


def penultimate(net: Net, images: Tensor) -> Tensor:
    """What the classifier is fed with for `images`: (B, D), the mean over positions where it has some."""
    name = classifier(net)
    layer = net.module.get_submodule(name)
    with net.lock, _Fed(layer.weight) as mode:
        net(images)
    if mode.fed is None:
        raise LookupError(f"what {name!r} is fed with cannot be seen: it does not use its weight as it is. Name a layer")
    fed = mode.fed.clone()
    positions = tuple(range(1, fed.dim() - 1)) if isinstance(layer, nn.Linear) else (2, 3)
    return fed.mean(positions) if fed.dim() > 2 else fed


class _Fed(TorchFunctionMode):
    """Keeps the input of the function that is given `weight`; a hook on the layer before would miss what functions do between."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.weight = weight
        self.fed: Tensor | None = None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if len(args) > 1 and args[1] is self.weight:
            self.fed = args[0]
        return function(*args, **(kwargs or {}))
