"""The fewest steps of each method, and what Zhang et al. 2019 found with them."""

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from surrogate.noisy_quadratic import Spectrum, power_law_spectrum, zhang_spectrum
from surrogate.simulator.configuration import Configuration, run_configuration
from surrogate.simulator.methods import METHODS
from surrogate.simulator.optimum import optimal_steps
from surrogate.simulator.schedules import Piece, optimal_schedule, piece_lengths, risk_after
from surrogate.simulator.sgd_grid import sgd_grid

TARGET = 0.01
SMALL, LARGE = 4, 2**17
SPECTRUM = zhang_spectrum()


@pytest.fixture(scope="module")
def fewest():
    """Steps by method at a small and a large batch size, on the paper's spectrum."""
    methods = {
        "sgd": METHODS["sgd"],
        "momentum": METHODS["momentum"],
        "preconditioned": METHODS["sgd"].changed(preconditioning=0.5, gradient_delay=0),
        "averaged": METHODS["averaged"],
        "stale": METHODS["sgd"].changed(preconditioning=None, gradient_delay=2),
    }
    found = {}
    for name, method in methods.items():
        answers = optimal_steps(SPECTRUM, [SMALL, LARGE], TARGET, method)
        assert all(each.reached for each in answers), name
        found[name] = {each.batch_size: each.steps for each in answers}
    return found


def test_momentum_helps_at_large_batches_only(fewest):
    gain = {b: fewest["sgd"][b] / fewest["momentum"][b] for b in (SMALL, LARGE)}
    assert 1.0 <= gain[SMALL] < 1.25
    assert gain[LARGE] > 20


def test_preconditioning_extends_perfect_scaling(fewest):
    """The critical batch size: fewest examples, at small batches, over fewest steps, at large."""
    critical = {m: SMALL * fewest[m][SMALL] / fewest[m][LARGE] for m in ("sgd", "preconditioned")}
    assert critical["preconditioned"] > 5 * critical["sgd"]
    assert fewest["preconditioned"][LARGE] < fewest["sgd"][LARGE] / 20


def test_averaging_saves_steps_at_small_batches_only(fewest):
    gain = {b: fewest["sgd"][b] / fewest["averaged"][b] for b in (SMALL, LARGE)}
    assert gain[SMALL] > 5
    assert 1.0 <= gain[LARGE] < 1.05


def test_averaging_lowers_the_floor_at_the_same_rate_and_batch_size():
    risk = {
        decay: run_configuration(
            zhang_spectrum(100),
            Configuration(learning_rate=0.5, averaging="exponential", averaging_decay=decay),
            batch_size=8, target_risk=0.0, max_steps=2**22,
        ).curve_risk[-1]
        for decay in (0.0, 0.9, 0.99)
    }  # fmt: skip
    assert risk[0.9] < 0.8 * risk[0.0]
    assert risk[0.99] < 0.5 * risk[0.9]


def test_a_falling_learning_rate_saves_steps_at_small_batches_only(fewest):
    gain = {
        b: fewest["sgd"][b]
        / optimal_schedule(
            SPECTRUM, batch_size=b, target_risk=TARGET, pieces=10, upper_steps=fewest["sgd"][b]
        ).steps
        for b in (SMALL, LARGE)
    }
    assert gain[SMALL] > 5
    assert 1.0 <= gain[LARGE] < 1.05


def test_late_gradients_cost_little_at_small_batches_and_much_at_large_ones(fewest):
    """Small batches want small rates, which a delay leaves stable."""
    cost = {b: fewest["stale"][b] / fewest["sgd"][b] for b in (SMALL, LARGE)}
    assert 1.0 <= cost[SMALL] < 1.05
    assert 2 < cost[LARGE] < 5  # the largest stable rate falls from 2 to 0.62


@pytest.mark.parametrize("batch_size", [16, 2_048])
def test_no_learning_rate_of_a_fine_grid_needs_fewer_steps_than_the_best(batch_size):
    (best,) = optimal_steps(SPECTRUM, [batch_size], TARGET, METHODS["sgd"])
    rate = best.hyper_parameters["learning_rate"]
    grid = sgd_grid(
        SPECTRUM, batch_sizes=[batch_size], target_risk=TARGET,
        learning_rates=np.r_[rate, rate * np.geomspace(0.99, 1.01, 200), np.geomspace(1e-3, 2, 99)],
    )  # fmt: skip
    assert grid.steps[0, 0] == best.steps
    assert grid.steps[grid.reached].min() == best.steps


@pytest.mark.parametrize("name", ["momentum", "nesterov", "averaged"])
@pytest.mark.parametrize("batch_size", [8, 4_096])
def test_no_drawn_configuration_needs_fewer_steps_than_the_best(name, batch_size):
    spectrum, target, method = zhang_spectrum(40), 0.02, METHODS[name]
    (best,) = optimal_steps(spectrum, [batch_size], target, method)
    rng = np.random.default_rng(1)
    other = method.axes[1].name
    for _ in range(60):
        near = np.exp(rng.normal(size=2) * rng.choice([0.003, 0.05, 0.7]))
        drawn = {
            "learning_rate": best.hyper_parameters["learning_rate"] * near[0],
            other: 1 - min(1.0, (1 - best.hyper_parameters[other]) * near[1]),
        }
        run = run_configuration(
            spectrum, method.configuration(drawn), batch_size=batch_size,
            target_risk=target, max_steps=2 * best.steps,
        )  # fmt: skip
        assert run.status != "reached" or run.steps >= best.steps, drawn


def test_the_fewest_steps_are_those_of_the_returned_hyper_parameters():
    (best,) = optimal_steps(zhang_spectrum(300), [256], 0.02, METHODS["momentum"])
    run = run_configuration(
        zhang_spectrum(300), Configuration(**best.hyper_parameters),
        batch_size=256, target_risk=0.02, max_steps=10**6,
    )  # fmt: skip
    assert (run.status, run.steps) == ("reached", best.steps)


def test_whitening_without_noise_needs_one_step():
    spectrum = Spectrum(
        curvature_P=np.array([1.0, 0.01]), noise_P=np.zeros(2), initial_P=np.ones(2)
    )
    method = METHODS["sgd"].changed(preconditioning=1.0, gradient_delay=0)
    (best,) = optimal_steps(spectrum, [1], 1e-3, method)
    assert best.steps == 1


@pytest.mark.parametrize("name", ["sgd", "averaged"])
def test_a_million_times_the_noise_needs_a_million_times_the_batch_size(name):
    """Only c / B enters, so that the search must follow the noise beyond its first grid."""
    quiet, loud = (power_law_spectrum(num_modes=20, noise_power=n) for n in (1.0, 1e6))
    (one,) = optimal_steps(quiet, [1], 0.02, METHODS[name])
    (million,) = optimal_steps(loud, [10**6], 0.02, METHODS[name])
    assert million.steps == one.steps
    (small,) = optimal_steps(loud, [1], 0.02, METHODS[name])
    assert 0.9e6 < small.steps / one.steps < 1.1e6  # perfect scaling, far below the knee


def test_a_budget_that_is_too_small_is_said_and_no_hyper_parameters_are_made_up():
    (best,) = optimal_steps(zhang_spectrum(100), [1], 0.01, METHODS["sgd"], max_steps=100)
    assert (best.reached, best.steps, best.hyper_parameters) == (False, 100, {})


@pytest.mark.parametrize("target", [0.0, -1.0, 10.0])
def test_a_target_outside_zero_to_the_start_is_refused(target):
    with pytest.raises(InputError, match="--target-risk"):
        optimal_steps(zhang_spectrum(100), [1], target, METHODS["sgd"])


def test_an_optimal_schedule_meets_the_target_and_no_drawn_schedule_as_long_is_better():
    spectrum, target, batch_size = zhang_spectrum(60), 0.02, 32
    found = optimal_schedule(
        spectrum, batch_size=batch_size, target_risk=target, pieces=6, upper_steps=20_000
    )
    rng = np.random.default_rng(2)

    def risk(rates, steps):
        return risk_after(
            spectrum,
            [
                Piece(steps=n, configuration=Configuration(learning_rate=lr), batch_size=batch_size)
                for n, lr in zip(piece_lengths(steps, 6), rates, strict=True)
            ],
        )

    best = np.array(found.learning_rates)
    assert risk(best, found.steps) <= target < risk(best, round(found.steps * 0.999) - 1)
    assert (np.diff(best) <= 1e-6).all()  # the rates fall
    for _ in range(60):
        drawn = best * np.exp(rng.normal(size=6) * rng.choice([0.02, 0.1]))
        assert risk(np.minimum(drawn, 1.9999), found.steps) > 0.9999 * risk(best, found.steps)
