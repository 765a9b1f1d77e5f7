"""Sizes of a ladder's random effects: their priors, and draws to weigh by a likelihood.

Five numbers: the standard deviation of the workloads' intercepts and of the rungs about them, each
for log B_crit and log S_min, and the correlation between the two. Half-normal priors as in Gelman
2006, Bayesian Anal. 1:515 and Roever 2020, J. Stat. Softw. 93(6); the correlation is uniform.

Draws are quasi-random from the prior; once weighed, more are made where the weight is, from a
multivariate t in the logs, and all are weighed again as from the mixture of both (the balance
heuristic of Veach & Guibas 1995).

Shapes: H = draws, 5 coordinates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import gammaln, ndtri
from scipy.stats import qmc

from models_of_scaling.quantities import Floats

_LARGEST_CORRELATION: Final = 0.95
_DEGREES: Final = 4.0
# Wider than what was found, as that was found with few draws.
_STRETCH: Final = 1.3
# In logs: half-normal draws below e^-8 of their scale are all alike, nothing.
_LOWEST: Final = -8.0
# A far proposal has no weight, or is nothing, but may not make a matrix singular.
_SMALLEST, _LARGEST = -12.0, 4.0


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is assumed before the ladder; all in logs.

    Attributes:
        slope_sd: of each exponent about 0. Theory and published series have exponents of B_crit
            between 0 and 1 (McCandlish et al. 2018, arXiv:1812.06162: 1 in the noise scale; Zhang
            et al. 2024, arXiv:2410.21676: about a half in the data's size, about 0 in the
            model's); inf for none.
        workload_sd: scale of the half-normal prior of the workloads' standard deviation. 0.7: two
            workloads that the covariates call alike differ by a factor of 2 or so, by 4 rarely.
        rung_sd: scale of that of the rungs' standard deviation: 0.3, an unexplained 35 %.
    """

    slope_sd: float = 1.0
    workload_sd: float = 0.7
    rung_sd: float = 0.3

    def __post_init__(self) -> None:
        """Check the signs.

        Raises:
            ValueError: naming the field.
        """
        for name in ("slope_sd", "workload_sd", "rung_sd"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} must be more than 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomEffects:
    """Sizes of the random effects, one entry of H each.

    Attributes:
        workload: standard deviation of the workloads' intercepts, (H, 2): B_crit, S_min.
        rung: of the rungs about them, (H, 2).
        correlation: between B_crit and S_min, of both, (H,).
        log_importance: log of prior density over the density that they were drawn from, (H,).
    """

    workload: Floats
    rung: Floats
    correlation: Floats
    log_importance: Floats

    def covariances(self) -> tuple[Floats, Floats]:
        """Return those of the workloads' and of the rungs' effects, (H, 2, 2) each."""
        ones = np.ones_like(self.correlation)
        pair = np.array([[ones, self.correlation], [self.correlation, ones]])
        between = np.moveaxis(pair, -1, 0)
        return (
            self.workload[:, :, None] * between * self.workload[:, None, :],
            self.rung[:, :, None] * between * self.rung[:, None, :],
        )


def given_effects(
    *, workload: tuple[float, float], rung: tuple[float, float], correlation: float = 0.0
) -> RandomEffects:
    """Return one set of known sizes, for a regression without integration.

    Args:
        workload: standard deviations of B_crit's and S_min's intercepts.
        rung: of the rungs about them.
        correlation: between both.

    Returns:
        One draw.
    """
    return RandomEffects(
        workload=np.array([workload], dtype=float),
        rung=np.array([rung], dtype=float),
        correlation=np.array([correlation], dtype=float),
        log_importance=np.zeros(1),
    )


def draw_from_prior(prior: Prior, *, draws: int, rng: np.random.Generator) -> RandomEffects:
    """Return quasi-random draws from the prior.

    Args:
        prior: its scales.
        draws: H, a power of two.
        rng: scrambles them.

    Returns:
        The draws; all of the same importance.
    """
    points = qmc.Sobol(5, rng=rng).random(draws)
    scales = _scales(prior)
    half_normal = np.maximum(ndtri(0.5 + points[:, :4] / 2), np.exp(_LOWEST))
    coordinates = np.column_stack([
        np.log(scales * half_normal),
        np.arctanh(np.clip(2 * points[:, 4] - 1, -0.9999, 0.9999)),
    ])
    return _effects(coordinates, np.zeros(draws))


def draw_nearer(
    prior: Prior, first: RandomEffects, weights: Floats, *, draws: int, rng: np.random.Generator
) -> RandomEffects:
    """Return the first draws and more where their weight is.

    Args:
        prior: that `first` was drawn from.
        first: draws.
        weights: of their posterior, summing to 1.
        draws: how many more, a power of two.
        rng: scrambles them.

    Returns:
        Both, with the importance of draws from their mixture.
    """
    known = _coordinates(first)
    centre = weights @ known
    off = known - centre
    # A thousandth keeps the matrix regular where a single draw has all the weight.
    covariance = _STRETCH**2 * (off.T * weights) @ off + 1e-3 * np.eye(5)
    root: Floats = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    normal = ndtri(np.clip(qmc.Sobol(5, rng=rng).random(draws), 1e-9, 1 - 1e-9))
    tails = np.sqrt(_DEGREES / rng.chisquare(_DEGREES, draws))
    coordinates = np.concatenate([known, centre + (normal * tails[:, None]) @ root.T])
    shares = np.log([len(known) / len(coordinates), draws / len(coordinates)])
    log_prior = _log_prior_density(coordinates, prior)
    log_mixture = np.logaddexp(
        shares[0] + log_prior, shares[1] + _log_t_density(coordinates, centre, root)
    )
    return _effects(coordinates, log_prior - log_mixture)


def _scales(prior: Prior) -> Floats:
    return np.array([prior.workload_sd] * 2 + [prior.rung_sd] * 2)


def _effects(coordinates: Floats, log_importance: Floats) -> RandomEffects:
    sizes = np.exp(np.clip(coordinates[:, :4], _SMALLEST, _LARGEST))
    return RandomEffects(
        workload=sizes[:, :2],
        rung=sizes[:, 2:],
        correlation=_LARGEST_CORRELATION * np.tanh(coordinates[:, 4]),
        log_importance=log_importance,
    )


def _coordinates(effects: RandomEffects) -> Floats:
    """Return logs of the sizes and the correlation's inverse hyperbolic tangent, (H, 5)."""
    return np.column_stack([
        np.log(effects.workload),
        np.log(effects.rung),
        np.arctanh(effects.correlation / _LARGEST_CORRELATION),
    ])


def _log_prior_density(coordinates: Floats, prior: Prior) -> Floats:
    """Return the log density over the coordinates, normalised, (H,)."""
    logs = coordinates[:, :4] - np.log(_scales(prior))
    half_normal = 0.5 * np.log(2 / np.pi) - 0.5 * np.exp(2 * np.minimum(logs, 300)) + logs
    # d tanh(z) / dz over the two units that the correlation's share is uniform on.
    uniform = -2 * np.log(np.cosh(np.minimum(np.abs(coordinates[:, 4]), 300))) - np.log(2)
    return np.asarray(half_normal.sum(axis=1) + uniform)


def _log_t_density(coordinates: Floats, centre: Floats, root: Floats) -> Floats:
    whitened = np.linalg.solve(root, (coordinates - centre).T)
    return np.asarray(
        gammaln(0.5 * (_DEGREES + 5))
        - gammaln(0.5 * _DEGREES)
        - 2.5 * np.log(_DEGREES * np.pi)
        - np.log(np.diag(root)).sum()
        - 0.5 * (_DEGREES + 5) * np.log1p((whitened**2).sum(axis=0) / _DEGREES)
    )
