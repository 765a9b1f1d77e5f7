"""Draws of the parameters: exact where the answer is known, the prior's where the rows are mute."""

import time

import numpy as np
import pytest
from scipy import stats

from models_of_scaling.families import FAMILIES
from models_of_scaling.fitting import Problem, fit_batched
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import LAW_NAMES, Hyperbola, PNormKnee
from models_of_scaling.noise import StudyNoise
from models_of_scaling.posterior import draw_posterior
from models_of_scaling.prediction import predict
from models_of_scaling.study_rows import CellMeans

SURE = 1e9  # degrees of freedom: the noise size is known


def cells_of(x_C, log_steps_C, *, reached_C=None, width_C=0.0):
    count = len(x_C)
    return CellMeans(
        x_C=np.asarray(x_C, dtype=float),
        log_steps_C=np.asarray(log_steps_C, dtype=float),
        information_C=np.ones(count),
        reached_C=np.ones(count, dtype=bool) if reached_C is None else np.asarray(reached_C),
        spread_C=np.zeros(count),
        width_C=np.full(count, width_C),
    )


def shapes_of(family, theta_RP, x_last):
    return family.shape_coordinates(theta_RP, np.full(len(theta_RP), x_last))[0]


@pytest.mark.parametrize("name", LAW_NAMES)
def test_rows_without_information_give_the_prior_back(name):
    """One noisy batch size tells the level of the curve and nothing of its shape."""
    family = FAMILIES[name]
    theta_P = family.theta_of_shape(family.prior_mean_K[None], 0.0)[0]
    noise = StudyNoise(size=0.1, degrees=SURE)
    rng = np.random.default_rng(0)
    draws = draw_posterior(family, cells_of([0.0], [5.0]), noise, theta_P, 4000, rng)
    shapes = shapes_of(family, draws.theta_RP, 0.0)
    for column, mean, sd in zip(shapes.T, family.prior_mean_K, family.prior_sd_K, strict=True):
        # 4,000 draws of 6,000 proposals: the largest deviation of the shares is about 0.02
        assert stats.kstest(column, stats.norm(mean, sd).cdf).statistic < 0.04
    # The predictive distribution of a batch 16 times larger, against one drawn from the prior.
    prior = family.prior_mean_K + family.prior_sd_K * rng.standard_normal((20_000, len(shapes.T)))
    theta_RP = family.theta_of_shape(prior, 0.0)
    both, _ = family.log_steps(theta_RP, np.array([0.0, np.log(16)]))
    want = 5.0 + both[:, 1] - both[:, 0] + 0.1 * rng.standard_normal(20_000)
    got, _ = family.log_steps(draws.theta_RP, np.log([16.0]))
    assert stats.ks_2samp(got[:, 0], want).statistic < 0.04


def test_behind_a_cliff_the_draws_spread_as_the_prior_and_do_not_heap_up_at_its_foot():
    """Perfect scaling at 2 % noise: numerical integration over the knee's place is the reference.

    Refits with the prior's centre drawn anew (randomise then optimise) put half of the draws
    within a factor of two of the nearest knee that the rows allow.
    """
    family = FAMILIES["hyperbola"]
    x_C = np.log(2.0) * np.arange(-6, 1)
    log_steps_C = 3.0 - x_C + 0.02 * np.sin(5 * np.arange(7))
    problem = Problem(
        family=family,
        rows=observations(log_steps_C),
        x_N=x_C,
        smallest_sigma_R=np.array([0.02]),
    )
    theta_P = fit_batched(problem).theta_RP[0]
    noise = StudyNoise(size=0.02, degrees=SURE)
    rng = np.random.default_rng(1)
    draws = draw_posterior(family, cells_of(x_C, log_steps_C), noise, theta_P, 4000, rng)
    knees = np.linspace(-4, 14, 4001)
    mu = np.logaddexp(0, knees[:, None] - x_C)
    off = log_steps_C - mu
    squares = ((off - off.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    log_density = -0.5 * squares / 0.02**2 + stats.norm(0, 2).logpdf(knees)
    running = np.cumsum(np.exp(log_density - log_density.max()))
    knee_R = shapes_of(family, draws.theta_RP, 0.0)[:, 0]
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        want = np.interp(share, running / running[-1], knees)
        assert np.mean(knee_R <= want) == pytest.approx(share, abs=0.03)


def observations(log_steps):
    from models_of_scaling.likelihood import Observations

    row = np.asarray(log_steps, dtype=float)[None]
    return Observations(log_low_RN=row, log_high_RN=row, weight_RN=np.ones_like(row))


@pytest.mark.parametrize("name", LAW_NAMES)
def test_where_the_rows_tell_everything_the_draws_are_normal_with_the_inverse_information(name):
    family = FAMILIES[name]
    x_C = np.linspace(-4, 4, 60)
    shape = np.array([[-3.0, 0.2]])[:, : len(family.prior_mean_K)]
    theta_P = family.theta_of_shape(shape, 4.0)[0]
    mu, jacobian = family.log_steps(theta_P[None], x_C)
    noise = StudyNoise(size=0.01, degrees=SURE)
    rng = np.random.default_rng(2)
    draws = draw_posterior(family, cells_of(x_C, mu[0]), noise, theta_P, 4000, rng)
    want = np.linalg.inv(jacobian[0].T @ jacobian[0] / 0.01**2)
    got = np.cov(draws.theta_RP.T)
    # 1 / sqrt(2 * 3000) of a variance is 1.3 %; importance weights about double it
    np.testing.assert_allclose(np.diag(got), np.diag(want), rtol=0.15)
    assert draws.effective > 1000


def test_a_batch_size_where_nothing_reached_moves_the_draws_up():
    family = FAMILIES["hyperbola"]
    x_C = np.log(2.0) * np.arange(7)
    theta_P = np.array([3.0, 4.0])
    mu = family.log_steps(theta_P[None], x_C)[0][0]
    reached = np.arange(7) > 0
    cells = cells_of(x_C, np.where(reached, mu, mu + 0.2), reached_C=reached)
    noise = StudyNoise(size=0.1, degrees=SURE)
    free, held = (
        draw_posterior(family, each, noise, theta_P, 2000, np.random.default_rng(3)).theta_RP
        for each in (cells.take(reached), cells)
    )
    at_censored = [family.log_steps(theta, x_C[:1])[0].mean() for theta in (free, held)]
    assert at_censored[1] > at_censored[0] + 0.02


def test_the_noise_size_has_the_distribution_that_the_residuals_leave():
    family = FAMILIES["hyperbola"]
    noise = StudyNoise(size=0.05, degrees=4.0)
    theta_P = np.array([3.0, 4.0])
    x_C = np.linspace(-2, 2, 6)
    cells = cells_of(x_C, family.log_steps(theta_P[None], x_C)[0][0])
    draws = draw_posterior(family, cells, noise, theta_P, 1000, np.random.default_rng(4))
    counts = np.unique(draws.noise_R, return_counts=True)[1]
    assert len(counts) == 24 and counts.min() >= 41 and counts.max() <= 42


def test_a_thousand_draws_of_all_laws_with_their_scores_take_less_than_a_second(simulated):
    """0.1 s measured on one core for 24 rows, 8 of them held out in turn."""
    law = Hyperbola(min_steps=100, critical_batch_size=256)
    rng = np.random.default_rng(0)
    rows = simulated.measurements(*simulated.noisy_rows(law, 2 ** np.arange(3, 11), rng))
    fit_laws(rows, FitChoice(replicates=50))
    begin = time.perf_counter()
    fit_laws(rows, FitChoice(replicates=1000))
    assert time.perf_counter() - begin < 1.0


@pytest.mark.parametrize(("at_1024", "level"), [(5048.0, 0.9), (6000.0, 0.95)])
def test_the_knee_of_the_noisy_quadratic_model_is_not_ruled_out_before_it_shows(
    simulated, at_1024, level
):
    """A regression test, not evidence: whoever chose the priors had seen these rows.

    `surrogate.noisy_quadratic` with Zhang's spectrum, tuned at each batch size; 1,024 took 5,048
    steps in one search and 6,000 in another. Two laws without a prior on the knee's place
    predicted 77 to 162 steps at 65,536, where 184 are needed, and next to none at 262,144. With
    6,000 the rows scale better than perfectly up to the last, and it takes the 95 % interval.
    """
    sizes = [64, 256, 1024, 4096, 16384]
    rows = simulated.measurements(sizes, [94104, 23497, at_1024, 1462, 342])
    near, far = predict(fit_laws(rows, FitChoice()), [65_536, 262_144], level=level)
    assert near.steps.holds(184) and far.steps.holds(160)
    # It must not be so wide that it says nothing: perfect scaling is 85 and 21 steps.
    assert near.steps.low > 60 and near.steps.high < 342


def test_the_answer_for_perfect_scaling_runs_from_perfect_to_hardly_any_gain(simulated):
    law = PNormKnee(min_steps=1e-3, critical_batch_size=1e9, sharpness=1.0)
    sizes = 2 ** np.arange(3, 10)
    noise = np.exp(0.03 * np.sin(7 * np.arange(7)))
    rows = simulated.measurements(sizes, law.steps_to_target(sizes) * noise)
    answer = predict(fit_laws(rows, FitChoice()), [16 * 512])[0]
    perfect = float(law.steps_to_target(16 * 512))
    assert answer.steps.low < 1.15 * perfect
    assert answer.steps.high > 4 * perfect
