import itertools
import math

import numpy as np
import pytest

from fullscale.learning_rate_scaling import scaled_learning_rate
from fullscale.schedule_registry import SCHEDULES, build_schedule
from fullscale.schedules import Piecewise, Triangular, WarmRestarts, WarmupPolynomial
from models_of_scaling.errors import InputError


def factors(schedule, stop):
    return np.array([schedule.factor(step) for step in range(stop)])


def test_the_rate_rises_to_its_peak_and_then_falls_as_the_polynomial():
    schedule = WarmupPolynomial(warmup_steps=5, num_train_steps=25, decay_power=2.0)
    factors = np.array([schedule.factor(step) for step in range(26)])
    np.testing.assert_allclose(factors[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-12)
    np.testing.assert_allclose(factors[5:], ((25 - np.arange(5, 26)) / 20) ** 2, rtol=1e-12)


def test_power_zero_keeps_the_peak_and_an_end_factor_is_reached_at_the_end():
    constant = WarmupPolynomial(warmup_steps=0, num_train_steps=10, decay_power=0.0)
    assert {constant.factor(step) for step in range(20)} == {1.0}
    ending = WarmupPolynomial(warmup_steps=0, num_train_steps=10, end_factor=0.25)
    assert ending.factor(10) == 0.25
    assert ending.factor(99) == 0.25


@pytest.mark.parametrize("warmup_steps", [10, 11, -1])
def test_a_warmup_that_is_not_shorter_than_the_run_is_refused(warmup_steps):
    with pytest.raises(InputError, match="must be shorter than the run of 10 steps"):
        WarmupPolynomial(warmup_steps=warmup_steps, num_train_steps=10)


@pytest.mark.parametrize(
    "bad", [{"num_train_steps": 0}, {"decay_power": -1.0}, {"end_factor": 1.5}]
)
def test_a_schedule_names_the_field_that_breaks_its_rule(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        WarmupPolynomial(**{"warmup_steps": 0, "num_train_steps": 10} | bad)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "piecewise"])
def test_every_schedule_warms_up_alike_and_stays_within_its_peak(name):
    schedule = build_schedule(name, warmup_steps=4, num_train_steps=40, numbers={})
    got = factors(schedule, 60)
    np.testing.assert_allclose(got[:4], [0.25, 0.5, 0.75, 1.0], rtol=1e-12)
    assert got.max() <= 1 + 1e-12
    assert got.min() >= 0
    # After the planned end the rate stays what it was there.
    assert set(got[40:]) == {schedule.end}


def test_a_gradual_warmup_starts_near_its_first_rate_and_rises_by_equal_amounts():
    # Goyal et al. 2017: from the rate of a 32 times smaller batch to the peak.
    schedule = WarmupPolynomial(warmup_steps=10, num_train_steps=20, warmup_start=1 / 32)
    rise = np.diff([1 / 32, *factors(schedule, 10)])
    np.testing.assert_allclose(rise, (1 - 1 / 32) / 10, rtol=1e-9)


def test_one_cycle_of_the_cosine_is_equation_5_of_the_source():
    schedule = build_schedule(
        "cosine", warmup_steps=0, num_train_steps=50, numbers={"end_factor": 0.1}
    )
    steps = np.arange(51)
    np.testing.assert_allclose(
        factors(schedule, 51), 0.1 + 0.5 * 0.9 * (1 + np.cos(math.pi * steps / 50)), rtol=1e-12
    )


def test_restarts_stand_at_the_growing_cycles_and_the_run_ends_at_the_bottom():
    # Cycles of 10, 20 and 40 steps.
    schedule = WarmRestarts(warmup_steps=0, num_train_steps=70, num_cycles=3, cycle_growth=2.0)
    got = factors(schedule, 71)
    assert [step for step in range(71) if got[step] == 1.0] == [0, 10, 30]
    np.testing.assert_allclose(got[[5, 20, 50]], 0.5, rtol=1e-12)
    assert got[70] == pytest.approx(0, abs=1e-15)


def test_triangles_rise_and_fall_linearly_between_low_and_a_decaying_peak():
    schedule = Triangular(
        warmup_steps=0, num_train_steps=40, num_cycles=2, low_factor=0.2, amplitude_decay=0.5
    )
    got = factors(schedule, 41)
    np.testing.assert_allclose(got[[0, 5, 10, 15, 20]], [0.2, 0.6, 1.0, 0.6, 0.2], rtol=1e-12)
    np.testing.assert_allclose(got[[25, 30, 40]], [0.4, 0.6, 0.2], rtol=1e-12)


@pytest.mark.parametrize("warmup_steps", [0, 450])
def test_steps_drop_by_ten_at_epochs_30_60_and_80_of_90_wherever_the_warmup_ends(warmup_steps):
    schedule = build_schedule("step", warmup_steps=warmup_steps, num_train_steps=9000, numbers={})
    got = factors(schedule, 9000)
    drops = [step for step, pair in enumerate(itertools.pairwise(got), 1) if pair[1] < pair[0]]
    assert drops == [3000, 6000, 8000]
    np.testing.assert_allclose(got[[2999, 3000, 6000, 8000]], [1, 0.1, 0.01, 0.001], rtol=1e-12)


def test_a_slow_start_has_the_rates_of_its_source_over_its_peak():
    schedule = build_schedule("slow_start", warmup_steps=0, num_train_steps=90, numbers={})
    got = 0.5 * factors(schedule, 90)
    np.testing.assert_allclose(got[[0, 39, 40, 69]], [0.5, 0.5, 0.075, 0.075], rtol=1e-12)
    np.testing.assert_allclose(got[[70, 84, 85, 89]], [0.01, 0.01, 0.001, 0.001], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        (
            "cosine",
            {"decay_power": 2.0, "end_factor": 0.1},
            "cosine: does not take decay_power; it takes warmup_start, num_cycles, cycle_growth",
        ),
        ("step", {"end_factor": 0.1}, "does not take end_factor; it takes warmup_start$"),
        ("piecewise", {"warmup_start": 0.1}, "piecewise: needs boundaries and factors"),
        ("triangular", {"low_factor": "deep"}, "low_factor 'deep' must be a number"),
        ("linear", {"warmup_start": True}, "warmup_start True must be a number"),
        ("piecewise", {"boundaries": 0.5, "factors": [1, 1]}, "boundaries 0.5 must be a list of"),
        ("piecewise", {"boundaries": ["a"], "factors": [1, 1]}, r"\['a'\] must be a list of num"),
        ("triangular", {"num_cycles": [4]}, r"num_cycles \[4\] must be a number"),
        ("constant", {"end_factor": 0.1}, "is constant .* never comes to its end, 0.1 of the peak"),
        ("warm_restarts", {"num_cycles": math.nan}, "num_cycles nan must be a whole number"),
        ("warm_restarts", {"num_cycles": math.inf}, "num_cycles inf must be a whole number"),
        ("warm_restarts", {"num_cycles": 2000}, "num_cycles 2000 of cycle_growth 2.0: the last"),
        ("exponential", {}, "'exponential' is not one of constant, linear"),
        ("warm_restarts", {"num_cycles": 1.5}, "num_cycles 1.5 must be a whole number"),
        ("warm_restarts", {"cycle_growth": 0.5}, "cycle_growth 0.5 must be finite and at least 1"),
        ("triangular", {"low_factor": -0.1}, "low_factor -0.1 must be in"),
        ("piecewise", {"boundaries": [0.5, 0.2], "factors": [1, 1, 1]}, "must increase"),
        ("piecewise", {"boundaries": [0.5], "factors": [1.0]}, "must be one more than"),
        ("linear", {"warmup_start": 2.0}, "warmup_start 2.0 must be in"),
    ],
)
def test_a_bad_name_or_number_of_a_schedule_is_refused_in_one_line(name, numbers, words):
    with pytest.raises(InputError, match=words):
        build_schedule(name, warmup_steps=0, num_train_steps=10, numbers=numbers)


def test_own_pieces_begin_on_the_step_that_their_share_names():
    schedule = Piecewise(
        warmup_steps=0, num_train_steps=10, boundaries=(0.3, 0.75), factors=(1.0, 0.5, 0.25)
    )
    assert list(factors(schedule, 10)) == [1.0] * 3 + [0.5] * 5 + [0.25] * 2


def test_rates_scale_with_the_batch_linearly_by_the_root_or_not_at_all():
    rates = {"linear": 3.2, "sqrt": 0.1 * math.sqrt(32), "none": 0.1}
    for rule, want in rates.items():
        got = scaled_learning_rate(0.1, rule=rule, batch_size=8192, base_batch_size=256)
        assert got == pytest.approx(want, rel=1e-12)
    with pytest.raises(InputError, match="'cubic' is not one of none, sqrt, linear"):
        scaled_learning_rate(0.1, rule="cubic", batch_size=2, base_batch_size=1)
