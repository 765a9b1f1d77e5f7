"""Draws of a Gaussian process around a law: law, amplitude, length and noise all drawn together.

The law's draws, made as if the rows lay about it independently (`posterior`), are weighed anew by
what the process makes of their residuals, for every amplitude, length and noise size of a grid:
importance sampling again. So the process is as unsure of its law, of how far it strays and of the
noise as a study of few batch sizes has to be. The likeliest values alone held 82 % of truths in
their 90 % intervals.
Shapes: C = batch sizes (cells) where a row reached the target, G = points of the grid, Q = draws of
the law that are weighed, R = draws.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import logsumexp, ndtri, stdtrit

from models_of_scaling.fitting import Integers
from models_of_scaling.gaussian_process import (
    AMPLITUDE_BOUNDS,
    LENGTH_BOUNDS,
    Deviation,
    covariance,
    draw_paths,
)
from models_of_scaling.noise import (
    NOISE_SIZES,
    OUTLIER_DEGREES,
    NoiseKnowledge,
    log_density_of_means,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import CellMeans

# Even steps in logs within the bounds, equally likely: nothing is known of either.
_AMPLITUDES: Final = np.geomspace(*AMPLITUDE_BOUNDS, 7)
_LENGTHS: Final = np.geomspace(*LENGTH_BOUNDS, 4)
_NOISE_SIZES: Final = NOISE_SIZES[::3]
# The process's noise is normal; a new study's is Student's t, whose middle 90 % this makes equal.
_NORMAL_AS_T: Final = float(ndtri(0.95) / stdtrit(OUTLIER_DEGREES, 0.95))


@dataclass(frozen=True, kw_only=True)
class ProcessDraws:
    """Draws of the process.

    Attributes:
        law_R: which draw of the law each one has.
        noise_R: noise size of each draw.
        deviation: the paths.
        log_evidence: log of the marginal likelihood, less that of the law's own draws.
    """

    law_R: Integers
    noise_R: Floats
    deviation: Deviation
    log_evidence: float


def draw_process(
    cells: CellMeans,
    noise: NoiseKnowledge,
    residual: Floats,
    count: int,
    rng: np.random.Generator,
) -> ProcessDraws:
    """Draw a process from its posterior.

    Args:
        cells: the batch sizes where a row reached the target.
        noise: what is known of its size.
        residual: measured log steps less those of the law's draws, (Q, C).
        count: R.
        rng: source of randomness.

    Returns:
        The draws, in random order.
    """
    amplitude, length = (each.ravel() for each in np.meshgrid(_AMPLITUDES, _LENGTHS))
    log_weights = np.stack([
        _log_likelihood(residual, covariance(cells.x_C, amplitude, length), variance_C)
        + log_probability
        for variance_C, log_probability in zip(
            cells.variance(_NOISE_SIZES), noise.log_probability(_NOISE_SIZES), strict=True
        )
    ])  # noise sizes, amplitudes with lengths, Q
    log_weights -= np.log(len(amplitude)) + _log_likelihood_of_law(cells, noise, residual)
    total = float(logsumexp(log_weights))
    running = np.cumsum(np.exp(log_weights - total))
    even = (np.arange(count) + rng.uniform()) / count * running[-1]
    found = np.searchsorted(running, rng.permutation(even))
    size, kernel, law = np.unravel_index(found, log_weights.shape)
    variance = cells.variance(_NOISE_SIZES)[size]
    deviation = draw_paths(
        cells.x_C, (amplitude[kernel], length[kernel]), variance, residual[law], rng
    )
    return ProcessDraws(
        law_R=law.astype(np.int64),
        noise_R=_NORMAL_AS_T * _NOISE_SIZES[size],
        deviation=deviation,
        log_evidence=total - float(np.log(len(residual))),
    )


def _log_likelihood(residual: Floats, covariances: Floats, variance_C: Floats) -> Floats:
    """Return the normal log density of residuals (Q, C) under covariances (G, C, C), as (G, Q)."""
    roots = np.linalg.cholesky(covariances + np.diag(variance_C))
    whitened = np.linalg.solve(roots, np.broadcast_to(residual.T, (len(roots), *residual.T.shape)))
    log_root = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    constant = 0.5 * residual.shape[1] * np.log(2 * np.pi)
    return np.asarray(-0.5 * (whitened**2).sum(axis=1) - log_root[:, None] - constant)


def _log_likelihood_of_law(cells: CellMeans, noise: NoiseKnowledge, residual: Floats) -> Floats:
    """Return the log density with which the law's draws explained their residuals, (Q,)."""
    sd_JC = np.sqrt(cells.variance(NOISE_SIZES))
    logs = log_density_of_means(residual.T, np.zeros((len(sd_JC), len(residual))), sd_JC)
    return np.asarray(logsumexp(logs + noise.log_probability(NOISE_SIZES)[:, None], axis=0))
