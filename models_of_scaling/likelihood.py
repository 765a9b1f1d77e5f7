"""Log likelihood of lognormal steps: measured, interval-censored and right-censored rows.

Shapes: R = replicates, N = rows.

With u = (log S - mu) / sigma a row adds, up to constants of the data,

- measured:            -log sigma - u^2 / 2
- between low, high:   log(Phi(u_high) - Phi(u_low))
- not reached by low:  log Phi(-u_low), the survival function.

Derivatives are analytic. The curvature is positive semi-definite by construction: the expected
information for measured rows, and for censored rows the exact second derivative in u (all three
terms are log-concave in u) without the second derivatives of u itself. Newton's method with it is
a descent method whatever the start, and it is exact where it matters, at small residuals.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, log_ndtr

from models_of_scaling.quantities import Floats

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
# An interval narrower than this share of sigma is a measured value: the error of the density at
# its middle is its square over 24, 4e-8, while differences of cdfs lose digits below it.
_NARROW = 1e-3


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Rows as intervals of log steps, one set per replicate.

    Attributes:
        log_low_RN: log of the steps by which the target was not reached; -inf for "from the start".
        log_high_RN: log of the steps by which it was; equal to low for a measured value, inf for
            a right-censored row.
        weight_RN: multiplies the row's log likelihood; 0 leaves it out.
    """

    log_low_RN: Floats
    log_high_RN: Floats
    weight_RN: Floats

    def take(self, index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> "Observations":
        """Return the replicates with these numbers."""
        return Observations(
            log_low_RN=self.log_low_RN[index],
            log_high_RN=self.log_high_RN[index],
            weight_RN=self.weight_RN[index],
        )

    def only(self, rows_N: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> "Observations":
        """Return only some of the rows, of every replicate."""
        return Observations(
            log_low_RN=self.log_low_RN[:, rows_N],
            log_high_RN=self.log_high_RN[:, rows_N],
            weight_RN=self.weight_RN[:, rows_N],
        )

    # Cached, because a fit asks for them in every round.
    @cached_property
    def censored_places(self) -> npt.NDArray[np.int64]:
        """Where right-censored rows are among the (R N) flattened ones."""
        return np.flatnonzero(np.isposinf(self.log_high_RN))

    @cached_property
    def interval_places(self) -> npt.NDArray[np.int64]:
        """Where interval-censored rows are among the (R N) flattened ones."""
        return np.flatnonzero((self.log_low_RN < self.log_high_RN) & np.isfinite(self.log_high_RN))

    @cached_property
    def measured_RN(self) -> npt.NDArray[np.bool_]:
        """Whether a row bounds its steps from both sides.

        One that did not reach, or had by its first evaluation, does from one side only.
        """
        return np.isfinite(self.log_low_RN) & np.isfinite(self.log_high_RN)

    @cached_property
    def log_middle_RN(self) -> Floats:
        """One log value per row: the middle, or the end that is finite."""
        low, high = self.log_low_RN, self.log_high_RN
        low = np.where(np.isfinite(low), low, high)
        return np.asarray(0.5 * (low + np.where(np.isfinite(high), high, low)))


@dataclass(frozen=True, kw_only=True)
class RowTerms:
    """Log likelihood of each row with derivatives in mu and log sigma; every field is (R, N).

    Attributes:
        value: log likelihood.
        d_mu: its derivative in mu; sigma^2 times it is the (generalised) residual.
        d_log_sigma: its derivative in log sigma.
        k_mu_mu: curvature, minus a second derivative, in mu.
        k_mu_sigma: in mu and log sigma.
        k_sigma_sigma: in log sigma.
    """

    value: Floats
    d_mu: Floats
    d_log_sigma: Floats
    k_mu_mu: Floats
    k_mu_sigma: Floats
    k_sigma_sigma: Floats


def hazard(u: Floats) -> Floats:
    """Return phi(u) / Phi(-u), exact in both tails."""
    return np.asarray(np.sqrt(2 / np.pi) / erfcx(u / np.sqrt(2)))


def log_cdf_difference(low: Floats, high: Floats) -> Floats:
    """Return log(Phi(high) - Phi(low)) without cancellation in the tails.

    Args:
        low: in units of sigma; -inf allowed.
        high: more than low.

    Returns:
        The log of the probability, finite wherever low < high.
    """
    # In the right tail both cdfs are 1; the mirror image in the left tail has all its digits.
    mirrored = low > 0
    a = np.where(mirrored, -high, low)
    b = np.where(mirrored, -low, high)
    log_b = log_ndtr(b)
    return np.asarray(log_b + np.log(-np.expm1(log_ndtr(a) - log_b)))


def row_terms(mu_RN: Floats, log_sigma_R: Floats, rows: Observations) -> RowTerms:
    """Return each row's log likelihood and derivatives.

    Args:
        mu_RN: the law's log steps.
        log_sigma_R: log of the noise size, per replicate.
        rows: what was measured.

    Returns:
        The terms, not yet multiplied by the rows' weights.
    """
    sigma_column = np.exp(log_sigma_R)[:, None]
    off_RN = (rows.log_middle_RN - mu_RN) / sigma_column
    # Measured rows everywhere first; the others overwrite their places.
    terms = np.empty((6, *mu_RN.shape))
    terms[0] = -0.5 * off_RN**2 - (_LOG_SQRT_2PI + log_sigma_R[:, None])
    terms[1], terms[2] = off_RN, off_RN**2 - 1
    terms[3], terms[4], terms[5] = 1.0, 0.0, 2.0
    flat, censored, between = terms.reshape(6, -1), rows.censored_places, rows.interval_places
    if censored.size:
        flat[:, censored] = _censored_terms(off_RN.ravel()[censored])
    if between.size:
        sigma = np.broadcast_to(sigma_column, mu_RN.shape).ravel()[between]
        low, high = (
            (end.ravel()[between] - mu_RN.ravel()[between]) / sigma
            for end in (rows.log_low_RN, rows.log_high_RN)
        )
        wide = high - low >= _NARROW
        # A narrow interval's probability is its density times its width. Without the width the
        # value would jump where a shrinking sigma turns a narrow interval into a wide one.
        flat[0, between[~wide]] += np.log((high - low)[~wide] * sigma[~wide])
        flat[:, between[wide]] = _interval_terms(low[wide], high[wide])
    terms[1] /= sigma_column
    terms[3] /= sigma_column**2
    terms[4] /= sigma_column
    value, d_mu, d_log_sigma, k_mu_mu, k_mu_sigma, k_sigma_sigma = terms
    return RowTerms(
        value=value,
        d_mu=d_mu,
        d_log_sigma=d_log_sigma,
        k_mu_mu=k_mu_mu,
        k_mu_sigma=k_mu_sigma,
        k_sigma_sigma=k_sigma_sigma,
    )


def _censored_terms(u: Floats) -> tuple[Floats, ...]:
    """Return the six terms of right-censored rows, mu measured in units of sigma."""
    rate = hazard(u)
    # The hazard's slope lies in (0, 1); beyond u = 1e7 rounding would leave that range.
    slope = np.clip(rate * (rate - u), 0.0, 1.0)
    return log_ndtr(-u), rate, rate * u, slope, slope * u, slope * u**2


def _interval_terms(low: Floats, high: Floats) -> tuple[Floats, ...]:
    """Return the six terms of interval-censored rows, mu measured in units of sigma."""
    value = log_cdf_difference(low, high)
    a = np.where(np.isfinite(low), low, 0.0)
    log_density = np.where(np.isfinite(low), -0.5 * a**2 - _LOG_SQRT_2PI, -np.inf)
    g_a = np.exp(log_density - value)
    g_b = np.exp(-0.5 * high**2 - _LOG_SQRT_2PI - value)
    # m_k = b^k g_b - a^k g_a; rounding may leave a curvature a little below zero.
    m_0, m_1, m_2, m_3 = (high**k * g_b - a**k * g_a for k in range(4))
    k_uu = np.maximum(m_0**2 + m_1, 0.0)
    k_ss = np.maximum(m_1**2 + m_3, 0.0)
    return value, -m_0, -m_1, k_uu, m_0 * m_1 + m_2, k_ss
