"""So many steps of a noisy linear system at once, exactly, for states of any small dimension.

Each mode's state is x = (theta, ...) of dimension n, and one step x -> M x + eta eps, eps of mean 0
and variance 1. From x(0) = theta(0) s, theta(0) random, and with noise of variance c,

    E[x x^T](t) = E[theta(0)^2] u(t) u(t)^T + c N(t),    u(t) = M^t s,
    N(t1 + t2)  = M^t2 N(t1) M^t2^T + N(t2),             N(1) = eta eta^T,

so that the signal u and the noise N know neither the batch size nor the start's variance: one pass
serves all batch sizes. Squaring gives the flows of 1, 2, 4, ... steps.

Source: the moments' recursion is that of Zhang et al. 2019, arXiv:1907.04164, appendix.
Differs from the source: it is kept as an n x n product instead of a matrix on n(n+1)/2 moments, and
signal and noise apart.

Shapes: n states, K configurations, P modes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class SystemState(NamedTuple):
    """Where a system is after some steps.

    Attributes:
        signal: u, of shape (n, ...).
        noise: N, of shape (n, n, ...).
    """

    signal: Floats
    noise: Floats


class LinearFlow(NamedTuple):
    """So many steps: x -> M x + noise of covariance `noise`.

    Attributes:
        matrix: M, of shape (n, n, ...).
        noise: its N, of the same shape.
    """

    matrix: Floats
    noise: Floats

    def apply(self, state: SystemState) -> SystemState:
        """Return the state after these steps."""
        signal = _product(self.matrix, state.signal[:, None])[:, 0]
        return SystemState(signal, self._moved(state.noise))

    def twice(self) -> "LinearFlow":
        """Return the flow of twice as many steps."""
        return LinearFlow(_product(self.matrix, self.matrix), self._moved(self.noise))

    def then(self, later: "LinearFlow") -> "LinearFlow":
        """Return the flow of these steps and then the later ones."""
        noise = later.apply(SystemState(self.noise[:, 0], self.noise)).noise
        return LinearFlow(_product(later.matrix, self.matrix), noise)

    def repeated(self, steps: int) -> "LinearFlow":
        """Return the flow of a multiple of the steps.

        Args:
            steps: the multiple, at least 1.
        """
        result: LinearFlow | None = None
        power, left = self, steps
        while True:
            if left & 1:
                result = power if result is None else result.then(power)
            left >>= 1
            if not left:
                assert result is not None
                return result
            power = power.twice()

    def _moved(self, noise: Floats) -> Floats:
        """Return M N M^T + the flow's own noise."""
        half = _product(self.matrix, noise)
        return _product(half, self.matrix.swapaxes(0, 1)) + self.noise


def _product(left: Floats, right: Floats) -> Floats:
    """Return the matrix product over the first two axes, elementwise in the others."""
    result: Floats = left[:, 0, None] * right[None, 0]
    for inner in range(1, left.shape[1]):
        result += left[:, inner, None] * right[None, inner]
    return result
