"""How far the risk of SGD is above its floor, for many cells of a grid at once.

A cell is a pair of a learning rate and a batch size; with a = 1 - lr k its risk after S steps is
above its floor by sum_i a_i^(2S) (w_i - lr n_i / (B k_i (2 - lr k_i))), w and n the measures of
`modes`. `sgd_grid` says where the sum is from and looks in it for steps to target.

Shapes: L learning rates, C cells, P modes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogate.simulator.modes import Modes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The cells that are searched, each with its own learning rate and batch size; shape (C,).

    Attributes:
        rate: index of the learning rate.
        batch_size: examples per step.
        gap: target - floor, positive.
    """

    rate: Integers
    batch_size: Floats
    gap: Floats

    def of(self, which: NDArray[np.bool_] | Integers) -> "Cells":
        """Return some of the cells.

        Args:
            which: of them, by mask or place.
        """
        return Cells(rate=self.rate[which], batch_size=self.batch_size[which], gap=self.gap[which])


class Powers:
    """a^2 and the noise's limits on given modes, for all learning rates, of shape (L, P)."""

    def __init__(self, modes: Modes, rates: Floats) -> None:
        """Compute them.

        Args:
            modes: all of the quadratic, or merged ones.
            rates: learning rates, shape (L,).
        """
        x = rates[:, None] * modes.curvature_P
        # log1p keeps the digits of a small x; a mode of x = 1 is gone after one step.
        self.logs = 2 * np.where(
            x < 0.5, np.log1p(-np.minimum(x, 0.5)), np.log(np.maximum(np.abs(1 - x), 1e-300))
        )
        self.square = np.square(1 - x)
        with np.errstate(divide="ignore", invalid="ignore"):  # x = 2 diverges: no cell here
            self.limit = rates[:, None] * (modes.noise_P / modes.curvature_P) / (2 - x)
        self.signal = modes.signal_P


class Excess:
    """risk - floor of cells as a function of their steps, sum_i amplitude_i exp(steps logs_i)."""

    def __init__(self, powers: Powers, cells: Cells) -> None:
        """Gather each cell's powers and amplitudes.

        Args:
            powers: of all learning rates.
            cells: in which every mode falls.
        """
        self.logs = powers.logs[cells.rate]
        self.amplitude = powers.limit[cells.rate]
        self.amplitude /= -cells.batch_size[:, None]
        self.amplitude += powers.signal
        self.square = powers.square, cells.rate
        self.gap = cells.gap
        self.scratch = np.empty_like(self.logs)  # fresh pages cost as much as the exponentials

    def _terms(self, steps: Floats) -> Floats:
        terms = self.scratch
        np.multiply(steps[:, None], self.logs, out=terms)
        np.exp(terms, out=terms)
        terms *= self.amplitude
        return terms

    def newton(self, steps: Floats) -> Floats:
        """Return the change of the steps that would bring the excess to the gap.

        On the logarithm of the excess, which is convex in the steps and nearly straight.

        Args:
            steps: of each cell, shape (C,).
        """
        terms = self._terms(steps)
        excess, slope = terms.sum(axis=1), np.einsum("cp,cp->c", terms, self.logs)
        with np.errstate(divide="ignore", invalid="ignore"):  # where nothing is left to shrink
            change: Floats = np.log(self.gap / excess) * excess / slope
        return np.where(np.isfinite(change), change, 0.0)

    def around(self, steps: Floats) -> tuple[Floats, Floats]:
        """Return the excess one step before, and at these steps.

        Args:
            steps: of each cell, shape (C,).
        """
        terms = self._terms(steps - 1)
        square, rate = self.square
        return terms.sum(axis=1), np.einsum("cp,cp->c", terms, square[rate])
