"""Active design: what it would gain, what it would cost, when it stops."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.intervals import Interval
from models_of_scaling.law_fit import FitChoice, fit_laws
from surrogate.active.actions import Effort, Menu
from surrogate.active.belief import Belief, Experiment, expected_log_width
from surrogate.active.cells import noise_left
from surrogate.active.coverage import (
    compare_on_curve,
    digits_hyperbola,
    share_that_holds,
    simulated_curve,
)
from surrogate.active.noise_model import ACTIVE_RATES, NoisyCurve
from surrogate.active.question import Question
from surrogate.active.replay import recorded_comparisons
from surrogate.active.run import run_design
from surrogate.active.weigh import weigh_actions
from surrogate.design import decide, first_batch_sizes

CRITICAL = Question(name="critical_batch_size")
SIZES = tuple(2**power for power in range(11))
# A hyperbola like that of the digits.
TRUTH = {size: 25.0 * (1 + 120.0 / size) for size in SIZES}
FAST = FitChoice(replicates=50, laws=("hyperbola",))
MENU = Menu(batch_sizes=SIZES, max_steps=(10**6,) * len(SIZES), most=Effort(trials=64, repeats=10))
FIRST = Effort(trials=32, repeats=5)
ROOT = Path(__file__).parents[2]
# Active studies, and the grids of two of their sweeps; the grids of five more are the paper's.
DIGITS = (
    ROOT / "tests" / "references" / "digits_design",
    *(
        ROOT / "paper" / "results" / "sweeps" / f"digits_{optimizer}.parquet"
        for optimizer in ("momentum", "adam", "lars", "lamb", "kfac")
    ),
)


def noisy(seed, rates=ACTIVE_RATES):
    return NoisyCurve(steps=TRUTH, tuning_noise=0.05, seed_noise=0.13, rates=rates, seed=seed)


def normal_belief(count=2000):
    """log value is log steps at the first of two batch sizes; the second says nothing of it."""
    rng = np.random.default_rng(0)
    log_steps_RC = rng.standard_normal((count, 2))
    return Belief(
        log_value_R=log_steps_RC[:, 0],
        weight_R=np.full(count, 1 / count),
        log_steps_RC=log_steps_RC,
        noise_R=np.full(count, 0.1),
        level=0.9,
    )


def measuring(belief, place, noise, log_budget=math.inf):
    return Experiment(
        log_steps_RM=belief.log_steps_RC[:, [place]],
        noise_RM=np.full((len(belief.weight_R), 1), noise),
        log_budgets=np.array([log_budget]),
    )


def test_the_width_of_normal_draws_is_twice_their_ninety_fifth_percentile():
    # Standard error of a 5 % quantile of 2,000 normal draws: sqrt(.05 .95 / 2000) / .103 = 0.047.
    assert normal_belief().log_width == pytest.approx(2 * 1.645, abs=4 * 2 * 0.047)


def test_a_measurement_of_the_asked_quantity_leaves_about_its_own_noise():
    belief = normal_belief()
    width = expected_log_width(belief, measuring(belief, 0, 0.2), seed=1)
    # Student's t with 4 degrees of freedom has its 95 % quantile at 2.13; the prior takes little.
    assert width == pytest.approx(2 * 2.13 * 0.2, rel=0.15)


def test_a_measurement_that_says_nothing_of_it_gains_nothing():
    belief = normal_belief()
    for experiment in (measuring(belief, 1, 0.2), measuring(belief, 0, 1e6)):
        width = expected_log_width(belief, experiment, seed=1)
        # 48 outcomes; re-weighing 2,000 independent draws leaves a standard error of some 1 %.
        assert width == pytest.approx(belief.log_width, rel=0.05)


def test_a_run_that_can_not_reach_the_target_tells_only_which_side_the_steps_are_on():
    belief = normal_belief()
    known = expected_log_width(belief, measuring(belief, 0, 0.2), seed=1)
    half_known = expected_log_width(belief, measuring(belief, 0, 0.2, log_budget=0.0), seed=1)
    never = expected_log_width(belief, measuring(belief, 0, 0.2, log_budget=-20.0), seed=1)
    assert known < half_known < never
    assert never == pytest.approx(belief.log_width, rel=0.01)


def test_repeats_shrink_the_seeds_part_of_the_noise_and_trials_the_rest():
    noise = np.array([0.1])
    kept = noise_left(noise, 0.04, repeats=(10, 10), trials=(32, 32))
    repeated = noise_left(noise, 0.04, repeats=(10, 20), trials=(32, 32))
    searched = noise_left(noise, 0.04, repeats=(10, 10), trials=(32, 64))
    # Variance 0.01 = 0.004 of the seeds + 0.006 of the rest.
    np.testing.assert_allclose([kept[0], repeated[0], searched[0]], np.sqrt([0.01, 0.008, 0.007]))


def test_a_design_starts_below_the_largest_batch_size():
    assert first_batch_sizes(SIZES) == (1, 8, 128)
    assert first_batch_sizes((4, 8)) == (4, 8)
    assert first_batch_sizes((4, 8, 16)) == (4, 8)


def test_the_question_is_read_and_what_is_none_is_refused_in_one_line():
    for text in ("critical_batch_size", "overhead", "doubling@1.6", "steps@4096"):
        assert str(Question.parse(text)) == text
    for text in (
        "steps",
        "steps@0",
        "steps@1.5",
        "doubling@2",
        "doubling@x",
        "overhead@3",
        "B_crit",
    ):
        with pytest.raises(InputError, match="--ask"):
            Question.parse(text)


def decided(question, menu, seed=3, sizes=(1, 8, 128)):
    measured, cells = noisy(seed).measure(FIRST, sizes)
    return decide(fit_laws(measured, FAST), cells, FIRST, question, menu)


def test_the_same_measurements_give_the_same_decision():
    first, again = decided(CRITICAL, MENU), decided(CRITICAL, MENU)
    assert first == again
    assert first.action is not None
    assert "most gain for its cost" in first.in_words


def test_no_action_gains_more_beyond_half_of_the_best_rate_than_the_one_taken():
    measured, cells = noisy(3).measure(FIRST, (1, 8, 128))
    fit = fit_laws(measured, FAST)
    chosen = decide(fit, cells, FIRST, CRITICAL, MENU).action
    others = weigh_actions(fit, cells, FIRST, CRITICAL, MENU)
    assert {each.kind for each in others} == {"visit", "repeat", "search"}
    rate = 0.5 * max(each.gain_per_example for each in others)
    beyond = {each: each.gain - rate * each.cost for each in others}
    assert beyond[chosen] == max(beyond.values())


def test_steps_at_a_small_batch_size_do_not_make_it_measure_a_large_one():
    action = decided(Question(name="steps", number=16), MENU).action
    assert action is None or action.batch_size is None or action.batch_size <= 64


def test_a_budget_stops_it_before_an_action_that_might_exceed_it():
    spent = decided(CRITICAL, MENU).spent
    stopped = decided(CRITICAL, dataclasses.replace(MENU, budget_examples=1.05 * spent))
    assert stopped.action is None
    assert stopped.stop == "budget"


def test_a_precision_stops_it_at_the_second_look_that_meets_it():
    met = dataclasses.replace(MENU, precision=1e6)
    sizes = SIZES[::2]
    assert decided(CRITICAL, met, sizes=sizes).action is not None
    again = decided(CRITICAL, dataclasses.replace(met, was_narrow=True), sizes=sizes)
    assert (again.action, again.stop) == (None, "precision")


def test_measured_batch_sizes_all_have_the_same_effort():
    menu = dataclasses.replace(MENU, budget_examples=4e6)
    curve = noisy(2)
    for state in run_design(curve.measure, FIRST, CRITICAL, menu, FAST):
        assert set(curve.efforts.values()) == {state.effort}
    assert state.decision.action is None


def test_the_share_of_intervals_that_hold_the_truth_and_its_standard_error():
    def interval(low, high):
        return Interval(estimate=low, low=low, high=high, level=0.9, method="")

    found = [interval(0.5, 2), interval(0.5, math.inf), interval(1.5, 2), interval(1, 1)]
    assert share_that_holds(found, 1.0) == (0.75, pytest.approx(math.sqrt(0.75 * 0.25 / 4)))


def test_a_known_curve_takes_twice_its_fewest_steps_at_its_critical_batch_size():
    known = simulated_curve()
    sizes, steps = (np.log(list(x)) for x in (known.steps, known.steps.values()))
    at_critical = np.exp(np.interp(math.log(known.critical_batch_size), sizes, steps))
    # The largest batch size is 100 times the critical one: its 31 steps are the fewest.
    assert at_critical == pytest.approx(2 * known.steps[2**18], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("curve", "law"), [(simulated_curve, "p_norm_knee"), (digits_hyperbola, "hyperbola")]
)
def test_on_known_curves_half_of_the_designs_are_as_narrow_at_30_percent_of_the_cost(curve, law):
    choice = FitChoice(replicates=50, laws=(law,))
    known = curve()
    found = [compare_on_curve(known, seed, share=0.3, choice=choice) for seed in range(20)]
    # Measured: 0.81 at 20 % on the simulator's (40 seeds), 0.78 at 28 % on the hyperbola (60).
    assert np.median([each.width_ratio for each in found]) <= 1
    assert max(each.cost_share for each in found) <= 0.3 * 1.05


@pytest.mark.slow
def test_recorded_digits_give_the_grids_interval_at_30_percent_of_its_cost_in_the_median():
    choice = FitChoice()  # what a user gets: all laws of the average, 1,000 draws
    found = [
        each
        for _, each in recorded_comparisons(
            "digits", DIGITS, CRITICAL, replays=4, share=0.3, choice=choice
        )
    ]
    assert len(found) >= 28
    # Measured: 0.92, the dearest 29 % (docs/active_design.md).
    assert np.median([each.width_ratio for each in found]) <= 1
    # A budget counts what an action is hardly going to exceed: a twentieth is room for more.
    assert max(each.cost_share for each in found) <= 0.3 * 1.05
    assert all(each.active.is_bounded for each in found)
