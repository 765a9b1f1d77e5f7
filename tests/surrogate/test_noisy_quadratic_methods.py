"""Every method's expected risk against trajectories written out step by step, and real runs."""

import numpy as np
import pytest

from surrogate.noisy_quadratic import Spectrum
from surrogate.simulator.configuration import Configuration, one_step, run_configuration, start
from surrogate.simulator.modes import all_modes
from surrogate.simulator.schedules import Piece, risk_after

SPECTRUM = Spectrum(
    curvature_P=np.array([1.0, 0.7, 0.31, 0.3, 0.05, 0.011]),
    noise_P=np.array([0.5, 1.0, 0.2, 0.0, 2.0, 0.3]),
    initial_P=np.array([1.0, 2.0, 0.5, 1.5, 0.0, 3.0]),
)
VARIANTS = {
    "sgd": {"learning_rate": 0.4},
    "momentum": {"learning_rate": 0.3, "momentum": 0.9},
    "nesterov": {"learning_rate": 0.3, "momentum": 0.8, "nesterov": True},
    "preconditioned": {"learning_rate": 0.5, "preconditioning": 0.5},
    "whitened": {"learning_rate": 0.1, "momentum": 0.5, "preconditioning": 1.0},
    "averaged": {"learning_rate": 0.8, "averaging": "exponential", "averaging_decay": 0.9},
    "averaged with momentum": {
        "learning_rate": 0.2, "momentum": 0.8, "averaging": "exponential", "averaging_decay": 0.7,
    },
    "running average": {"learning_rate": 0.9, "averaging": "running"},
    "stale by 1": {"learning_rate": 0.5, "gradient_delay": 1},
    "stale by 3, unstable": {"learning_rate": 0.9, "gradient_delay": 3},
    "all at once": {
        "learning_rate": 0.05, "momentum": 0.6, "nesterov": True, "preconditioning": 0.3,
        "averaging": "running", "gradient_delay": 2,
    },
}  # fmt: skip
STEPS, BATCH_SIZE = 48, 3


def trajectory(variant, theta, noises, learning_rates=None):
    """The method as one would program it: what is read after each step, given gradient noises."""
    h, p = SPECTRUM.curvature_P, variant.get("preconditioning", 0.0)
    momentum, decay = variant.get("momentum", 0.0), variant.get("averaging_decay", 0.0)
    delay, averaging = variant.get("gradient_delay", 0), variant.get("averaging", "none")
    visited, velocity, average, read = [theta], np.zeros_like(theta), theta, []
    for step, noise in enumerate(noises):
        lr = variant["learning_rate"] if learning_rates is None else learning_rates[step]
        gradient = h**-p * (h * visited[max(0, step - delay)] + noise)
        velocity = momentum * velocity + gradient
        move = gradient + momentum * velocity if variant.get("nesterov") else velocity
        theta = theta - lr * move
        visited.append(theta)
        average = decay * average + (1 - decay) * theta
        means = {"none": theta, "exponential": average, "running": np.mean(visited[1:], axis=0)}
        read.append(means[averaging])
    return np.array(read)


def brute_force_risk(variant, steps, batch_sizes, learning_rates=None):
    """Variances add up over independent kicks: the start, and the noise of each step."""
    h, zero = SPECTRUM.curvature_P, np.zeros((steps, len(SPECTRUM.curvature_P)))
    one = np.ones_like(h)
    squares = SPECTRUM.initial_P * trajectory(variant, one, zero, learning_rates) ** 2
    for step in range(steps):
        kick = zero.copy()
        kick[step] = 1.0
        response = trajectory(variant, 0 * one, kick, learning_rates)
        squares += SPECTRUM.noise_P / batch_sizes[step] * response**2
    return 0.5 * squares @ h


@pytest.mark.parametrize("name", VARIANTS)
def test_the_expected_risk_equals_the_step_by_step_sum_to_1e_10(name):
    brute = brute_force_risk(VARIANTS[name], STEPS, [BATCH_SIZE] * STEPS)
    run = run_configuration(
        SPECTRUM, Configuration(**VARIANTS[name]), batch_size=BATCH_SIZE,
        target_risk=0.0, max_steps=STEPS, divergence_factor=1e9,
    )  # fmt: skip
    assert run.curve_steps[-1] == STEPS
    np.testing.assert_allclose(run.curve_risk, brute[np.array(run.curve_steps) - 1], rtol=1e-10)


@pytest.mark.parametrize("name", ["sgd", "momentum", "running average", "averaged", "stale by 1"])
def test_the_step_to_target_is_the_first_at_which_the_risk_meets_it(name):
    brute = brute_force_risk(VARIANTS[name], STEPS, [BATCH_SIZE] * STEPS)
    target = 0.5 * (brute[0] + brute.min())
    run = run_configuration(
        SPECTRUM, Configuration(**VARIANTS[name]), batch_size=BATCH_SIZE,
        target_risk=target, max_steps=STEPS,
    )  # fmt: skip
    assert run.status == "reached"
    assert run.steps == 1 + np.flatnonzero(brute <= target)[0]


@pytest.mark.parametrize("name", ["sgd", "nesterov", "averaged with momentum", "stale by 1"])
def test_pieces_of_other_rates_and_batch_sizes_equal_the_step_by_step_sum(name):
    pieces = [(7, 0.3, 2), (1, 0.1, 9), (16, 0.02, 40)]
    brute = brute_force_risk(
        VARIANTS[name], 24,
        np.repeat([b for _, _, b in pieces], [n for n, _, _ in pieces]),
        np.repeat([lr for _, lr, _ in pieces], [n for n, _, _ in pieces]),
    )[-1]  # fmt: skip
    exact = risk_after(
        SPECTRUM,
        [
            Piece(
                steps=n,
                configuration=Configuration(**VARIANTS[name] | {"learning_rate": lr}),
                batch_size=b,
            )
            for n, lr, b in pieces
        ],
    )
    np.testing.assert_allclose(exact, brute, rtol=1e-10)


@pytest.mark.parametrize("name", ["averaged with momentum", "all at once"])
def test_the_expected_risk_is_the_mean_of_simulated_runs(name):
    """4 standard errors over 20 blocks of 1,000 runs, fixed seed."""
    rng, blocks, steps = np.random.default_rng(5), (20, 1_000), 16
    modes = len(SPECTRUM.curvature_P)
    theta = rng.normal(size=(*blocks, modes)) * np.sqrt(SPECTRUM.initial_P)
    noises = rng.normal(size=(steps, *blocks, modes)) * np.sqrt(SPECTRUM.noise_P / BATCH_SIZE)
    last = trajectory(VARIANTS[name], theta, noises)[-1]
    risks = (0.5 * last**2 @ SPECTRUM.curvature_P).mean(axis=1)
    se = risks.std(ddof=1) / np.sqrt(len(risks))
    run = run_configuration(
        SPECTRUM, Configuration(**VARIANTS[name]), batch_size=BATCH_SIZE,
        target_risk=0.0, max_steps=steps,
    )  # fmt: skip
    assert abs(risks.mean() - run.curve_risk[-1]) < 4 * se
    assert se < 0.02 * risks.mean()  # a fault of 10 % would show


@pytest.mark.parametrize("delay", [0, 1, 2, 5])
def test_a_delay_of_d_steps_lowers_the_largest_stable_rate_as_theory_says(delay):
    """x(t+1) = x(t) - a x(t-d) is stable below a = 2 sin(pi / (4 d + 2)) (Levin and May 1976)."""
    limit = 2 * np.sin(np.pi / (4 * delay + 2))
    one = np.ones(1)
    radius = [
        np.abs(
            np.linalg.eigvals(
                one_step(Configuration(learning_rate=lr, gradient_delay=delay), one).matrix[..., 0]
            )
        ).max()
        for lr in (0.999 * limit, 1.001 * limit)
    ]
    assert radius[0] < 1 < radius[1]
    grown = run_configuration(
        Spectrum(curvature_P=one, noise_P=0 * one, initial_P=one),
        Configuration(learning_rate=1.01 * limit, gradient_delay=delay),
        batch_size=1,
        target_risk=1e-9,
        max_steps=10**6,
    )
    assert grown.status == "diverged"


def decay_and_growth(learning_rate, factor=4):
    """Risks when the rate falls by a factor, and when the batch grows by it: equal examples."""
    steps = round(20 / learning_rate)
    first = Piece(
        steps=steps, configuration=Configuration(learning_rate=learning_rate), batch_size=8
    )
    low = Configuration(learning_rate=learning_rate / factor)
    decayed = Piece(steps=factor * steps, configuration=low, batch_size=8)
    grown = Piece(steps=steps, configuration=first.configuration, batch_size=8 * factor)
    assert decayed.steps * decayed.batch_size == grown.steps * grown.batch_size
    return [risk_after(SPECTRUM, [first, last]) for last in (decayed, grown)]


def test_growing_the_batch_equals_decaying_the_rate_to_first_order_in_the_rate():
    """Smith et al. 2017: same examples, a quarter of the steps; the rest vanishes with the rate."""
    gap = {}
    for learning_rate in (0.2, 0.05, 0.0125):
        decayed, grown = decay_and_growth(learning_rate)
        gap[learning_rate] = grown / decayed - 1
    assert 1e-6 < gap[0.0125] < 1e-3
    # By 4 with the rate, and by more where the noise's share of the risk falls with it too.
    assert gap[0.2] > 3.9 * gap[0.05] > 3.9**2 * gap[0.0125]


def test_at_a_rate_near_the_stability_limit_growing_the_batch_is_no_decay():
    decayed, grown = decay_and_growth(1.9)
    assert grown > 1.5 * decayed


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("averaging_decay", -0.1),
        ("preconditioning", 1.1),
        ("gradient_delay", -1),
    ],
)
def test_a_configuration_refuses_bad_numbers(field, bad):
    with pytest.raises(ValueError, match=field):
        Configuration(**{"learning_rate": 0.1} | {field: bad})


def test_a_weight_is_as_good_as_so_many_equal_modes():
    one = Spectrum(
        curvature_P=np.array([0.3, 1.0]),
        noise_P=np.array([3.0, 1.0]),
        initial_P=np.array([6.0, 1.0]),
    )
    three = Spectrum(
        curvature_P=np.array([0.3, 0.3, 0.3, 1.0]), noise_P=np.ones(4),
        initial_P=np.array([2.0, 2.0, 2.0, 1.0]),
    )  # fmt: skip
    configuration = Configuration(learning_rate=0.2, momentum=0.5)
    state = start(configuration, (2,))
    assert state.signal.shape == (2, 2)
    assert all_modes(one).initial_risk() == pytest.approx(all_modes(three).initial_risk())
    risks = [
        risk_after(s, [Piece(steps=9, configuration=configuration, batch_size=2)])
        for s in (one, three)
    ]
    np.testing.assert_allclose(*risks, rtol=1e-13)
