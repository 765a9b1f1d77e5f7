"""Draws of the parameters: exact where the answer is known, the prior's where the rows are mute."""

import time

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from models_of_scaling.families import FAMILIES
from models_of_scaling.fitting import Problem, fit_batched
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola, PNormKnee
from models_of_scaling.noise import NOISE_SIZES, NoiseKnowledge
from models_of_scaling.posterior import draw_posterior
from models_of_scaling.prediction import predict
from models_of_scaling.study_rows import CellMeans

SURE = 1e6  # degrees of freedom: the noise size is known
TENTH, HUNDREDTH = (float(NOISE_SIZES[np.argmin(abs(NOISE_SIZES - size))]) for size in (0.1, 0.01))


def known(size):
    return NoiseKnowledge(size=size, degrees=SURE)


def priors_of(family):
    """The prior on each shape coordinate, as scipy has it."""
    columns = (family.prior_mean_K, family.prior_sd_K, family.prior_degrees_K)
    return [
        stats.norm(mean, sd) if np.isinf(degrees) else stats.t(degrees, mean, sd)
        for mean, sd, degrees in zip(*columns, strict=True)
    ]


# Of batch sizes so large the prior on B_crit in examples says nothing.
MANY_EXAMPLES = np.log(1e9)


def cells_of(x_C, log_steps_C, *, measured_C=None, width_C=0.0, log_reference=0.0):
    count = len(x_C)
    return CellMeans(
        x_C=np.asarray(x_C, dtype=float),
        log_steps_C=np.asarray(log_steps_C, dtype=float),
        information_C=np.ones(count),
        measured_C=np.ones(count, dtype=bool) if measured_C is None else np.asarray(measured_C),
        met_early_C=np.zeros(count, dtype=bool),
        spread_C=np.zeros(count),
        width_C=np.full(count, width_C),
        group_variance_C=np.zeros(count),
        log_reference=log_reference,
    )


def shapes_of(family, theta_RP, x_last):
    return family.shape_coordinates(theta_RP, np.full(len(theta_RP), x_last))[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_without_information_give_the_prior_back(name):
    """One noisy batch size tells the level of the curve and nothing of its shape."""
    family = FAMILIES[name]
    theta_P = family.theta_of_shape(family.prior_mean_K[None], 0.0)[0]
    rng = np.random.default_rng(0)
    cells = cells_of([0.0], [5.0], log_reference=MANY_EXAMPLES)
    draws = draw_posterior(family, cells, known(TENTH), theta_P, 4000, rng)
    shapes = shapes_of(family, draws.theta_RP, 0.0)
    for column, prior in zip(shapes.T, priors_of(family), strict=True):
        # 4,000 draws of 6,000 proposals, of which the level's importance weights make fewer: the
        # largest deviation of the shares is about 0.03
        assert stats.kstest(column, prior.cdf).statistic < 0.05
    # The predictive distribution of a batch 16 times larger, against one drawn from the prior.
    drawn = [prior.rvs(20_000, random_state=rng) for prior in priors_of(family)]
    theta_RP = family.theta_of_shape(np.column_stack(drawn), 0.0)
    both, _ = family.log_steps(theta_RP, np.array([0.0, np.log(16)]))
    want = 5.0 + both[:, 1] - both[:, 0] + TENTH * rng.standard_t(4, 20_000)
    got, _ = family.log_steps(draws.theta_RP, np.log([16.0]))
    assert stats.ks_2samp(got[:, 0], want).statistic < 0.05


@pytest.mark.parametrize("largest", (8.0, 64.0, 1e9))
def test_behind_a_cliff_the_draws_spread_as_the_prior_and_do_not_heap_up_at_its_foot(largest):
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
    size = float(NOISE_SIZES[np.argmin(abs(NOISE_SIZES - 0.02))])
    rng = np.random.default_rng(1)
    cells = cells_of(x_C, log_steps_C, log_reference=np.log(largest))
    draws = draw_posterior(family, cells, known(size), theta_P, 4000, rng)
    knees = np.linspace(-4, 14, 2001)
    off = log_steps_C - np.logaddexp(0, knees[:, None] - x_C)
    # The level is integrated over a grid that holds all of its mass.
    levels = off.mean(axis=1)[:, None] + np.linspace(-0.2, 0.2, 801)
    log_likelihood = sum(
        stats.t(4).logpdf((off[:, cell, None] - levels) / size) for cell in range(7)
    )
    log_density = logsumexp(log_likelihood, axis=1) + priors_of(family)[0].logpdf(knees)
    # A hyperbola's knee is B_crit; fewer than e^5.1 examples are less likely the fewer they are.
    examples = np.minimum(knees + np.log(largest), 5.1)
    log_density += stats.norm(5.1, 2.2).logpdf(examples)
    running = np.cumsum(np.exp(log_density - log_density.max()))
    knee_R = shapes_of(family, draws.theta_RP, 0.0)[:, 0]
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        want = np.interp(share, running / running[-1], knees)
        assert np.mean(knee_R <= want) == pytest.approx(share, abs=0.03)


def observations(log_steps):
    from models_of_scaling.likelihood import Observations

    row = np.asarray(log_steps, dtype=float)[None]
    return Observations(log_low_RN=row, log_high_RN=row, weight_RN=np.ones_like(row))


@pytest.mark.parametrize("name", ("hyperbola", "power_with_floor", "p_norm_knee"))
def test_where_the_rows_tell_everything_the_draws_are_normal_with_the_inverse_information(name):
    family = FAMILIES[name]
    x_C = np.linspace(-4, 4, 60)
    shape = np.array([[-3.0, 0.2]])[:, : len(family.prior_mean_K)]
    theta_P = family.theta_of_shape(shape, 4.0)[0]
    mu, jacobian = family.log_steps(theta_P[None], x_C)
    rng = np.random.default_rng(2)
    cells = cells_of(x_C, mu[0])
    draws = draw_posterior(family, cells, known(HUNDREDTH), theta_P, 4000, rng)
    # The curvature of Student's t at its centre is (nu + 1) / nu = 5/4 of the normal's.
    want = np.linalg.inv(1.25 * jacobian[0].T @ jacobian[0] / HUNDREDTH**2)
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
    cells = cells_of(x_C, np.where(reached, mu, mu + 0.2), measured_C=reached)
    free, held = (
        draw_posterior(family, each, known(TENTH), theta_P, 2000, np.random.default_rng(3)).theta_RP
        for each in (cells.take(reached), cells)
    )
    at_censored = [family.log_steps(theta, x_C[:1])[0].mean() for theta in (free, held)]
    assert at_censored[1] > at_censored[0] + 0.02


def test_the_noise_size_has_the_posterior_that_numerical_integration_gives():
    """One free parameter, the level: everything else is pinned by many exact rows' shape."""
    family = FAMILIES["hyperbola"]
    theta_P = np.array([3.0, 4.0])
    x_C = np.linspace(-2, 2, 6)
    off = 0.08 * np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    cells = cells_of(x_C, family.log_steps(theta_P[None], x_C)[0][0] + off)
    noise = NoiseKnowledge()
    draws = draw_posterior(family, cells, noise, theta_P, 4000, np.random.default_rng(4))
    # Reference: a grid over level, knee and noise size.
    knees = family.prior_mean_K[0] + family.prior_sd_K[0] * np.linspace(-8, 8, 321)
    theta = family.theta_of_shape(knees[:, None], 2.0)
    residual = cells.log_steps_C - family.log_steps(theta, x_C)[0]
    levels = residual.mean(axis=1)[:, None] + np.linspace(-0.8, 0.8, 321)
    log_prior = priors_of(family)[0].logpdf(knees)
    mass = [
        logsumexp(
            sum(
                stats.t(4).logpdf((residual[:, c, None] - levels) / size) - np.log(size)
                for c in range(6)
            )
            + log_prior[:, None]
        )
        for size in NOISE_SIZES
    ]
    logs = np.array(mass) + noise.log_probability(NOISE_SIZES)
    want = np.exp(logs - logsumexp(logs))
    got = np.array([np.mean(draws.noise_R == size) for size in NOISE_SIZES])
    # Largest deviation of the running shares of 4,000 draws.
    assert np.abs(np.cumsum(got) - np.cumsum(want)).max() < 0.03


def test_one_batch_size_far_off_moves_the_others_little(simulated):
    """One of 9 batch sizes needs 1.8 times its steps: tuned badly. A normal would bend for it."""
    law = Hyperbola(min_steps=100, critical_batch_size=256)
    sizes = 2 ** np.arange(3, 12)
    noise = np.exp(0.02 * np.sin(5 * np.arange(9)))
    for bad in (2, 5):
        steps = law.steps_to_target(sizes) * noise
        steps[bad] *= 1.8
        fit = fit_laws(simulated.measurements(sizes, steps), FitChoice())
        (answer,) = predict(fit, [8192])
        truth = float(law.steps_to_target(8192))
        assert answer.steps.holds(truth)
        # Least squares in logs is off by 9 % and 12 % here.
        assert abs(np.log(answer.steps.estimate / truth)) < 0.06


def test_a_thousand_draws_of_all_laws_with_their_scores_take_less_than_a_second(simulated):
    """0.1 s measured on one core for 24 rows, 8 of them held out in turn."""
    law = Hyperbola(min_steps=100, critical_batch_size=256)
    rng = np.random.default_rng(0)
    rows = simulated.measurements(*simulated.noisy_rows(law, 2 ** np.arange(3, 11), rng))
    fit_laws(rows, FitChoice(replicates=50))
    begin = time.process_time()
    fit_laws(rows, FitChoice(replicates=1000))
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize(("at_1024", "level"), [(5048.0, 0.95), (6000.0, 0.99)])
def test_the_knee_of_the_noisy_quadratic_model_is_not_ruled_out_before_it_shows(
    simulated, at_1024, level
):
    """A regression test, not evidence: whoever chose the priors had seen these rows.

    `surrogate.noisy_quadratic` with Zhang's spectrum, tuned at each batch size; 1,024 took 5,048
    steps in one search and 6,000 in another. Two laws without a prior on the knee's place
    predicted 77 to 162 steps at 65,536, where 184 are needed. Since back-tests set its width the
    90 % interval of three laws is 77 to 169: a known miss, which the 95 % one holds (before:
    the 90 % one). With 6,000 the rows scale better than perfectly up to the last, and it takes the
    99 % interval. At 262,144, 16x beyond a knee harder than most, 90 % intervals miss too.
    """
    sizes = [64, 256, 1024, 4096, 16384]
    rows = simulated.measurements(sizes, [94104, 23497, at_1024, 1462, 342])
    (near,) = predict(fit_laws(rows, FitChoice()), [65_536], level=level)
    assert near.steps.holds(184)
    # It must not be so wide that it says nothing: perfect scaling is 85 steps.
    assert near.steps.low > 60 and near.steps.high < 342


def test_the_answer_for_perfect_scaling_runs_from_perfect_to_hardly_any_gain(simulated):
    law = PNormKnee(min_steps=1e-3, critical_batch_size=1e9, sharpness=1.0)
    sizes = 2 ** np.arange(3, 10)
    noise = np.exp(0.03 * np.sin(7 * np.arange(7)))
    rows = simulated.measurements(sizes, law.steps_to_target(sizes) * noise)
    answer = predict(fit_laws(rows, FitChoice()), [16 * 512])[0]
    perfect = float(law.steps_to_target(16 * 512))
    assert answer.steps.low < 1.15 * perfect
    assert answer.steps.high > 3.5 * perfect
