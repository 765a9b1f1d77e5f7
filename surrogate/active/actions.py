"""What an active design may do next: its effort, its menu of batch sizes, its actions."""

import math
from dataclasses import dataclass
from typing import Literal

from models_of_scaling.intervals import Interval
from models_of_scaling.wording import number_in_words

Kind = Literal["visit", "repeat", "search"]


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
        """Expected decrease of the log width by one example."""
        return self.gain / self.cost


def action_in_words(action: Action, *, bought: bool) -> str:
    """Return what is done and why, in one clause.

    Args:
        action: the one that is taken.
        bought: whether with others, as what a budget buys; else for itself.
    """
    why = "among what the budget buys, most gain" if bought else "most gain for its cost"
    what = {
        "visit": f"measure batch size {action.batch_size or 0:,} ({action.effort.trials} trials, "
        f"{action.effort.repeats} repeats)",
        "repeat": f"{action.effort.repeats} repeats at every batch size measured",
        "search": f"{action.effort.trials} trials at every batch size measured",
    }[action.kind]
    return (
        f"{what}: {why}, high / low expected to shrink by a factor of "
        f"{math.exp(max(action.gain, 0.0)):.2f} for {number_in_words(action.cost)} examples"
    )
