"""Adam for a single tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """`torch.optim.Adam` without the bookkeeping around it, which takes longer than the update of a small image.

    Parameters
    ----------
    values : list of Tensor
        A single tensor.
    lr : float

    References
    ----------
    Kingma, Ba: Adam, a method for stochastic optimization, 2015.
    """

    def __init__(self, values: list[Tensor], lr: float) -> None:
        (self._values,) = values
        self.param_groups = [{"lr": lr}]
        self._mean, self._square = torch.zeros_like(self._values), torch.zeros_like(self._values)
        self._steps = torch.zeros(())

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Do one update; `closure` gives the loss, with its gradient in `values.grad`."""
        loss = closure()
        assert self._values.grad is not None
        adam([self._values], [self._values.grad], [self._mean], [self._square], [], [self._steps], fused=True, amsgrad=False,
             beta1=0.9, beta2=0.999, lr=self.param_groups[0]["lr"], weight_decay=0, eps=1e-8, maximize=False)  # fmt: skip
        return loss
