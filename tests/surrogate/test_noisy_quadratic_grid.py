"""Steps to target over a grid of batch sizes and learning rates: every answer exact to the step."""

import numpy as np
import pytest

from surrogate.noisy_quadratic import Spectrum, zhang_spectrum
from surrogate.simulator.modes import all_modes, merge_modes
from surrogate.simulator.sgd_excess import Cells, Excess, Powers
from surrogate.simulator.sgd_grid import _merging_error, sgd_grid


def risk_on_all_modes(spectrum, steps, batch_size, learning_rate):
    """By the geometric series, in powers and without logarithms."""
    h = spectrum.curvature_P
    square = (1 - learning_rate * h) ** 2
    left = square**steps
    with np.errstate(divide="ignore", invalid="ignore"):
        series = np.where(np.abs(1 - square) > 1e-9, (1 - left) / (1 - square), steps)
    noise = learning_rate**2 * spectrum.noise_P / batch_size
    return 0.5 * h @ (spectrum.initial_P * left + noise * series)


def check_every_answer(spectrum, grid, batch_sizes, learning_rates, target, *, far):
    """The risk meets the target at the answer and not one step before, or by no step looked at."""
    for (b, rate), steps in np.ndenumerate(grid.steps):
        cell = (batch_sizes[b], learning_rates[rate])
        if grid.reached[b, rate]:
            assert risk_on_all_modes(spectrum, steps, *cell) <= target, cell
            assert steps == 1 or risk_on_all_modes(spectrum, steps - 1, *cell) > target, cell
        else:
            with np.errstate(over="ignore"):
                looked = [risk_on_all_modes(spectrum, 2.0**k, *cell) for k in range(far)]
            assert not np.any(np.array(looked) <= target), cell


def test_each_of_18_by_60_answers_is_the_first_step_at_target_on_all_ten_thousand_modes():
    spectrum = zhang_spectrum()
    batch_sizes, rates = 2.0 ** np.arange(18), np.geomspace(1e-4, 3, 60)
    grid = sgd_grid(spectrum, batch_sizes=batch_sizes, learning_rates=rates, target_risk=0.01)
    assert grid.steps.shape == (18, 60)
    assert 600 < grid.reached.sum() < 1_000  # and others are out of reach, or diverge
    assert grid.diverges.any()
    assert grid.steps.max() > 10**7
    some = slice(None, None, 3)  # the benchmark compares all of them with a bisection
    few = sgd_grid(spectrum, batch_sizes=batch_sizes[some], learning_rates=rates, target_risk=0.01)
    np.testing.assert_array_equal(few.steps, grid.steps[some])
    check_every_answer(spectrum, few, batch_sizes[some], rates, 0.01, far=30)


def dense_top(rng):
    """Five hundred modes in the steepest octave: there merging is uncertain at high rates."""
    return Spectrum(
        curvature_P=np.concatenate([rng.uniform(0.5, 1.0, 500), rng.uniform(1e-3, 0.5, 500)]),
        noise_P=rng.uniform(0, 2, 1_000),
        initial_P=rng.uniform(0.5, 2, 1_000),
    )


def modes_that_rise(rng):
    """Modes that start near their minimum and are only shaken by noise."""
    return Spectrum(
        curvature_P=np.geomspace(0.01, 2, 60),
        noise_P=rng.uniform(0, 1, 60),
        initial_P=np.where(rng.uniform(size=60) < 0.4, 0.0, rng.uniform(0.5, 2, 60)),
    )


@pytest.mark.parametrize(("make", "relative_target"), [(dense_top, 0.02), (modes_that_rise, 0.05)])
def test_answers_are_exact_where_merging_or_falling_can_not_be_relied_on(make, relative_target):
    spectrum = make(np.random.default_rng(3))
    target = relative_target * all_modes(spectrum).initial_risk()
    highest = spectrum.curvature_P.max()
    batch_sizes, rates = np.array([1, 30, 1_000, 10**5]), np.geomspace(0.01, 2.2, 25) / highest
    grid = sgd_grid(spectrum, batch_sizes=batch_sizes, learning_rates=rates, target_risk=target)
    assert grid.checked_on_all_modes.any()  # the way that the default spectrum does not need
    assert grid.reached.any() and not grid.reached.all()
    check_every_answer(spectrum, grid, batch_sizes, rates, target, far=30)


def test_merging_changes_the_risk_by_less_than_the_bound_says():
    """With 6 nodes an octave, so that the error is far above rounding."""
    modes = all_modes(zhang_spectrum(3_000))
    merged, octaves = merge_modes(modes, nodes=6)
    assert len(merged.curvature_P) < 80
    rates = np.geomspace(1e-3, 1.9, 15)
    rate = np.repeat(np.arange(15), 8)
    cells = Cells(rate=rate, batch_size=np.full(120, 50.0), gap=np.ones(120))
    steps = np.ceil(np.tile(np.geomspace(1, 1e4, 8), 15) / rates[rate])
    (few, _), (all_, _) = (
        Excess(Powers(each, rates), cells).around(steps) for each in (merged, modes)
    )
    error, bound = np.abs(few - all_), _merging_error(octaves, rates, cells, steps, modes)
    assert (error <= bound).all()
    assert error.max() > 1e-10  # there is something to bound
    assert np.median(bound) < 1e-3


def test_merged_modes_keep_every_moment_up_to_the_degree_of_the_interpolant():
    modes = all_modes(zhang_spectrum(500))
    merged, _ = merge_modes(modes, nodes=9)
    for degree in range(9):
        for field in ("signal_P", "noise_P"):
            whole = getattr(modes, field) @ modes.curvature_P**degree
            few = getattr(merged, field) @ merged.curvature_P**degree
            np.testing.assert_allclose(few, whole, rtol=1e-12)


def test_a_target_at_the_start_is_met_in_one_step():
    spectrum = zhang_spectrum(50)
    target = 1.1 * all_modes(spectrum).initial_risk()
    grid = sgd_grid(spectrum, batch_sizes=[64], learning_rates=[0.1], target_risk=target)
    assert grid.steps.tolist() == [[1]]


def test_a_mode_that_one_step_removes_needs_one_step_and_no_warning():
    one = np.ones(1)
    spectrum = Spectrum(curvature_P=one, noise_P=0 * one, initial_P=one)
    grid = sgd_grid(
        spectrum, batch_sizes=[1], learning_rates=[0.5, 1.0, 1.5, 2.0], target_risk=1e-4
    )
    assert grid.steps.tolist() == [[7, 1, 7, 0]]  # 1/2 (1/4)^7 = 3.1e-5, and one before 1.2e-4
