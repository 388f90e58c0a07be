"""Images as parameters: what goes in comes out, and the spectrum is Lucid's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vizwidgets.core.params import FourierImage, PixelImage

BOTH = pytest.mark.parametrize("kind", [PixelImage, FourierImage])


@BOTH
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 31, 40), (1, 1, 17, 33), (2, 5, 24, 9)])
def test_an_image_put_in_comes_out_again(kind, shape) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    x[..., :4, :4], x[..., -4:, -4:] = 0, 1
    out = kind(init=x)()
    assert (out - x).abs().max() < 0.5 / 255
    assert out.min() >= 0 and out.max() <= 1


@BOTH
def test_noise_belongs_to_its_seed_and_to_its_place_in_the_batch(kind) -> None:
    before = torch.get_rng_state()
    three = kind(size=(20, 24), batch=3, seed=5)()
    assert torch.equal(torch.get_rng_state(), before)
    assert three.shape == (3, 3, 20, 24)
    torch.testing.assert_close(three[2:], kind(size=(20, 24), seed=7)())
    assert not torch.allclose(three[0], three[1])
    assert (three.mean() - 0.5).abs() < 0.05
    assert 0.001 < three.std() < 0.2


@BOTH
def test_gradients_reach_the_values(kind) -> None:
    image = kind(size=(16, 16))
    (grad,) = torch.autograd.grad(image().square().sum(), [image.values])
    assert grad.isfinite().all() and grad.abs().max() > 0


def test_pixels_are_clipped() -> None:
    image = PixelImage(torch.full((1, 3, 4, 4), 0.5))
    with torch.no_grad():
        image.values += torch.linspace(-1, 1, 48).view(1, 3, 4, 4)
    image.project()
    assert image().min() == 0 and image().max() == 1


def test_the_spectrum_is_that_of_lucid() -> None:
    # Written from the formula, with numpy: weights by frequency, inverse transform, a quarter, colours, sigmoid.
    image = FourierImage(size=(12, 15), noise=1.0, seed=3)
    s = image.values.detach().double().numpy()
    fy, fx = np.fft.fftfreq(12)[:, None], np.fft.rfftfreq(15)[None]
    weight = 1 / np.maximum(np.sqrt(fy**2 + fx**2), 1 / 15) * np.sqrt(12 * 15)
    planes = np.fft.irfft2((s[..., 0] + 1j * s[..., 1]) * weight, s=(12, 15)) / 4
    colours = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    colours /= np.linalg.norm(colours, axis=0).max()
    expected = 1 / (1 + np.exp(-np.einsum("dc,bchw->bdhw", colours, planes)))
    np.testing.assert_allclose(image().detach().numpy(), expected, atol=2e-6)


def test_other_than_three_channels_are_not_mixed() -> None:
    image = FourierImage(size=(8, 8), channels=2, seed=0)
    (grad,) = torch.autograd.grad(image()[:, 0].sum(), [image.values])
    assert grad[:, 1].abs().max() == 0 < grad[:, 0].abs().max()


@BOTH
def test_what_is_no_image_is_refused(kind) -> None:
    with pytest.raises(TypeError, match="floating-point"):
        kind(init=torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(TypeError, match=r"\(3, 4, 4\)"):
        kind(init=torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        kind(init=torch.full((1, 3, 4, 4), 255.0))
    with pytest.raises(ValueError, match="nan"):
        kind(init=torch.full((1, 3, 4, 4), torch.nan))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5), (5, 6), (1, 5), (6, 2)])
def test_the_way_back_from_pixels_to_coefficients(size: tuple[int, int], channels: int) -> None:
    image = FourierImage(torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64), decay=0.75)

    def pixels(values: torch.Tensor) -> torch.Tensor:
        image.values = values
        return image()

    assert torch.autograd.gradcheck(pixels, image.values, atol=1e-7)
