"""A copy that computes the same in less time."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.core.copies import Folded

NORMS = nn.BatchNorm2d


def lively(module: nn.Module) -> nn.Module:
    """With statistics as training would leave them, and not as a new module has them."""
    generator = torch.Generator().manual_seed(0)
    for m in module.modules():
        if isinstance(m, NORMS) and m.running_mean is not None and m.running_var is not None:
            for v, low in ((m.running_mean, -0.5), (m.running_var, 0.5), (m.weight.data, 0.5), (m.bias.data, -0.5)):
                v.copy_(low + torch.rand(v.shape, generator=generator))
    return module.eval()


class Block(nn.Module):
    """A convolution and its normalisation, and a way on that tests choose."""

    def __init__(self, way: Callable[[Block, Tensor], Tensor], **options: object) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, bias=False), NORMS(8, **options)  # type: ignore[arg-type]
        self.fc, self.way = nn.Linear(8, 4), way

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.way(self, x).mean((2, 3)))


def fast(net: vw.Net, target: vw.Target, x: Tensor) -> vw.Net:
    return Folded(net).net(target.resolve(net), x)


def norms(net: vw.Net) -> int:
    return sum(isinstance(m, NORMS) for m in net.module.modules())


def image(net: vw.Net) -> Tensor:
    return torch.rand(2, net.channels, *net.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("target", [vw.Logit("rose"), vw.Channel("stage2", 3), vw.Channel("stage3.0.norm1", 5)])
def test_the_copy_gives_the_same_scores_and_gradients(flowers: vw.Net, target: vw.Target, double: bool) -> None:
    net = vw.as_net(vw.load("flowers"))
    if double:
        net.module.double()
    x = image(net).to(torch.float64 if double else torch.float32)
    other = fast(net, target, x)
    assert norms(net) > 10 and norms(other) == 0
    for mine, expected in zip(vw.core.optimize.gradient(other, target, x), vw.core.optimize.gradient(net, target, x), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=float(expected.abs().max()) * (1e-12 if double else 2e-5))


def test_the_network_is_as_it_was(flowers: vw.Net) -> None:
    before = copy.deepcopy(flowers.module)
    random, x = torch.random.get_rng_state(), image(flowers)
    other = fast(flowers, vw.Logit("rose"), x)
    assert other is not flowers and torch.equal(random, torch.random.get_rng_state())
    for (name, a), (_, b) in zip(flowers.module.named_modules(), before.named_modules(), strict=True):
        assert type(a) is type(b) and a.training == b.training and not a._forward_hooks and not a._forward_pre_hooks, name
    for (name, p), (_, q) in zip(flowers.module.state_dict(keep_vars=True).items(), before.state_dict(keep_vars=True).items(), strict=True):
        assert torch.equal(p, q) and p.requires_grad == q.requires_grad and p.grad is None, name
    assert other.module.get_parameter("head.weight").data_ptr() == flowers.module.get_parameter("head.weight").data_ptr()


def test_a_convolution_that_is_read_keeps_its_output(flowers: vw.Net) -> None:
    x, target = image(flowers), vw.Channel("stage2.0.conv1", 3)
    other = fast(flowers, target, x)
    assert norms(other) == 1
    assert torch.allclose(vw.score(other, target, x), vw.score(flowers, target, x), rtol=1e-5)


def test_changed_weights_make_another_copy() -> None:
    net = vw.as_net(lively(Block(lambda m, x: m.norm(m.conv(x)))), size=16)
    folded, x, target = Folded(net), image(net), vw.Logit(1).resolve(net)
    first = folded.net(target, x)
    assert folded.net(target, x) is first is not net
    with torch.no_grad():
        net.module.get_buffer("norm.running_mean").add_(1)
    second = folded.net(target, x)
    assert second is not first and torch.allclose(second(x), net(x), rtol=1e-4) and not torch.allclose(first(x), net(x), rtol=1e-4)
    assert folded.net(vw.Channel("conv", 1).resolve(net), x) is not second


def both(m: Block, x: Tensor) -> Tensor:
    y = m.conv(x)
    return m.norm(y) + y


def twice(m: Block, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) + m.norm(m.conv(x * 2))


def by_hand(m: Block, x: Tensor) -> Tensor:
    n = m.norm
    return nn.functional.batch_norm(n(m.conv(x)), n.running_mean, n.running_var)


@pytest.mark.parametrize("way", [both, twice, by_hand])
def test_where_folding_would_change_the_scores_it_is_left(way: Callable[[Block, Tensor], Tensor]) -> None:
    net = vw.as_net(lively(Block(way)), size=16)
    x = image(net)
    other = fast(net, vw.Logit(1), x)
    assert norms(other) == 1
    assert torch.allclose(other(x), net(x), rtol=1e-5, atol=1e-6)


def test_a_normalisation_by_the_batch_itself_stays() -> None:
    net = vw.as_net(lively(Block(lambda m, x: m.norm(m.conv(x)), track_running_stats=False)), size=16)
    assert norms(fast(net, vw.Logit(1), image(net))) == 1


def test_networks_that_cannot_be_copied_or_are_not_in_full_precision_are_used_themselves() -> None:
    locked = Block(lambda m, x: m.norm(m.conv(x)))
    locked.lock = threading.Lock()  # type: ignore[assignment]
    half = Block(lambda m, x: m.norm(m.conv(x))).bfloat16()
    for module in (locked, half):
        net = vw.as_net(module.eval(), size=16)
        assert fast(net, vw.Logit(1), image(net)) is net


def test_a_run_goes_on_with_weights_that_were_changed(flowers: vw.Net) -> None:
    net = vw.load("flowers")
    optimizer = vw.ImageOptimizer(net, vw.Logit("rose"), vw.PixelImage(size=net.size))
    for _ in range(8):
        optimizer.step()
    with torch.no_grad():
        net.module.get_parameter("stem.conv.weight").zero_()
        now = vw.score(net, vw.Logit("rose"), optimizer.image())
    assert optimizer.step().scores["score"].item() == pytest.approx(now.item(), rel=1e-4)


class Pooled(nn.Module):
    """ReLUs before a maximum: one of its own in place, one not, and one that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)
        self.conv3, self.relu3, self.pool3, self.fc = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.pool3(self.relu3(self.conv3(self.relu3(x))))
        return self.fc(x.mean((2, 3)))


def pooling() -> vw.Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Pooled().eval()
    for conv in (module.conv1, module.conv2, module.conv3):
        torch.nn.init.constant_(conv.bias, 0.2)
    return vw.as_net(module, size=33)


@pytest.mark.parametrize(("target", "moved"), [
    (vw.Logit(1), {"relu1", "relu2"}), (vw.Channel("pool1", 2), {"relu1", "relu2"}), (vw.Channel("relu2", 2) + vw.Channel("pool2", 1), {"relu1"}),
    (vw.Channel("conv2", 2), {"relu1", "relu2"}), (vw.Neuron("pool2", 4, 0, 0), {"relu1", "relu2"}),
])  # fmt: skip
def test_relus_after_the_maximum_change_nothing(target: vw.Target, moved: set[str]) -> None:
    net = pooling()
    x, target = image(net), target.resolve(net)
    fast = Folded(net, pool_first=True).net(target, x)
    assert {n for n in ("relu1", "relu2", "relu3") if isinstance(fast.module.get_submodule(n), nn.Identity)} == moved
    plain = Folded(net).net(target, x)
    assert not any(isinstance(m, nn.Identity) for m in plain.module.modules())
    for mine, expected in zip(vw.core.optimize.gradient(fast, target, x), vw.core.optimize.gradient(plain, target, x), strict=True):
        assert torch.equal(mine, expected) and mine.abs().max() > 0


@pytest.mark.parametrize(("options", "expected"), [({"redirect": 0}, True), ({}, False), ({"redirect": 0, "pooling": "average"}, False)])
def test_runs_that_change_relus_or_the_maximum_leave_them_where_they_are(options: dict, expected: bool, monkeypatch) -> None:
    def pictures(after: int) -> Tensor:
        monkeypatch.setattr(vw.core.optimizer, "FOLD_AFTER", after)
        net = pooling()
        machine = vw.ImageOptimizer(net, vw.Logit(1), vw.PixelImage(size=net.size), **options)
        found = [machine.step().image for _ in range(12)][-1]
        if after == 0:
            fast = machine._folded.net(vw.Logit(1).resolve(net), found).module
            assert isinstance(fast.get_submodule("relu1"), nn.Identity) is expected
        return found

    torch.testing.assert_close(pictures(0), pictures(99), rtol=0, atol=1e-5)


def test_an_activation_that_others_read_stays_before_the_maximum() -> None:
    class Beside(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            rectified = self.relu2(self.conv1(x))
            return self.fc(self.pool2(rectified).mean((2, 3)) + rectified.square().mean((2, 3)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = vw.as_net(Beside().eval(), size=33)
    fast = Folded(net, pool_first=True).net(vw.Logit(1).resolve(net), image(net))
    assert fast is not net and isinstance(fast.module.get_submodule("relu2"), nn.ReLU)
    torch.testing.assert_close(fast(image(net)), net(image(net)))
