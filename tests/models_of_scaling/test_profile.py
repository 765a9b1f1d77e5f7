"""Profile-likelihood intervals: exact against other optimisers, open ends, coverage."""

import numpy as np
import pytest
from scipy.optimize import brentq, minimize, minimize_scalar

from models_of_scaling.families import FAMILIES
from models_of_scaling.fitting import Problem
from models_of_scaling.fixed_quantity import FixedQuantity
from models_of_scaling.group_effects import no_group_effects
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.likelihood import Observations, row_terms
from models_of_scaling.profile import (
    largest_likelihood,
    profile_interval,
    profile_objective,
    threshold,
)
from models_of_scaling.resampling import CellSpread
from models_of_scaling.study_rows import StudyRows

REFERENCE = 64.0
SIZES = 2.0 ** np.arange(2, 12)
QUANTITIES = [(name, each) for name, law in FAMILIES.items() for each in law.parameter_names]


def study_of(batch_size, low, high=None):
    """One study's rows; `low` and `high` in logs."""
    cells, cell_N = np.unique(batch_size, return_inverse=True)
    nothing = np.zeros(len(cells))
    return StudyRows(
        rows=Observations(
            log_low_RN=low[None],
            log_high_RN=(low if high is None else high)[None],
            weight_RN=np.ones((1, len(low))),
        ),
        x_N=np.log(batch_size / REFERENCE),
        cell_N=cell_N,
        spread=CellSpread(spread_C=nothing, width_C=nothing),
        groups=no_group_effects(len(low), len(cells)),
    )


def true_theta(family, x_last):
    """The law at its prior's centre, but for a knee inside the data: a tenth of the floor."""
    shapes = family.prior_mean_K.copy()
    shapes[0] = -2.3
    theta_RP = family.theta_of_shape(shapes[None], x_last)
    theta_RP[:, :2] += np.log(100.0)
    return theta_RP


def problem_of(family, rows, x_N):
    return Problem(
        family=family,
        rows=rows,
        x_N=x_N,
        smallest_sigma_R=np.full(len(rows.log_low_RN), 1e-7),
    )


def fixed_at(name, quantity, *, with_prior=False):
    family = FAMILIES[name]
    return FixedQuantity(
        family=family,
        place=family.parameter_names.index(quantity),
        reference_batch_size=REFERENCE,
        with_prior=with_prior,
    )


def small_hyperbola():
    rng = np.random.default_rng(3)
    batch_size = 2.0 ** np.arange(2, 10)
    law = Hyperbola(min_steps=100, critical_batch_size=64)
    log_steps = np.log(law.steps_to_target(batch_size)) + 0.03 * rng.standard_normal(8)
    return batch_size, log_steps


def fall_of_min_steps(batch_size, log_steps, log_min_steps):
    """(N / 2) log of the least squares with S_min given, by a search in one dimension."""

    def squares(log_fall):
        mu = np.logaddexp(log_min_steps, log_fall - np.log(batch_size))
        return float(((log_steps - mu) ** 2).sum())

    found = minimize_scalar(squares, bounds=(0, 20), options={"xatol": 1e-12}, method="bounded")
    return 0.5 * len(batch_size) * np.log(found.fun)


def test_the_interval_of_min_steps_is_where_a_search_in_one_dimension_finds_it():
    batch_size, log_steps = small_hyperbola()
    curve = lambda value: fall_of_min_steps(batch_size, log_steps, value)  # noqa: E731
    best = minimize_scalar(curve, bounds=(3.5, 5.5), options={"xatol": 1e-12}, method="bounded")
    study = study_of(batch_size, log_steps)
    allowed = threshold(study.rows, 2, 0.9)
    ends = [
        np.exp(brentq(lambda v: curve(v) - best.fun - allowed, *bracket, xtol=1e-13))
        for bracket in ((3.5, best.x), (best.x, 5.5))
    ]
    got = profile_interval(
        FAMILIES["hyperbola"], study, "min_steps", reference_batch_size=REFERENCE
    )
    # the bracket is narrowed to 1e-7 of its width; the search finds its minimum to 1e-8
    np.testing.assert_allclose([got.low, got.high], ends, rtol=1e-6)
    np.testing.assert_allclose(got.estimate, np.exp(best.x), rtol=1e-6)
    assert got.method == "profile likelihood"


def test_the_profile_equals_a_dense_grid():
    batch_size, log_steps = small_hyperbola()
    fixed = fixed_at("hyperbola", "min_steps")
    problem = problem_of(
        fixed.family, study_of(batch_size, log_steps).rows, np.log(batch_size / 64)
    )
    values = np.linspace(4.0, 5.0, 41)
    start = np.tile([[4.6, 4.6]], (41, 1))
    objective, _ = profile_objective(fixed, problem, values, start)
    grid = np.array([fall_of_min_steps(batch_size, log_steps, value) for value in values])
    np.testing.assert_allclose(objective - objective[20], grid - grid[20], atol=1e-6)


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize(("name", "quantity"), QUANTITIES)
def test_the_quantity_is_held_exactly_and_no_other_law_with_it_fits_better(
    name, quantity, with_prior
):
    rng = np.random.default_rng(5)
    fixed = fixed_at(name, quantity, with_prior=with_prior)
    family, x = fixed.family, np.log(SIZES / REFERENCE)
    truth = true_theta(family, x.max())
    low = family.log_steps(truth, x)[0][0] + 0.03 * rng.standard_normal(len(x))
    high = low.copy()
    high[0] = np.inf  # a censored row takes part
    problem = problem_of(family, study_of(SIZES, low, high).rows, x)
    value = fixed.log_quantity(truth) + 0.1
    objective, theta = profile_objective(fixed, problem, value, truth)
    np.testing.assert_allclose(fixed.log_quantity(theta), value, atol=1e-10)

    def minus_log_likelihood(psi):
        mu, _ = family.log_steps(psi[None, :-1], x)
        total = -row_terms(mu, psi[-1:], problem.rows).value.sum()
        if with_prior:
            shapes, _ = family.shape_coordinates(psi[None, :-1], np.array([x[1:].max()]))
            total += 0.5 * (((shapes - family.prior_mean_K) / family.prior_sd_K) ** 2).sum()
        return total

    residual = low[1:] - family.log_steps(theta, x)[0][0, 1:]
    start = np.append(theta[0], 0.5 * np.log((residual**2).mean()))
    ends = np.concatenate(family.bounds(low[None, 1:], x[1:])).T
    found = minimize(
        minus_log_likelihood,
        start + 0.01 * rng.standard_normal(len(start)),
        method="SLSQP",
        bounds=[*ends, (-12.0, 1.0)],
        constraints={"type": "eq", "fun": lambda psi: fixed.log_quantity(psi[None, :-1]) - value},
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert objective[0] <= found.fun + 1e-6


def test_ends_are_open_where_the_rows_do_not_tell():
    """Perfect scaling: S_min may be nothing and B_crit anything, but neither large nor small."""
    rng = np.random.default_rng(1)
    batch_size = np.repeat(2.0 ** np.arange(3, 9), 2)
    log_steps = np.log(1e5 / batch_size) + 0.02 * rng.standard_normal(12)
    study = study_of(batch_size, log_steps)
    family = FAMILIES["hyperbola"]
    min_steps, critical = (
        profile_interval(family, study, quantity, reference_batch_size=REFERENCE)
        for quantity in ("min_steps", "critical_batch_size")
    )
    assert min_steps.low == 0 and 0 < min_steps.high < 1e5 / 256
    assert np.isinf(critical.high) and critical.low > 256
    closed = profile_interval(
        family, study, "critical_batch_size", reference_batch_size=REFERENCE, with_prior=True
    )
    assert np.isfinite(closed.high) and closed.method == "profile posterior"


def test_a_quantity_that_a_law_does_not_have_is_refused():
    study = study_of(*small_hyperbola())
    with pytest.raises(ValueError, match="'sharpness' is not one of min_steps"):
        profile_interval(FAMILIES["hyperbola"], study, "sharpness", reference_batch_size=1.0)


def test_profile_and_posterior_agree_where_the_rows_tell_everything(simulated):
    """Ten batch sizes on both sides of the knee, one row each, so that rows are independent."""
    rng = np.random.default_rng(0)
    law = Hyperbola(min_steps=100, critical_batch_size=64)
    ratios = []
    for _ in range(8):
        log_steps = np.log(law.steps_to_target(SIZES)) + 0.04 * rng.standard_normal(len(SIZES))
        fit = fit_laws(
            simulated.measurements(SIZES, np.exp(log_steps)),
            FitChoice(laws=("hyperbola",), replicates=1000),
        )
        study = study_of(SIZES, log_steps)
        for quantity in ("min_steps", "critical_batch_size"):
            drawn = fit.best.parameters[quantity]
            got = profile_interval(
                FAMILIES["hyperbola"], study, quantity, reference_batch_size=REFERENCE
            )
            width = np.log(drawn.high / drawn.low)
            # The point fit is the draws' mode, with the prior; the profile has no prior.
            off = np.log(got.estimate / fit.best.point[quantity])
            assert abs(off) < width / 20
            ratios.append(np.log(got.high / got.low) / width)
    # 1,000 draws tell a width to about 5 %; the draws' noise has one more degree of freedom, its
    # prior's, which pulls single studies towards the typical noise.
    assert 0.85 < np.mean(ratios) < 1.15
    assert min(ratios) > 0.6 and max(ratios) < 1.5


NUM_STUDIES = 500


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_90_percent_intervals_hold_the_truth_in_90_percent_of_500_studies(name, capsys):
    """A value is inside where its profile is allowed, so that one batch asks all studies."""
    rng = np.random.default_rng(11)
    family, batch_size = FAMILIES[name], np.repeat(SIZES, 2)
    x = np.log(batch_size / REFERENCE)
    truth = true_theta(family, x.max())
    noise = 0.03 * rng.standard_normal((NUM_STUDIES, len(x)))
    log_steps = family.log_steps(truth, x)[0] + noise
    rows = Observations(
        log_low_RN=log_steps, log_high_RN=log_steps, weight_RN=np.ones_like(log_steps)
    )
    problem = problem_of(family, rows, x)
    allowed = threshold(rows, len(family.parameter_names), 0.9)
    starts = np.repeat(truth, NUM_STUDIES, axis=0)
    shares = {}
    for quantity in family.parameter_names:
        fixed = fixed_at(name, quantity)
        best, _ = largest_likelihood(fixed, problem)
        value = np.repeat(fixed.log_quantity(truth), NUM_STUDIES)
        at_truth, _ = profile_objective(fixed, problem, value, starts)
        shares[quantity] = float((at_truth - best <= allowed).mean())
        for study in range(3):
            one = study_of(batch_size, log_steps[study])
            got = profile_interval(family, one, quantity, reference_batch_size=REFERENCE)
            inside = at_truth[study] - best[study] <= allowed
            assert got.holds(float(np.exp(value[study]))) == inside
    with capsys.disabled():
        print(f"\n{name}: 90 % profile intervals hold the truth of {NUM_STUDIES} studies: {shares}")
    # 4 standard errors of 0.0134
    assert all(abs(share - 0.9) < 0.054 for share in shares.values())
