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


def bought_with(left):
    """Log steps at three batch sizes are independent, and the answer is 1, 1 and 2 times them."""
    rng = np.random.default_rng(0)
    log_steps_RC = rng.standard_normal((4000, 3))
    belief = Belief(
        log_value_R=log_steps_RC @ [1.0, 1.0, 2.0],
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
        menu=Menu(batch_sizes=(1, 2, 4), max_steps=(10**6,) * 3, most=FIRST),
        left=left,
    )
    actions = [visit(1, 1.0), visit(2, 1.0), visit(4, 5.0)]
    return {each.batch_size for each in best_purchase(purse, actions, least_gain=1e-3)}


def test_a_budget_buys_the_set_that_tells_most_and_not_what_is_cheap_first():
    # Two thirds of the answer's variance is the dear one's: with it two cheap ones don't fit.
    assert bought_with(5.5) == {4}
    assert bought_with(6.5) in ({1, 4}, {2, 4})
    assert bought_with(8.0) == {1, 2, 4}
    assert bought_with(3.0) == {1, 2}
    assert bought_with(0.5) == set()


def test_what_would_narrow_by_less_than_counts_is_not_bought():
    rng = np.random.default_rng(0)
    log_steps_RC = rng.standard_normal((2000, 2))
    belief = Belief(
        log_value_R=log_steps_RC[:, 0],
        weight_R=np.full(2000, 1 / 2000),
        log_steps_RC=log_steps_RC,
        noise_R=np.full(2000, 0.1),
        level=0.9,
    )
    purse = Purse(
        belief=belief,
        cells=[],
        rates=CostRates(search_trial=1.0, shortlist=1.0, repeat=1.0),
        effort=FIRST,
        menu=Menu(batch_sizes=(1, 2), max_steps=(10**6,) * 2, most=FIRST),
        left=100.0,
    )
    bought = best_purchase(purse, [visit(1, 1.0), visit(2, 1.0)], least_gain=0.05)
    assert [each.batch_size for each in bought] == [1]
