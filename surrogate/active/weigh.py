"""Weighs every action of an active design: what it narrows, and what it costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import weighted_quantile
from surrogate.active.actions import Action, Effort, Kind, Menu
from surrogate.active.belief import Belief, Experiment, belief_of, expected_log_width, with_misfit
from surrogate.active.cells import (
    Cell,
    CostRates,
    cost_rates,
    noise_left,
    pooled_seed_variance,
    too_small,
)
from surrogate.active.question import Question

# A zoom around another best point asks for other points: the old ones, half of the search, are then
# lost, and the winner and its repeats may change; half of the time, as seen on digits.
_LOST: Final = 0.5


def weigh_actions(
    fit: FitRecord, cells: Sequence[Cell], effort: Effort, question: Question, menu: Menu
) -> list[Action]:
    """Return every action with its gain and its cost.

    Args:
        fit: to everything measured so far.
        cells: the batch sizes measured.
        effort: of each of them.
        question: whose interval is to be narrowed.
        menu: what may be done.
    """
    scales = _Scales(
        fit=fit,
        belief=belief_of(fit, question, menu.batch_sizes),
        question=question,
        cells=tuple(cells),
        rates=cost_rates(cells, trials=effort.trials, repeats=effort.repeats),
    )
    measured = {cell.batch_size for cell in cells}
    lowest = too_small(cells)
    actions = [
        _visit(scales, place, effort, menu)
        for place, size in enumerate(menu.batch_sizes)
        if size > lowest and size not in measured
    ]
    if 2 * effort.repeats <= menu.most.repeats:
        more = replace(effort, repeats=2 * effort.repeats)
        actions.append(_more(scales, "repeat", effort, more, menu))
    if 2 * effort.trials <= menu.most.trials:
        more = replace(effort, trials=2 * effort.trials)
        actions.append(_more(scales, "search", effort, more, menu))
    return actions


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scales:
    """What every action of one decision is weighed with."""

    fit: FitRecord
    belief: Belief
    question: Question
    cells: tuple[Cell, ...]
    rates: CostRates

    @property
    def dearest(self) -> float:
        """The dearest batch size measured over the average, both by examples of a tuned run."""
        paid = [cell.examples / cell.tuned_examples for cell in self.cells if cell.reached]
        return max(paid) / float(np.mean(paid))

    def gain(self, experiment: Experiment, *, largest: int) -> float:
        """Return what an experiment takes off the log width, misfit included."""
        before = self.question.misfit(self.fit.largest_batch_size)
        after = self.question.misfit(largest)
        level = self.belief.level
        width = expected_log_width(self.belief, experiment, seed=self.fit.seed)
        return with_misfit(self.belief.log_width, before, level) - with_misfit(width, after, level)


def _visit(scales: _Scales, place: int, effort: Effort, menu: Menu) -> Action:
    """Weigh measuring one more batch size; a run that can't reach the target costs its budget."""
    size, max_steps = menu.batch_sizes[place], menu.max_steps[place]
    belief = scales.belief
    log_steps_R = belief.log_steps_RC[:, place]
    gain = scales.gain(
        Experiment(
            log_steps_RM=log_steps_R[:, None],
            noise_RM=belief.noise_R[:, None],
            log_budgets=np.array([math.log(max_steps)]),
        ),
        largest=max(size, scales.fit.largest_batch_size),
    )
    visit = scales.rates.visit(trials=effort.trials, repeats=effort.repeats)
    cost_R = np.where(
        log_steps_R <= math.log(max_steps),
        visit * np.exp(np.minimum(log_steps_R, math.log(max_steps))),
        effort.trials * max_steps,
    )
    cost = size * float(np.average(cost_R, weights=belief.weight_R))
    high = float(weighted_quantile(cost_R, belief.weight_R, [0.95])[0])
    return Action(
        kind="visit",
        batch_size=size,
        effort=effort,
        gain=gain,
        cost=cost,
        most_cost=max(size * high, cost) * scales.dearest,
    )


def _more(scales: _Scales, kind: Kind, now: Effort, after: Effort, menu: Menu) -> Action:
    """Weigh more effort at all measured batch sizes that reached the target.

    A mean of noise v that becomes one of v' says as much as another, independent measurement of
    precision 1 / v'^2 - 1 / v^2.

    Returns:
        The action.
    """
    belief, rates = scales.belief, scales.rates
    cells = [cell for cell in scales.cells if cell.reached]
    places = [menu.batch_sizes.index(cell.batch_size) for cell in cells]
    left_R = noise_left(
        belief.noise_R,
        pooled_seed_variance(cells),
        repeats=(now.repeats, after.repeats),
        trials=(now.trials, after.trials),
    )
    # Where nothing is left to shrink, the other measurement says nothing: its noise is huge.
    noise_R = left_R / np.sqrt(np.maximum(1 - (left_R / belief.noise_R) ** 2, 1e-12))
    gain = scales.gain(
        Experiment(
            log_steps_RM=belief.log_steps_RC[:, places],
            noise_RM=np.repeat(noise_R[:, None], len(cells), axis=1),
            log_budgets=np.full(len(cells), math.inf),
        ),
        largest=scales.fit.largest_batch_size,
    )
    runs = rates.repeat * (after.repeats - now.repeats)
    if after.trials > now.trials:
        again = rates.search_trial * now.trials / 2 + rates.shortlist + rates.repeat * now.repeats
        runs += rates.search_trial * (after.trials - now.trials) + _LOST * again
    cost = runs * sum(cell.tuned_examples for cell in cells)
    return Action(
        kind=kind,
        batch_size=None,
        effort=after,
        gain=gain,
        cost=cost,
        most_cost=cost * (1.0 if kind == "repeat" else scales.dearest),
    )
