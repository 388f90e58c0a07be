"""Passes that are read off give what the network gives, and only those that can be are."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import MATRIX, make, picture
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

import vizwidgets as vw
from vizwidgets.core import programs
from vizwidgets.core.optimizer import ImageOptimizer, _pass
from vizwidgets.core.params import FourierImage, PixelImage
from vizwidgets.core.programs import Programmed
from vizwidgets.core.transforms import Jitter

CONV = nn.Conv2d(3, 8, 3, padding=1)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def there_and_back(module: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        # As a `Net` gives images to its module.
        score = module(x.contiguous(memory_format=torch.channels_last)).square().flatten(1).sum(1)
        return [score.detach(), *torch.autograd.grad(score.sum(), x)]


def quickly(passes: Programmed) -> int:
    """How many convolutions of a program are those of PyTorch's compiler."""
    return sum(line[0] is programs._pointwise() for line in passes._program._lines)


def read_off(module: Callable[[Tensor], Tensor]) -> int | None:
    """How many convolutions are quick once passes are read off, if they are; checks that all passes are right."""
    passes, calls = Programmed(), []

    def do(x: Tensor) -> list[Tensor]:
        calls.append(1)
        return there_and_back(module, x)

    for i in range(5):
        x = random(2, 3, 16, 20, seed=i)
        found, expected = passes(do, x), there_and_back(module, x)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))
    assert len(calls) in (2, 5)
    return quickly(passes) if len(calls) == 2 else None


@pytest.mark.parametrize("name", MATRIX)
def test_networks(name: str) -> None:
    module = make(name).eval().requires_grad_(False)
    of = vw.as_net(module, size=MATRIX[name][1])
    target = vw.Logit(1).resolve(of)
    passes = Programmed()
    of(picture(of))  # the first pass of a `Net` makes what those after it keep
    for i in range(3):
        x = picture(of, 2, seed=i)
        found, expected = passes(partial(_pass, of, target, target), x), _pass(of, target, target, x)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.detach().abs().max()))
    plain = not any("attention" in type(m).__name__.lower() for m in module.modules())
    assert passes._program is not None or not plain
    single = any(isinstance(m, nn.Conv2d) and m.weight.dtype == torch.float32 for m in module.modules())
    assert not (plain and single and of.channels == 3 and name != "viewed") or quickly(passes)


@pytest.mark.parametrize("after", [
    lambda x: F.relu(x), lambda x: F.relu_(x), lambda x: F.relu(x) + x, lambda x: F.relu_(x[:, :4]), lambda x: x.relu().clamp(max=0.5), lambda x: F.relu6(x),
    lambda x: F.relu_(x) + x, lambda x: torch.cat([F.relu_(x), x], 1), lambda x: x.detach().relu() + x, lambda x: (x.permute(0, 2, 3, 1), F.relu_(x))[0],
    lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), lambda x: F.max_pool2d(F.relu_(x), 2)[:, 1:], lambda x: F.avg_pool2d(x, 2),
    lambda x: F.relu(F.max_pool2d(x, 3, 1, 1)) * x, lambda x: F.leaky_relu(x), lambda x: torch.sigmoid(x), lambda x: x.transpose(2, 3) @ x,
])  # fmt: skip
def test_what_comes_after_a_convolution(after: Callable[[Tensor], Tensor]) -> None:
    assert read_off(lambda x: after(CONV.requires_grad_(False)(x))) == 2


@pytest.mark.parametrize("module", [
    lambda x: torch.cat([x, x], 1), lambda x: torch.stack([x]), lambda x: torch.meshgrid(x[0, 0, 0], x[0, 0, :, 0], indexing="ij")[0],
    lambda x: x.index_select(2, torch.tensor([1, 0, 1])), lambda x: torch.stack(x.chunk(2, 3)[::-1]), lambda x: x.sort(1).values, lambda x: x,
    lambda x: x.new_zeros(2, 3).add_(x[:, :, 0, 0]), lambda x: torch.zeros(2, 3).copy_(x[:, :, 0, 0]).mul_(2),
])  # fmt: skip
def test_operations_of_all_sorts(module: Callable[[Tensor], Tensor]) -> None:
    assert read_off(module) == 0


@pytest.mark.parametrize("conv", [
    nn.Conv2d(3, 6, 5), nn.Conv2d(3, 6, 3, 2), nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, (3, 5), padding=(0, 2)), nn.Conv2d(3, 6, 3, groups=3),
    nn.Conv2d(3, 6, 3, dilation=2, padding=2), nn.Conv2d(3, 6, 3, padding=4), nn.Conv2d(3, 6, 3, bias=False), nn.ConvTranspose2d(3, 6, 3, 2),
    nn.Conv2d(3, 6, 3, padding="same"), nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"), nn.MaxPool2d(3, 2),
])  # fmt: skip
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions(conv: nn.Module, layout: torch.memory_format) -> None:
    quick = read_off(lambda x: F.relu(conv.requires_grad_(False)(x.contiguous(memory_format=layout))))
    there, back = isinstance(conv, nn.Conv2d), getattr(conv, "padding", 0) != (4, 4) and conv.stride == (1, 1) and conv.groups == 1
    assert quick == (there + (there and back and conv.dilation == (1, 1)) if layout == torch.channels_last else 0)


class Counting(nn.Module):
    """Another factor at each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return CONV(x) * (1 + self.count // 2)


class Marking(nn.Module):
    """Keeps the mean of what it has seen last."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.view(-1).copy_(x.detach().mean().view(1))
        return CONV(x) - self.mean


def through_numpy(x: Tensor) -> Tensor:
    return x * torch.from_numpy(np.sqrt(x.detach().numpy()))


@pytest.mark.parametrize("module", [
    Counting(), Marking(), through_numpy, lambda x: CONV(x) if x.mean() > 0.3 else x, lambda x: x * x.detach().max().item(),
    lambda x: x[:, :, x.detach()[0, 0, :, 0] > 0.5], lambda x: x * len(x.detach()[x.detach() > 0.5]),
    lambda x: x * x.detach().flatten().tolist()[0],
], ids=["counts", "writes", "numpy", "if", "item", "some", "how many", "list"])  # fmt: skip
def test_what_does_more_than_its_operations_is_done_as_usual(module: Callable[[Tensor], Tensor]) -> None:
    passes = Programmed()
    for i in range(5):
        x = random(2, 3, 8, 8, seed=i) * (1 if i < 3 else 0.2)
        before = module.count if isinstance(module, Counting) else 0
        found = passes(partial(there_and_back, module), x)
        if isinstance(module, Counting):
            assert module.count > before, "it was asked"
            module.count = before + 1
            expected = there_and_back(lambda x, m=module: CONV(x) * (1 + m.count // 2), x)
        else:
            expected = there_and_back(module, x)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
    assert passes._refused and passes._program is None


@pytest.mark.parametrize("module", [
    lambda x: x * torch.rand(()), lambda x: F.dropout(x), lambda x: x + torch.randn_like(x), lambda x: x * torch.empty(3, 1, 1).normal_(),
    lambda x: x * torch.bernoulli(torch.full((3, 8, 8), 0.5)),
], ids=["rand", "dropout", "randn_like", "normal_", "bernoulli"])  # fmt: skip
def test_what_is_drawn_at_random_is_drawn_anew(module: Callable[[Tensor], Tensor]) -> None:
    passes = Programmed()
    with torch.random.fork_rng():
        found = [passes(partial(there_and_back, module), random(1, 3, 8, 8))[1] for _ in range(5)]
    assert passes._refused
    assert not any(torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


def test_an_error_is_the_networks_own() -> None:
    def module(x: Tensor) -> Tensor:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        Programmed()(partial(there_and_back, module), random(1, 3, 8, 8))


def test_a_network_that_cannot_be_written_down_goes_on() -> None:
    def module(x: Tensor) -> Tensor:
        if _get_current_dispatch_mode() is not None:
            raise RuntimeError("watched")
        return torch.sin(x)

    passes = Programmed()
    for i in range(3):
        for a, b in zip(passes(partial(there_and_back, module), x := random(1, 3, 8, 8, seed=i)), there_and_back(torch.sin, x), strict=True):
            assert torch.equal(a, b)
    assert passes._refused


def test_images_of_another_shape_or_type_are_done_as_usual() -> None:
    passes, calls = Programmed(), []

    def do(x: Tensor) -> list[Tensor]:
        calls.append(x.shape)
        return there_and_back(torch.sin, x)

    for _ in range(3):
        passes(do, random(1, 3, 8, 8))
    assert len(calls) == 2
    for x in (random(2, 3, 8, 8), random(1, 3, 9, 8), random(1, 3, 8, 8, dtype=torch.float64)):
        for a, b in zip(passes(do, x), there_and_back(torch.sin, x), strict=True):
            assert torch.equal(a, b)
    assert len(calls) == 5
    passes(do, random(1, 3, 8, 8))
    assert len(calls) == 5


def test_results_are_not_written_over() -> None:
    pool = nn.MaxPool2d(3, 2)
    passes = Programmed()
    found = [passes(partial(there_and_back, pool), random(1, 3, 9, 9, seed=i)) for i in range(5)]
    for i, both in enumerate(found):
        for a, b in zip(both, there_and_back(pool, random(1, 3, 9, 9, seed=i)), strict=True):
            assert torch.equal(a, b)


def test_nothing_of_a_pass_is_kept() -> None:
    seen: list[weakref.ref[Tensor]] = []

    def module(x: Tensor) -> Tensor:
        x = torch.sin(x)
        seen.append(weakref.ref(x))
        return x * 2

    passes = Programmed()
    for i in range(2):
        found = passes(partial(there_and_back, module), random(1, 3, 8, 8, seed=i))
    assert passes._program is not None
    del found
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


def test_a_faster_way_that_gives_other_numbers_is_not_taken(monkeypatch) -> None:
    module = nn.Sequential(CONV, nn.ReLU()).requires_grad_(False)
    real = programs._convolution
    monkeypatch.setattr(programs, "_convolution", lambda op, image, weight, *rest: real(op, image, 1.001 * weight, *rest))
    assert read_off(module) == 0
    monkeypatch.undo()
    assert read_off(module) == 2


def steps(machine: ImageOptimizer, count: int, change: Callable[[int], None] = lambda i: None) -> list[tuple[dict[str, Tensor], Tensor]]:
    found = []
    for i in range(count):
        change(i)
        step = machine.step()
        found.append((step.scores, step.image))
    return found


@pytest.mark.parametrize("options", [
    {}, {"optimizer": "lbfgs"}, {"pooling": "average"}, {"transforms": [Jitter(3)]}, {"redirect": 10}, {"normalize": True},
    {"target": vw.Channel("stage2", 3) - 2 * vw.TotalVariation()},
    {"target": vw.Channel("stage2", 3) - 2 * vw.TotalVariation(), "transforms": [Jitter(3)], "normalize": True},
    {"target": vw.TotalVariation() + 0.1 * vw.Channel("stage2", 3), "pixels": True, "normalize": True},
    {"target": vw.Each((vw.Logit(1), vw.Channel("stage1", 2)))}, {"target": vw.Logit(1) - 0.1 * vw.Diversity("stage2")},
    {"target": vw.TotalVariation() - vw.L2(), "transforms": [Jitter(2)]},
], ids=str)  # fmt: skip
def test_runs_are_what_they_were(options: dict, flowers: vw.Net, monkeypatch) -> None:
    of = vw.as_net(vw.load("flowers"))
    of.module.double()
    options = {"target": vw.Logit(2), "redirect": 0, **options}
    kind = PixelImage if options.pop("pixels", False) else FourierImage

    def machine() -> ImageOptimizer:
        return ImageOptimizer(of, image=kind(random(2, 3, 40, 48, dtype=torch.float64)), **options)

    with monkeypatch.context() as m:
        m.setattr(ImageOptimizer, "_passes", lambda self, net: None)
        expected = steps(machine(), 14)
    ours = machine()
    for (scores, image), (others, same) in zip(steps(ours, 14), expected, strict=True):
        assert scores.keys() == others.keys()
        for name, v in scores.items():
            torch.testing.assert_close(v, others[name], rtol=1e-9, atol=1e-12)
            assert not v.requires_grad and not v.is_inference()
        torch.testing.assert_close(image, same, rtol=1e-7, atol=1e-9)
    assert ours._programmed[1]._program is not None


def test_changes_between_two_steps_count() -> None:
    of = vw.as_net(vw.load("flowers"))
    of.module.double()

    def change(machine: ImageOptimizer, i: int) -> None:
        if i == 8:
            machine.target = vw.Channel("stage2", 1)
        if i == 11:
            machine.target = vw.Channel("stage2", 5)  # of the same layers
        if i == 14:
            machine.transforms = [Jitter(2)]
        if i == 20:
            with torch.no_grad():
                of.module.stage1[0].conv1.weight.mul_(0.5)

    found = []
    for passes in (ImageOptimizer._passes, lambda self, net: None):
        state = {k: v.clone() for k, v in of.module.state_dict().items()}
        machine = ImageOptimizer(of, vw.Logit(2), FourierImage(random(1, 3, 40, 40, dtype=torch.float64)), redirect=0)
        machine._passes = passes.__get__(machine)
        found.append(steps(machine, 26, partial(change, machine)))
        of.module.load_state_dict(state)
    for (scores, image), (others, same) in zip(*found, strict=True):
        torch.testing.assert_close(scores["score"], others["score"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(image, same, rtol=1e-7, atol=1e-9)


class Mine(vw.Target):
    """A target of a user's own, of which nobody knows whether it stays the same."""

    def __init__(self) -> None:
        self.weight = 1.0

    def __call__(self, acts):
        return self.weight * acts["output"][:, 1]


@pytest.mark.parametrize("wrapped", [lambda t: t, lambda t: t - vw.TotalVariation(), lambda t: vw.Each((t,))])
def test_targets_of_ones_own_are_asked_at_each_step(wrapped, flowers: vw.Net) -> None:
    mine = Mine()
    machine = ImageOptimizer(flowers, wrapped(mine), FourierImage(random(1, 3, 40, 40)), redirect=0)
    steps(machine, 10)
    assert machine._programmed[1] is None
    mine.weight = 0.0
    assert float(machine.step().scores[repr(mine)] if "TotalVariation" in repr(machine.target) else machine.step().scores["score"]) == 0.0


def test_networks_that_are_watched_are_asked_at_each_step() -> None:
    of, calls = vw.as_net(vw.load("flowers")), []
    of.module.stage1.register_forward_hook(lambda *a: calls.append(1) and None)
    machine = ImageOptimizer(of, vw.Logit(1), FourierImage(random(1, 3, 40, 40)), redirect=0)
    steps(machine, 8)
    calls.clear()
    steps(machine, 5)
    assert len(calls) == 5
