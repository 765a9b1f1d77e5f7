"""One round of the solver: damped Newton steps of many small problems, and the next damping.

Levenberg-Marquardt (Marquardt 1963, SIAM 11:431): the diagonal of the curvature is made larger by
the damping. Shapes: R = replicates, Q = unknowns.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from models_of_scaling.quantities import Floats

# Nearer to the maximum than this expected gain, log sigma follows the log parameters, which saves
# rounds. Farther off it has to lag behind: if the steps had to lower the squares at once, some of
# NIST's sets would take hundreds.
NEAR_GAIN: Final = 3.0
_POOR: Final = 0.25  # share of the expected gain: less says that the step was too long
_GOOD: Final = 0.75  # says that the curvature is right, and less damping will do
_ROUNDING: Final = 1e-14  # of an objective, a sum of many rows
_TINY: Final = 1e-300
_MAX_LOG_STEP: Final = 2.0  # a factor of e^2 in any parameter per round


def rounding_of(objective_R: Floats) -> Floats:
    """Return below which differences of an objective are its rounding, (R,)."""
    return np.asarray(_ROUNDING * (1 + np.abs(objective_R)))


def damped_step(
    gradient: Floats, curvature: Floats, damping_R: Floats, held: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the step (R, Q) and the gain that the quadratic model expects of it (R,).

    Args:
        gradient: (R, Q).
        curvature: positive semi-definite, (R, Q, Q).
        damping_R: at least 0.
        held: parameters that stay where they are, (R, Q).
    """
    system = curvature.copy()
    if held.any():
        free = ~held
        gradient = gradient * free
        system *= free[:, :, None] & free[:, None, :]
    diagonal = np.diagonal(system, axis1=1, axis2=2)
    # A parameter that no row tells about has no curvature: scaled by the largest it stays put.
    # Not so log sigma, whose curvature is the number of rows, next to nothing where noise is tiny.
    floor = 1e-12 * diagonal
    floor[:, :-1] = floor[:, :-1].max(axis=1, keepdims=True)
    floor += 1e-300
    extra = damping_R[:, None] * np.maximum(diagonal, floor) + floor + held
    count = gradient.shape[1]
    system[:, range(count), range(count)] += extra
    step = -_solve(system, gradient)
    expected_gain_R = -0.5 * (gradient * step).sum(axis=1)
    return np.clip(step, -_MAX_LOG_STEP, _MAX_LOG_STEP), expected_gain_R


def next_damping(
    damping_R: Floats, lowered_R: Floats, expected_R: Floats, rounding_R: Floats
) -> Floats:
    """Return each replicate's damping after a step.

    A step that lowers the objective by little of what was expected went past the minimum of its
    line: there the objective bends by 2 - r of what the curvature says, r being the ratio of both,
    and damping by 1 - r would have met it. Interval-censored rows with a sigma far below their
    width bend so, and without this they send whole steps to and fro for a hundred rounds.

    Args:
        damping_R: of the step.
        lowered_R: by how much the objective fell; negative where the step was not kept.
        expected_R: by how much the curvature had it fall.
        rounding_R: of the objective.
    """
    ratio_R = np.clip(lowered_R / np.maximum(expected_R, _TINY), 0.0, 1.0)
    # Far away the curvature says little of a step's length; below the rounding nothing does.
    told_R = (expected_R < NEAR_GAIN) & (expected_R > rounding_R)
    less_R = np.where(told_R & (ratio_R < _GOOD), damping_R, np.maximum(damping_R / 10, 1e-10))
    more_R = np.maximum(damping_R * 8, 1 - ratio_R)
    kept_R = np.where(told_R & (ratio_R < _POOR), more_R, less_R)
    return np.where(lowered_R >= 0, kept_R, damping_R * 8)


def _solve(system: Floats, right: Floats) -> Floats:
    """Solve R small positive definite systems (R, Q, Q) for right-hand sides (R, Q).

    Gaussian elimination without pivoting, which such systems don't need, over all replicates at
    once: for 3 to 6 unknowns 2 to 5 times as fast as one call of LAPACK for each.

    Args:
        system: positive definite, one for each replicate.
        right: right-hand sides.

    Returns:
        The solutions, (R, Q).
    """
    count = right.shape[1]
    rows = np.concatenate([system, right[:, :, None]], axis=2).transpose(1, 2, 0).copy()
    for pivot in range(count):
        for row in range(pivot + 1, count):
            factor = rows[row, pivot] / rows[pivot, pivot]
            rows[row, pivot + 1 :] -= factor * rows[pivot, pivot + 1 :]
    answer = np.empty_like(rows[:, count])
    for row in reversed(range(count)):
        known = (rows[row, row + 1 : count] * answer[row + 1 :]).sum(axis=0)
        answer[row] = (rows[row, count] - known) / rows[row, row]
    return np.asarray(answer.T)
