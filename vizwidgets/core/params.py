"""An image as free parameters: its pixels, or its Fourier spectrum in colours that do not depend on one another."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# How the three colours of photographs vary together, up to a common factor: the matrix of Lucid.
_COLOURS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float64)
_COLOURS = _COLOURS / _COLOURS.norm(dim=0).max()
# The sigmoid never reaches black and white; this near, less than half a level of 8 bits is lost.
_EDGE = 1 / 600


class Params(Protocol):
    """What an optimizer changes: `values`, from which calling it makes images (B, C, H, W) in [0, 1]."""

    values: Tensor

    def __call__(self) -> Tensor:
        """Images (B, C, H, W) in [0, 1], in the autograd graph of `values`."""

    def project(self) -> None:
        """Bring `values` back to where they mean an image, after an update."""


class PixelImage:
    """Images whose pixels are the parameters; after each update they are clipped to [0, 1].

    Parameters
    ----------
    init : Tensor, optional
        Images (B, C, H, W) in [0, 1] to start from; by default grey with a little noise.
    size : (int, int)
        Height and width in pixels, without `init`.
    batch, channels : int
        How many images of how many channels, without `init`.
    noise : float
        Standard deviation of the noise, in [0, 1] pixel units.
    seed : int
        Of the noise; image `i` of a batch is the only image of seed ``seed + i``.

    Examples
    --------
    >>> PixelImage(size=(64, 64))().shape
    torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self, init: Tensor | None = None, *, size: tuple[int, int] = (128, 128), batch: int = 1, channels: int = 3,
        noise: float = 0.01, seed: int = 0,
    ) -> None:  # fmt: skip
        if init is None:
            init = (0.5 + noise * _normal((channels, *size), batch, seed)).clamp_(0, 1)
        self.values = _checked(init).clone().requires_grad_()

    def __call__(self) -> Tensor:
        """Images (B, C, H, W) in [0, 1]."""
        return self.values

    @torch.no_grad()
    def project(self) -> None:
        """Clip to [0, 1]."""
        self.values.clamp_(0, 1)


class FourierImage:
    """Images whose Fourier coefficients are the parameters, weighted so that all frequencies move at a like pace.

    In pixels, gradients favour high frequencies, and pictures turn to noise; here a step changes broad shapes as readily as
    details. Three channels are moreover mixed from colours that do not depend on one another in photographs. A sigmoid
    keeps every pixel inside [0, 1].

    Parameters
    ----------
    init : Tensor, optional
        Images (B, C, H, W) in [0, 1] to start from; by default noise.
    size, batch, channels, seed
        As of `PixelImage`.
    noise : float
        Standard deviation of the coefficients.
    decay : float
        How fast the weights fall with the frequency; below 1 broad shapes have less of a lead.

    References
    ----------
    Olah, Mordvintsev, Schubert: Feature visualization, Distill, 2017.

    Examples
    --------
    >>> FourierImage(size=(64, 64))().shape
    torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self, init: Tensor | None = None, *, size: tuple[int, int] = (128, 128), batch: int = 1, channels: int = 3,
        noise: float = 0.01, decay: float = 1.0, seed: int = 0,
    ) -> None:  # fmt: skip
        if init is not None:
            init = _checked(init)
            channels, size = init.shape[1], (init.shape[2], init.shape[3])
        self._size = size
        dtype = torch.float32 if init is None else init.dtype
        fy, fx = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None]
        frequency = (fy.square() + fx.square()).sqrt().clamp(min=1 / max(size))
        # Lucid's weights, and its factor 1/4 behind the transform.
        self._weights = ((size[0] * size[1]) ** 0.5 / (4 * frequency**decay)).to(dtype)
        # Of the frequencies that stand for their negatives too there are two.
        self._weights_back = self._weights.clone()
        self._weights_back[:, 1 : (size[1] + 1) // 2] *= 2
        self._colours = _COLOURS.to(dtype) if channels == 3 else None
        if init is None:
            values = noise * _normal((channels, size[0], size[1] // 2 + 1, 2), batch, seed)
        else:
            colours = init.clamp(_EDGE, 1 - _EDGE).logit()
            if self._colours is not None:
                colours = torch.einsum("dc,bchw->bdhw", torch.linalg.inv(self._colours), colours)
            values = torch.view_as_real(torch.fft.rfft2(colours) / self._weights)
        self.values = values.contiguous().requires_grad_()

    def __call__(self) -> Tensor:
        """Images (B, C, H, W) in [0, 1]."""
        images: Tensor = _Synthesis.apply(self.values, self._weights, self._weights_back, self._colours, self._size)
        return images

    def project(self) -> None:
        """Nothing to do: every spectrum is an image."""


class _Synthesis(torch.autograd.Function):
    """Pixels of Fourier coefficients. By hand, for the usual way back takes twice as long."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, weights_back: Tensor, colours: Tensor | None, size: tuple[int, int]) -> Tensor:
        x = torch.fft.irfft2(torch.view_as_complex(values) * weights, s=size)
        if colours is not None:
            x = (colours @ x.flatten(2)).view_as(x)
        images = x.sigmoid_()
        ctx.save_for_backward(images, weights_back, colours)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        images, weights_back, colours = ctx.saved_tensors
        x = torch.ops.aten.sigmoid_backward(slope.contiguous(), images)
        if colours is not None:
            x = (colours.T @ x.flatten(2)).view_as(x)
        x = torch.fft.rfft2(x, norm="forward")
        return torch.view_as_real(x.mul_(weights_back)), None, None, None, None


def _normal(shape: tuple[int, ...], batch: int, seed: int) -> Tensor:
    # Image by image, so that a batch is what its images are one by one.
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(batch)])


def _checked(init: Tensor) -> Tensor:
    if not isinstance(init, Tensor) or init.dim() != 4 or not init.is_floating_point():
        came = f"{init.dtype} {tuple(init.shape)}" if isinstance(init, Tensor) else type(init).__name__
        raise TypeError(f"images to start from are a floating-point tensor (B, C, H, W) in [0, 1], not {came}; see vizwidgets.image")
    if not bool(((init >= 0) & (init <= 1)).all()):
        raise ValueError(f"images to start from lie in [0, 1], not in [{init.min():.3g}, {init.max():.3g}]")
    return init.detach().to("cpu", torch.float64 if init.dtype == torch.float64 else torch.float32)
