"""Active design: what to measure next, by what it narrows per example, and when to stop.

A design has one effort, the same at every batch size that it has measured: so many search trials,
so many repeats of the winner. Three kinds of action are weighed against each other:

- `visit`: measure one more batch size, with the present effort;
- `repeat`: twice the repeats, at every batch size measured so far;
- `search`: twice the search trials, at every batch size measured so far.

The gain of an action is what it is expected to take off the log width of the asked interval
(`design_belief`), its cost what the batch sizes measured so far paid (`design_cells`), and the
action with most gain per example is next. docs/active_design.md says why effort is never unequal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval, weighted_quantile
from models_of_scaling.wording import interval_in_words, number_in_words
from surrogate.design_belief import (
    Belief,
    Experiment,
    belief_of,
    expected_log_width,
    with_misfit,
)
from surrogate.design_cells import Cell, CostRates, cost_rates, noise_left, pooled_seed_variance
from surrogate.design_question import Question

Kind = Literal["visit", "repeat", "search"]
# A zoom around another best point asks for other points: the old ones, half of the search, are then
# lost, and the winner and its repeats may change; half of the time, as seen on digits.
_LOST: Final = 0.5
# Of a log width; what is expected to narrow less is no reason to train.
_LEAST_GAIN: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What is run at each measured batch size.

    Attributes:
        trials: of the search, before any widening.
        repeats: of the winner.
    """

    trials: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Menu:
    """What a design may do.

    Attributes:
        batch_sizes: that may be measured, increasing.
        max_steps: budget of a run at each of them, steps.
        most: effort that is not exceeded.
        budget_examples: of the whole design; inf for none.
        precision: high / low of the interval at which the design stops; 1 for never.
        was_narrow: whether it was met one decision ago already: with a few batch sizes an interval
            is narrow by luck now and then, and a design that stops at the first such look stops
            where it is wrong.
    """

    batch_sizes: tuple[int, ...]
    max_steps: tuple[int, ...]
    most: Effort
    budget_examples: float = math.inf
    precision: float = 1.0
    was_narrow: bool = False

    def is_met(self, interval: Interval) -> bool:
        """Return whether an interval is as narrow as asked."""
        return interval.is_bounded and interval.high / interval.low <= self.precision


@dataclass(frozen=True, kw_only=True)
class Action:
    """What could be done next.

    Attributes:
        kind: of the three.
        batch_size: that a visit measures; None for the others, which concern all measured ones.
        effort: of every measured batch size, after it.
        gain: expected decrease of the interval's log width.
        cost: expected examples.
        most_cost: what it is hardly going to exceed, examples; a budget must have room for that.
    """

    kind: Kind
    batch_size: int | None
    effort: Effort
    gain: float
    cost: float
    most_cost: float

    @property
    def gain_per_example(self) -> float:
        """What actions are ranked by."""
        return self.gain / self.cost


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a design does next and why.

    Attributes:
        action: None where it stops.
        stop: why it stops: "precision", "budget", "nothing_left" or ""; no error.
        interval: the asked quantity as it is known now.
        spent: examples processed so far.
        in_words: one line: what, why, and the interval now.
    """

    action: Action | None
    stop: str
    interval: Interval
    spent: float
    in_words: str


def first_batch_sizes(batch_sizes: Sequence[int]) -> tuple[int, ...]:
    """Return where a design starts: the smallest, and a third and two thirds of the way up.

    >>> first_batch_sizes([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
    (1, 8, 128)

    Args:
        batch_sizes: that may be measured, increasing, at least two.

    Returns:
        Three, or all where there are fewer. The largest costs most by far and may never be needed
        (past the knee examples grow like the batch size), so that it has to earn its place.
    """
    last = len(batch_sizes) - 1
    places = sorted({0, round(last / 3), round(2 * last / 3)})
    return tuple(batch_sizes[place] for place in (places if len(places) > 1 else (0, last)))


def decide(
    fit: FitRecord, cells: Sequence[Cell], effort: Effort, question: Question, menu: Menu
) -> Decision:
    """Choose the next action.

    Args:
        fit: to everything measured so far.
        cells: the batch sizes measured, at least one of which reached the target.
        effort: of each of them.
        question: whose interval is to be narrowed.
        menu: what may be done.

    Returns:
        The decision; the same for the same arguments.
    """
    interval = question.interval(fit)
    spent = sum(cell.examples for cell in cells)

    def stopped(stop: str, words: str) -> Decision:
        return Decision(
            action=None,
            stop=stop,
            interval=interval,
            spent=spent,
            in_words=f"{words}; {_now_in_words(question, interval, spent)}",
        )

    if menu.is_met(interval) and menu.was_narrow:
        asked = f"stop: high / low is at most {menu.precision:.3g}, as asked, at two looks in a row"
        return stopped("precision", asked)
    actions = weigh_actions(fit, cells, effort, question, menu)
    worth = [each for each in actions if each.gain >= _LEAST_GAIN]
    if not worth:
        return stopped("nothing_left", "stop: no action is expected to narrow the interval")
    affordable = [each for each in worth if spent + each.most_cost <= menu.budget_examples]
    if not affordable:
        budget = number_in_words(menu.budget_examples)
        return stopped("budget", f"stop: no useful action fits the budget of {budget} examples")
    best = max(affordable, key=lambda each: each.gain_per_example)
    return Decision(
        action=best,
        stop="",
        interval=interval,
        spent=spent,
        in_words=f"{action_in_words(best)}; {_now_in_words(question, interval, spent)}",
    )


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
    actions = [
        _visit(scales, place, effort, menu)
        for place, size in enumerate(menu.batch_sizes)
        if size not in measured
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


def action_in_words(action: Action) -> str:
    """Return what is done and why, in one clause."""
    what = {
        "visit": f"measure batch size {action.batch_size or 0:,} ({action.effort.trials} trials, "
        f"{action.effort.repeats} repeats)",
        "repeat": f"{action.effort.repeats} repeats at every batch size measured",
        "search": f"{action.effort.trials} trials at every batch size measured",
    }[action.kind]
    return (
        f"{what}: most gain per example, high / low expected to shrink by a factor of "
        f"{math.exp(action.gain):.2f} for {number_in_words(action.cost)} examples"
    )


def _now_in_words(question: Question, interval: Interval, spent: float) -> str:
    return f"{question} now {interval_in_words(interval)} after {number_in_words(spent)} examples"
