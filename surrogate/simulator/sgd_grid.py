"""Steps to target of SGD for a grid of batch sizes and learning rates, exact to the step, fast.

With a = 1 - lr k, k the curvature, the risk after S steps is a sum of powers (geometric series):

    risk(S) = floor + sum_i a_i^(2S) (w_i - lr n_i / (B k_i (2 - lr k_i))),
    floor   = sum_i lr n_i / (B k_i (2 - lr k_i)),

w and n the measures of `modes`. How a cell of the grid is answered:

1. Without search. A mode whose variance grows never adds less than at the start, another never less
   than the smaller of its start and its limit: where that sum is above the target, or the floor is
   where all modes fall, the target is never met.
2. Else, where all modes fall, so that the risk has one crossing: the bracket S, 2S by squaring, and
   Newton's method on the logarithm, all on merged modes.
3. The answer holds for all modes if the merged risks at S - 1 and S clear the target by more than
   merging can have changed. That bound is Trefethen 2013, Approximation Theory and Approximation
   Practice, theorem 8.2: an interpolant of degree n is off by 4 M r^-n / (r - 1) at most, with M
   the maximum on the Bernstein ellipse of parameter r.
4. Cells that do not clear it are stepped to their answer on all modes; cells where some modes rise
   go the general way (`noisy_quadratic.find_target`).

Shapes: B batch sizes, L learning rates, C cells, P modes, G octaves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogate.noisy_quadratic import Spectrum
from surrogate.simulator.configuration import Configuration, run_configuration
from surrogate.simulator.modes import Modes, Octaves, all_modes, merge_modes
from surrogate.simulator.sgd_excess import Cells, Excess, Floats, Integers, Powers

_NODES = 20  # 5.8^-19 is 3e-15: the bound of step 3 is then near rounding
_ELLIPSES = (2.5, 3.5, 4.5, 5.8)  # at 5.83 an octave's ellipse reaches curvature 0
_ROUNDING = 4e-14  # relative to the starting risk: sums of some hundred numbers
_NEWTON_STEPS = 3  # from a few per cent off: 1e-4, 1e-8 and then rounding
_MAX_DOUBLINGS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class GridSteps:
    """Steps to target on the grid; every field has shape (B, L).

    Attributes:
        steps: the first step at which the target is met; 0 where it never is.
        reached: whether it is.
        diverges: whether some mode's variance grows without bound.
        checked_on_all_modes: whether the answer needed the sum over all modes.
    """

    steps: Integers
    reached: NDArray[np.bool_]
    diverges: NDArray[np.bool_]
    checked_on_all_modes: NDArray[np.bool_]


def sgd_grid(
    spectrum: Spectrum,
    *,
    batch_sizes: Sequence[float],
    learning_rates: Sequence[float],
    target_risk: float,
    preconditioning: float = 0.0,
) -> GridSteps:
    """Return the steps to target of SGD at every batch size and learning rate.

    Args:
        spectrum: the quadratic.
        batch_sizes: examples per step, B of them.
        learning_rates: constant ones, L of them.
        target_risk: the expected risk to reach, positive.
        preconditioning: p; steps are multiplied by h^-p.

    Returns:
        The answers, exact for all modes.
    """
    modes = all_modes(spectrum, preconditioning=preconditioning)
    batch_size = np.asarray(batch_sizes, dtype=np.float64)
    rates = np.asarray(learning_rates, dtype=np.float64)
    stable = rates * modes.curvature_P.max() < 2
    floor, falls = _floors(modes, batch_size, rates, stable)
    steps = np.zeros(floor.shape, dtype=np.int64)
    checked = np.zeros(floor.shape, dtype=np.bool_)
    search = falls & (floor < target_risk)
    row, column = np.nonzero(search)
    cells = Cells(rate=column, batch_size=batch_size[row], gap=target_risk - floor[row, column])
    if len(row):
        merged, octaves = merge_modes(modes, nodes=_NODES)
        powers = Powers(merged, rates)
        found, certain = _on_merged_modes(
            powers, cells, lambda which, at: _merging_error(octaves, rates, which, at, modes)
        )
        if not certain.all():
            found[~certain] = _on_all_modes(
                modes, rates, cells.of(~certain), found[~certain].astype(np.float64)
            )
        steps[search], checked[search] = found, ~certain
    for b, rate in zip(*np.nonzero(~falls & ~_hopeless(modes, rates, target_risk)), strict=True):
        if _least_risk(modes, batch_size[b], rates[rate]) <= target_risk:
            checked[b, rate] = True
            run = run_configuration(
                spectrum,
                Configuration(learning_rate=float(rates[rate]), preconditioning=preconditioning),
                batch_size=float(batch_size[b]),
                target_risk=target_risk,
                max_steps=2**_MAX_DOUBLINGS,
            )
            steps[b, rate] = run.steps if run.status == "reached" else 0
    return GridSteps(
        steps=steps,
        reached=steps > 0,
        diverges=np.broadcast_to(~stable, steps.shape),
        checked_on_all_modes=checked,
    )


def _floors(
    modes: Modes, batch_size: Floats, rates: Floats, stable: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the limit of the risk, and whether every mode falls to its own; shape (B, L)."""
    limit, highest = np.full((2, len(rates)), np.inf)
    ratio = modes.noise_P / modes.curvature_P
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(ratio > 0, ratio / modes.signal_P, 0.0)
    gap = 1 / (2 - rates[stable, None] * modes.curvature_P)
    limit[stable] = rates[stable] * (gap @ ratio)
    gap *= relative
    highest[stable] = rates[stable] * gap.max(axis=1)
    return limit / batch_size[:, None], highest <= batch_size[:, None]


def _hopeless(modes: Modes, rates: Floats, target_risk: float) -> NDArray[np.bool_]:
    """Return whether the modes that grow are above the target from the start; shape (L,)."""
    order = np.argsort(-modes.curvature_P)
    total = np.append(0.0, np.cumsum(modes.signal_P[order]))
    growing = np.searchsorted(-modes.curvature_P[order], -2 / rates, side="right")
    return np.asarray(total[growing] > target_risk)


def _least_risk(modes: Modes, batch_size: float, rate: float) -> float:
    """Return a bound below the risk at any step."""
    x = rate * modes.curvature_P
    with np.errstate(divide="ignore"):
        limit = rate * modes.noise_P / (modes.curvature_P * (2 - x)) / batch_size
    return float(np.where(x < 2, np.minimum(modes.signal_P, limit), modes.signal_P).sum())


def _on_merged_modes(
    powers: Powers, cells: Cells, error: Callable[[Cells, Floats], Floats]
) -> tuple[Integers, NDArray[np.bool_]]:
    """Return steps to target and whether they are certain to hold on all modes; shape (C,)."""
    steps = _bracketed(powers, cells)
    low, high = steps / 2, steps * 2
    excess = Excess(powers, cells)
    for _ in range(_NEWTON_STEPS):
        steps = np.clip(steps + excess.newton(steps), low, high)
    answer = np.maximum(np.ceil(steps), 1.0)
    certain = np.zeros(len(answer), dtype=np.bool_)
    for _ in range(2):  # the second for those that rounding put one step off
        left = np.flatnonzero(~certain)
        if not len(left):
            break
        some, at = cells.of(left), answer[left]
        before, after = (excess if len(left) == len(certain) else Excess(powers, some)).around(at)
        margin = error(some, at)
        above, below = before - some.gap > margin, some.gap - after > margin
        certain[left] = (above | (at == 1)) & below
        answer[left] = np.maximum(at + (after > some.gap) - (before <= some.gap), 1.0)
    return answer.astype(np.int64), certain


def _bracketed(powers: Powers, cells: Cells) -> Floats:
    """Return real steps within a factor 2 of each cell's answer, by squaring."""
    square = np.minimum(powers.square, 1.0)  # learning rates with a growing mode have no cell
    steps = np.ones(len(cells.rate))
    open_, power = np.ones(len(steps), dtype=np.bool_), 1.0
    previous = steps
    for _ in range(_MAX_DOUBLINGS):
        signal, limit = square @ powers.signal, np.einsum("lp,lp->l", square, powers.limit)
        excess = signal[cells.rate] - limit[cells.rate] / cells.batch_size
        met = open_ & (excess <= cells.gap)
        if power > 1:  # a straight line in log steps and log excess, from power / 2 to power
            start = previous[met]
            with np.errstate(divide="ignore"):  # what underflows is met right after the start
                share = np.log(start / cells.gap[met]) / np.log(start / excess[met])
            steps[met] = power / 2 * 2**share
        open_ &= ~met
        if not open_.any():
            break
        previous = excess
        power *= 2
        square *= square
    return steps


def _merging_error(
    octaves: Octaves, rates: Floats, cells: Cells, steps: Floats, modes: Modes
) -> Floats:
    """Return the most by which merged modes' risk at `steps` and one before can be wrong."""
    middle, half = (octaves.high + octaves.low) / 2, (octaves.high - octaves.low) / 2
    error = np.full(len(steps), _ROUNDING * modes.initial_risk())
    if not len(middle):
        return error
    best = np.full((len(steps), len(middle)), np.inf)
    rate = rates[cells.rate, None]
    with np.errstate(over="ignore", divide="ignore"):
        for ellipse in _ELLIPSES:
            axis = half * (ellipse + 1 / ellipse) / 2
            # The farthest point of the ellipse from 1 / rate, which lies on its long axis.
            log_most = 2 * np.log(np.abs(1 - rates[:, None] * middle) + rates[:, None] * axis)
            log_most = log_most[cells.rate]
            at = np.where(log_most > 0, steps[:, None], steps[:, None] - 1)
            most = np.exp(at * log_most) * 4 * ellipse ** (1 - octaves.nodes) / (ellipse - 1)
            pole = 2 - rate * (middle + axis)  # of the noise's limit, outside the ellipse
            noise = np.where(pole > 0, rate / pole, np.inf) / cells.batch_size[:, None]
            noise = noise * octaves.noise / (middle - axis)
            best = np.minimum(best, most * (octaves.signal + noise))
    error += best.sum(axis=1)
    return error


def _on_all_modes(modes: Modes, rates: Floats, cells: Cells, steps: Floats) -> Integers:
    """Return steps to target on all modes, from near ones."""
    result = np.zeros(len(steps), dtype=np.int64)
    for cell in range(len(steps)):  # few; each is a pass over all modes
        one = cells.of(np.array([cell]))
        powers = Powers(modes, rates[one.rate])
        alone = Cells(rate=np.zeros(1, dtype=np.int64), batch_size=one.batch_size, gap=one.gap)
        excess, at = Excess(powers, alone), steps[[cell]]
        while True:
            before, after = excess.around(at)
            if after[0] > one.gap[0]:
                # Newton undershoots: the answer is not passed by.
                at = at + max(1.0, float(np.floor(excess.newton(at)[0])))
            elif at[0] > 1 and before[0] <= one.gap[0]:
                at = at - 1
            else:
                break
        result[cell] = int(at[0])
    return result
