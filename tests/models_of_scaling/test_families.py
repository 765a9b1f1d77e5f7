"""The laws as the fitter sees them: the same curves, and derivatives that are slopes."""

import numpy as np
import pytest

from models_of_scaling.families import FAMILIES
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import (
    Hyperbola,
    KneeWithUpturn,
    PNormKnee,
    PowerWithFloor,
    SmoothlyBrokenPower,
)

X_N = np.linspace(-3.0, 4.0, 15)
REFERENCE = 300.0


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def some_theta(family, count=40, *, seed=0):
    """Log parameters all over the prior, with a level of its own each."""
    rng = np.random.default_rng(seed)
    shape = (count, len(family.prior_mean_K))
    shapes = family.prior_mean_K + family.prior_sd_K * rng.uniform(-2.5, 2.5, shape)
    theta_RP = family.theta_of_shape(shapes, X_N[-1])
    theta_RP[:, :2] += rng.uniform(0, 12, (count, 1))
    return theta_RP


def slopes_of(function, theta_RP):
    """Central differences in each log parameter, (..., P)."""
    step = 1e-5
    columns = []
    for place in range(theta_RP.shape[1]):
        move = step * (np.arange(theta_RP.shape[1]) == place)
        columns.append((function(theta_RP + move) - function(theta_RP - move)) / (2 * step))
    return np.stack(columns, axis=-1)


def test_the_derivatives_of_the_log_steps_are_their_slopes(family):
    theta_RP = some_theta(family)
    _, got = family.log_steps(theta_RP, X_N)
    want = slopes_of(lambda theta: family.log_steps(theta, X_N)[0], theta_RP)
    # rounding of log S near 20 over the step, and the third derivative times its square
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


def test_the_derivatives_of_the_shape_are_its_slopes(family):
    theta_RP = some_theta(family)
    x_last_R = np.linspace(-1, 4, len(theta_RP))
    _, got = family.shape_coordinates(theta_RP, x_last_R)
    want = slopes_of(lambda theta: family.shape_coordinates(theta, x_last_R)[0], theta_RP)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)  # as above


def test_the_parameters_of_a_shape_have_that_shape_and_a_floor_of_one(family):
    rng = np.random.default_rng(1)
    shapes = family.prior_mean_K + family.prior_sd_K * rng.standard_normal((
        50,
        len(family.prior_mean_K),
    ))
    theta_RP = family.theta_of_shape(shapes, 1.7)
    again, _ = family.shape_coordinates(theta_RP, np.full(50, 1.7))
    np.testing.assert_allclose(again, shapes, atol=1e-12)
    np.testing.assert_array_equal(theta_RP[:, 0], 0.0)


def test_the_level_moves_the_log_steps_and_no_shape(family):
    theta_RP = some_theta(family)
    raised = theta_RP + np.r_[0.7, 0.7, np.zeros(theta_RP.shape[1] - 2)]
    moved = family.log_steps(raised, X_N)[0] - family.log_steps(theta_RP, X_N)[0]
    np.testing.assert_allclose(moved, 0.7, atol=1e-12)
    x_last_R = np.full(len(theta_RP), X_N[-1])
    shapes = [family.shape_coordinates(theta, x_last_R)[0] for theta in (theta_RP, raised)]
    np.testing.assert_allclose(shapes[0], shapes[1], atol=1e-12)


def test_the_natural_parameters_tell_the_same_curve(family):
    theta_RP = some_theta(family)
    natural_RP = family.natural(theta_RP, REFERENCE)
    log_steps, _ = family.log_steps(theta_RP, X_N)
    for natural_P, want in zip(natural_RP, log_steps, strict=True):
        law = family.law(natural_P)
        assert law.name == family.name
        got = np.log(law.steps_to_target(REFERENCE * np.exp(X_N)))
        # powers of ratios in place of sums of logs: rounding of q x alpha near 100
        np.testing.assert_allclose(got, want, atol=1e-10)


def test_the_first_shape_coordinate_is_the_falling_part_over_the_floor_at_the_largest(family):
    """What the knee's prior is on, by the public formula: y(B), without its sharpness."""
    theta_RP = some_theta(family)
    got = family.shape_coordinates(theta_RP, np.full(len(theta_RP), X_N[-1]))[0][:, 0]
    for natural_P, log_fall in zip(family.natural(theta_RP, REFERENCE), got, strict=True):
        law = family.law(natural_P)
        largest = REFERENCE * np.exp(X_N[-1])
        # S over the floor less S over the falling part: what the one is over the other
        want = law.curves.fall(largest)[0] - law.curves.bend(largest)[0]
        assert log_fall == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize(
    "law",
    [
        Hyperbola(min_steps=120, critical_batch_size=400),
        PowerWithFloor(min_steps=120, critical_batch_size=400, exponent=0.75),
        PNormKnee(min_steps=120, critical_batch_size=400, sharpness=2.5),
        SmoothlyBrokenPower(
            corner_steps=120, corner_batch_size=400, exponent=0.9, second_exponent=0.15, sharpness=2
        ),
        KneeWithUpturn(min_steps=120, critical_batch_size=400, turning_batch_size=20_000),
    ],
    ids=lambda law: law.name,
)
def test_planted_parameters_without_noise_are_recovered_exactly(simulated, law):
    sizes = 2 ** np.arange(2, 14)
    rows = simulated.measurements(sizes, law.steps_to_target(sizes))
    fit = fit_laws(rows, FitChoice(laws=(law.name,), replicates=50))
    # sigma is not let below 1e-7, so the prior pulls by about 1e-14 over the least curvature
    for name, value in vars(law).items():
        assert fit.best.point[name] == pytest.approx(value, rel=1e-6), name
