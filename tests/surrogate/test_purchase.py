"""Active design: where it starts, and which set of actions a budget buys."""

import math

import numpy as np
import pytest

from surrogate.active.actions import Action, Effort, Menu
from surrogate.active.belief import Belief
from surrogate.active.cells import Cell, CostRates, too_small
from surrogate.active.purchase import Purse, best_purchase
from surrogate.active.run import measure_start

SIZES = tuple(2**power for power in range(11))
FIRST = Effort(trials=32, repeats=5)


def cell(size, *, reached=True):
    return Cell(
        batch_size=size,
        reached=reached,
        log_steps=3.0 if reached else math.nan,
        seed_variance=0.0,
        search_examples=1.0,
        shortlist_examples=1.0,
        repeat_examples=1.0,
    )


@pytest.mark.parametrize(
    ("missed", "measured", "lowest"),
    [
        (set(), {1, 8, 128}, 0),
        ({1, 2, 4, 8}, {8, 128, 16, 32}, 8),  # 1 is not tried, which would cost its budget
        ({1, 2}, {8, 128, 1}, 1),
        ({1, 8, 16, 32, 64, 128}, {8, 128, 256, 512, 1024}, 128),
        ({128, 256}, {1, 8, 128}, 0),  # too few steps there, which says nothing of smaller ones
    ],
)
def test_a_design_starts_above_the_batch_sizes_that_are_too_small(missed, measured, lowest):
    cells = []

    def measure(_, sizes):
        cells.extend(cell(size, reached=size not in missed) for size in sizes)
        return None, cells

    measure_start(measure, FIRST, SIZES)
    assert {each.batch_size for each in cells} == measured
    assert too_small(cells) == lowest


def visit(size, cost):
    return Action(kind="visit", batch_size=size, effort=FIRST, gain=0.1, cost=cost, most_cost=cost)


def bought_with(left, *, answer_C=(1.0, 1.0, 2.0), costs=(1.0, 1.0, 5.0), least_gain=1e-3):
    """Log steps at some batch sizes are independent, and the answer is so many times each."""
    sizes = (1, 2, 4)[: len(answer_C)]
    log_steps_RC = np.random.default_rng(0).standard_normal((4000, len(sizes)))
    belief = Belief(
        log_value_R=log_steps_RC @ answer_C,
        weight_R=np.full(4000, 1 / 4000),
        log_steps_RC=log_steps_RC,
        noise_R=np.full(4000, 0.1),
        level=0.9,
    )
    purse = Purse(
        belief=belief,
        cells=[],
        rates=CostRates(search_trial=1.0, shortlist=1.0, repeat=1.0),
        effort=FIRST,
        menu=Menu(batch_sizes=sizes, max_steps=(10**6,) * len(sizes), most=FIRST),
        left=left,
    )
    actions = [visit(size, cost) for size, cost in zip(sizes, costs, strict=True)]
    return {each.batch_size for each in best_purchase(purse, actions, least_gain=least_gain)}


def test_a_budget_buys_the_set_that_tells_most_and_not_what_is_cheap_first():
    # Two thirds of the answer's variance is the dear one's: with it two cheap ones don't fit.
    assert bought_with(5.5) == {4}
    assert bought_with(6.5) in ({1, 4}, {2, 4})
    assert bought_with(8.0) == {1, 2, 4}
    assert bought_with(3.0) == {1, 2}
    assert bought_with(0.5) == set()


def test_what_would_narrow_by_less_than_counts_is_not_bought():
    assert bought_with(100.0, answer_C=(1.0, 0.0), costs=(1.0, 1.0), least_gain=0.05) == {1}
