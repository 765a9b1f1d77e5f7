"""Draws of a law's parameters from their posterior: likelihood of the batch sizes' means, priors.

Shapes: C = batch sizes (cells) where a row reached the target, K = shape coordinates of the law,
D = proposals, J = noise sizes, R = draws (replicates).

Refitting data with fresh noise (a bootstrap, and randomise-then-optimise with the prior's centre
drawn anew) is right where the rows tell every parameter. Where they still scale perfectly the
likelihood of the knee's place is a cliff with a plateau behind it: refits heap up at the foot of
the cliff instead of spreading over the plateau as the prior says. So the draws come from the
posterior itself, by importance sampling: shape coordinates from the prior and from around the
point fit (half each, so that no plateau or bend is missed), and from around what those found where
it is worth few draws (adaptive multiple importance sampling: Cornuet et al. 2012, Scandinavian
Journal of Statistics 39:798); the noise's size on a grid, the level of the curve from its normal
given both.

How a batch size's mean lies about the law is said in `noise`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.families import LawFamily
from models_of_scaling.noise import (
    NOISE_SIZES,
    NoiseKnowledge,
    log_density_of_means,
    log_probability_below,
)
from models_of_scaling.priors import log_prior_of_critical_batch_size
from models_of_scaling.proposals import Around, around, draw_prior, log_mixture, log_prior
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import CellMeans

_PROPOSALS_PER_DRAW: Final = 6
_FEWEST_PROPOSALS, _MOST_PROPOSALS = 1200, 6000
# The level's proposals are normal, wider than its posterior by this, whose tails are heavier.
_WIDER: Final = 1.3
# Proposals are added, half as many as at first each time, until the draws are worth this share of
# their number. Rows that turn up steeply and stop short of the target need it: the point fit's own
# curvature says little of the posterior there, and 1,000 draws were worth 10.
_ENOUGH: Final = 1.0
_MOST_ROUNDS: Final = 6


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
    x_last = float(cells.x_C[cells.measured_C].max())
    half = min(max(_PROPOSALS_PER_DRAW * count, _FEWEST_PROPOSALS), _MOST_PROPOSALS) // 2
    log_probability = noise.log_probability(NOISE_SIZES)[:, None]
    parts = [_around_point_fit(family, cells, theta_P, x_last, half)]
    shapes = np.concatenate([parts[0].draw(family, rng), draw_prior(family, half, rng)])
    theta = family.theta_of_shape(shapes, x_last)
    log_likelihood, levels = _log_likelihood(family, cells, theta, rng)
    while True:
        log_weights = log_likelihood + log_probability
        log_weights += log_prior(family, shapes) - log_mixture(family, shapes, parts, half)
        total, shares = _shares(log_weights)
        share = shares.sum(axis=0)
        effective = float(1 / (share**2).sum())
        if effective >= _ENOUGH * count or len(parts) > _MOST_ROUNDS:
            break
        parts.append(around(shapes, share, half))
        more = parts[-1].draw(family, rng)
        more_theta = family.theta_of_shape(more, x_last)
        found = _log_likelihood(family, cells, more_theta, rng)
        shapes, theta = np.concatenate([shapes, more]), np.concatenate([theta, more_theta])
        log_likelihood = np.concatenate([log_likelihood, found[0]], axis=1)
        levels = np.concatenate([levels, found[1]], axis=1)
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
        effective=effective,
    )


def _shares(log_weights: Floats) -> tuple[float, Floats]:
    """Return the log of the sum of weights, and each one's share of it."""
    top = float(log_weights.max())
    shares = np.exp(log_weights - top)
    total = float(shares.sum())
    shares /= total
    return top + float(np.log(total)), shares


def _around_point_fit(
    family: LawFamily, cells: CellMeans, theta_P: Floats, x_last: float, count: int
) -> Around:
    """Return proposals around the point fit, with the covariance of a normal posterior."""
    at = cells.measured_C
    mu, jacobian = family.log_steps(theta_P[None], cells.x_C[at])
    shape, slope = family.shape_coordinates(theta_P[None], np.array([x_last]))
    # The usual size of a residual; the grid's ends keep it from nothing and from everything.
    off = np.sqrt(np.mean((cells.log_steps_C[at] - mu[0]) ** 2))
    size = np.clip(off, 3 * NOISE_SIZES[0], NOISE_SIZES[-1])
    precision_C = 1 / cells.variance(np.array([size]))[0, at]
    curvature = (jacobian[0].T * precision_C) @ jacobian[0]
    curvature += (slope[0].T / family.prior_sd_K**2) @ slope[0]
    covariance = slope[0] @ np.linalg.solve(curvature, slope[0].T)
    return Around(centre_K=shape[0], covariance=covariance, count=count)


def _log_likelihood(
    family: LawFamily, cells: CellMeans, theta: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return importance weights of each shape and noise size, and a draw of the level for each.

    Args:
        family: the law.
        cells: the data.
        theta: log parameters with S_min = 1.
        rng: source of randomness, for the levels.

    Returns:
        Two arrays (J, D): the log likelihood of the cells at the drawn level, with what is known of
        B_crit beside them, over the density that the level was drawn with; and log S_min.
    """
    mu, _ = family.log_steps(theta, cells.x_C)
    deviates = rng.standard_normal(len(theta))
    at, variance = cells.measured_C, cells.variance(NOISE_SIZES)
    sd = np.sqrt(variance[:, at])
    off = cells.log_steps_C[at] - mu[:, at]
    # The level's normal, were all cells normal; squares about each proposal's own mean would lose
    # digits where the noise is tiny, a weighted mean does not.
    precision = 1 / variance[:, at]
    total = precision.sum(axis=1, keepdims=True)
    levels = (precision @ off.T) / total + _WIDER * deviates / np.sqrt(total)
    value = log_density_of_means(off.T, levels, sd)
    value += 0.5 * deviates**2 + 0.5 * np.log(2 * np.pi * _WIDER**2 / total)
    for cell in np.flatnonzero(~at):
        # Nothing reached here: the mean lies above the steps that were done. Or all had by the
        # first evaluation: it lies below that.
        above = levels + mu[:, cell] - cells.log_steps_C[cell]
        inside = -above if cells.met_early_C[cell] else above
        value += log_probability_below(inside / np.sqrt(variance[:, cell : cell + 1]))
    log_critical = family.log_critical(theta)
    if log_critical is not None:
        value += log_prior_of_critical_batch_size(log_critical + cells.log_reference)
        if cells.knee is not None:
            value += cells.knee.log_likelihood(log_critical, log_reference=cells.log_reference)
    return value, levels
