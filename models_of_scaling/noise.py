"""How far one study's estimate at one batch size lies from the law: the size of its noise.

Rows at one batch size share what its search found, so they are not independent: the noise that
matters is that of the mean over a batch size's rows (seeds, tuning, and the law's own misfit).
Its size is a parameter like the law's, with a prior, and drawn together with them (`posterior`).
A batch size's mean lies about the law with Student's t of that size (4 degrees of freedom; Lange,
Little and Taylor 1989, JASA 84:881): one that was tuned badly then counts little instead of bending
the curve, and the next study may be tuned badly too. On the 17 published workloads it predicted
better than a normal (docs/back_tests.md).
Shapes: C = batch sizes (cells), N = rows, J = noise sizes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import chdtrc, gammaln, logsumexp, ndtri, stdtr, stdtrit

from models_of_scaling.fitting import SMALLEST_SIGMA, Bools, Integers
from models_of_scaling.likelihood import Observations
from models_of_scaling.priors import (
    CHECKED_BATCH_SIZES,
    EVEN_BATCH_SIZES,
    MISFIT_PER_OCTAVE,
    NOISE_DEGREES,
    TYPICAL_NOISE,
)
from models_of_scaling.quantities import Floats

OUTLIER_DEGREES: Final = 4.0
# Even steps of 16 %, from what counts as noise-free to what tells nothing.
NOISE_SIZES: Final = np.exp(np.linspace(np.log(0.003), np.log(0.8), 36))
# Sixteen equally likely deviates stand for a new study's noise: no random number is needed, and a
# 0.99 interval of 400 replicates x 16 deviates still has 64 values in each tail.
_NEW_STUDY_DEVIATES: Final = stdtrit(OUTLIER_DEGREES, (np.arange(16) + 0.5) / 16)
# A factor is at most 1e15 (log steps 1e5 off by the smallest noise), so that no product overflows.
_CELLS_TOGETHER: Final = 20
_GOLDEN: Final = 0.5 * (math.sqrt(5.0) - 1.0)
_SPARE_CELLS_TO_ESTIMATE: Final = 2
_LEAST_PROBABILITY: Final = 1e-300


@dataclass(frozen=True, kw_only=True)
class NoiseKnowledge:
    """What is known of the noise's size before the distance of rows from a law is looked at.

    Attributes:
        size: scale of the prior, in logs; 0.05 means about 5 %.
        degrees: of freedom that the prior counts for.
        variance: of a batch size's mean, by its repeats; 0 where there are none.
        repeat_degrees: of freedom of that variance.
    """

    size: float = TYPICAL_NOISE
    degrees: float = NOISE_DEGREES
    variance: float = 0.0
    repeat_degrees: int = 0

    def log_probability(self, noise_sizes: Floats) -> Floats:
        """Return the log probability of each of some sizes that are even steps in logs, (J,).

        Args:
            noise_sizes: on an even grid in logs.

        Returns:
            A scaled inverse chi-squared prior times the probability, by the repeats, that a batch
            size's mean scatters no more than that (it can't scatter less than its repeats make
            it); exp of it sums to 1.
        """
        ratio = self.degrees * (self.size / noise_sizes) ** 2
        logs = 0.5 * self.degrees * np.log(ratio) - 0.5 * ratio
        if self.repeat_degrees:
            at_most = self.repeat_degrees * self.variance / noise_sizes**2
            logs += np.log(chdtrc(self.repeat_degrees, at_most) + _LEAST_PROBABILITY)
        return np.asarray(logs - logsumexp(logs))


def noise_knowledge(rows: Observations, cell_N: Integers) -> NoiseKnowledge:
    """Return the prior with what the repeats say.

    Args:
        rows: the data, one replicate.
        cell_N: number of each row's batch size.
    """
    variance, degrees = _variance_of_a_mean(rows.log_middle_RN[0], rows.measured_RN[0], cell_N)
    return NoiseKnowledge(variance=variance, repeat_degrees=degrees)


def log_deviation_density(deviations: Floats) -> Floats:
    """Return the log density of a mean's distance from the law in units of its noise.

    Args:
        deviations: log steps less the law's, over the noise's scale; any shape.
    """
    return log_t(deviations, OUTLIER_DEGREES)


def log_density_of_means(off: Floats, levels: Floats, sd_JC: Floats) -> Floats:
    """Return the log density of all means together, for each noise size and curve, (J, D).

    Args:
        off: measured log steps less those of each curve, (C, D).
        levels: of the curve, which are taken off too, (J, D).
        sd_JC: the noise's scale.

    Returns:
        The sum over batch sizes of `log_deviation_density` less log of the scale. One logarithm of
        a product stands for many: a third of the time.
    """
    value = np.zeros(levels.shape)
    half = 0.5 * (OUTLIER_DEGREES + 1)
    for first in range(0, len(off), _CELLS_TOGETHER):
        product = np.ones(levels.shape)
        for cell in range(first, min(first + _CELLS_TOGETHER, len(off))):
            deviation = off[cell] - levels
            deviation *= (1 / np.sqrt(OUTLIER_DEGREES) / sd_JC[:, cell])[:, None]
            deviation *= deviation
            deviation += 1.0
            product *= deviation
        value -= half * np.log(product)
    at_zero = float(log_t(np.zeros(1), OUTLIER_DEGREES)[0])
    return np.asarray(value + (at_zero - np.log(sd_JC)).sum(axis=1, keepdims=True))


def log_probability_below(deviations: Floats) -> Floats:
    """Return the log probability of a distance below some, for means known to lie above a bound.

    Args:
        deviations: the law's log steps less the bound, over the noise's scale; any shape.
    """
    return np.asarray(np.log(np.maximum(stdtr(OUTLIER_DEGREES, deviations), _LEAST_PROBABILITY)))


def log_t(deviations: Floats, nu: float) -> Floats:
    """Return the log density of Student's t with nu degrees of freedom, of any shape."""
    constant = gammaln(0.5 * (nu + 1)) - gammaln(0.5 * nu) - 0.5 * np.log(nu * np.pi)
    return np.asarray(constant - 0.5 * (nu + 1) * np.log1p(deviations**2 / nu))


def new_study_noise(noise_of_draws: Floats, beside: float) -> Floats:
    """Return how far a new study's log steps may lie from each draw's curve.

    Args:
        noise_of_draws: size of Student's t, (R,).
        beside: standard deviation of what is normal: a law's misfit, a group's offset.

    Returns:
        (R, 16) equally likely distances. The normal part is one deviate of each draw, spread evenly
        over the draws, whose order is random.
    """
    even = _GOLDEN * (np.arange(len(noise_of_draws)) + 0.5) % 1.0
    return np.asarray(noise_of_draws[:, None] * _NEW_STUDY_DEVIATES + beside * ndtri(even)[:, None])


def misfit_beyond(log_distance: float) -> float:
    """Return by how much a law may be wrong at a distance, in logs, as a standard deviation.

    Args:
        log_distance: log of a batch size over the largest fitted one; within the data it is 0.
            Below the rows it is 0 too: there the draws alone hold what they promise
            (docs/laws.md).
    """
    return MISFIT_PER_OCTAVE * max(log_distance, 0.0) / math.log(2.0)


def stretch_beyond(batch_sizes: Sequence[int], log_distance: float) -> float:
    """Return by how much predictions are stretched in logs about their centre.

    Args:
        batch_sizes: that were fitted, those where a run reached the target; repeats don't count.
        log_distance: log of a batch size over the largest fitted one.

    Returns:
        1 within the data; from an octave beyond it on, the root of the number of known batch sizes
        over `EVEN_BATCH_SIZES`. Those closer together than a doubling count by what they span:
        they show who tuned them, no more of the curve.
    """
    sizes = np.unique(batch_sizes)
    known = min(float(len(sizes)), 1.0 + math.log2(sizes[-1] / sizes[0]))
    least, most = CHECKED_BATCH_SIZES
    full = math.sqrt(min(max(known, least), most) / EVEN_BATCH_SIZES)
    return float(full ** min(max(log_distance, 0.0) / math.log(2.0), 1.0))


def _variance_of_a_mean(middle_N: Floats, measured_N: Bools, cell_N: Integers) -> tuple[float, int]:
    """Return the variance of a batch size's mean log steps by its repeats, and its degrees."""
    cells_N, middle_N = cell_N[measured_N], middle_N[measured_N]
    counts = np.bincount(cells_N)
    at = counts > 0
    means = np.bincount(cells_N, middle_N)[at] / counts[at]
    squares = (np.bincount(cells_N, middle_N**2)[at] - counts[at] * means**2).sum()
    degrees = int((counts[at] - 1).sum())
    if degrees == 0:
        return 0.0, 0
    return max(float(squares), 0.0) / degrees / float(counts[at].mean()), degrees


def smallest_sigma(
    rows: Observations, cell_N: Integers, *, num_parameters: int, num_cells: int
) -> float:
    """Return the size that a fit's sigma is not let below.

    Args:
        rows: the data, one replicate.
        cell_N: number of each row's batch size.
        num_parameters: of the law.
        num_cells: only the so many smallest batch sizes are fitted.

    Returns:
        Practically 0 where at least two batch sizes are to spare, so that noise-free data are
        recovered exactly; the typical noise where fewer are, as the residuals can't tell it and
        the priors need a scale to be weighed against; and never below a tenth of
        the interval-censored rows' width, where the likelihood would be flat.
    """
    low_N, high_N = rows.log_low_RN[0], rows.log_high_RN[0]
    measured_N = rows.measured_RN[0] & (cell_N < num_cells)
    spare = len(np.unique(cell_N[measured_N])) - num_parameters
    floor = SMALLEST_SIGMA if spare >= _SPARE_CELLS_TO_ESTIMATE else TYPICAL_NOISE
    between_N: Bools = measured_N & (high_N > low_N)
    if between_N.any():
        floor = max(floor, 0.1 * float(np.median((high_N - low_N)[between_N])))
    return floor
