"""`Net` and `as_net`: normalised exactly once, the module as it was, options checked."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from nets import MATRIX, make, net, nothing_left_behind, picture, plain_outputs
from torch import Tensor, nn
from torchvision import models as tv

import vizwidgets as vw


@pytest.mark.parametrize("name", MATRIX)
def test_scores_equal_the_module_on_normalised_images(name: str) -> None:
    of = net(name)
    x = picture(of, batch=2)
    _, expected = plain_outputs(of, x)
    scores = of(x)
    assert scores.shape == (2, 10)
    assert scores.dtype == (torch.float64 if name == "double" else torch.float32)
    torch.testing.assert_close(scores.detach(), expected.to(scores.dtype), atol=2e-3 if name == "half" else 2e-5, rtol=1e-3)


class Sees(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.seen = nn.Conv2d(3, 2, 1), None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.detach().clone()
        return self.conv(x).mean((2, 3))


def test_normalised_exactly_once() -> None:
    module = Sees()
    x = torch.rand(2, 3, 6, 6)
    of = vw.as_net(module, size=6, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    expected = torch.stack([(x[:, c] - (0.1, 0.2, 0.3)[c]) / (0.5, 0.6, 0.7)[c] for c in range(3)], 1)
    for call in (of, vw.as_net(of), vw.as_net(of, labels=["a", "b"]), lambda x: vw.score(of, vw.Logit(0), x),
                 lambda x: vw.activation_maps(of, x, "conv"), lambda x: vw.gradient(of, vw.Channel("conv", 0), x)):  # fmt: skip
        call(x)
        torch.testing.assert_close(module.seen, expected)
    vw.as_net(module, size=6)(x)
    torch.testing.assert_close(module.seen, x)
    vw.as_net(module, size=6, mean=0.5)(x)
    torch.testing.assert_close(module.seen, x - 0.5)
    vw.as_net(module, size=6, std=0.25)(x)
    torch.testing.assert_close(module.seen, x * 4)


def test_known_normalisations() -> None:
    of = vw.as_net(tv.squeezenet1_1(weights=None), size=64)
    assert of.mean == (0.485, 0.456, 0.406)
    assert of.std == (0.229, 0.224, 0.225)
    assert vw.as_net(tv.squeezenet1_1(), size=64, mean=0, std=1).mean == (0, 0, 0)
    assert vw.as_net(nn.Conv2d(3, 2, 1), size=8).mean == (0, 0, 0)
    assert "not normalised" in repr(vw.as_net(nn.Conv2d(3, 2, 1), size=8))
    assert "not normalised" not in repr(of)


def test_timm() -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("mobilenetv3_small_050.lamb_in1k", pretrained=False)
    cfg = module.pretrained_cfg
    of = vw.as_net(module)
    assert of.mean == tuple(cfg["mean"])
    assert of.std == tuple(cfg["std"])
    assert of.size == (224, 224)
    assert of.interpolation == "bicubic"
    assert of.resize == round(224 / cfg["crop_pct"])


def test_what_says_how_it_was_trained() -> None:
    module = make("functional")
    module.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "input_size": (3, 64, 64), "crop_pct": 0.8, "interpolation": "random"}
    of = vw.as_net(module)
    assert (of.mean, of.std, of.size, of.resize, of.interpolation) == ((0.5,) * 3, (0.2,) * 3, (64, 64), 80, "bilinear")
    assert vw.as_net(module, size=128).resize == round(128 * 256 / 224)


def test_unwrapped() -> None:
    inner = make("functional")
    wrapped = nn.DataParallel(torch.compile(nn.DataParallel(inner)))
    of = vw.as_net(wrapped, size=32)
    assert of.module is inner
    assert list(of.layers) == ["conv1", "conv2", "fc"]
    with nothing_left_behind(inner):
        vw.activation_maps(wrapped, picture(of), "conv2")


def test_sizes_and_channels_are_found() -> None:
    assert vw.as_net(make("viewed")).size == (32, 32)
    assert vw.as_net(make("vit")).size == (64, 64)
    assert (vw.as_net(make("no_convolution")).channels, vw.as_net(make("no_convolution")).size) == (3, (16, 16))
    assert vw.as_net(make("five_channels")).channels == 5
    mnist = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    assert repr(vw.as_net(mnist)) == "Net(Sequential, 1×28 px, not normalised)"
    assert vw.as_net(mnist).resize == 32
    with pytest.raises(ValueError, match=r"takes no image of a usual size .*as_net\(module, size=\.\.\.\)"):
        vw.as_net(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(77, 2)))
    with pytest.raises(RuntimeError, match=r"failed on an image \(3, 48, 48\).*size=\.\.\."):
        _ = vw.as_net(make("viewed"), size=48).layers


@pytest.mark.parametrize(("options", "message"), [
    ({"size": 0}, "size is a number of pixels"), ({"size": 2.5}, "size is"), ({"size": (3, 4, 5)}, "size is"), ({"size": -3}, "size is"),
    ({"mean": (0.1, 0.2)}, "mean has 2 numbers for 3 channels"), ({"std": 0}, "std must be positive"),
    ({"std": (1, -1, 1)}, "std must be positive"), ({"std": np.nan}, "std must be"), ({"mean": np.inf}, "mean must be finite"),
    ({"interpolation": "bicubik"}, "did you mean 'bicubic'"), ({"resize": 0}, "resize is a whole number"),
    ({"channels": 0}, "channels is a whole number"), ({"resize": 2.5}, "resize is a whole number"),
])  # fmt: skip
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vw.as_net(make("functional"), **{"size": 32, **options})


@pytest.mark.parametrize("what", ["resnet18", None, 3, torch.zeros(1), nn.Conv2d, lambda x: x, {"weight": torch.zeros(1)}])
def test_what_is_no_module(what: object) -> None:
    with pytest.raises(TypeError, match="instance|a network is a"):
        vw.as_net(what)
    with pytest.raises(TypeError):
        vw.as_net(make("functional"), size=32, labels="rose")
    with pytest.raises(TypeError):
        vw.as_net(make("functional"), sise=32)


def test_options_are_kept_when_some_are_changed() -> None:
    of = vw.as_net(make("functional"), size=32, mean=0.4, std=0.3, labels=map(str, range(10)), interpolation="bicubic", name="mine")
    assert vw.as_net(of) is of
    other = vw.as_net(of, size=40)
    assert (other.size, other.mean, other.std, other.labels, other.interpolation, other.name) == (
        (40, 40), of.mean, of.std, of.labels, "bicubic", "mine")  # fmt: skip
    assert other.resize == round(40 * 256 / 224)
    assert vw.as_net(of, labels=["a"]).resize == of.resize
    assert of.label(3) == "3"
    assert of.label(11) == "class 11"


@pytest.mark.parametrize(("images", "error"), [
    (torch.rand(3, 32, 32), ValueError), (torch.rand(1, 1, 32, 32), ValueError), (np.zeros((1, 3, 32, 32)), ValueError),
    (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), TypeError), ("photo.jpg", ValueError),
])  # fmt: skip
def test_wrong_images(images: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"in \[0, 1\]"):
        net("functional")(images)


@pytest.mark.parametrize(("form", "error", "message"), [
    (lambda s, x: {"a": s, "b": x}, TypeError, r"a dict with 'a', 'b'; none is called 'logits' or 'out'"),
    (lambda s, x: "text", TypeError, "returns str, not class scores"),
    (lambda s, x: {}, TypeError, "returns a dict"),
    (lambda s, x: s[0], ValueError, r"returns \(10,\) for 2 images"),
    (lambda s, x: s.sum(), ValueError, r"returns \(\) for 2 images"),
    (lambda s, x: s[:1], ValueError, r"returns \(1, 10\) for 2 images"),
])  # fmt: skip
def test_outputs_that_are_no_scores(form: object, error: type[Exception], message: str) -> None:
    module = make("tuple")
    module.form = form
    of = vw.as_net(module, size=32)
    with nothing_left_behind(module), pytest.raises(error, match=message):
        of(picture(of, batch=2))


def test_outputs_that_are() -> None:
    module = make("tuple")
    of = vw.as_net(module, size=32)
    x = picture(of, batch=2)
    expected = of(x)
    for form in (lambda s, x: {"out": s, "aux": x}, lambda s, x: {"only": s}, lambda s, x: [[s], x], lambda s, x: {"logits": s, "out": x},
                 lambda s, x: s[:, :, None, None].expand(-1, -1, 3, 4)):  # fmt: skip
        module.form = form
        torch.testing.assert_close(of(x), expected)
    module.form = lambda s, x: s[:, 0]
    torch.testing.assert_close(of(x), expected[:, :1])


def test_a_view_that_refuses_channels_last_is_run_again_once() -> None:
    of = vw.as_net(make("viewed"), size=32)
    calls = []
    handle = of.module.register_forward_pre_hook(lambda *a: calls.append(1))
    of(picture(of))
    of(picture(of))
    handle.remove()
    assert len(calls) == 3
    with pytest.raises(ValueError, match="cannot take images of 40×40 pixels.*shapes cannot be multiplied"):
        of(torch.rand(1, 3, 40, 40))


def test_the_digest_is_that_of_the_weights() -> None:
    a, b = make("in_place"), make("in_place")
    first = vw.as_net(a, size=32).sha256
    assert vw.as_net(b, size=16, mean=0.5).sha256 == first
    with torch.no_grad():
        a.fc.bias[3] += 1e-6
    changed = vw.as_net(a, size=32).sha256
    assert changed != first
    b.bn1.running_mean[0] += 1
    assert vw.as_net(b, size=32).sha256 not in (first, changed)
    a.load_state_dict(make("in_place").state_dict())
    assert vw.as_net(a, size=32).sha256 == first
    a.fc.weight = nn.Parameter(a.fc.weight.detach().clone() + 1)
    assert vw.as_net(a, size=32).sha256 != first
    assert vw.as_net(make("in_place").half(), size=32).sha256 != first
    optimizer = torch.optim.SGD(b.parameters(), lr=0.1)
    before = vw.as_net(b, size=32).sha256
    b(torch.rand(1, 3, 32, 32)).sum().backward()
    assert vw.as_net(b, size=32).sha256 == vw.as_net(b, size=32).sha256
    optimizer.step()
    assert vw.as_net(b, size=32).sha256 != before


def test_two_threads_never_run_one_module_at_once() -> None:
    class Slow(Sees):
        inside, most = 0, 0

        def forward(self, x: Tensor) -> Tensor:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.01)
            self.inside -= 1
            return super().forward(x)

    module = Slow()
    threads = [threading.Thread(target=lambda: vw.as_net(module, size=6)(torch.rand(1, 3, 6, 6))) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert module.most == 1


def test_a_module_is_not_kept_alive() -> None:
    import gc
    import weakref

    module = make("functional")
    gone = weakref.ref(module)
    of = vw.as_net(module, size=32)
    vw.activation_maps(of, picture(of), "conv1")
    assert of.sha256
    del module, of
    gc.collect()
    assert gone() is None


def test_gradients_flow_through_the_normalisation(flowers: vw.Net) -> None:
    x = picture(flowers).requires_grad_()
    (grad,) = torch.autograd.grad(flowers(x)[0, 0], x)
    assert grad.abs().max() > 0
    assert flowers.size == (96, 96)
    assert len(flowers.labels) >= 10


def test_images_in_the_other_layout_are_taken_by_a_module_that_flattens_by_view():
    of, x = net("viewed"), picture(net("viewed"), batch=2)
    expected = of(x)
    for _ in range(2):  # found out by the first pass, remembered by the second
        assert torch.allclose(of(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-6)
