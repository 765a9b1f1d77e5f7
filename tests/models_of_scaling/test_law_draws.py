"""Draws of any law: the same whether read as log parameters or as natural ones."""

from dataclasses import replace

import numpy as np
import pytest

from models_of_scaling.curves import Curves
from models_of_scaling.law_draws import draw_law, family_of, kernel_about
from models_of_scaling.laws import LAW_NAMES
from models_of_scaling.noise import NoiseKnowledge
from models_of_scaling.study_rows import CellMeans

X_C = np.log(2.0) * np.arange(-4, 5)
REFERENCE = 256.0


def cells(log_steps_C, *, measured_C=None):
    count = len(log_steps_C)
    return CellMeans(
        x_C=X_C[:count],
        log_steps_C=np.asarray(log_steps_C),
        information_C=np.ones(count),
        measured_C=np.ones(count, dtype=bool) if measured_C is None else measured_C,
        met_early_C=np.zeros(count, dtype=bool),
        spread_C=np.zeros(count),
        width_C=np.zeros(count),
        group_variance_C=np.zeros(count),
    )


def point_of(name):
    family = family_of(name)
    theta_P = family.theta_of_shape(family.prior_mean_K[None], float(X_C[-1]))[0]
    theta_P[:2] += np.log(500.0)
    return family, theta_P


def drawn(name, *, seed=0, count=300, measured_C=None):
    family, theta_P = point_of(name)
    noise_C = 0.03 * np.random.default_rng(9).standard_normal(len(X_C))
    rows = cells(family.log_steps(theta_P[None], X_C)[0][0] + noise_C, measured_C=measured_C)
    rng = np.random.default_rng(seed)
    return rows, draw_law(name, rows, NoiseKnowledge(), theta_P, count, rng)


@pytest.mark.parametrize("name", LAW_NAMES)
def test_the_draws_of_a_law_are_as_many_as_asked_and_the_same_for_a_seed(name):
    _, first = drawn(name)
    _, again = drawn(name)
    _, other = drawn(name, seed=1)
    assert first.theta_RP.shape == (300, len(family_of(name).parameter_names))
    assert first.noise_R.shape == (300,)
    np.testing.assert_array_equal(first.log_steps(2.0), again.log_steps(2.0))
    assert not np.array_equal(first.log_steps(2.0), other.log_steps(2.0))


@pytest.mark.parametrize("name", LAW_NAMES)
def test_the_natural_parameters_of_the_draws_tell_the_curves_that_were_drawn(name):
    """Two paths to one curve: log parameters about a reference batch size, and `Curves`."""
    _, draws = drawn(name)
    natural_RP = draws.family.natural(draws.theta_RP, REFERENCE)
    columns = dict(zip(draws.family.parameter_names, natural_RP.T, strict=True))
    deviation = draws.deviation
    if deviation is not None:  # its batch sizes are ratios to the reference in the draws
        deviation = replace(deviation, x_C=deviation.x_C + np.log(REFERENCE))
    curves = Curves(columns=columns, deviation=deviation)
    for x in (-2.0, 0.0, 6.0):
        got = np.log(curves.steps(REFERENCE * np.exp(x))[:, 0])
        np.testing.assert_allclose(got, draws.log_steps(x), atol=1e-9)


def test_a_process_follows_rows_that_its_mean_law_made_and_has_no_better_evidence():
    rows, process = drawn("gaussian_process")
    _, hyperbola = drawn("hyperbola")
    # It can do all that its law can, and spends some of its odds on more.
    assert -2 < process.log_evidence - hyperbola.log_evidence < 0.5
    at_rows = np.array([process.log_steps(float(x)) for x in X_C]).T
    assert np.abs(at_rows.mean(axis=0) - rows.log_steps_C).max() < 0.06


def test_a_bend_that_no_law_makes_speaks_for_the_process():
    family, theta_P = point_of("gaussian_process")
    bump = 0.3 * np.exp(-0.5 * (X_C / 1.5) ** 2)
    rows = cells(family.log_steps(theta_P[None], X_C)[0][0] + bump)
    process, hyperbola = (
        draw_law(name, rows, NoiseKnowledge(), theta_P, 300, np.random.default_rng(0))
        for name in ("gaussian_process", "hyperbola")
    )
    assert process.log_evidence > hyperbola.log_evidence + 2
    assert np.median(process.noise_R) < 0.3 * np.median(hyperbola.noise_R)


def test_a_batch_size_where_nothing_reached_tells_the_process_nothing_of_its_residual():
    measured_C = np.arange(len(X_C)) != len(X_C) - 1
    _, process = drawn("gaussian_process", measured_C=measured_C)
    np.testing.assert_array_equal(process.deviation.x_C, X_C[:-1])
    assert process.deviation.weights_RC.shape == (300, len(X_C) - 1)


def test_the_process_has_at_least_the_noise_that_repeats_show():
    family, theta_P = point_of("gaussian_process")
    rows = cells(family.log_steps(theta_P[None], X_C)[0][0])
    quiet = kernel_about(family, rows, NoiseKnowledge(), theta_P)
    told = kernel_about(family, rows, NoiseKnowledge(variance=0.01, repeat_degrees=9), theta_P)
    assert quiet.noise == pytest.approx(0.015, rel=1e-6)  # half the typical size
    assert told.noise == pytest.approx(0.1, rel=1e-6)
