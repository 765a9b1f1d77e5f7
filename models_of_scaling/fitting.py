"""Maximum likelihood for all replicates at once: damped Newton steps on one batch of problems.

Shapes: R = replicates, N = rows, P = parameters of the law, Q = P + 1 with log sigma, K = starts.

The unknowns are the law's log parameters and log sigma. Each round solves R small linear systems
(Levenberg-Marquardt damping, Marquardt 1963, on the curvature of `likelihood`), keeps the steps
that lower the objective, and goes on with the replicates that have not converged.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from models_of_scaling.families import LawFamily
from models_of_scaling.likelihood import Observations, row_terms
from models_of_scaling.quantities import Floats

Bools: TypeAlias = npt.NDArray[np.bool_]
Integers: TypeAlias = npt.NDArray[np.int64]

# An expected gain of 1e-10 in log likelihood is 1e-5 standard errors: far below any interval,
# and at the smallest sigma far below the digits that noise-free data are recovered to.
_CONVERGED_GAIN: Final = 1e-10
# A few problems in a hundred crawl along the plateau without a floor; 1e-4 is a hundredth of a
# standard error, which no interval shows.
_ACCEPTED_GAIN: Final = 1e-4
_MAX_ROUNDS: Final = 150
_MAX_LOG_STEP: Final = 2.0  # a factor of e^2 in any parameter per round
SMALLEST_SIGMA: Final = 1e-7  # noise-free data would send sigma to 0 and the likelihood to infinity
_LARGEST_SIGMA: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class BatchedFit:
    """The maximum of every replicate's likelihood.

    Attributes:
        theta_RP: log parameters, in the family's own form.
        log_sigma_R: log of the noise size of one row.
        objective_R: minus the log likelihood, with the prior.
        converged_R: whether no step could gain anything that matters.
    """

    theta_RP: Floats
    log_sigma_R: Floats
    objective_R: Floats
    converged_R: Bools


@dataclass(frozen=True, kw_only=True)
class Problem:
    """R fits of one law.

    Attributes:
        family: the law.
        rows: what was measured, (R, N).
        x_N: log of batch size over the reference batch size.
        smallest_sigma_R: sigma is not let below it.
    """

    family: LawFamily
    rows: Observations
    x_N: Floats
    smallest_sigma_R: Floats

    @cached_property
    def x_last_R(self) -> Floats:
        """The largest x at which a row reached the target, to which the knee's prior refers."""
        counts_RN = (self.rows.weight_RN > 0) & np.isfinite(self.rows.log_high_RN)
        return np.asarray(np.where(counts_RN, self.x_N, -np.inf).max(axis=1))

    def take(self, index: Integers) -> "Problem":
        """Return the replicates with these numbers."""
        return Problem(
            family=self.family,
            rows=self.rows.take(index),
            x_N=self.x_N,
            smallest_sigma_R=self.smallest_sigma_R[index],
        )


def objective_and_derivatives(psi: Floats, problem: Problem) -> tuple[Floats, Floats, Floats]:
    """Return minus the log posterior with gradient and curvature.

    Args:
        psi: log parameters and, last, log sigma; Q = P + 1.
        problem: the fits.

    Returns:
        Objective (R,), gradient (R, Q) and positive semi-definite curvature (R, Q, Q).
    """
    theta_RP, weight_RN = psi[:, :-1], problem.rows.weight_RN
    family = problem.family
    mu_RN, jacobian_RNP = family.log_steps(theta_RP, problem.x_N)
    terms = row_terms(mu_RN, psi[:, -1], problem.rows)
    # The prior is like rows of unit noise: so many standard deviations from its centre.
    shapes, slopes = family.shape_coordinates(theta_RP, problem.x_last_R)
    off = (shapes - family.prior_mean_K) / family.prior_sd_K
    slopes = slopes / family.prior_sd_K[:, None]
    objective_R = -(weight_RN * terms.value).sum(axis=1) + 0.5 * (off**2).sum(axis=1)
    gradient = np.empty_like(psi)
    gradient[:, :-1] = (
        -np.matmul((weight_RN * terms.d_mu)[:, None, :], jacobian_RNP)
        + np.matmul(off[:, None, :], slopes)
    )[:, 0]
    gradient[:, -1] = -(weight_RN * terms.d_log_sigma).sum(axis=1)
    curvature = np.empty((*psi.shape, psi.shape[1]))
    weighted = np.swapaxes(jacobian_RNP * (weight_RN * terms.k_mu_mu)[:, :, None], 1, 2)
    prior = np.matmul(np.swapaxes(slopes, 1, 2), slopes)
    curvature[:, :-1, :-1] = np.matmul(weighted, jacobian_RNP) + prior
    cross_RP = np.matmul((weight_RN * terms.k_mu_sigma)[:, None, :], jacobian_RNP)[:, 0]
    curvature[:, :-1, -1] = curvature[:, -1, :-1] = cross_RP
    curvature[:, -1, -1] = (weight_RN * terms.k_sigma_sigma).sum(axis=1)
    return objective_R, gradient, curvature


def _damped_step(
    gradient: Floats, curvature: Floats, damping_R: Floats, held: Bools
) -> tuple[Floats, Floats]:
    """Return the step (R, Q) and the gain that the quadratic model expects of it (R,)."""
    free = ~held
    gradient = gradient * free
    system = curvature * (free[:, :, None] & free[:, None, :])
    diagonal = np.diagonal(system, axis1=1, axis2=2)
    # A parameter that no row tells about has no curvature: scaled by the largest it stays put.
    floor = 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    extra = damping_R[:, None] * np.maximum(diagonal, floor) + floor + held
    count = gradient.shape[1]
    system[:, range(count), range(count)] += extra
    step = -np.linalg.solve(system, gradient[:, :, None])[:, :, 0]
    expected_gain_R = -0.5 * (gradient * step).sum(axis=1)
    return np.clip(step, -_MAX_LOG_STEP, _MAX_LOG_STEP), expected_gain_R


def minimise(psi: Floats, problem: Problem, bounds: tuple[Floats, Floats]) -> BatchedFit:
    """Minimise every replicate's objective from one start each.

    Args:
        psi: starts (R, Q), log parameters and log sigma.
        problem: the fits.
        bounds: smallest and largest log parameters, (R, Q) each.

    Returns:
        Where each ended, and whether it converged within the allowed rounds.
    """
    low, high = bounds
    psi = np.clip(psi, low, high)
    objective_R, gradient, curvature = objective_and_derivatives(psi, problem)
    result, result_R = psi.copy(), objective_R.copy()
    converged_R = np.zeros(len(psi), dtype=bool)
    active = np.arange(len(psi))
    damping_R = np.full(len(psi), 1e-3)
    for _ in range(_MAX_ROUNDS):
        held = ((psi <= low) & (gradient > 0)) | ((psi >= high) & (gradient < 0))
        step, gain_R = _damped_step(gradient, curvature, damping_R, held)
        tried = np.clip(psi + step, low, high)
        new_R, new_gradient, new_curvature = objective_and_derivatives(tried, problem)
        better_R = new_R <= objective_R
        # A damped step gains less by about its damping; undamped is what convergence is about.
        done_R = gain_R * (1 + damping_R) < _CONVERGED_GAIN
        stuck_R = ~better_R & (damping_R >= 1e12)
        psi = np.where(better_R[:, None], tried, psi)
        objective_R = np.where(better_R, new_R, objective_R)
        gradient = np.where(better_R[:, None], new_gradient, gradient)
        curvature = np.where(better_R[:, None, None], new_curvature, curvature)
        damping_R = np.where(better_R, np.maximum(damping_R / 10, 1e-10), damping_R * 8)
        result[active], result_R[active] = psi, objective_R
        converged_R[active] = done_R | (gain_R * (1 + damping_R) < _ACCEPTED_GAIN)
        going = np.flatnonzero(~done_R & ~stuck_R)
        if not going.size:
            break
        if going.size < len(active):
            active, problem, damping_R = active[going], problem.take(going), damping_R[going]
            psi, objective_R = psi[going], objective_R[going]
            gradient, curvature = gradient[going], curvature[going]
            low, high = low[going], high[going]
    return BatchedFit(
        theta_RP=result[:, :-1],
        log_sigma_R=result[:, -1],
        objective_R=result_R,
        converged_R=converged_R,
    )


def fit_batched(problem: Problem, extra_start_P: Floats | None = None) -> BatchedFit:
    """Fit the law to every replicate from several starts and keep each one's best.

    Args:
        problem: the fits.
        extra_start_P: log parameters that are likely near every answer, for example those of the
            point fit; then only the family's first start joins it, in case that fit has next to
            no floor: log S_min would then be on a plateau that few steps leave.

    Returns:
        The best end of each replicate.
    """
    rows = problem.rows
    seen_RN = np.where(rows.weight_RN > 0, rows.log_middle_RN, np.nan)
    starts = problem.family.starts(seen_RN, problem.x_N)
    low_RP, high_RP = problem.family.bounds(seen_RN, problem.x_N)
    if extra_start_P is not None:
        starts = np.concatenate([
            np.broadcast_to(extra_start_P, starts[:1].shape),
            starts[:1],
        ])
    count, replicates = starts.shape[:2]
    low = np.concatenate([low_RP, np.log(problem.smallest_sigma_R)[:, None]], axis=1)
    high = np.concatenate([high_RP, np.full((replicates, 1), np.log(_LARGEST_SIGMA))], axis=1)
    every = np.tile(np.arange(replicates), count)
    repeated = problem.take(every)
    start_theta = starts.reshape(count * replicates, -1)
    start_psi = np.concatenate([start_theta, _starting_log_sigma(start_theta, repeated)], axis=1)
    ends = minimise(start_psi, repeated, (low[every], high[every]))
    best = np.argmin(ends.objective_R.reshape(count, replicates), axis=0)
    chosen = best * replicates + np.arange(replicates)
    return BatchedFit(
        theta_RP=ends.theta_RP[chosen],
        log_sigma_R=ends.log_sigma_R[chosen],
        objective_R=ends.objective_R[chosen],
        converged_R=ends.converged_R[chosen],
    )


def _starting_log_sigma(theta_RP: Floats, problem: Problem) -> Floats:
    """Return log of the root mean square residual, (R, 1)."""
    mu_RN, _ = problem.family.log_steps(theta_RP, problem.x_N)
    weight_RN = problem.rows.weight_RN
    squares_RN = np.where(weight_RN > 0, (problem.rows.log_middle_RN - mu_RN) ** 2, 0.0)
    mean = (weight_RN * squares_RN).sum(axis=1, keepdims=True) / weight_RN.sum(
        axis=1, keepdims=True
    )
    return np.asarray(0.5 * np.log(mean + problem.smallest_sigma_R[:, None] ** 2))
