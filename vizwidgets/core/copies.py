"""Copies of a network: one to be changed, and one that computes the same in less time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .fusing import Fused
from .modes import always_evaluating, evaluating
from .net import Net
from .optimize import read
from .stem import Stem
from .targets import INPUT, OUTPUT, Target

First = TypeVar("First", bound=nn.Module)
Second = TypeVar("Second", bound=nn.Module)


def copied(net: Net) -> Net:
    """The network as other modules that hold the same numbers, until they are given others."""
    with net.lock, torch.inference_mode(False):
        # A copy of the numbers would cost large networks gigabytes.
        memo: dict[int, Any] = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in net.module.parameters()}
        memo |= {id(b): b.data for b in net.module.buffers()}
        other = replace(net, module=deepcopy(net.module, memo))
        vars(other)["layers"] = net.layers  # made by running the network, and the same
        return other


class Folded:
    """What a long run computes with: a copy of the network that says the same in less time, or the network itself.

    In the copy a batch normalisation is part of the convolution before it, weights lie in memory in the order in which
    convolutions read them, and none asks for a gradient; a first convolution has a way back of its own (`Stem`). Other weights
    are shared with the network. There is no copy where it cannot be made, where it gives other scores, or on an accelerator.

    Parameters
    ----------
    net : Net
    forward_only : int, optional
        Images in a pass, where passes do not go back to the image. Convolutions then also do what follows them (`Fused`).
    pool_first : bool
        Let a ReLU follow the maximum pooling that it comes before, where there are fewer numbers. That is the same, both ways, if
        passes take the maximum indeed and go back through ReLUs by the usual rule.

    References
    ----------
    Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam, Kalenichenko: Quantization and training of neural networks for efficient
    integer-arithmetic-only inference, 2018, section 3.2.
    """

    def __init__(self, net: Net, *, forward_only: int | None = None, pool_first: bool = False) -> None:
        self._net, self._forward_only, self._pool_first = net, forward_only, pool_first
        self._made: tuple[Any, Net] | None = None
        self._watched = [v for v in (*net.module.parameters(), *net.module.buffers()) if not v.is_inference()]

    def net(self, target: Target, images: Tensor) -> Net:
        """The network in which a resolved `target` of `images` is read; another copy once layers or the values of weights are others."""
        state = target.layers, [v._version for v in self._watched]
        if self._made is None or self._made[0] != state:
            self._made = state, _folded(self._net, target.images(0, 1), images[:1].detach(), self._forward_only, self._pool_first)
        return self._made[1]


def _folded(net: Net, target: Target, image: Tensor, forward_only: int | None, pool_first: bool) -> Net:
    weights = [*net.module.parameters(), *net.module.buffers()]
    if any(v.is_floating_point() and (v.device.type != "cpu" or v.dtype not in (torch.float32, torch.float64)) for v in weights):
        return net
    wanted = {name.partition(":")[0] for name in target.layers}
    ways: list[Callable[[Net], Net]] = [_laid_out]
    if forward_only and target.layers <= {INPUT, OUTPUT}:  # what else is read might be what an operation leaves out
        ways.insert(0, partial(_fused, at_once=forward_only))
    if pool_first:
        ways.insert(0, partial(_pooling_first, wanted=wanted, image=image))
    with net.lock, evaluating(net.module), torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for way in ways:
            try:
                fast = copied(net)
                fast.module.requires_grad_(False)
                _fold(fast, wanted, image)
                fast = way(fast)
                always_evaluating(fast.module)
                found = target(read(fast, target, image))
            except Exception:
                continue  # not every module can be copied, or does without what has become part of another
            expected = target(read(net, target, image))
            if bool((found - expected).abs().max() <= 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max()):
                return fast
    return net


def _fold(net: Net, wanted: set[str], image: Tensor) -> None:
    """Change the copy; the outputs of the layers that are wanted stay what they are."""
    names = {module: name for name, module in net.module.named_modules()}
    for conv, norm in _pairs(net, image, nn.Conv2d, nn.BatchNorm2d):
        if names[conv] in wanted or norm.running_mean is None or norm.running_var is None:
            continue
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        _replace(net.module, names[norm], nn.Identity())


def _laid_out(net: Net) -> Net:
    for name, module in list(net.module.named_modules()):
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().contiguous(memory_format=torch.channels_last)
            module.weight = nn.Parameter(weight, requires_grad=False)
            if Stem.suits(module) and name:
                _replace(net.module, name, Stem(module))
    return net


def _pooling_first(net: Net, wanted: set[str], image: Tensor) -> Net:
    names = {module: name for name, module in net.module.named_modules()}
    for relu, pool in _pairs(net, image, nn.ReLU, nn.MaxPool2d):
        if names[relu] not in wanted:
            _replace(net.module, names[relu], nn.Identity())
            _replace(net.module, names[pool], nn.Sequential(pool, nn.ReLU(inplace=True)))
    return _laid_out(net)


def _fused(net: Net, at_once: int) -> Net:
    fused = replace(net, module=Fused(net.module, at_once))
    vars(fused)["layers"] = net.layers
    return fused


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(root.get_submodule(parent), own, module)


def _pairs(net: Net, image: Tensor, first: type[First], second: type[Second]) -> list[tuple[First, Second]]:
    """Each module of the first kind whose output goes into one of the second, and that one; both run once, and nobody watches them."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # by an output's identity, which is its own for as long as it is kept
    pairs: list[tuple[Any, Any]] = []
    runs: Counter[nn.Module] = Counter()

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        runs[module] += 1
        if type(module) is first:
            made[id(output)] = module, output
        elif id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    plain = [m for m in net.module.modules() if type(m) in (first, second) and not m._forward_hooks and not m._forward_pre_hooks]
    handles = [module.register_forward_hook(after) for module in plain]
    net(image)
    for handle in handles:
        handle.remove()
    return [pair for pair in pairs if runs[pair[0]] == runs[pair[1]] == 1]
