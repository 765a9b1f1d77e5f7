"""Maximum likelihood for all replicates at once: damped Newton steps on one batch of problems.

Shapes: R = replicates, N = rows, P = parameters of the law, Q = P + 1 with log sigma, K = starts.

The unknowns are the law's log parameters and log sigma. Each round solves R small linear systems
(Levenberg-Marquardt damping, Marquardt 1963, on the curvature of `likelihood`), keeps the steps
that lower the objective, and goes on with the replicates that have not converged.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from models_of_scaling.damped_steps import NEAR_GAIN, damped_step, next_damping, rounding_of
from models_of_scaling.families import LawFamily
from models_of_scaling.likelihood import Observations
from models_of_scaling.objective import BestSigma, Reduced, evaluate
from models_of_scaling.quantities import Floats
from models_of_scaling.row_sums import row_sums

Bools: TypeAlias = npt.NDArray[np.bool_]
Integers: TypeAlias = npt.NDArray[np.int64]

# An expected gain of 1e-12 in log likelihood is 1e-6 standard errors: far below any interval; at
# 1e-10 two of NIST's sets lack the sixth digit, and a fit is hardly quicker.
_CONVERGED_GAIN: Final = 1e-12
# A few problems in a hundred crawl along the plateau without a floor; 1e-4 is a hundredth of a
# standard error, which no interval shows.
_ACCEPTED_GAIN: Final = 1e-4
_MAX_ROUNDS: Final = 150
_FIRST_DAMPING: Final = 1e-3
# A parameter with less curvature is known to no better than a factor of e^0.5: there may be a
# plateau, and another start is worth its time.
_WELL_TOLD: Final = 4.0
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
    return evaluate(psi, _reduced(problem))


def _reduced(problem: Problem) -> Reduced:
    return Reduced(
        family=problem.family,
        sums=row_sums(problem.rows, problem.x_N),
        x_last_R=problem.x_last_R,
    )


def minimise(psi: Floats, problem: Problem, bounds: tuple[Floats, Floats]) -> BatchedFit:
    """Minimise every replicate's objective from one start each.

    Args:
        psi: starts (R, Q), log parameters and log sigma.
        problem: the fits.
        bounds: smallest and largest log parameters, (R, Q) each.

    Returns:
        Where each ended, and whether it converged within the allowed rounds.
    """
    return descend(psi, _reduced(problem), bounds)[0]


def descend(
    psi: Floats, problem: Reduced, bounds: tuple[Floats, Floats]
) -> tuple[BatchedFit, Bools]:
    """Minimise as `minimise` does, from rows that are reduced already.

    Args:
        psi: starts (R, Q), log parameters and log sigma.
        problem: the fits.
        bounds: smallest and largest (R, Q); where both are equal the parameter stays there.

    Returns:
        The ends, and which of them the rows tell every parameter of.
    """
    low, high = bounds
    psi = np.clip(psi, low, high)
    begin = BestSigma(wanted_R=np.ones(len(psi), dtype=bool), low_R=low[:, -1], high_R=high[:, -1])
    objective_R, gradient, curvature = evaluate(psi, problem, begin)
    result, result_R = psi.copy(), objective_R.copy()
    converged_R, told_R = np.zeros((2, len(psi)), dtype=bool)
    active, damping_R = np.arange(len(psi)), np.full(len(psi), _FIRST_DAMPING)
    stuck_R = np.zeros(len(psi), dtype=bool)
    for _ in range(_MAX_ROUNDS):
        held = ((psi <= low) & (gradient > 0)) | ((psi >= high) & (gradient < 0))
        step, gain_R = damped_step(gradient, curvature, damping_R, held)
        # A damped step gains less by about its damping; undamped is what convergence is about.
        gain_R *= 1 + damping_R
        tried = np.clip(psi + step, low, high)
        done_R = gain_R < _CONVERGED_GAIN
        # Where steps have been good, the last one is too, and too small to be worth a look.
        result[active] = np.where((done_R & (damping_R < _FIRST_DAMPING))[:, None], tried, psi)
        result_R[active] = objective_R
        converged_R[active] = gain_R < _ACCEPTED_GAIN
        diagonal = np.diagonal(curvature, axis1=1, axis2=2)[:, :-1]
        told_R[active] = diagonal.min(axis=1) >= _WELL_TOLD
        going = np.flatnonzero(~done_R & ~stuck_R)
        if not going.size:
            break
        if going.size < len(active):
            active, problem, damping_R = active[going], problem.take(going), damping_R[going]
            psi, tried, objective_R = psi[going], tried[going], objective_R[going]
            gradient, curvature = gradient[going], curvature[going]
            low, high = low[going], high[going]
        near = BestSigma(wanted_R=gain_R[going] < NEAR_GAIN, low_R=low[:, -1], high_R=high[:, -1])
        expected_R = gain_R[going] / (1 + damping_R)
        new_R, new_gradient, new_curvature = evaluate(tried, problem, near)
        lowered_R, better_R = objective_R - new_R, new_R <= objective_R
        worse = np.flatnonzero(~better_R)
        for new, old in (
            (tried, psi),
            (new_R, objective_R),
            (new_gradient, gradient),
            (new_curvature, curvature),
        ):
            new[worse] = old[worse]
        psi, objective_R, gradient, curvature = tried, new_R, new_gradient, new_curvature
        rounding_R = rounding_of(objective_R)
        # No step is better where none can be seen to be.
        stuck_R = (lowered_R <= 0) & ((damping_R >= 1e12) | (expected_R < rounding_R))
        damping_R = next_damping(damping_R, lowered_R, expected_R, rounding_R)
    else:
        result[active], result_R[active] = psi, objective_R
    fit = BatchedFit(
        theta_RP=result[:, :-1],
        log_sigma_R=result[:, -1],
        objective_R=result_R,
        converged_R=converged_R,
    )
    return fit, told_R


def fit_batched(problem: Problem, extra_start_P: Floats | None = None) -> BatchedFit:
    """Fit the law to every replicate from several starts and keep each one's best.

    Args:
        problem: the fits.
        extra_start_P: log parameters that are likely near every answer, for example those of the
            point fit. Then only replicates that do not converge from it, or end where the rows
            hardly tell some parameter, are tried again from the family's first start: if that fit
            has next to no floor, log S_min is on a plateau that few steps leave.

    Returns:
        The best end of each replicate.
    """
    rows, family = problem.rows, problem.family
    seen_RN = np.where(rows.weight_RN > 0, rows.log_middle_RN, np.nan)
    low_RP, high_RP = family.bounds(seen_RN, problem.x_N)
    if extra_start_P is None:
        starts = family.starts(seen_RN, problem.x_N)
        return _fit_from(starts, problem, (low_RP, high_RP))[0]
    near = np.broadcast_to(extra_start_P, (1, *low_RP.shape))
    ends, told_R = _fit_from(near, problem, (low_RP, high_RP))
    again = np.flatnonzero(~(told_R & ends.converged_R))
    if again.size:
        starts = family.starts(seen_RN[again], problem.x_N)[:1]
        second, _ = _fit_from(starts, problem.take(again), (low_RP[again], high_RP[again]))
        better = second.objective_R < ends.objective_R[again]
        for each in fields(BatchedFit):
            getattr(ends, each.name)[again[better]] = getattr(second, each.name)[better]
    return ends


def _fit_from(
    starts: Floats, problem: Problem, bounds: tuple[Floats, Floats]
) -> tuple[BatchedFit, Bools]:
    """Return each replicate's best end over starts (K, R, P), and what `descend` says of it."""
    count, replicates = starts.shape[:2]
    low = np.concatenate([bounds[0], np.log(problem.smallest_sigma_R)[:, None]], axis=1)
    high = np.concatenate([bounds[1], np.full((replicates, 1), np.log(_LARGEST_SIGMA))], axis=1)
    reduced, every = _reduced(problem), np.tile(np.arange(replicates), count)
    if count > 1:
        reduced = reduced.take(every)
    start_theta = starts.reshape(count * replicates, -1)
    if reduced.all_measured:  # the best log sigma is then known at every point
        log_sigma = np.zeros((len(start_theta), 1))
    else:
        log_sigma = starting_log_sigma(start_theta, reduced, problem.smallest_sigma_R[every])
    start_psi = np.concatenate([start_theta, log_sigma], axis=1)
    ends, told_R = descend(start_psi, reduced, (low[every], high[every]))
    best = np.argmin(ends.objective_R.reshape(count, replicates), axis=0)
    chosen = best * replicates + np.arange(replicates)
    columns = {each.name: getattr(ends, each.name)[chosen] for each in fields(BatchedFit)}
    return BatchedFit(**columns), told_R[chosen]


def starting_log_sigma(theta_RP: Floats, problem: Reduced, smallest_R: Floats) -> Floats:
    """Return log of the root mean square residual, a start for log sigma.

    Args:
        theta_RP: log parameters.
        problem: the fits.
        smallest_R: sigma is not let below it.

    Returns:
        Shape (R, 1).
    """
    sums = problem.sums
    mu, _ = problem.family.log_steps(theta_RP, sums.x)
    cells = sums.mean_RC.shape[1]
    off_RC = sums.mean_RC - mu[:, :cells]
    if sums.root_weight_RC is not None:
        off_RC = sums.root_weight_RC * off_RC
    weight_RM = sums.others.weight_RN
    # A censored row below the curve agrees with it, however far below: no part of sigma.
    over_RM = np.isposinf(sums.others.log_high_RN)
    off_RM = sums.others.log_middle_RN - mu[:, cells:]
    off_RM = np.where(weight_RM > 0, np.where(over_RM, np.maximum(off_RM, 0.0), off_RM), 0.0)
    squares_R = (off_RC**2).sum(axis=1) + sums.within_R + (weight_RM * off_RM**2).sum(axis=1)
    weight_R = sums.total_R + weight_RM.sum(axis=1)
    return np.asarray(0.5 * np.log(squares_R / weight_R + smallest_R**2))[:, None]
