"""The simulator against a brute-force recursion, a simulation, and what Zhang et al. 2019 found."""

import numpy as np
import pytest

from surrogate.noisy_quadratic import (
    Spectrum,
    expected_risk,
    one_step,
    run_to_target,
    start,
    zhang_spectrum,
)

CONFIGURATIONS = [
    (1, 0.01, 0.0),
    (8, 0.05, 0.9),
    (64, 0.5, 0.7),
    (4096, 1.5, 0.95),  # underdamped
    (256, 1.0, 0.0),
]


def brute_force_risk(spectrum, *, batch_size, learning_rate, momentum, steps):
    """Step the 3x3 recursion of (E theta^2, E theta v, E v^2), mode by mode, as matrices."""
    risk = np.zeros(steps + 1)
    modes = zip(spectrum.curvature_P, spectrum.noise_P, spectrum.initial_P, strict=True)
    for h, c, initial in modes:
        p, q = 1 - learning_rate * h, -learning_rate * momentum
        matrix = np.array([
            [p * p, 2 * p * q, q * q],
            [p * h, p * momentum + q * h, q * momentum],
            [h * h, 2 * h * momentum, momentum**2],
        ])
        noise = c / batch_size * np.array([learning_rate**2, -learning_rate, 1.0])
        state = np.array([initial, 0.0, 0.0])
        for step in range(steps + 1):
            risk[step] += 0.5 * h * state[0]
            state = matrix @ state + noise
    return risk


@pytest.mark.parametrize(("batch_size", "learning_rate", "momentum"), CONFIGURATIONS)
def test_the_curve_equals_the_step_by_step_recursion(batch_size, learning_rate, momentum):
    spectrum = zhang_spectrum(30)
    numbers = {"batch_size": batch_size, "learning_rate": learning_rate, "momentum": momentum}
    brute = brute_force_risk(spectrum, steps=1_000, **numbers)
    run = run_to_target(
        spectrum,
        one_step(spectrum, **numbers),
        target_risk=0.02,
        max_steps=1_000,
        divergence_factor=30,
    )
    assert run.curve_steps[:6] == (1, 2, 3, 4, 6, 8)
    np.testing.assert_allclose(run.curve_risk, brute[list(run.curve_steps)], rtol=1e-10)
    if run.status == "reached":
        assert brute[run.steps] <= 0.02 < brute[run.steps - 1]
        assert run.steps == np.flatnonzero(brute <= 0.02)[0]
    else:
        assert (brute > 0.02).all()


def test_some_of_the_configurations_reach_and_some_do_not():
    spectrum = zhang_spectrum(30)
    statuses = {
        run_to_target(
            spectrum,
            one_step(spectrum, batch_size=b, learning_rate=lr, momentum=m),
            target_risk=0.02,
            max_steps=1_000,
            divergence_factor=30,
        ).status
        for b, lr, m in CONFIGURATIONS
    }
    assert statuses == {"reached", "not_reached"}


def test_the_expected_risk_is_the_mean_of_simulated_runs():
    """Runs of real noisy steps; 4 standard errors over 20 blocks, fixed seed."""
    spectrum = Spectrum(
        curvature_P=np.array([1.0, 0.3, 0.05]),
        noise_P=np.array([0.5, 1.0, 0.2]),
        initial_P=np.array([1.0, 2.0, 0.5]),
    )
    numbers = {"batch_size": 4, "learning_rate": 0.4, "momentum": 0.8}
    rng = np.random.default_rng(11)
    runs, steps = (20, 2_000), 24
    theta = rng.normal(size=(*runs, 3)) * np.sqrt(spectrum.initial_P)
    velocity = np.zeros_like(theta)
    flow, moments = one_step(spectrum, **numbers), start(spectrum)
    for _ in range(steps):
        noise = rng.normal(size=theta.shape) * np.sqrt(spectrum.noise_P / numbers["batch_size"])
        velocity = numbers["momentum"] * velocity + spectrum.curvature_P * theta + noise
        theta = theta - numbers["learning_rate"] * velocity
        moments = flow.apply(moments)
    blocks = (0.5 * (theta**2) @ spectrum.curvature_P).mean(axis=1)
    se = blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert abs(blocks.mean() - expected_risk(spectrum, moments)) < 4 * se
    assert se < 0.02 * blocks.mean()  # a fault of 10 % would show


def test_the_risk_before_the_first_step_is_half_the_harmonic_number():
    spectrum = zhang_spectrum()
    assert len(spectrum.curvature_P) == 10_000
    risk = expected_risk(spectrum, start(spectrum))
    np.testing.assert_allclose(risk, 0.5 * np.sum(1 / np.arange(1, 10_001)), rtol=1e-12)


def test_too_large_a_learning_rate_diverges_without_a_warning():
    spectrum = zhang_spectrum(10)
    run = run_to_target(
        spectrum,
        one_step(spectrum, batch_size=1, learning_rate=5.0, momentum=0.0),
        target_risk=0.01,
        max_steps=10**6,
        divergence_factor=30,
    )
    assert run.status == "diverged"


def fewest_steps(spectrum, *, batch_size, momentum):
    runs = (
        run_to_target(
            spectrum,
            one_step(spectrum, batch_size=batch_size, learning_rate=lr, momentum=momentum),
            target_risk=0.01,
            max_steps=10**7,
            divergence_factor=30,
        )
        for lr in np.geomspace(1e-4, 1.95, 40) * (1 - momentum) ** 0.5
    )
    return min((run.steps for run in runs if run.status == "reached"), default=np.inf)


def test_momentum_helps_at_large_batches_only():
    """Zhang et al. 2019, section 4: no benefit at small batches, much at large ones."""
    spectrum = zhang_spectrum(1_000)
    gain = {
        batch_size: fewest_steps(spectrum, batch_size=batch_size, momentum=0.0)
        / fewest_steps(spectrum, batch_size=batch_size, momentum=0.9)
        for batch_size in (16, 2**16)
    }
    assert 0.85 < gain[16] < 1.15  # the grid of learning rates is 29 % apart
    assert gain[2**16] > 2


def test_steps_fall_in_proportion_at_small_batches_and_hit_a_floor_at_large_ones():
    spectrum = zhang_spectrum(1_000)
    steps = [fewest_steps(spectrum, batch_size=b, momentum=0.0) for b in (4, 8, 2**18, 2**19)]
    assert 1.9 < steps[0] / steps[1] < 2.1
    assert 1.0 <= steps[2] / steps[3] < 1.1


@pytest.mark.parametrize(
    ("field", "bad"),
    [("curvature_P", np.array([0.0, 1.0])), ("noise_P", np.array([-1.0, 1.0]))],
)
def test_a_spectrum_refuses_bad_fields(field, bad):
    good = {"curvature_P": np.ones(2), "noise_P": np.ones(2), "initial_P": np.ones(2)}
    with pytest.raises(ValueError, match=field):
        Spectrum(**good | {field: bad})
