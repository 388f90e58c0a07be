"""Convolutions that do what follows them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

import vizwidgets as vw
from vizwidgets.core.copies import Folded
from vizwidgets.core.fusing import Fused

Way = Callable[["Block", Tensor], Tensor]


class Block(nn.Module):
    """Convolutions, and a way through them that tests choose."""

    def __init__(self, way: Way, **options: object) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.two, self.three = (nn.Conv2d(4, 4, 3, padding=1, **options) for _ in range(3))  # type: ignore[arg-type]
        self.relu, self.way, self.turn = nn.ReLU(inplace=True), way, 0

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def images(count: int = 3) -> Tensor:
    x = torch.randn(count, 4, 9, 7, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last)


def expected(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return module(x.clone(memory_format=torch.preserve_format))


def steps(fused: Fused) -> list[str]:
    """What is done otherwise: convolutions, and what they do of those that follow."""
    assert fused._plan is not None
    return sorted(step.func.__name__ for step in fused._plan.steps.values())


def check(module: nn.Module, changed: list[str] | None, x: Tensor | None = None) -> None:
    x = images() if x is None else x
    fused = Fused(module.eval(), len(x))
    with torch.no_grad():
        for shown in (x, x[:2], x):
            torch.testing.assert_close(fused(shown.clone(memory_format=torch.preserve_format)), expected(module, shown), rtol=1e-5, atol=1e-5)
    if changed is not None:
        assert steps(fused) == sorted(changed)


RELUS: dict[str, tuple[str, Way]] = {
    "function": ("relu", lambda m, x: F.relu(m.one(x))),
    "function in place": ("relu", lambda m, x: F.relu(m.one(x), inplace=True)),
    "torch": ("relu", lambda m, x: torch.relu(m.one(x))),
    "torch in place": ("relu_", lambda m, x: torch.relu_(m.one(x))),
    "method": ("relu", lambda m, x: m.one(x).relu()),
    "method in place": ("relu_", lambda m, x: m.one(x).relu_()),
    "module": ("relu", lambda m, x: m.relu(m.one(x))),
}


@pytest.mark.parametrize("spelled", RELUS)
def test_a_relu_however_it_is_spelled(spelled: str) -> None:
    name, way = RELUS[spelled]
    check(Block(way), ["conv2d", name])


def in_front(m: Block, x: Tensor) -> Tensor:
    y = m.relu(m.one(x))
    return m.relu(m.three(m.two(y)) + y)


def in_place(m: Block, x: Tensor) -> Tensor:
    y = m.relu(m.one(x))
    out = m.three(m.two(y))
    out += y
    return m.relu(out)


def by_function(m: Block, x: Tensor) -> Tensor:
    y = m.relu(m.one(x))
    return torch.relu(torch.add(y, m.three(m.two(y))))


def shortcut_after(m: Block, x: Tensor) -> Tensor:
    y = m.relu(m.one(x))
    out = m.two(y)
    return m.relu(out + m.three(y))


def pooled(m: Block, x: Tensor) -> Tensor:
    y = F.max_pool2d(m.one(x), 3, 1, 1)
    return m.three(m.two(y)) + y


@pytest.mark.parametrize(
    ("way", "changed"),
    [
        (in_front, ["conv2d", "relu", "conv2d", "conv2d", "add", "relu"]),
        (in_place, ["conv2d", "relu", "conv2d", "conv2d", "add_", "relu"]),
        (by_function, ["conv2d", "relu", "conv2d", "conv2d", "add", "relu"]),
        (shortcut_after, ["conv2d", "relu", "conv2d", "conv2d", "add", "relu"]),
        (pooled, ["conv2d", "conv2d", "conv2d", "add"]),
    ],
)
def test_an_addition_however_the_block_is_written(way: Way, changed: list[str]) -> None:
    check(Block(way), changed)


def image_added(m: Block, x: Tensor) -> Tensor:
    return m.one(x) + x


def own_input(m: Block, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.two(y) + y


def read_again(m: Block, x: Tensor) -> Tensor:
    y = m.relu(m.one(x))
    return m.three(m.two(y)) + y + y


def read_beside(m: Block, x: Tensor) -> Tensor:
    y = m.one(x)
    return torch.relu(y) + y


def part_of_another(m: Block, x: Tensor) -> Tensor:
    y = m.one(x)
    part = y[:, :]
    return (m.three(m.two(part)) + part) * y


def shown_before(m: Block, x: Tensor) -> Tensor:
    y = m.relu(m.one(x))
    part = y[:, :2]
    return (m.three(m.two(y)) + y)[:, :2] + part


def weighted(m: Block, x: Tensor) -> Tensor:
    y = m.relu(m.one(x))
    return torch.add(m.three(m.two(y)), y, alpha=2)


def broadcast(m: Block, x: Tensor) -> Tensor:
    y = F.max_pool2d(m.one(x), (9, 7))
    return m.two(x) + y


def with_a_number(m: Block, x: Tensor) -> Tensor:
    return m.one(x) + 1


def with_itself(m: Block, x: Tensor) -> Tensor:
    y = m.one(x)
    return y + y


@pytest.mark.parametrize(
    ("way", "changed"),
    [
        (image_added, ["conv2d"]), (own_input, ["conv2d", "conv2d"]), (read_again, ["conv2d", "relu", "conv2d", "conv2d"]),
        (read_beside, ["conv2d"]), (part_of_another, ["conv2d", "conv2d", "conv2d"]),
        (shown_before, ["conv2d", "relu", "conv2d", "conv2d"]), (weighted, ["conv2d", "relu", "conv2d", "conv2d"]), (broadcast, ["conv2d", "conv2d"]), (with_a_number, ["conv2d"]), (with_itself, ["conv2d"]),
    ],
)  # fmt: skip
def test_what_somebody_else_reads_is_left(way: Way, changed: list[str]) -> None:
    check(Block(way), changed)


@pytest.mark.parametrize("options", [{"padding_mode": "reflect"}, {"groups": 2}, {"bias": False}, {"dilation": 2}])
def test_kinds_of_convolutions(options: dict[str, object]) -> None:
    check(Block(in_front if "dilation" not in options else RELUS["module"][1], **options), None)


def test_padding_by_name_is_left() -> None:
    check(nn.Sequential(nn.Conv2d(4, 4, 3, padding="same"), nn.ReLU()), [])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_either_memory_layout(layout: torch.memory_format) -> None:
    check(Block(in_front), None, images().contiguous(memory_format=layout))


def alternating(m: Block, x: Tensor) -> Tensor:
    m.turn += 1
    return m.relu(m.one(x)) if m.turn % 2 else torch.tanh(m.one(x))


def other_weights(m: Block, x: Tensor) -> Tensor:
    m.turn += 1
    return m.relu((m.one if m.turn % 2 else m.two)(x))


def shorter(m: Block, x: Tensor) -> Tensor:
    m.turn += 1
    return m.relu(m.one(x)) if m.turn % 2 else m.one(x)


def another_reader(m: Block, x: Tensor) -> Tensor:
    m.turn += 1
    y, z = m.one(x), m.two(x)
    return m.relu(y) + z if m.turn % 2 else m.relu(z) + y


@pytest.mark.parametrize("way", [alternating, other_weights, shorter, another_reader])
def test_a_pass_that_goes_another_way_is_done_as_usual(way: Way) -> None:
    module = Block(way).eval()
    fused, x = Fused(module, 3), images()
    with torch.no_grad():
        for turn in (3, 4, 5):  # the first call runs the module twice
            module.turn = 0 if fused._plan is None else turn - 1
            found = fused(x)
            module.turn -= 1
            torch.testing.assert_close(found, module(x), rtol=1e-5, atol=1e-5)


def test_gradients_go_the_usual_way() -> None:
    module, x = Block(in_front), images().requires_grad_()
    (found,) = torch.autograd.grad(Fused(module, 3)(x).sum(), x)
    (wanted,) = torch.autograd.grad(module(x).sum(), x)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "mobilenet_v2", "densenet121"])
def test_networks_of_torchvision(name: str) -> None:
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = vw.as_net(getattr(models, name)(weights=None, **options).eval(), size=64)
    x, target = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0)), vw.Logit(1).resolve(net)
    other = Folded(net, forward_only=5).net(target, x)
    assert isinstance(other.module, Fused)
    with torch.no_grad():
        found, wanted = other(x), net(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    done, convs = steps(other.module), sum(isinstance(m, nn.Conv2d) for m in net.module.modules())
    assert done.count("conv2d") == convs
    if name == "resnet18":  # a ReLU after every convolution but the shortcuts' and those before an addition; an addition for each block
        assert done.count("relu") == 17 and done.count("add_") == 8


def test_where_it_cannot_be_done_the_copy_is_an_ordinary_one(flowers: vw.Net, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(1, flowers.channels, *flowers.size)
    for target, kind in ((vw.Logit("rose"), Fused), (vw.Channel("stage2", 3), type(flowers.module))):
        assert type(Folded(flowers, forward_only=8).net(target.resolve(flowers), x).module) is kind
    net = vw.load("flowers")
    net.module.double()
    assert type(Folded(net, forward_only=8).net(vw.Logit(1).resolve(net), x.double()).module) is type(flowers.module)
    monkeypatch.setattr("vizwidgets.core.fusing._planned", lambda *_: (_ for _ in ()).throw(AttributeError("no such operation")))
    assert type(Folded(flowers, forward_only=8).net(vw.Logit(1).resolve(flowers), x).module) is type(flowers.module)
