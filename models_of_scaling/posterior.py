"""Draws of a law's parameters from their posterior: likelihood of the batch sizes' means, priors.

Shapes: C = batch sizes (cells) where a row reached the target, K = shape coordinates of the law,
D = proposals, J = noise sizes, R = draws (replicates).

Refitting data with fresh noise (a bootstrap, and randomise-then-optimise with the prior's centre
drawn anew) is right where the rows tell every parameter. Where they still scale perfectly the
likelihood of the knee's place is a cliff with a plateau behind it: refits heap up at the foot of
the cliff instead of spreading over the plateau as the prior says. So the draws come from the
posterior itself, by importance sampling of the shape coordinates; the level of the curve, given
them, is normal with known mean and variance.

The noise's size is drawn from what the residuals leave open (`noise.StudyNoise`), in J equally
likely steps, and the shape is drawn given each: p(noise | rows) p(shape | noise, rows).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import gammaln, log_ndtr, logsumexp

from models_of_scaling.families import LawFamily
from models_of_scaling.noise import StudyNoise
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import CellMeans

_PROPOSALS_PER_DRAW: Final = 6
_FEWEST_PROPOSALS, _MOST_PROPOSALS = 1200, 6000
_NOISE_SIZES: Final = 24
_DRAWS_PER_NOISE_SIZE: Final = 20
# Half of the proposals come from the prior, so that no plateau or bend is missed; half from a
# multivariate t around the point fit, whose tails are heavier than the posterior's there.
_DEGREES: Final = 3.0
# In standard deviations of the prior: its density there is e^-32 of that at its centre.
_FARTHEST: Final = 8.0


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Draws from the posterior.

    Attributes:
        theta_RP: log parameters, in the family's own form.
        noise_R: noise size of each draw.
        effective: number of independent draws that those of the median noise size are worth.
    """

    theta_RP: Floats
    noise_R: Floats
    effective: float


def draw_posterior(
    family: LawFamily,
    cells: CellMeans,
    noise: StudyNoise,
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
    noise_sizes = noise.quantiles(min(_NOISE_SIZES, max(count // _DRAWS_PER_NOISE_SIZE, 1)))
    x_last = float(cells.x_C[cells.reached_C].max())
    normal = _normal_at_point_fit(family, cells, noise.size, theta_P, x_last)
    shapes, log_density = _propose(family, normal, count, rng)
    theta = family.theta_of_shape(shapes, x_last)
    deviates = rng.standard_normal(len(shapes))
    log_weights, levels = _log_likelihood(family, cells, noise_sizes, theta, deviates)
    log_weights += _log_prior(family, shapes) - log_density
    shares = np.exp(log_weights - logsumexp(log_weights, axis=1, keepdims=True))
    size_R = rng.permutation(np.arange(count) * len(noise_sizes) // count)
    running = np.cumsum(shares, axis=1)
    chosen_R = np.empty(count, dtype=np.int64)
    for size in np.unique(size_R):
        at = np.flatnonzero(size_R == size)
        # One uniform number for all, then even steps: less scatter than as many numbers.
        even = (np.arange(len(at)) + rng.uniform()) / len(at) * running[size, -1]
        chosen_R[at] = np.searchsorted(running[size], rng.permutation(even))
    theta_RP = theta[chosen_R]
    theta_RP[:, :2] += levels[size_R, chosen_R][:, None]
    middle = shares[len(noise_sizes) // 2]
    return Draws(
        theta_RP=theta_RP, noise_R=noise_sizes[size_R], effective=float(1 / (middle**2).sum())
    )


def _normal_at_point_fit(
    family: LawFamily, cells: CellMeans, size: float, theta_P: Floats, x_last: float
) -> tuple[Floats, Floats]:
    """Return centre (K,) and covariance (K, K) of the shape where the posterior is normal."""
    at = cells.reached_C
    _, jacobian = family.log_steps(theta_P[None], cells.x_C[at])
    shape, slope = family.shape_coordinates(theta_P[None], np.array([x_last]))
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
    anywhere = family.prior_mean_K + family.prior_sd_K * rng.standard_normal((half, dimension))
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
    sd_K = family.prior_sd_K
    off = (shapes - family.prior_mean_K) / sd_K
    return np.asarray((-0.5 * off**2 - np.log(sd_K * np.sqrt(2 * np.pi))).sum(axis=1))


def _log_likelihood(
    family: LawFamily, cells: CellMeans, noise_sizes: Floats, theta: Floats, deviates: Floats
) -> tuple[Floats, Floats]:
    """Return the log likelihood of each shape, its level integrated out, and a draw of the level.

    Args:
        family: the law.
        cells: the data.
        noise_sizes: noise sizes.
        theta: log parameters with S_min = 1.
        deviates: standard normal numbers, one per proposal.

    Returns:
        Two arrays (J, D): the log likelihood up to a constant of each noise size, and log S_min.
    """
    mu, _ = family.log_steps(theta, cells.x_C)
    at, variance = cells.reached_C, cells.variance(noise_sizes)
    precision = 1 / variance[:, at]
    level_by_cell = cells.log_steps_C[at] - mu[:, at]
    total = precision.sum(axis=1, keepdims=True)
    # Squares about each proposal's own mean: no digits are lost where the noise is tiny.
    middle = level_by_cell.mean(axis=1)
    off = level_by_cell - middle[:, None]
    mean = (precision @ off.T) / total
    value = -0.5 * (precision @ (off**2).T - total * mean**2)
    levels = middle + mean + deviates / np.sqrt(total)
    for cell in np.flatnonzero(~at):
        # Nothing reached here: the mean lies above the steps that were done. The level was drawn
        # from the other cells, so that this probability is its importance weight.
        above = levels + mu[:, cell] - cells.log_steps_C[cell]
        value += log_ndtr(above / np.sqrt(variance[:, cell : cell + 1]))
    return value, levels
