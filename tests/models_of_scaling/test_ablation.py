"""Gains of a recipe's steps: against scipy, and their coverage on planted searches and seeds."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from models_of_scaling.ablation import RungRuns, effect, rung_mean
from models_of_scaling.plots.ablation import ablation_picture


def planted(rng, mean, *, searches=3, seeds=5, between=0.004, within=0.003):
    """Accuracies with a luck of the search and one of the seed."""
    luck = mean + between * rng.standard_normal(searches)
    values = luck[:, None] + within * rng.standard_normal((searches, seeds))
    return RungRuns(label="", values=tuple(tuple(map(float, each)) for each in values))


def test_a_gain_is_welchs_t_over_searches():
    rng = np.random.default_rng(0)
    before, after = planted(rng, 0.90), planted(rng, 0.93, searches=4)
    found = effect(after, before, "accuracy", level=0.9)
    means = [[100 * np.mean(each) for each in rung.values] for rung in (after, before)]
    reference = ttest_ind(*means, equal_var=False).confidence_interval(0.9)
    np.testing.assert_allclose([found.low, found.high], reference, rtol=1e-10)
    assert found.gain == pytest.approx(np.mean(means[0]) - np.mean(means[1]))
    assert found.over == "searches" and found.is_told("accuracy")


def test_intervals_hold_the_planted_gain_as_often_as_they_say():
    rng = np.random.default_rng(1)
    count, truth = 2000, 1.5
    held = 0
    for _ in range(count):
        found = effect(planted(rng, 0.915), planted(rng, 0.90), "accuracy", level=0.9)
        held += found.low <= truth <= found.high
    # Three standard errors of a share over 2,000 are 0.02; Welch's is a little wide at 3 and 3.
    assert 0.88 < held / count < 0.95


def test_seeds_alone_would_hold_it_less_often_where_searches_differ():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(500):
        one = [planted(rng, mean, searches=1, between=0.01) for mean in (0.915, 0.90)]
        found = effect(*one, "accuracy", level=0.9)
        assert found.over == "seeds"
        held += found.low <= 1.5 <= found.high
    assert held / 500 < 0.6


def test_steps_are_compared_by_their_ratio():
    before = RungRuns(label="", values=((100.0, 110.0), (90.0, 100.0)))
    after = RungRuns(label="", values=((50.0, 55.0), (45.0, 50.0)))
    found = effect(after, before, "steps", level=0.9)
    assert found.gain == pytest.approx(2.0) and 0 < found.low < 2 < found.high
    assert rung_mean(after, "steps") == pytest.approx(
        math.exp(np.mean(np.log([50, 55, 45, 50]))), rel=1e-12
    )


def test_a_run_that_did_not_get_there_leaves_no_number():
    before = RungRuns(label="", values=((100.0, math.inf), (90.0, 100.0)))
    after = RungRuns(label="", values=((50.0, 55.0), (45.0, 50.0)))
    found = effect(after, before, "steps")
    assert math.isnan(found.gain) and not found.is_told("steps")
    assert rung_mean(before, "steps") == math.inf
    empty = RungRuns(label="", values=((), (0.9,)))
    assert math.isnan(effect(empty, empty, "accuracy").gain)


def test_equal_accuracies_everywhere_are_a_gain_of_nothing():
    rung = RungRuns(label="", values=((0.5, 0.5), (0.5, 0.5)))
    found = effect(rung, rung, "accuracy")
    assert (found.gain, found.low, found.high) == (0.0, 0.0, 0.0) and not found.is_told("accuracy")
    single = RungRuns(label="", values=((0.5,),))
    assert effect(single, single, "accuracy").high == math.inf


def test_a_picture_is_drawn_with_and_without_numbers():
    rng = np.random.default_rng(3)
    gain = effect(planted(rng, 0.93), planted(rng, 0.9), "accuracy")
    steps = [("momentum", 90.0, None), ("+ lars", 93.0, gain), ("+ warm-up", math.nan, gain)]
    picture = ablation_picture(steps, scale="accuracy", picture_format="svg")
    assert picture.startswith(b"<?xml") and b"nan" not in picture.lower()
