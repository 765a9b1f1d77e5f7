"""The expected best of n runs: against every choice of n, against fresh runs, and its intervals."""

from itertools import combinations

import numpy as np
import pytest

from models_of_scaling.best_of_runs import (
    expected_best,
    expected_best_interval,
    resampled_best,
)

VALUES = [0.91, 0.2, 0.97, 0.97, 0.5, 0.88, 0.93]


def skewed(count, rng):
    """Accuracies below a ceiling with a tail of failures, as a search's are."""
    return 0.99 - 0.02 * rng.gamma(0.5, 1.0, count)


@pytest.mark.parametrize("number", range(1, len(VALUES) + 1))
def test_it_is_the_mean_of_the_best_over_every_choice(number):
    want = np.mean([max(chosen) for chosen in combinations(VALUES, number)])
    np.testing.assert_allclose(expected_best(VALUES, [number]), want, rtol=1e-12)


def test_more_runs_have_no_worse_best_and_one_run_has_the_mean():
    found = expected_best(VALUES, range(1, len(VALUES) + 1))
    assert (np.diff(found) > -1e-15).all()  # the last two are equal, but for rounding
    np.testing.assert_allclose(found[[0, -1]], [np.mean(VALUES), max(VALUES)], rtol=1e-12)


def test_many_runs_do_not_overflow():
    # Of the numbers 1 ... N the best of n is n (N + 1) / (n + 1) in the mean.
    found = expected_best(np.arange(1.0, 2002.0), [1000])
    np.testing.assert_allclose(found, 1000 * 2002 / 1001, rtol=1e-12)


def test_it_is_unbiased_for_fresh_runs():
    rng = np.random.default_rng(0)
    fresh = skewed(10 * 40_000, rng).reshape(-1, 10).max(axis=1)
    estimates = [expected_best(skewed(60, rng), [10])[0] for _ in range(2000)]
    error = np.hypot(fresh.std() / np.sqrt(len(fresh)), np.std(estimates) / np.sqrt(2000))
    assert abs(np.mean(estimates) - fresh.mean()) < 4 * error


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    truth = skewed(20 * 40_000, rng).reshape(-1, 20).max(axis=1).mean()
    held = [
        expected_best_interval(skewed(100, rng), 20, replicates=200, rng=rng).holds(truth)
        for _ in range(400)
    ]
    # Standard error 0.017; the bootstrap of a maximum is a little too sure (see LARGEST_SHARE).
    assert 0.80 < np.mean(held) < 0.96


def test_resamples_of_the_mean_scatter_as_its_standard_error():
    rng = np.random.default_rng(2)
    values = skewed(200, rng)
    drawn = resampled_best(values, [1, 50], replicates=4000, rng=rng)
    assert drawn.shape == (4000, 2)
    # The standard deviation of 4,000 draws is known to 1.1 %.
    np.testing.assert_allclose(drawn[:, 0].std(), values.std() / np.sqrt(200), rtol=0.045)


@pytest.mark.parametrize(
    ("values", "number", "words"),
    [
        ([0.5, np.nan], 1, "values must be finite"),
        ([0.5, 0.6], 0, "num_runs 0 must be in 1 .. 2"),
        ([0.5, 0.6], 3, "num_runs 3 must be in 1 .. 2"),
    ],
)
def test_wrong_input_is_named(values, number, words):
    with pytest.raises(ValueError, match=words):
        expected_best(values, [number])


def test_an_interval_is_refused_where_the_bootstrap_is_too_sure():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at most a quarter of the 8 runs"):
        expected_best_interval([0.1] * 8, 3, rng=rng)
