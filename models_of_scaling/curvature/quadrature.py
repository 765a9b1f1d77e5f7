"""From Lanczos quadratures to a spectrum's density, moments and index; no torch.

Stochastic Lanczos quadrature (Golub & Meurant 2010, chapter 11; Ghorbani, Krishnan & Xiao 2019,
arXiv:1901.10159): m steps of Lanczos from a random unit vector v give nodes theta_j and weights
tau_j^2 that sum to 1, with

    sum_j tau_j^2 f(theta_j) = v^T f(H) v   exactly for polynomials f up to degree 2 m - 1,

whose mean over v is tr f(H) / P. A share of eigenvalues is a step in f, which no polynomial is:
where most eigenvalues lie near 0, one heavy node stands for them, and its sign is chance. But the
inequalities of Chebyshev, Markov and Stieltjes (Szego 1939, section 3.41) bound what lies below a
value, between the nodes strictly inside and those next to it; the bounds are reported beside the
share, and close as Lanczos steps are added.

Shapes: V probes, M nodes.
"""

import math
from dataclasses import dataclass

import numpy as np

from models_of_scaling.quantities import Floats


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over probes.

    Attributes:
        value: the mean.
        standard_error: from the spread between probes; NaN for a single one.
    """

    value: float
    standard_error: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Quadrature:
    """The spectrum of a matrix as some Lanczos runs see it.

    Attributes:
        nodes: eigenvalues of the tridiagonal matrices, shape (V, M).
        weights: not negative, each row sums to 1; shape (V, M).
    """

    nodes: Floats
    weights: Floats

    def __post_init__(self) -> None:
        """Check.

        Raises:
            ValueError: where shapes differ or weights are none.
        """
        if self.nodes.ndim != 2 or self.nodes.shape != self.weights.shape:
            raise ValueError("nodes and weights must be two tables of one shape")
        if (self.weights < 0).any() or not np.allclose(self.weights.sum(axis=1), 1, atol=1e-4):
            raise ValueError("weights must not be negative, and sum to 1 for each probe")

    def _mean(self, values: Floats) -> Estimate:
        each = (self.weights * values).sum(axis=1)
        if len(each) == 1:
            return Estimate(value=float(each[0]), standard_error=math.nan)
        return Estimate(
            value=float(each.mean()),
            standard_error=float(each.std(ddof=1) / math.sqrt(len(each))),
        )

    def moment(self, power: int) -> Estimate:
        """Return tr(H^power) / P.

        Args:
            power: from 0.
        """
        return self._mean(self.nodes**power)

    def share_below(self, value: float) -> Estimate:
        """Return the share of eigenvalues below a value.

        Args:
            value: for the index, minus what still counts as flat.
        """
        return self._mean((self.nodes < value).astype(float))

    def share_within(self, value: float) -> Estimate:
        """Return the share of eigenvalues of at most that size: the flat directions.

        Args:
            value: not negative.
        """
        return self._mean((np.abs(self.nodes) <= value).astype(float))

    def bounds_below(self, value: float) -> tuple[float, float]:
        """Return bounds of the share of eigenvalues below a value, for these probes.

        Args:
            value: as of `share_below`.

        Returns:
            The mean over probes of each probe's bounds; the draw of the probes is not in them.
        """
        ends = []
        for nodes, weights in zip(self.nodes, self.weights, strict=True):
            order = np.argsort(nodes)
            sums = np.concatenate([[0.0, 0.0], np.cumsum(weights[order]), [1.0]])
            place = int(np.searchsorted(nodes[order], value))  # so many nodes lie below
            ends.append((sums[place], sums[place + 2]))
        low, high = np.mean(ends, axis=0)
        return float(low), float(high)

    def density(self, at: Floats, *, width: float) -> Floats:
        """Return the density of eigenvalues, each node spread as a Gaussian.

        Args:
            at: eigenvalues, shape (N,).
            width: standard deviation of the Gaussian, in eigenvalues.

        Returns:
            Per unit of eigenvalue, shape (N,); its integral is 1.
        """
        bumps = np.exp(-0.5 * np.square((at[:, None, None] - self.nodes) / width))
        total = (bumps * self.weights).sum(axis=(1, 2)) / len(self.nodes)
        return np.asarray(total / (width * math.sqrt(2 * math.pi)))
