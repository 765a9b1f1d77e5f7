"""How far one study's estimate at one batch size lies from the law: the size of its noise.

Rows at one batch size share what its search found, so they are not independent: the noise that
matters is that of the mean over a batch size's rows (seeds, tuning, and the law's own misfit).
Shapes: C = batch sizes (cells), N = rows, R = replicates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import chdtri

from models_of_scaling.fitting import SMALLEST_SIGMA, Bools, Integers
from models_of_scaling.likelihood import Observations, row_terms
from models_of_scaling.quantities import Floats

# MLPerf's ResNet-50 reference convergence points (mlcommons/logging 7bbf792): the standard
# deviation over seeds is 1.5 % of the mean (median of 19 points); tuning adds to it. It counts as
# one degree of freedom: enough that 3 batch sizes on a curve by luck do not claim no noise.
TYPICAL_NOISE: Final = 0.02
_PRIOR_DEGREES: Final = 1.0
_SPARE_CELLS_TO_ESTIMATE: Final = 2


@dataclass(frozen=True, kw_only=True)
class StudyNoise:
    """Scaled inverse chi-squared knowledge of the noise of one batch size's estimate, in logs.

    Attributes:
        size: root of its scale; 0.05 means about 5 %.
        degrees: degrees of freedom: batch sizes less parameters, and those of the prior.
    """

    size: float
    degrees: float

    def quantiles(self, count: int) -> Floats:
        """Return so many equally likely noise sizes, rising: the middles of equal shares.

        They are as uncertain as `degrees` leaves them, which gives predictions Student's t tails.
        """
        shares = (np.arange(count) + 0.5) / count
        return np.asarray(self.size * np.sqrt(self.degrees / chdtri(self.degrees, shares)))


def study_noise(
    mu_N: Floats, log_sigma: float, rows: Observations, cell_N: Integers, *, num_parameters: int
) -> StudyNoise:
    """Estimate the noise from the residuals of a fit.

    Args:
        mu_N: the fitted log steps.
        log_sigma: of the same fit, one row's noise.
        rows: the data, one replicate.
        cell_N: number of each row's batch size.
        num_parameters: fitted to the data; the degrees of freedom that they took are given back.

    Returns:
        The noise of one batch size's mean. Censored rows enter by their generalised residuals,
        sigma^2 times the derivative of the log likelihood in mu; a batch size where no row
        reached the target says nothing about noise and is left out.
    """
    terms = row_terms(mu_N[None], np.array([log_sigma]), rows)
    residual_N = np.exp(2 * log_sigma) * terms.d_mu[0]
    weight_N = rows.weight_RN[0]
    reached_N = np.isfinite(rows.log_high_RN[0])
    cell_reached = np.bincount(cell_N, reached_N) > 0
    cell_means = np.bincount(cell_N, weight_N * residual_N) / np.bincount(cell_N, weight_N)
    spare = max(int(cell_reached.sum()) - num_parameters, 0)
    squares = TYPICAL_NOISE**2 + (float((cell_means[cell_reached] ** 2).sum()) if spare else 0.0)
    # The usual unbiased estimate divides by what is to spare; the prior may add, never dilute.
    size_squared, degrees = squares / max(spare, 1), spare + _PRIOR_DEGREES
    variance, repeat_degrees = _variance_of_a_mean(rows.log_middle_RN[0], reached_N, cell_N)
    if size_squared < variance:
        # Batch sizes can't scatter less than their repeats make them: the residuals were lucky,
        # and both are estimates of one variance (analysis of variance, no negative component).
        degrees += repeat_degrees
        size_squared = (squares + repeat_degrees * variance) / (max(spare, 1) + repeat_degrees)
    return StudyNoise(size=float(np.sqrt(size_squared)), degrees=degrees)


def _variance_of_a_mean(middle_N: Floats, reached_N: Bools, cell_N: Integers) -> tuple[float, int]:
    """Return the variance of a batch size's mean log steps by its repeats, and its degrees."""
    cells_N, middle_N = cell_N[reached_N], middle_N[reached_N]
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
    reached_N = np.isfinite(high_N) & (cell_N < num_cells)
    spare = len(np.unique(cell_N[reached_N])) - num_parameters
    floor = SMALLEST_SIGMA if spare >= _SPARE_CELLS_TO_ESTIMATE else TYPICAL_NOISE
    between_N: Bools = reached_N & np.isfinite(low_N) & (high_N > low_N)
    if between_N.any():
        floor = max(floor, 0.1 * float(np.median((high_N - low_N)[between_N])))
    return floor
