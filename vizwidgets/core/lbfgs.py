"""L-BFGS that evaluates once a step, and takes back the steps that lead uphill."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import gcd, inf, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Lbfgs:
    """Limited-memory BFGS; a step costs what it costs with Adam.

    In place of a line search within a step, the next step looks back: where the loss has risen, it returns to the best values
    so far and tries a shorter way in the same direction. Leaps are cut short. But for these two, it does what `torch.optim.LBFGS`
    does.

    Parameters
    ----------
    values : list of Tensor
        A single tensor.
    lr : float
        Length of a step; 1 for that of Newton's method.
    memory : int
        How many of the last steps the curvature is estimated from.

    References
    ----------
    Nocedal, Wright: Numerical optimization, 2006, chapters 3 and 7.
    """

    # So many ways too long in a row, and the direction was wrong: start again from the steepest descent.
    PATIENCE = 8
    # So many times as far as any step that it remembers is a leap, once it remembers enough of them. It makes one where it takes a
    # slope for straight, which ends where pixels are black or white and hardly change any more.
    LEAP = 2.0
    ENOUGH = 3
    # So often in a row, each time much uphill to the end: no step that short will come.
    VAIN = 2

    def __init__(self, values: list[Tensor], lr: float = 1.0, memory: int = 10) -> None:
        # As of `Adam`, no bookkeeping around it.
        (self._values,) = values
        self.param_groups = [{"lr": lr}]
        self._memory = memory
        self._best: tuple[Tensor, float, Tensor] | None = None
        self._pairs: _Pairs | None = None
        self._refused, self._vain, self._length, self._reach = 0, 0, lr, 0.0
        self._taken: deque[float] = deque(maxlen=memory)  # how far the last steps went

    @torch.no_grad()
    def restart(self) -> None:
        """Go back to the best values and forget all else; needed when the loss is another one from now on."""
        if self._best is not None:
            self._values.copy_(self._best[0])
        self._best, self._pairs, self._refused = None, None, 0
        self._taken.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Do one update; `closure` gives the loss, and in `values.grad` its gradient, which is taken. ValueError if no step leads downhill."""
        values = self._values
        with torch.enable_grad():
            loss = closure()
        assert values.grad is not None
        gradient, values.grad = values.grad, None  # kept, so nobody else's any more
        first = self._best is None
        if self._best is not None:
            best, least, before = self._best
            if not float(loss) <= least:
                self._refuse(float(loss) - least)
                return loss
            self._vain = 0
            self._taken.append(self._length * self._reach)
            # What was really moved: the values may have been clipped.
            moved, bent = values - best, gradient - before
            if (curvature := _dot(moved, bent)) > 1e-10:
                self._pairs = self._pairs or _Pairs(values, self._memory)
                self._pairs.add(moved, bent, curvature, before)
        self._best, self._refused = (values.clone(), float(loss), gradient), 0
        self._direction = self._pairs.newton(gradient) if self._pairs else -gradient
        self._reach = sqrt(_dot(self._direction, self._direction))
        lr = float(self.param_groups[0]["lr"])
        if self._pairs:
            leap = self.LEAP * max(self._taken) if len(self._pairs) >= self.ENOUGH else inf
            self._length = min(lr, leap / max(self._reach, 1e-30))
        elif first:
            self._length = lr * min(1.0, 1 / max(float(gradient.abs().sum()), 1e-30))
        else:  # the slope grows on the way down, which says nothing of where it ends
            self._length *= 4
        values.add_(self._direction, alpha=self._length)
        return loss

    def _refuse(self, rise: float) -> None:
        """Take the last step back and try one that ends where a parabola through what is known has its minimum."""
        assert self._best is not None
        best, least, gradient = self._best
        self._refused += 1
        if self._refused == self.PATIENCE:
            self.restart()
            self._vain = self._vain + 1 if rise > 0.01 * abs(least) else 0
            if self._vain == self.VAIN:
                tries, lr = self.VAIN * self.PATIENCE, self.param_groups[0]["lr"]
                raise ValueError(f"L-BFGS diverges: {tries} steps in a row led far uphill and were taken back; lr={lr:g} is too large, its usual value is 1")
            return
        t, slope = self._length, _dot(gradient, self._direction)
        self._length = min(max(-slope * t * t / (2 * (rise - slope * t)), 0.1 * t), 0.5 * t)
        self._values.copy_(best + self._length * self._direction)


class _Pairs:
    """The last steps and how they bent the gradient, as the rows of one matrix: going through it costs more than all the rest.

    What the two loops over the pairs compute is written as two products with that matrix, with small matrices between them.

    References
    ----------
    Byrd, Nocedal, Schnabel: Representations of quasi-Newton matrices and their use in limited memory methods, 1994.
    """

    def __init__(self, values: Tensor, memory: int) -> None:
        self._rows = values.new_zeros(2 * memory, values.numel())  # the steps, then how they bent the gradient
        # A piece for each thread: PyTorch multiplies a matrix and a vector in one, and several of them each in its own.
        self._pieces = self._rows.unflatten(1, (gcd(values.numel(), torch.get_num_threads()), -1)).transpose(0, 1)
        # By NumPy: an operation on a few numbers takes a tenth of what it takes in PyTorch.
        self._products = np.zeros(2 * memory)  # of the rows with the last gradient
        self._moved_bent, self._bent_bent = np.zeros((2, memory, memory))
        self._order: list[int] = []  # of the pairs, the oldest first
        self._exact: tuple[float, float] | None = None

    def add(self, moved: Tensor, bent: Tensor, curvature: float, before: Tensor) -> None:
        """Take in a pair, for the oldest one if there is no more room; `before` is the gradient that was bent."""
        memory = len(self._moved_bent)
        new = len(self._order) if len(self._order) < memory else self._order.pop(0)
        self._order.append(new)
        self._rows[new], self._rows[memory + new] = moved.reshape(-1), bent.reshape(-1)
        self._products[new], self._products[memory + new] = _dot(moved, before), _dot(bent, before)
        self._exact = curvature, _dot(bent, bent)

    def __len__(self) -> int:
        return len(self._order)

    def newton(self, gradient: Tensor) -> Tensor:
        """Minus the gradient times the inverse curvature as the pairs have it."""
        memory, order, new = len(self._moved_bent), np.array(self._order), self._order[-1]
        # The bend is the difference of two gradients, and so are its products with the rows: they are gone through but once.
        before, products = self._products, self._with_rows(gradient)
        self._products = products
        if self._exact:
            self._moved_bent[:, new] = products[:memory] - before[:memory]
            self._bent_bent[:, new] = self._bent_bent[new] = products[memory:] - before[memory:]
            self._moved_bent[new, new], self._bent_bent[new, new] = self._exact
            self._exact = None
        # Of later steps with earlier bends the formula knows nothing: R is triangular.
        r, bent = np.triu(self._moved_bent[order][:, order]), self._bent_bent[order][:, order]
        scale = r[-1, -1] / bent[-1, -1]
        u = np.linalg.solve(r, products[order])
        v = r.diagonal() * u + scale * (bent @ u - products[memory + order])
        weights = np.zeros_like(products)
        weights[order] = np.linalg.solve(r.T, v)
        weights[memory + order] = -scale * u
        return self._sum_of_rows(torch.from_numpy(-weights).to(gradient)).view_as(gradient).add_(gradient, alpha=-float(scale))

    def _with_rows(self, gradient: Tensor) -> Any:
        parts = gradient.reshape(len(self._pieces), 1, -1) @ self._pieces.mT
        return parts.sum((0, 1)).double().numpy()

    def _sum_of_rows(self, weights: Tensor) -> Tensor:
        return weights.expand(len(self._pieces), 1, -1) @ self._pieces


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))
