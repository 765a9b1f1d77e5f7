"""Profile-likelihood intervals of a law's quantities; an end may be open.

The profile of a quantity, say B_crit, is the largest likelihood that any law with this B_crit
reaches. Where it lies less than a threshold below the maximum the value is not refuted, and where
it never falls that far, however large B_crit, the interval has no upper end: not identified.

A value is held exactly (`fixed_quantity`); all values and several starts of each are one batch of
problems.

The threshold is Student's instead of the chi-squared distribution's, (W / 2) log(1 + t^2 / nu)
for rows of summed weight W with nu to spare (Bates & Watts 1988, section 6.1: exact for a law that
is linear in its parameters), since a handful of rows also has to tell its noise. Rows count as
independent. Seeds of one search are not: the posterior draws (`posterior`), which use the batch
sizes' means, are what commands report; these intervals are a check that needs no prior.

Shapes: R = problems, N = rows, P = parameters of the law, K = P - 1, G = values of the quantity.
"""

from typing import Final

import numpy as np
from scipy.special import stdtrit

from models_of_scaling.families import LawFamily
from models_of_scaling.fitting import (
    SMALLEST_SIGMA,
    Problem,
    descend,
    fit_batched,
    starting_log_sigma,
)
from models_of_scaling.fixed_quantity import FixedQuantity
from models_of_scaling.intervals import Interval, check_level
from models_of_scaling.likelihood import Observations
from models_of_scaling.noise import smallest_sigma
from models_of_scaling.objective import Reduced
from models_of_scaling.quantities import Floats
from models_of_scaling.row_sums import row_sums
from models_of_scaling.study_rows import StudyRows

# Farther than a factor of e^12 = 160,000 from the best value nobody asks: the end is open.
_FARTHEST: Final = 12.0
_NEAREST: Final = 1e-3  # the first value's share of the way to the farthest
_GRID_POINTS: Final = 28  # to each side, closest near the best value
_REFINED: Final = 9  # a bracket shrinks by 10 in each of the following rounds
_ROUNDS: Final = 7
_LARGEST_LOG_SIGMA: Final = float(np.log(3.0))


def profile_objective(
    fixed: FixedQuantity, problem: Problem, log_value_R: Floats, theta_RP: Floats
) -> tuple[Floats, Floats]:
    """Minimise with the quantity held.

    Args:
        fixed: the law and its quantity.
        problem: the data sets, one each or one for all; its family is not used.
        log_value_R: log of the value at which the quantity is held.
        theta_RP: a likely start, log parameters of the law; the law's own starts join it.

    Returns:
        Minus the log likelihood (R,) and the law's log parameters (R, P).
    """
    family, place = fixed.family, fixed.place
    # One data set for all values is the usual case.
    problem = _repeated(problem, len(log_value_R))
    rows = problem.rows
    seen_RN = np.where(rows.weight_RN > 0, rows.log_middle_RN, np.nan)
    starts = np.concatenate([theta_RP[None], family.starts(seen_RN, problem.x_N)])
    low_RP, high_RP = (ends.copy() for ends in family.bounds(seen_RN, problem.x_N))
    # A B_crit far beyond the data needs a floor far below what the law's box would allow.
    low_RP[:, 0] -= 2 * _FARTHEST
    low_RP[:, place] = high_RP[:, place] = log_value_R
    starts[:, :, place] = log_value_R
    best_R, best_RP = _least(fixed, problem, starts, (low_RP, high_RP))
    return best_R, fixed.theta(best_RP)


def _repeated(problem: Problem, count: int) -> Problem:
    if len(problem.smallest_sigma_R) == count:
        return problem
    return problem.take(np.zeros(count, dtype=np.int64))


def _least(
    fixed: FixedQuantity, problem: Problem, starts: Floats, ends: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return the least objective over starts (S, R, P), and the exchanged parameters there."""
    count, replicates = starts.shape[:2]
    every = np.tile(np.arange(replicates), count)
    reduced = Reduced(
        family=fixed,
        sums=row_sums(problem.rows, problem.x_N),
        x_last_R=problem.x_last_R,
    ).take(every)
    low, high = (np.asarray(end)[every] for end in ends)
    smallest_R = problem.smallest_sigma_R[every]
    phi = np.clip(starts.reshape(count * replicates, -1), low, high)
    log_sigma = starting_log_sigma(phi, reduced, smallest_R)
    fit, _ = descend(
        np.concatenate([phi, log_sigma], axis=1),
        reduced,
        (
            np.concatenate([low, np.log(smallest_R)[:, None]], axis=1),
            np.concatenate([high, np.full_like(log_sigma, _LARGEST_LOG_SIGMA)], axis=1),
        ),
    )
    objective = np.where(np.isnan(fit.objective_R), np.inf, fit.objective_R)
    best = np.argmin(objective.reshape(count, replicates), axis=0)
    chosen = best * replicates + np.arange(replicates)
    return objective[chosen], fit.theta_RP[chosen]


def largest_likelihood(fixed: FixedQuantity, problem: Problem) -> tuple[Floats, Floats]:
    """Minimise with the quantity free.

    Args:
        fixed: the law, and whether its prior counts.
        problem: the data sets, of the same law.

    Returns:
        Minus the log likelihood (R,) and the law's log parameters (R, P).
    """
    rows = problem.rows
    seen_RN = np.where(rows.weight_RN > 0, rows.log_middle_RN, np.nan)
    low_RP, high_RP = (ends.copy() for ends in fixed.family.bounds(seen_RN, problem.x_N))
    # The fit with its prior is where everybody looks; without one the rows may send it far away.
    centre_RP = fit_batched(problem).theta_RP
    starts = np.concatenate([centre_RP[None], fixed.family.starts(seen_RN, problem.x_N)])
    starts = np.stack([fixed.exchanged(start_RP) for start_RP in starts])
    low_RP[:, fixed.place], high_RP[:, fixed.place] = _reach(fixed, problem, centre_RP)
    best_R, best_RP = _least(fixed, problem, starts, (low_RP, high_RP))
    return best_R, fixed.theta(best_RP)


def _reach(fixed: FixedQuantity, problem: Problem, theta_RP: Floats) -> tuple[Floats, Floats]:
    """Return the logs (R,) between which the quantity is looked for.

    They are where the family's box ends, beyond which curves are not told apart, or nearer.
    """
    seen_RN = np.where(problem.rows.weight_RN > 0, problem.rows.log_middle_RN, np.nan)
    centre_R, place = fixed.log_quantity(theta_RP), fixed.place
    found = []
    for end_RP in fixed.family.bounds(seen_RN, problem.x_N):
        there_RP = theta_RP.copy()
        there_RP[:, place] = end_RP[:, place]
        found.append(fixed.log_quantity(there_RP))
    low_R = np.maximum(np.minimum(*found), centre_R - _FARTHEST)
    return low_R, np.minimum(np.maximum(*found), centre_R + _FARTHEST)


def threshold(rows: Observations, num_parameters: int, level: float) -> float:
    """Return how far the log likelihood may fall before a value is refuted.

    Args:
        rows: one data set.
        num_parameters: of the law.
        level: of the interval.

    Returns:
        (W / 2) log(1 + t^2 / nu), with W the summed weight of the rows that reached the target
        and nu their number less the law's parameters; about 1.35 for many rows at level 0.9.
    """
    reached_N = (rows.weight_RN[0] > 0) & np.isfinite(rows.log_high_RN[0])
    spare = max(int(reached_N.sum()) - num_parameters, 1)
    total = float(rows.weight_RN[0, reached_N].sum())
    t = float(stdtrit(spare, (1 + level) / 2))
    return 0.5 * total * float(np.log1p(t**2 / spare))


def profile_interval(
    family: LawFamily,
    study: StudyRows,
    quantity: str,
    *,
    reference_batch_size: float,
    level: float = 0.9,
    with_prior: bool = False,
) -> Interval:
    """Return a quantity's interval by its profile likelihood.

    Args:
        family: the law.
        study: the data.
        quantity: one of `family.parameter_names`.
        reference_batch_size: to which the x of `study` refers, examples.
        level: of the interval.
        with_prior: whether the law's prior counts; it closes most open ends.

    Returns:
        The interval in the quantity's unit: the values that the threshold does not refute, and
        what lies between them. Its low end is 0, its high end infinite, where no value is refuted
        up to e^12 times the best one, or to where curves are not told apart any more: the rows do
        not identify the quantity to that side.

    Raises:
        ValueError: for a quantity that the law does not have.
    """
    check_level(level)
    names = family.parameter_names
    if quantity not in names:
        raise ValueError(f"quantity {quantity!r} is not one of {', '.join(names)}")
    fixed = FixedQuantity(
        family=family,
        place=names.index(quantity),
        reference_batch_size=reference_batch_size,
        with_prior=with_prior,
    )
    smallest = smallest_sigma(
        study.rows, study.cell_N, num_parameters=len(names), num_cells=study.num_cells
    )
    problem = Problem(
        family=family,
        rows=study.rows,
        x_N=study.x_N,
        smallest_sigma_R=np.array([max(smallest, SMALLEST_SIGMA)]),
    )
    lowest_R, theta_RP = largest_likelihood(fixed, problem)
    centre = float(fixed.log_quantity(theta_RP)[0])
    allowed = float(lowest_R[0]) + threshold(study.rows, len(names), level)
    low, high = _ends(fixed, problem, theta_RP[0], allowed)
    return Interval(
        estimate=float(np.exp(centre)),
        low=min(low, float(np.exp(centre))),
        high=max(high, float(np.exp(centre))),
        level=level,
        method="profile posterior" if with_prior else "profile likelihood",
    )


def _ends(
    fixed: FixedQuantity, problem: Problem, theta_P: Floats, allowed: float
) -> tuple[float, float]:
    """Return the ends of the values whose objective is at most what is allowed."""
    centre = float(fixed.log_quantity(theta_P[None])[0])
    reach = np.array(_reach(fixed, problem, theta_P[None]))[:, 0]
    shares = np.geomspace(_NEAREST, 1.0, _GRID_POINTS)
    outward = centre + (reach - centre)[:, None] * shares  # (2, G)
    alike = np.broadcast_to(theta_P, (outward.size, len(theta_P)))
    objective, theta = profile_objective(fixed, problem, outward.ravel(), alike)
    inside = (objective <= allowed).reshape(outward.shape)
    theta = theta.reshape(*outward.shape, -1)
    ends = [0.0, np.inf]
    brackets, starts, closed = [], [], []
    for side in (0, 1):
        last = int(np.flatnonzero(inside[side]).max(initial=-1))
        if last + 1 < _GRID_POINTS:
            inner = outward[side, last] if last >= 0 else centre
            brackets.append((inner, outward[side, last + 1]))
            starts.append(theta[side, last] if last >= 0 else theta_P)
            closed.append(side)
    if closed:
        found = _narrowed(fixed, problem, np.array(brackets), np.array(starts), allowed)
        for side, value in zip(closed, found, strict=True):
            ends[side] = float(np.exp(value))
    return ends[0], ends[1]


def _narrowed(
    fixed: FixedQuantity, problem: Problem, brackets: Floats, starts: Floats, allowed: float
) -> Floats:
    """Return where the objective crosses what is allowed, within brackets (E, 2) in, out."""
    inner, outer = brackets.T
    shares = np.arange(1, _REFINED + 1) / (_REFINED + 1)
    for _ in range(_ROUNDS):
        values = inner[:, None] + shares * (outer - inner)[:, None]
        near = np.repeat(starts, _REFINED, axis=0)
        objective, theta = profile_objective(fixed, problem, values.ravel(), near)
        inside = (objective <= allowed).reshape(values.shape)
        theta = theta.reshape(*values.shape, -1)
        ladder = np.concatenate([inner[:, None], values, outer[:, None]], axis=1)
        # The first value outside; all between the bracket's ends behave like a rising curve.
        first = np.where(inside.all(axis=1), _REFINED, np.argmin(inside, axis=1))
        rows = np.arange(len(inner))
        inner, outer = ladder[rows, first], ladder[rows, first + 1]
        starts = theta[rows, np.maximum(first - 1, 0)]
    return np.asarray(0.5 * (inner + outer))
