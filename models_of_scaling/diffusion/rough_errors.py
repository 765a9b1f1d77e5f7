"""Errors of a walk that may be rougher than a Markov process: how likely, and drawn.

A law is fitted with errors of correlation exp(-h / kappa), h the distance in log t (`law_fit`). A
free random walk's errors are that; those of a sub-diffusive walk are rougher at short distances and
remembered longer at large ones: of fractional Brownian motion with exponent nu < 1/2 the
correlation falls as 1 - h^(2 nu) and then as exp(-2 nu h). A Markov process fitted to its
neighbours forgets too early, and the exponent's interval comes out too narrow. Here

    correlation(h) = exp(-(h / kappa)^roughness),    0 < roughness <= 1,

which is a correlation for any points (Schoenberg 1938); roughness 1 is the Markov process.

Shapes: N points, W walks.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from models_of_scaling.diffusion.law_fit import Points, kappa_bounds
from models_of_scaling.quantities import Floats

_KAPPAS = 16
_ROUGHNESSES = np.linspace(0.3, 1.0, 8)
_JITTER = 1e-10  # keeps neighbours of one step apart from a singular matrix


@dataclass(frozen=True, kw_only=True, eq=False)
class RoughErrors:
    """Errors of some points.

    Attributes:
        kappa: correlation length, in log steps.
        roughness: exponent of the distance; 1 is the Markov process.
        factors: for each walk its places and the Cholesky factor of its correlation.
    """

    kappa: float
    roughness: float
    factors: tuple[tuple[slice, Floats], ...]

    @classmethod
    def of(cls, points: Points, *, kappa: float, roughness: float) -> "RoughErrors":
        """Factor the correlation of each walk; walks of the same steps share one.

        Args:
            points: of W walks.
            kappa: correlation length.
            roughness: exponent of the distance.

        Returns:
            The errors.
        """
        known: dict[bytes, Floats] = {}
        factors = []
        starts = np.flatnonzero(np.isinf(points.gap))
        for first, end in zip(starts, [*starts[1:], len(points.gap)], strict=True):
            x = points.log_steps[first:end]
            key = x.tobytes()
            if key not in known:
                distance = np.abs(x[:, None] - x[None, :])
                correlation = np.exp(-((distance / kappa) ** roughness))
                known[key] = np.asarray(
                    np.linalg.cholesky(correlation + _JITTER * np.eye(len(x))), np.float64
                )
            factors.append((slice(int(first), int(end)), known[key]))
        return cls(kappa=kappa, roughness=roughness, factors=tuple(factors))

    def whiten(self, values: Floats) -> Floats:
        """Turn such errors into independent ones.

        Args:
            values: shape (..., N).

        Returns:
            Shape (..., N).
        """
        rows = values.reshape(-1, values.shape[-1])
        parts = [solve_triangular(each, rows[:, at].T, lower=True) for at, each in self.factors]
        return np.concatenate(parts).T.reshape(values.shape)

    def colour(self, independent: Floats) -> Floats:
        """Undo `whiten`.

        Args:
            independent: shape (..., N).

        Returns:
            Shape (..., N).
        """
        return np.concatenate([independent[..., at] @ each.T for at, each in self.factors], axis=-1)

    def log_likelihood(self, rest: Floats, directions: Floats) -> float:
        """Return the log of the restricted likelihood, but for a constant.

        Source: Patterson & Thompson 1971.

        Args:
            rest: points less the law, shape (N,).
            directions: in which the law can bend, a row each.
        """
        e, x = self.whiten(rest), self.whiten(directions)
        # A direction that is a sum of others (tau beyond the walk) takes no degree of freedom.
        left, values, _ = np.linalg.svd(x.T, full_matrices=False)
        kept = values > 1e-8 * values[0]
        e = e - left[:, kept] @ (left[:, kept].T @ e)
        freedom = len(e) - int(kept.sum())
        log_spread = sum(float(np.log(np.diag(each)).sum()) for _, each in self.factors)
        log_square = float(np.log(e @ e / freedom))
        return -0.5 * freedom * log_square - log_spread - float(np.log(values[kept]).sum())


def drawn_errors(
    rest: Floats, directions: Floats, points: Points, *, draws: int, rng: np.random.Generator
) -> list[tuple[RoughErrors, int]]:
    """Draw errors by their restricted likelihood, with a flat prior in log kappa and roughness.

    Args:
        rest: points less the law, shape (N,).
        directions: in which the law can bend, a row each.
        points: N of them.
        draws: how many.
        rng: of the draws.

    Returns:
        Each that was drawn, and how often.
    """
    low, high = kappa_bounds(points)
    errors = [
        RoughErrors.of(points, kappa=float(kappa), roughness=float(roughness))
        for kappa in np.geomspace(low, high / 5, _KAPPAS)
        for roughness in _ROUGHNESSES
    ]
    log_weights = np.array([each.log_likelihood(rest, directions) for each in errors])
    weights = np.exp(log_weights - log_weights.max())
    counts = rng.multinomial(draws, weights / weights.sum())
    return [(each, int(count)) for each, count in zip(errors, counts, strict=True) if count]
