import numpy as np
import pytest
from scipy import stats
from scipy.optimize import approx_fprime

from models_of_scaling.families import FAMILIES
from models_of_scaling.fitting import Problem, objective_and_derivatives
from models_of_scaling.likelihood import Observations, hazard, log_cdf_difference, row_terms


def rows_of_all_kinds(replicates=3, seed=0):
    rng = np.random.default_rng(seed)
    middle = 3 + rng.standard_normal((replicates, 12))
    low, high = middle.copy(), middle.copy()
    low[:, 4:8] -= 0.3
    high[:, 4:8] += 0.2
    low[:, 7] = -np.inf  # reached by the first evaluation
    high[:, 8:] = np.inf  # not reached
    return Observations(
        log_low_RN=low, log_high_RN=high, weight_RN=rng.uniform(0.5, 2, middle.shape)
    )


def test_each_kind_of_row_has_the_likelihood_that_scipy_gives():
    rows = rows_of_all_kinds(1)
    mu, sigma = np.full((1, 12), 2.5), 0.7
    value = row_terms(mu, np.log([sigma]), rows).value[0]
    low, high = rows.log_low_RN[0], rows.log_high_RN[0]
    normal = stats.norm(2.5, sigma)
    np.testing.assert_allclose(value[:4], normal.logpdf(low[:4]), rtol=1e-12)
    between = np.log(normal.cdf(high[4:8]) - normal.cdf(low[4:8]))
    np.testing.assert_allclose(value[4:8], between, rtol=1e-10)  # scipy's own difference of cdfs
    np.testing.assert_allclose(value[8:], normal.logsf(low[8:]), rtol=1e-12)


@pytest.mark.parametrize("law", FAMILIES)
def test_the_gradient_is_the_slope_of_the_objective(law):
    family = FAMILIES[law]
    count = len(family.parameter_names)
    problem = Problem(
        family=family,
        rows=rows_of_all_kinds(1),
        x_N=np.linspace(-2, 2, 12),
        smallest_sigma_R=np.array([1e-7]),
    )
    psi = np.array([*[2.0, 2.5, 0.2, -1.5, 0.3][:count], -0.3])
    _, gradient, _ = objective_and_derivatives(psi[None], problem)

    def objective(point):
        return float(objective_and_derivatives(point[None], problem)[0][0])

    # forward differences of step 1e-7 on values near 50: error about 50 * 2e-16 / 1e-7
    np.testing.assert_allclose(gradient[0], approx_fprime(psi, objective, 1e-7), atol=1e-5)


def test_the_curvature_of_measured_and_censored_rows_in_mu_is_the_second_derivative():
    rows = rows_of_all_kinds(1)
    step = 1e-5
    ahead, here, behind = (
        row_terms(np.full((1, 12), 2.5 + move), np.log([0.7]), rows) for move in (step, 0, -step)
    )
    second = -(ahead.d_mu - behind.d_mu) / (2 * step)
    np.testing.assert_allclose(here.k_mu_mu, second, rtol=1e-6)  # central differences, step^2


def test_the_curvature_is_positive_semi_definite_far_from_the_answer():
    rows = rows_of_all_kinds(1)
    for mu, log_sigma in ((-5.0, -2.0), (10.0, -2.0), (3.0, 2.0)):
        terms = row_terms(np.full((1, 12), mu), np.array([log_sigma]), rows)
        determinant = terms.k_mu_mu * terms.k_sigma_sigma - terms.k_mu_sigma**2
        scale = terms.k_mu_mu * terms.k_sigma_sigma + 1e-30
        assert (terms.k_mu_mu >= 0).all()
        assert (determinant >= -1e-6 * scale).all()  # rounding of rank-one rows


@pytest.mark.parametrize("shift", [0.0, 5.0, 20.0, -20.0, 300.0])
def test_the_log_of_a_difference_of_cdfs_keeps_its_digits_in_the_tails(shift):
    low, high = np.array([shift]), np.array([shift + 0.5])
    # In the tail the mass is phi(a)/a-like; integrate exp(-u^2/2) relative to its largest value.
    grid = np.linspace(shift, shift + 0.5, 200_001)
    density = stats.norm.logpdf(grid)
    top = density.max()
    want = top + np.log(np.trapezoid(np.exp(density - top), grid))
    # the trapezoid rule's error is (300 h)^2 / 12 with h = 2.5e-6
    np.testing.assert_allclose(log_cdf_difference(low, high)[0], want, atol=1e-6)


def test_the_hazard_is_right_in_both_tails():
    u = np.array([-40.0, -3.0, 0.0, 3.0, 1e3, 1e8])
    want = np.array([0.0, stats.norm.pdf(3) / stats.norm.cdf(3), 2 / np.sqrt(2 * np.pi)])
    np.testing.assert_allclose(hazard(u)[:3], want, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(hazard(u)[4:], u[4:], rtol=1e-6)  # h(u) = u (1 + 1/u^2 ...)


def test_a_narrow_interval_is_a_measured_value():
    middle = np.array([[3.0]])
    exact = Observations(log_low_RN=middle, log_high_RN=middle, weight_RN=np.ones((1, 1)))
    narrow = Observations(
        log_low_RN=middle - 1e-6, log_high_RN=middle + 1e-6, weight_RN=np.ones((1, 1))
    )
    args = (np.array([[2.9]]), np.log([0.1]))
    np.testing.assert_allclose(
        row_terms(*args, exact).d_mu, row_terms(*args, narrow).d_mu, rtol=1e-9
    )


def test_the_likelihood_does_not_jump_where_an_interval_turns_narrow():
    """Sigma shrinks past a thousand interval widths: the value must be the same on both sides."""
    rows = Observations(
        log_low_RN=np.array([[3.0]]), log_high_RN=np.array([[3.0001]]), weight_RN=np.ones((1, 1))
    )
    below, above = (
        row_terms(np.array([[2.95]]), np.log([sigma]), rows).value[0, 0]
        for sigma in (0.0999999, 0.1000001)
    )
    # The two sigmas themselves differ by 2e-6; a missing width would differ by log 1e-4.
    np.testing.assert_allclose(below, above, rtol=1e-5)
