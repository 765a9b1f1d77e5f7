"""Batch sizes at which nothing reached the target: what they say, and what is said about them."""

from dataclasses import replace

import numpy as np
import pytest

from models_of_scaling.law_fit import FitChoice, fit_laws, laws_for
from models_of_scaling.laws import AVERAGED_LAWS, Hyperbola, KneeWithUpturn
from models_of_scaling.limit import judge
from models_of_scaling.limit_words import verdict_in_words
from models_of_scaling.measurements import without_too_small
from models_of_scaling.prediction import predict
from models_of_scaling.steps_to_target import TrialOutcomes, steps_not_enough

LAW = Hyperbola(min_steps=100, critical_batch_size=256)
SIZES = 2 ** np.arange(3, 11)


def outcomes(steps, *, reached, diverged):
    steps = np.asarray(steps, dtype=float)
    reached = np.asarray(reached, dtype=bool)
    return TrialOutcomes(
        steps=steps,
        steps_low=steps,
        steps_high=np.where(reached, steps, np.inf),
        reached=reached,
        diverged=np.asarray(diverged, dtype=bool),
    )


def test_a_batch_size_at_which_all_trials_diverged_counts_for_the_longest_that_any_was_given():
    found = outcomes(
        [500, 2000, 7, 12, 9],
        reached=[True, False, False, False, False],
        diverged=[False, False, True, True, True],
    )
    assert steps_not_enough(np.array([2, 3, 4]), found) == 2000
    assert steps_not_enough(np.array([0, 1]), found) == 0  # one of them reached
    # A trial that ran on without the target says so for its own steps only.
    assert steps_not_enough(np.array([1, 2]), found) == 2000
    ran = outcomes([500, 300, 7], reached=[True, False, False], diverged=[False, False, True])
    assert steps_not_enough(np.array([1, 2]), ran) == 300


def test_the_upturn_joins_the_laws_only_where_the_largest_batch_sizes_never_reached(simulated):
    steps = LAW.steps_to_target(SIZES)
    assert laws_for(simulated.measurements(SIZES, steps)) == AVERAGED_LAWS
    at_small = simulated.measurements(SIZES, steps, cap=2000)
    assert not at_small.reached[0] and laws_for(at_small) == AVERAGED_LAWS
    beyond = simulated.measurements(np.append(SIZES, 4096), np.append(steps, 1e9), cap=5000)
    assert laws_for(beyond) == (*AVERAGED_LAWS, "knee_with_upturn")


def test_a_batch_size_that_never_reached_puts_the_weight_on_the_law_that_rises(simulated):
    law = KneeWithUpturn(min_steps=100, critical_batch_size=64, turning_batch_size=700)
    sizes = 2 ** np.arange(2, 13)
    steps = law.steps_to_target(sizes) * np.exp(0.02 * np.sin(5 * np.arange(11)))
    rows = simulated.measurements(sizes, steps, cap=2500)
    assert not rows.reached[-1] and rows.reached[-2]
    fit = fit_laws(rows, FitChoice())
    weights = {each.name: each.weight for each in fit.laws}
    assert weights["knee_with_upturn"] > 0.95
    turning = fit.best.parameters["turning_batch_size"]
    assert turning.holds(700) and turning.high / turning.low < 1.6
    (answer,) = predict(fit, [4096])
    assert answer.steps.low > 2500


def test_rows_that_no_law_can_explain_are_called_inconsistent(simulated):
    """The middle batch size never reached in 50 times the steps that its neighbours needed."""
    steps = LAW.steps_to_target(SIZES)
    rows = simulated.measurements(SIZES, steps)
    bad = SIZES == 64
    object.__setattr__(rows, "reached", ~bad)
    object.__setattr__(rows, "steps", np.where(bad, 50 * steps, steps))
    object.__setattr__(rows, "steps_low", np.where(bad, 50 * steps, steps))
    object.__setattr__(rows, "steps_high", np.where(bad, np.inf, steps))
    fit = fit_laws(rows, FitChoice(replicates=200))
    assert fit.code == "inconsistent"
    assert any("batch size 64" in sentence for sentence in fit.advice)
    assert "inconsistent" in verdict_in_words(judge(fit))


@pytest.mark.parametrize("cap", [2000.0, 1500.0])
def test_runs_cut_short_at_small_batch_sizes_contradict_nothing(simulated, cap):
    fit = fit_laws(simulated.measurements(SIZES, LAW.steps_to_target(SIZES), cap=cap), FitChoice())
    assert fit.code == "converged"


def too_small(simulated, last):
    """Exact rows, and up to a batch size none reached in 4 times the steps that the law says."""
    steps, met = LAW.steps_to_target(SIZES), last < SIZES
    done = np.where(met, steps, 4 * steps)
    return replace(
        simulated.measurements(SIZES, done),
        reached=met,
        steps_high=np.where(met, done, np.inf),
    )


def test_batch_sizes_too_small_to_reach_the_target_do_not_move_a_law(simulated):
    rows = too_small(simulated, 32)
    assert rows.reached.tolist() == [False] * 3 + [True] * 5
    fit = fit_laws(rows, FitChoice(replicates=200))
    alone = fit_laws(rows.take(rows.reached), FitChoice(replicates=200))
    assert fit.laws == alone.laws
    assert (fit.code, fit.critical_batch_size) == (alone.code, alone.critical_batch_size)
    assert (fit.smallest_batch_size, fit.num_censored) == (64, 3)
    (said,) = [sentence for sentence in fit.advice if "No row reached" in sentence]
    assert "batch size 8, 16 and 32, in more steps than any law asks" in said
    (answer,) = predict(fit, [2048])
    (same,) = predict(alone, [2048])
    assert answer == same


def test_where_only_the_largest_batch_size_reached_the_smaller_ones_still_count(simulated):
    rows = too_small(simulated, 512)
    assert without_too_small(rows) is rows
    fit = fit_laws(rows, FitChoice(replicates=200))
    assert fit.smallest_batch_size == 8


def test_runs_that_may_have_been_cut_short_stay_as_more_than_was_done(simulated):
    steps = LAW.steps_to_target(SIZES)
    rows = simulated.measurements(SIZES, steps, cap=1500)
    assert not rows.reached[0] and without_too_small(rows) is rows
    fit = fit_laws(rows, FitChoice(replicates=200))
    assert fit.smallest_batch_size == 8
    assert any("it enters as 'more steps than were done'" in each for each in fit.advice)
