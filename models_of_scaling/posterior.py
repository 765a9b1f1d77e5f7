"""Draws of a law's parameters from their posterior: likelihood of the batch sizes' means, priors.

Shapes: C = batch sizes (cells) where a row reached the target, K = shape coordinates of the law,
D = proposals, J = noise sizes, R = draws (replicates).

Refitting data with fresh noise (a bootstrap, and randomise-then-optimise with the prior's centre
drawn anew) is right where the rows tell every parameter. Where they still scale perfectly the
likelihood of the knee's place is a cliff with a plateau behind it: refits heap up at the foot of
the cliff instead of spreading over the plateau as the prior says. So the draws come from the
posterior itself, by importance sampling: shape coordinates from the prior and from around the
point fit, the noise's size on a grid, the level of the curve from its normal given both.

How a batch size's mean lies about the law is said in `noise`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import gammaln, logsumexp

from models_of_scaling.families import LawFamily
from models_of_scaling.noise import (
    NoiseKnowledge,
    log_deviation_density,
    log_probability_below,
    log_t,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import CellMeans

_PROPOSALS_PER_DRAW: Final = 6
_FEWEST_PROPOSALS, _MOST_PROPOSALS = 1200, 6000
# Even steps of 16 %, from what counts as noise-free to what tells nothing.
NOISE_SIZES: Final = np.exp(np.linspace(np.log(0.003), np.log(0.8), 36))
# The level's proposals are normal, wider than its posterior by this, whose tails are heavier.
_WIDER: Final = 1.3
# Half of the shape's proposals come from the prior, so that no plateau or bend is missed; half from
# a multivariate t around the point fit, whose tails are heavier than the posterior's there.
_DEGREES: Final = 3.0
# In standard deviations of the prior: a normal's density there is e^-32 of that at its centre, and
# a corner e^10 times beyond the largest batch size is as good as none.
_FARTHEST: Final = 8.0
_LOG_NORMAL: Final = -0.5 * np.log(2 * np.pi)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Draws from the posterior.

    Attributes:
        theta_RP: log parameters, in the family's own form.
        noise_R: noise size of each draw.
        log_evidence: log of the marginal likelihood of the cells' means, with an even prior on the
            level; comparable between laws on the same rows.
        effective: number of independent shapes that the draws are worth.
    """

    theta_RP: Floats
    noise_R: Floats
    log_evidence: float
    effective: float


def draw_posterior(
    family: LawFamily,
    cells: CellMeans,
    noise: NoiseKnowledge,
    theta_P: Floats,
    count: int,
    rng: np.random.Generator,
) -> Draws:
    """Draw parameters of one law.

    Args:
        family: the law.
        cells: the data.
        noise: what is known of its size.
        theta_P: log parameters of the point fit.
        count: R.
        rng: source of randomness.

    Returns:
        The draws, in random order.
    """
    x_last = float(cells.x_C[cells.reached_C].max())
    normal = _normal_at_point_fit(family, cells, theta_P, x_last)
    shapes, log_density = _propose(family, normal, count, rng)
    theta = family.theta_of_shape(shapes, x_last)
    deviates = rng.standard_normal(len(shapes))
    log_weights, levels = _log_likelihood(family, cells, theta, deviates)
    log_weights += noise.log_probability(NOISE_SIZES)[:, None]
    log_weights += _log_prior(family, shapes) - log_density
    total = float(logsumexp(log_weights))
    shares = np.exp(log_weights - total)
    running = np.cumsum(shares)
    # One uniform number for all, then even steps: less scatter than as many numbers.
    even = (np.arange(count) + rng.uniform()) / count * running[-1]
    size_R, shape_R = np.divmod(np.searchsorted(running, rng.permutation(even)), len(shapes))
    theta_RP = theta[shape_R]
    theta_RP[:, :2] += levels[size_R, shape_R][:, None]
    return Draws(
        theta_RP=theta_RP,
        noise_R=NOISE_SIZES[size_R],
        log_evidence=total - float(np.log(len(shapes))),
        effective=float(1 / (shares.sum(axis=0) ** 2).sum()),
    )


def _normal_at_point_fit(
    family: LawFamily, cells: CellMeans, theta_P: Floats, x_last: float
) -> tuple[Floats, Floats]:
    """Return centre (K,) and covariance (K, K) of the shape where the posterior is normal."""
    at = cells.reached_C
    mu, jacobian = family.log_steps(theta_P[None], cells.x_C[at])
    shape, slope = family.shape_coordinates(theta_P[None], np.array([x_last]))
    # The usual size of a residual; the grid's ends keep it from nothing and from everything.
    off = np.sqrt(np.mean((cells.log_steps_C[at] - mu[0]) ** 2))
    size = np.clip(off, 3 * NOISE_SIZES[0], NOISE_SIZES[-1])
    precision_C = 1 / cells.variance(np.array([size]))[0, at]
    curvature = (jacobian[0].T * precision_C) @ jacobian[0]
    curvature += (slope[0].T / family.prior_sd_K**2) @ slope[0]
    return shape[0], slope[0] @ np.linalg.solve(curvature, slope[0].T)


def _propose(
    family: LawFamily, normal: tuple[Floats, Floats], draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return proposals (D, K) and the log of their density (D,)."""
    centre_K, covariance = normal
    wanted = min(max(_PROPOSALS_PER_DRAW * draws, _FEWEST_PROPOSALS), _MOST_PROPOSALS)
    dimension, half = len(centre_K), wanted // 2
    root = np.linalg.cholesky(covariance)
    stretch = np.sqrt(_DEGREES / rng.chisquare(_DEGREES, half))
    near = centre_K + (rng.standard_normal((half, dimension)) * stretch[:, None]) @ root.T
    anywhere = family.prior_mean_K + family.prior_sd_K * _prior_deviates(family, half, rng)
    # The t's far tail would overflow; the prior ends where it has no weight left.
    reach_K = _FARTHEST * family.prior_sd_K
    near = np.clip(near, family.prior_mean_K - reach_K, family.prior_mean_K + reach_K)
    shapes = np.concatenate([near, anywhere])
    whitened = np.linalg.solve(root, (shapes - centre_K).T)
    log_t = (
        gammaln(0.5 * (_DEGREES + dimension))
        - gammaln(0.5 * _DEGREES)
        - 0.5 * dimension * np.log(_DEGREES * np.pi)
        - np.log(np.diag(root)).sum()
        - 0.5 * (_DEGREES + dimension) * np.log1p((whitened**2).sum(axis=0) / _DEGREES)
    )
    return shapes, np.logaddexp(log_t, _log_prior(family, shapes)) - np.log(2)


def _log_prior(family: LawFamily, shapes: Floats) -> Floats:
    """Return the log density of the prior, (D,)."""
    columns = zip(
        shapes.T, family.prior_mean_K, family.prior_sd_K, family.prior_degrees_K, strict=True
    )
    value = np.zeros(len(shapes))
    for column, mean, sd, degrees in columns:
        off = (column - mean) / sd
        log_density = _LOG_NORMAL - 0.5 * off**2 if np.isinf(degrees) else log_t(off, degrees)
        value += log_density - np.log(sd)
    return value


def _prior_deviates(family: LawFamily, count: int, rng: np.random.Generator) -> Floats:
    """Return draws of the prior in its own units, (count, K)."""
    deviates = rng.standard_normal((count, len(family.prior_sd_K)))
    for column, degrees in enumerate(family.prior_degrees_K):
        if np.isfinite(degrees):
            deviates[:, column] *= np.sqrt(degrees / rng.chisquare(degrees, count))
    return np.asarray(np.clip(deviates, -_FARTHEST, _FARTHEST))


def _log_likelihood(
    family: LawFamily, cells: CellMeans, theta: Floats, deviates: Floats
) -> tuple[Floats, Floats]:
    """Return importance weights of each shape and noise size, and a draw of the level for each.

    Args:
        family: the law.
        cells: the data.
        theta: log parameters with S_min = 1.
        deviates: standard normal numbers, one per proposal.

    Returns:
        Two arrays (J, D): the log likelihood of the cells at the drawn level over the density that
        the level was drawn with, and log S_min.
    """
    mu, _ = family.log_steps(theta, cells.x_C)
    at, variance = cells.reached_C, cells.variance(NOISE_SIZES)
    sd = np.sqrt(variance[:, at])
    off = cells.log_steps_C[at] - mu[:, at]
    # The level's normal, were all cells normal; squares about each proposal's own mean would lose
    # digits where the noise is tiny, a weighted mean does not.
    precision = 1 / variance[:, at]
    total = precision.sum(axis=1, keepdims=True)
    levels = (precision @ off.T) / total + _WIDER * deviates / np.sqrt(total)
    value = np.empty_like(levels)
    for size in range(len(levels)):
        value[size] = log_deviation_density((off - levels[size][:, None]) / sd[size]).sum(axis=1)
    value -= np.log(sd).sum(axis=1, keepdims=True)
    value += 0.5 * deviates**2 + 0.5 * np.log(2 * np.pi * _WIDER**2 / total)
    for cell in np.flatnonzero(~at):
        # Nothing reached here: the mean lies above the steps that were done.
        above = levels + mu[:, cell] - cells.log_steps_C[cell]
        value += log_probability_below(above / np.sqrt(variance[:, cell : cell + 1]))
    return value, levels
