"""Where draws of a law's shape are looked for: its prior, and Student's t around what was found.

Shapes: K = shape coordinates of the law, D = proposals.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy.special import gammaln, logsumexp

from models_of_scaling.families import LawFamily
from models_of_scaling.noise import log_t
from models_of_scaling.quantities import Floats

# Heavier tails than a posterior has, so that no weight is far above the others.
_DEGREES: Final = 3.0
# In standard deviations of the prior: a normal's density there is e^-32 of that at its centre, and
# a corner e^10 times beyond the largest batch size is as good as none.
_FARTHEST: Final = 8.0
_LOG_NORMAL: Final = -0.5 * np.log(2 * np.pi)
# The largest weights count alike where a centre and a covariance are taken from them (Koblents and
# Miguez 2015, Statistics and Computing 25:407), as two or three of them alone would span nothing.
_FEWEST_ALIKE: Final = 50


@dataclass(frozen=True, kw_only=True)
class Around:
    """A multivariate t of 3 degrees of freedom, and how many proposals come from it.

    Attributes:
        centre_K: its centre.
        covariance: its scale matrix, (K, K).
        count: of proposals.
    """

    centre_K: Floats
    covariance: Floats
    count: int

    @cached_property
    def _root(self) -> Floats:
        return np.asarray(np.linalg.cholesky(self.covariance))

    def draw(self, family: LawFamily, rng: np.random.Generator) -> Floats:
        """Return proposals (D, K), within what the prior allows.

        Args:
            family: the law.
            rng: source of randomness.
        """
        stretch = np.sqrt(_DEGREES / rng.chisquare(_DEGREES, self.count))
        deviates = rng.standard_normal((self.count, len(self.centre_K))) * stretch[:, None]
        # The far tail would overflow; the prior ends where it has no weight left.
        reach_K = _FARTHEST * family.prior_sd_K
        bounds = family.prior_mean_K - reach_K, family.prior_mean_K + reach_K
        return np.asarray(np.clip(self.centre_K + deviates @ self._root.T, *bounds))

    def log_density(self, shapes: Floats) -> Floats:
        """Return the log density at shapes (D, K), (D,).

        Args:
            shapes: anywhere.
        """
        dimension, root = len(self.centre_K), self._root
        whitened = np.linalg.solve(root, (shapes - self.centre_K).T)
        constant = (
            gammaln(0.5 * (_DEGREES + dimension))
            - gammaln(0.5 * _DEGREES)
            - 0.5 * dimension * np.log(_DEGREES * np.pi)
            - np.log(np.diag(root)).sum()
        )
        squares = (whitened**2).sum(axis=0)
        return np.asarray(constant - 0.5 * (_DEGREES + dimension) * np.log1p(squares / _DEGREES))


def around(shapes: Floats, share: Floats, count: int) -> Around:
    """Return proposals around weighted shapes.

    Args:
        shapes: (D, K).
        share: their weights, which sum to 1.
        count: of proposals.

    Returns:
        With the centre and the covariance of the shapes, the largest weights counting alike.
    """
    alike = min(_FEWEST_ALIKE, len(share))
    clipped = np.minimum(share, np.partition(share, -alike)[-alike])
    clipped = clipped / clipped.sum() if clipped.sum() > 0 else share
    centre_K = clipped @ shapes
    off = shapes - centre_K
    covariance = (clipped * off.T) @ off
    # Rounding alone can make a covariance of nearly one line singular.
    return Around(
        centre_K=centre_K,
        covariance=covariance + 1e-9 * np.diag(np.diag(covariance)),
        count=count,
    )


def log_mixture(family: LawFamily, shapes: Floats, parts: list[Around], prior_count: int) -> Floats:
    """Return the log density of all proposals together, (D,).

    Args:
        family: the law.
        shapes: (D, K).
        parts: where some of them came from.
        prior_count: so many came from the prior.
    """
    logs = [log_prior(family, shapes) + np.log(prior_count)]
    logs += [part.log_density(shapes) + np.log(part.count) for part in parts]
    total = prior_count + sum(part.count for part in parts)
    return np.asarray(logsumexp(logs, axis=0) - np.log(total))


def log_prior(family: LawFamily, shapes: Floats) -> Floats:
    """Return the log density of the prior, (D,).

    Args:
        family: the law.
        shapes: (D, K).
    """
    columns = zip(
        shapes.T, family.prior_mean_K, family.prior_sd_K, family.prior_degrees_K, strict=True
    )
    value = np.zeros(len(shapes))
    for column, mean, sd, degrees in columns:
        off = (column - mean) / sd
        log_density = _LOG_NORMAL - 0.5 * off**2 if np.isinf(degrees) else log_t(off, degrees)
        value += log_density - np.log(sd)
    return value


def draw_prior(family: LawFamily, count: int, rng: np.random.Generator) -> Floats:
    """Return draws of the prior, (count, K).

    Args:
        family: the law.
        count: how many.
        rng: source of randomness.
    """
    deviates = rng.standard_normal((count, len(family.prior_sd_K)))
    for column, degrees in enumerate(family.prior_degrees_K):
        if np.isfinite(degrees):
            deviates[:, column] *= np.sqrt(degrees / rng.chisquare(degrees, count))
    within = np.clip(deviates, -_FARTHEST, _FARTHEST)
    return np.asarray(family.prior_mean_K + family.prior_sd_K * within)
