"""Minus the log posterior of R fits with gradient and curvature: what the solver minimises.

Shapes: R = replicates, C = batch sizes of measured rows, M = other rows, P = parameters of the
law, K = P - 1 shape coordinates, Q = P + 1 with log sigma.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from models_of_scaling.likelihood import Observations, row_terms
from models_of_scaling.quantities import Floats
from models_of_scaling.row_sums import RowSums

_LOG_SQRT_2PI: Final = 0.5 * np.log(2 * np.pi)
_TINY: Final = 1e-300
_NO_CURVATURE: Final = 1e-60  # in units of a measured row's


class CurveFamily(Protocol):
    """What the solver needs of a law; `families.LawFamily` has it."""

    @property
    def prior_mean_K(self) -> Floats:
        """Centre of the normal prior on each shape coordinate."""

    @property
    def prior_sd_K(self) -> Floats:
        """Standard deviation of the normal prior; inf for none."""

    def shape_coordinates(self, theta_RP: Floats, x_last_R: Floats) -> tuple[Floats, Floats]:
        """Return what shapes the curve (R, K) and its derivatives (R, K, P)."""

    def log_steps(self, theta_RP: Floats, x_N: Floats) -> tuple[Floats, Floats]:
        """Return log S of shape (R, N) and its derivatives of shape (R, N, P)."""


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """A problem as the solver's rounds need it.

    Attributes:
        family: the law.
        sums: the rows.
        x_last_R: the largest x at which a row reached the target.
    """

    family: CurveFamily
    sums: RowSums
    x_last_R: Floats

    @property
    def all_measured(self) -> bool:
        """Whether no row is censored in any replicate."""
        return bool(self.sums.x.size == self.sums.mean_RC.shape[1])

    def take(self, index: npt.NDArray[np.int64]) -> "Reduced":
        """Return the replicates with these numbers."""
        return Reduced(
            family=self.family, sums=self.sums.take(index), x_last_R=self.x_last_R[index]
        )


@dataclass(frozen=True, kw_only=True)
class BestSigma:
    """Where log sigma is to be the best one for the log parameters.

    Attributes:
        wanted_R: for which replicates.
        low_R: smallest log sigma.
        high_R: largest log sigma.
    """

    wanted_R: npt.NDArray[np.bool_]
    low_R: Floats
    high_R: Floats


def evaluate(
    psi: Floats, problem: Reduced, best_sigma: BestSigma | None = None
) -> tuple[Floats, Floats, Floats]:
    """Return minus the log posterior with gradient and curvature.

    Args:
        psi: log parameters and, last, log sigma; Q = P + 1.
        problem: the fits.
        best_sigma: where it says so, and every row is measured, log sigma in `psi` is replaced by
            the best one for these log parameters.

    Returns:
        Objective (R,), gradient (R, Q) and positive semi-definite curvature (R, Q, Q).
    """
    theta_RP, family, sums = psi[:, :-1], problem.family, problem.sums
    count, cells = theta_RP.shape[1], sums.mean_RC.shape[1]
    # Every replicate begins at the same place: one curve for all.
    alike = bool((theta_RP == theta_RP[0]).all())
    mu, jacobian = family.log_steps(theta_RP[:1] if alike else theta_RP, sums.x)
    # Squares of [derivatives, residual] give curvature, gradient and, for measured rows, objective.
    columns = np.empty((count + 1, len(psi), jacobian.shape[1]))
    columns[:count] = jacobian.transpose(2, 0, 1)
    np.subtract(sums.mean_RC, mu[:, :cells], out=columns[count, :, :cells])
    if sums.root_weight_RC is not None:
        columns[:, :, :cells] *= sums.root_weight_RC
    if not problem.all_measured:
        parts = _other_rows(mu[:, cells:], columns[:, :, cells:], psi[:, -1], sums.others)
    squares = _products(columns)
    residual = columns[count, :, :cells]
    squares_R = np.einsum("rc,rc->r", residual, residual) + sums.within_R
    if best_sigma is not None and problem.all_measured:
        # Tiny: no row with weight, or none off the curve; the ends settle it.
        mean_R = (squares_R + _TINY) / (sums.total_R + _TINY)
        best_R = np.clip(0.5 * np.log(mean_R), best_sigma.low_R, best_sigma.high_R)
        psi[:, -1] = np.where(best_sigma.wanted_R, best_R, psi[:, -1])
    log_sigma_R = psi[:, -1]
    precision_R = np.exp(-2 * log_sigma_R)
    misfit_R = precision_R * squares_R
    # The prior is like rows of unit noise: so many standard deviations from its centre.
    shapes, slopes = family.shape_coordinates(theta_RP, problem.x_last_R)
    off = (shapes - family.prior_mean_K) / family.prior_sd_K
    slopes = slopes / family.prior_sd_K[:, None]
    objective_R = (
        sums.total_R * (log_sigma_R + _LOG_SQRT_2PI) + 0.5 * misfit_R + 0.5 * (off**2).sum(axis=1)
    )
    gradient = np.empty_like(psi)
    gradient[:, :-1] = (off[:, None, :] @ slopes)[:, 0]
    gradient[:, :-1] -= precision_R[:, None] * squares[:, :-1, -1]
    gradient[:, -1] = sums.total_R - misfit_R
    curvature = np.zeros((*psi.shape, psi.shape[1]))
    curvature[:, :-1, :-1] = _products(slopes.transpose(2, 0, 1))
    curvature[:, :-1, :-1] += precision_R[:, None, None] * squares[:, :-1, :-1]
    curvature[:, -1, -1] = 2 * sums.total_R
    if not problem.all_measured:
        objective_R += parts.objective_R
        gradient[:, -1] += parts.d_log_sigma_R
        curvature += parts.curvature
    return objective_R, gradient, curvature


def _products(columns: Floats) -> Floats:
    """Return the inner products (R, J, J) of J columns (J, R, C); quicker than small matmuls."""
    count, replicates, _ = columns.shape
    products = np.empty((replicates, count, count))
    for i in range(count):
        for j in range(i + 1):
            products[:, i, j] = np.einsum("rc,rc->r", columns[i], columns[j])
            products[:, j, i] = products[:, i, j]
    return products


@dataclass(frozen=True, kw_only=True)
class OtherRows:
    """What rows that are censored in some replicate add beside their columns.

    Attributes:
        objective_R: minus their log likelihood.
        d_log_sigma_R: its derivative in log sigma.
        curvature: its curvature in log sigma, alone and with the log parameters, (R, Q, Q).
    """

    objective_R: Floats
    d_log_sigma_R: Floats
    curvature: Floats


def _other_rows(
    mu_RM: Floats, columns: Floats, log_sigma_R: Floats, rows: Observations
) -> OtherRows:
    """Scale the columns of such rows so that they count like measured ones; return the rest.

    Args:
        mu_RM: log steps of the law.
        columns: derivatives (P, R, M), to be multiplied by the root of the row's curvature, and
            last its residual, to be written: products of columns are then what they are for
            measured rows.
        log_sigma_R: of one row's noise.
        rows: what was measured.

    Returns:
        What the columns' products don't hold.
    """
    mu_RM = np.broadcast_to(mu_RM, rows.weight_RN.shape)
    terms, weight = row_terms(mu_RM, log_sigma_R, rows), rows.weight_RN
    k_mu_sigma = weight * terms.k_mu_sigma
    curvature = np.zeros((len(mu_RM), len(columns), len(columns)))
    for place, column in enumerate(columns[:-1]):
        curvature[:, place, -1] = np.einsum("rm,rm->r", k_mu_sigma, column)
    curvature[:, -1, :-1] = curvature[:, :-1, -1]
    curvature[:, -1, -1] = np.einsum("rm,rm->r", weight, terms.k_sigma_sigma)
    sigma_column = np.exp(log_sigma_R)[:, None]
    # Tiny: a row far below the curve has no curvature, and next to no pull.
    root = np.sqrt(np.maximum(weight * terms.k_mu_mu * sigma_column**2, _NO_CURVATURE))
    columns[:-1] *= root
    np.divide(weight * terms.d_mu * sigma_column**2, root, out=columns[-1])
    return OtherRows(
        objective_R=-np.einsum("rm,rm->r", weight, terms.value),
        d_log_sigma_R=-np.einsum("rm,rm->r", weight, terms.d_log_sigma),
        curvature=curvature,
    )
