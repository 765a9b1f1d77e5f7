"""Active design: what to measure next, by what it narrows per example, and when to stop.

A design has one effort, the same at every batch size that it has measured: so many search trials,
so many repeats of the winner. Three kinds of action are weighed against each other:

- `visit`: measure one more batch size, with the present effort;
- `repeat`: twice the repeats, at every batch size measured so far;
- `search`: twice the search trials, at every batch size measured so far.

The gain of an action is what it is expected to take off the log width of the asked interval
(`active.belief`), its cost what the batch sizes measured so far paid (`active.cells`). Without a
budget, the action with most gain beyond what its examples would gain later is next. With one, it is
the best of the set of actions that the budget buys (`active.purchase`). docs/active_design.md says
why effort is never unequal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval
from models_of_scaling.wording import interval_in_words, number_in_words
from surrogate.active.actions import Action, Effort, Menu, action_in_words
from surrogate.active.belief import belief_of
from surrogate.active.cells import Cell, cost_rates
from surrogate.active.purchase import Purse, best_purchase
from surrogate.active.question import Question
from surrogate.active.weigh import weigh_actions

# Of a log width; what is expected to narrow less is no reason to train.
_LEAST_GAIN: Final = 1e-3
# Gain per example of what comes later, over the best action's now. By gain per example alone a
# design buys the small batch sizes one by one, and lacks the budget for the large one that says
# most: on known curves, 1.02 of the grid's log width at 22 % of its cost instead of 0.89 at 23 %.
_LATER_RATE: Final = 0.5


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
    bought: list[Action] = []
    if math.isfinite(menu.budget_examples):
        purse = Purse(
            belief=belief_of(fit, question, menu.batch_sizes),
            cells=cells,
            rates=cost_rates(cells, trials=effort.trials, repeats=effort.repeats),
            effort=effort,
            menu=menu,
            left=menu.budget_examples - spent,
        )
        bought = best_purchase(purse, actions, least_gain=_LEAST_GAIN)
    worth = bought or [each for each in actions if each.gain >= _LEAST_GAIN]
    if not worth:
        return stopped("nothing_left", "stop: no action is expected to narrow the interval")
    affordable = [each for each in worth if spent + each.most_cost <= menu.budget_examples]
    if not affordable:
        budget = number_in_words(menu.budget_examples)
        return stopped("budget", f"stop: no useful action fits the budget of {budget} examples")
    # What is left to gain is dearer: more gain is worth paying for up to twice the present rate.
    rate = _LATER_RATE * max(each.gain_per_example for each in affordable)
    best = max(affordable, key=lambda each: each.gain - rate * each.cost)
    words = action_in_words(best, bought=bool(bought))
    return Decision(
        action=best,
        stop="",
        interval=interval,
        spent=spent,
        in_words=f"{words}; {_now_in_words(question, interval, spent)}",
    )


def _now_in_words(question: Question, interval: Interval, spent: float) -> str:
    return f"{question} now {interval_in_words(interval)} after {number_in_words(spent)} examples"
