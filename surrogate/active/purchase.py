"""What a budget buys: the set of actions that together narrow the answer most within what is left.

One action ahead, a design with a budget spends it on what is cheap for its gain, and then lacks
what the dearest, most telling batch size costs, or is left with money that buys nothing. So a whole
set of actions is chosen, the best of them is run, and with what that brought a set is chosen anew
(open-loop feedback control; Dreyfus 1964, J. SIAM Control 2:120). Sets are weighed by the variance
that they would leave if all were normal (c-optimal design; Chaloner & Verdinelli 1995, Statist.
Sci. 10:273): with K the covariance of log steps, k theirs with the answer, and d the precisions
that a set's measurements have,

    var after = var - k' D^1/2 (1 + D^1/2 K D^1/2)^-1 D^1/2 k,        D = diag(d).

Differs from the source: covariances are those of the posterior draws, the answer enters by its
normal scores (its far ends are a prior's), and log steps end at a run's budget.

Shapes: R = draws, C = batch sizes that could be measured, P = sets.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.special import ndtri

from models_of_scaling.noise import OUTLIER_DEGREES
from models_of_scaling.quantities import Floats
from surrogate.active.actions import Action, Effort, Menu
from surrogate.active.belief import Belief
from surrogate.active.cells import Cell, CostRates, noise_left, pooled_seed_variance

# Of a location, by one value of Student's t: (nu + 1) / (nu + 3) over the square of its scale.
_INFORMATION: Final = (OUTLIER_DEGREES + 1) / (OUTLIER_DEGREES + 3)
_MOST_VISITS: Final = 12  # 4,096 sets of them; where more are left, those that gain most
_SETS_TOGETHER: Final = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Purse:
    """What a purchase is decided by.

    Attributes:
        belief: the posterior draws.
        cells: the batch sizes measured.
        rates: what runs cost.
        effort: of each of them.
        menu: what may be done.
        left: examples of the budget.
    """

    belief: Belief
    cells: Sequence[Cell]
    rates: CostRates
    effort: Effort
    menu: Menu
    left: float


def best_purchase(purse: Purse, actions: Sequence[Action], *, least_gain: float) -> list[Action]:
    """Return the actions that are bought together.

    Args:
        purse: what is known, and what is left.
        actions: with their gains and costs.
        least_gain: log widths that differ by less count as alike, and the cheaper set is taken.

    Returns:
        Those of the best set, maybe none; each would be run with what the others leave.
    """
    visits = sorted((a for a in actions if a.kind == "visit"), key=lambda a: -a.gain)
    visits = visits[:_MOST_VISITS]
    chosen = np.array(list(itertools.product((False, True), repeat=len(visits))), dtype=bool)
    variances, covariances = _moments(purse)
    found: list[tuple[float, float, list[Action]]] = []
    for growth in _growths([a for a in actions if a.kind != "visit"]):
        effort = _effort_after(purse.effort, growth)
        costs = _costs(purse, visits, growth, effort, chosen)
        kept = costs <= purse.left
        precisions = _precisions(purse, visits, effort, chosen[kept])
        after = _variances_after(variances, covariances, precisions)
        width = purse.belief.log_width * np.sqrt(after / variances[0])
        for row, cost, narrow in zip(chosen[kept], costs[kept], width, strict=True):
            bought = [a for a, taken in zip(visits, row, strict=True) if taken]
            found.append((float(narrow), float(cost), [*bought, *growth]))
    if not found:
        return []
    narrowest = min(width for width, _, _ in found)
    alike = [each for each in found if each[0] <= narrowest + least_gain]
    return min(alike, key=lambda each: each[1])[2]


def _growths(actions: Sequence[Action]) -> Iterator[list[Action]]:
    """Yield every set of the actions that give all batch sizes more effort."""
    for taken in itertools.product((False, True), repeat=len(actions)):
        yield [action for action, used in zip(actions, taken, strict=True) if used]


def _effort_after(effort: Effort, growth: Sequence[Action]) -> Effort:
    return replace(
        effort,
        trials=max([effort.trials, *(action.effort.trials for action in growth)]),
        repeats=max([effort.repeats, *(action.effort.repeats for action in growth)]),
    )


def _costs(
    purse: Purse,
    visits: Sequence[Action],
    growth: Sequence[Action],
    effort: Effort,
    chosen: np.ndarray,
) -> Floats:
    """Return what each set would cost, with room for one to be as dear as it may be, (P,)."""
    now = purse.rates.visit(trials=purse.effort.trials, repeats=purse.effort.repeats)
    dearer = purse.rates.visit(trials=effort.trials, repeats=effort.repeats) / now
    visit = dearer * np.array([action.cost for action in visits])
    room = np.array([action.most_cost - action.cost for action in visits])
    costs = chosen @ visit + sum(action.cost for action in growth)
    rooms = [action.most_cost - action.cost for action in growth]
    return np.asarray(costs + np.max(chosen * room, axis=1, initial=max(rooms, default=0.0)))


def _precisions(
    purse: Purse, visits: Sequence[Action], effort: Effort, chosen: np.ndarray
) -> Floats:
    """Return the precisions that each set's measurements have at each batch size, (P, C)."""
    belief, now = purse.belief, purse.effort
    reached = [cell for cell in purse.cells if cell.reached]
    left_R = noise_left(
        belief.noise_R,
        pooled_seed_variance(reached),
        repeats=(now.repeats, effort.repeats),
        trials=(now.trials, effort.trials),
    )
    before, after = (
        _INFORMATION / np.average(noise_R**2, weights=belief.weight_R)
        for noise_R in (belief.noise_R, left_R)
    )
    sizes = purse.menu.batch_sizes
    found = np.zeros((len(chosen), len(sizes)))
    found[:, [sizes.index(cell.batch_size) for cell in reached]] = max(after - before, 0.0)
    found[:, [sizes.index(a.batch_size) for a in visits if a.batch_size]] = chosen * after
    return found


def _moments(purse: Purse) -> tuple[Floats, Floats]:
    """Return how the answer's scores vary, alone and with log steps, and how log steps do.

    Returns:
        The scores' variance and their covariances with log steps, (1 + C,); those of steps, (C, C).
    """
    belief = purse.belief
    weight_R = belief.weight_R / belief.weight_R.sum()
    order = np.argsort(belief.log_value_R, kind="stable")
    score_R = np.empty_like(weight_R)
    score_R[order] = ndtri(np.cumsum(weight_R[order]) - 0.5 * weight_R[order])
    steps_RC = np.minimum(belief.log_steps_RC, np.log(purse.menu.max_steps))
    both = np.cov(np.column_stack([score_R, steps_RC]), rowvar=False, aweights=weight_R)
    return both[0], both[1:, 1:]


def _variances_after(variances: Floats, covariances: Floats, precisions: Floats) -> Floats:
    """Return the variance of the answer's scores that each set leaves, (P,)."""
    after = np.empty(len(precisions))
    for first in range(0, len(precisions), _SETS_TOGETHER):
        some = slice(first, first + _SETS_TOGETHER)
        roots = np.sqrt(precisions[some])  # (P, C)
        inner = np.eye(len(covariances)) + roots[:, :, None] * covariances * roots[:, None, :]
        along = roots * variances[1:]
        solved = np.linalg.solve(inner, along[:, :, None])[:, :, 0]
        after[some] = variances[0] - (along * solved).sum(axis=1)
    return np.maximum(after, 1e-12)
