"""Rows that bound their steps from one side, or between two evaluations."""

import dataclasses

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.measurements import check_identifiable
from models_of_scaling.prediction import predict

LAW = Hyperbola(min_steps=100, critical_batch_size=256)
HYPERBOLA_ONLY = FitChoice(laws=("hyperbola",), replicates=200)


@pytest.mark.parametrize("seed", range(4))
def test_dropping_censored_rows_gives_a_wrong_answer_and_the_fit_does_not(simulated, seed):
    """Runs were stopped at 1,700 steps, where half of those at batch size 16 are still going."""
    rng = np.random.default_rng(seed)
    batch_size = np.repeat([16, 1024], 40)
    steps = LAW.steps_to_target(batch_size) * np.exp(0.3 * rng.standard_normal(80))
    rows = simulated.measurements(batch_size, steps, cap=1700)
    assert 10 < (~rows.reached).sum() < 30
    with_all = fit_laws(rows, HYPERBOLA_ONLY)
    without = fit_laws(rows.take(rows.reached), HYPERBOLA_ONLY)
    # the half that reached lies 0.8 sigma = 0.24 below; 0.3 / sqrt(40) = 0.05 is a standard error
    assert np.log(without.best.steps(16) / 1700) < -0.15
    assert abs(np.log(with_all.best.steps(16) / 1700)) < 0.1
    uncensored = fit_laws(simulated.measurements(batch_size, steps), HYPERBOLA_ONLY)
    assert abs(np.log(with_all.best.steps(16) / uncensored.best.steps(16))) < 0.1
    assert without.critical_batch_size.estimate < 0.9 * with_all.critical_batch_size.estimate


def test_a_batch_size_where_nothing_reached_pulls_the_law_up_not_out(simulated):
    sizes = np.array([8, 16, 32, 64, 128, 256, 512])
    steps = LAW.steps_to_target(sizes)
    rows = simulated.measurements(sizes, steps, cap=3000)  # S(8) = 3,300 is not reached
    fit = fit_laws(rows, HYPERBOLA_ONLY)
    assert fit.num_censored == 1
    np.testing.assert_allclose(fit.best.steps(8), 3300, rtol=1e-6)
    assert any("at batch size 8" in sentence for sentence in fit.advice)


def test_sparse_evaluation_biases_the_first_evaluated_step_but_not_the_interval_fit(simulated):
    """Evaluated every 100 steps: the first that holds is 50 too late on average, half of S_min."""
    rng = np.random.default_rng(1)
    batch_size, steps = simulated.noisy_rows(LAW, 2 ** np.arange(3, 12), rng, seeds=30)
    sparse = simulated.measurements(batch_size, steps, grid=100.0)
    late = simulated.measurements(batch_size, sparse.steps)
    interval_fit, late_fit = (fit_laws(rows, HYPERBOLA_ONLY) for rows in (sparse, late))
    assert late_fit.best.point["min_steps"] > 140
    # noise of 3 % per batch size over nine of them, and the intervals' width
    assert abs(interval_fit.best.point["min_steps"] - 100) < 8


def test_intervals_that_all_hold_the_law_do_not_break_the_fit(simulated):
    sizes = 2 ** np.arange(3, 12)
    rows = simulated.measurements(sizes, LAW.steps_to_target(sizes), grid=20.0)
    fit = fit_laws(rows, FitChoice(replicates=200))
    assert fit.code == "converged"
    assert all(law.converged for law in fit.laws)
    assert fit.critical_batch_size.holds(256)


def met_early(simulated, sizes, first_evaluation):
    """Rows of the planted law; those that take fewer steps than an evaluation are only known so."""
    steps = LAW.steps_to_target(sizes)
    rows = simulated.measurements(sizes, steps)
    early = steps < first_evaluation
    return dataclasses.replace(
        rows,
        steps=np.where(early, first_evaluation, steps),
        steps_low=np.where(early, 0.0, steps),
        steps_high=np.where(early, first_evaluation, steps),
    )


@pytest.mark.parametrize("law", ["hyperbola", "gaussian_process"])
def test_a_target_met_by_the_first_evaluation_says_at_most_and_moves_no_curve(simulated, law):
    """By 500 steps: true, and no news, where 200 and 150 are needed; taken for 500 it was news."""
    sizes = np.array([8, 16, 32, 64, 256, 512])
    rows = met_early(simulated, sizes, 500.0)
    choice = FitChoice(laws=(law,), replicates=400)
    with_all, without = fit_laws(rows, choice), fit_laws(rows.take(sizes < 256), choice)
    for size in (64, 256, 512):
        lower, upper = (
            float(np.median(fit.best.replicate_steps(size))) for fit in (with_all, without)
        )
        # draws that lie above the bound leave: 400 draws of an interval 1.5 wide, 4 standard errors
        assert -0.15 < np.log(lower / upper) < 0.05
    assert with_all.critical_batch_size.holds(256)


def test_a_first_evaluation_below_the_curve_pulls_it_down(simulated):
    """At 512 the law of the others needs 150 steps; there the target was met by step 75."""
    sizes = np.array([8, 16, 32, 64, 128, 512])
    rows = simulated.measurements(sizes, np.append(LAW.steps_to_target(sizes[:-1]), 75.0))
    early = dataclasses.replace(rows, steps_low=np.where(sizes == 512, 0.0, rows.steps_low))
    choice = FitChoice(replicates=400)
    at_most, nothing = fit_laws(early, choice), fit_laws(rows.take(sizes < 512), choice)
    assert (
        predict(at_most, [512])[0].steps.estimate < 0.9 * predict(nothing, [512])[0].steps.estimate
    )


def test_rows_that_all_met_the_target_by_their_first_evaluation_are_refused(simulated):
    rows = met_early(simulated, np.array([8, 16, 32, 64]), 1e6)
    with pytest.raises(
        InputError, match="table.csv: column steps_low: every row .* had by its first"
    ):
        check_identifiable(rows, where="table.csv")
