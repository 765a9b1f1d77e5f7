"""Where draws are looked for: densities are scipy's, the posterior is found from a bad start."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from models_of_scaling.families import FAMILIES
from models_of_scaling.noise import NoiseKnowledge
from models_of_scaling.posterior import draw_posterior
from models_of_scaling.proposals import Around, around, draw_prior, log_mixture, log_prior
from models_of_scaling.study_rows import CellMeans

BROKEN = FAMILIES["smoothly_broken_power"]
K = len(BROKEN.prior_mean_K)


def some_part(count, seed=0):
    rng = np.random.default_rng(seed)
    root = 0.05 * (rng.normal(0, 0.3, (K, K)) + np.eye(K))
    return Around(centre_K=rng.normal(0, 0.1, K), covariance=root @ root.T, count=count)


def test_the_density_around_a_point_is_the_multivariate_t_of_scipy():
    part = some_part(1)
    shapes = np.random.default_rng(1).normal(0, 3, (50, K))
    want = stats.multivariate_t(part.centre_K, part.covariance, df=3).logpdf(shapes)
    np.testing.assert_allclose(part.log_density(shapes), want, rtol=1e-12)


def test_proposals_around_a_point_lie_as_their_density_says():
    part = some_part(20_000)
    shapes = part.draw(BROKEN, np.random.default_rng(2))
    for place in range(K):
        scale = part.covariance[place, place] ** 0.5
        of_one = stats.t(3, part.centre_K[place], scale)
        # 1.63 / sqrt(20,000) is one in a hundred; the far tail is clipped at the prior's end
        assert stats.kstest(shapes[:, place], of_one.cdf).statistic < 1.63 / 20_000**0.5


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_of_the_prior_lie_as_its_density_says(name):
    family = FAMILIES[name]
    shapes = draw_prior(family, 20_000, np.random.default_rng(3))
    columns = zip(
        shapes.T, family.prior_mean_K, family.prior_sd_K, family.prior_degrees_K, strict=True
    )
    want = np.zeros(len(shapes))
    for column, mean, sd, degrees in columns:
        prior = stats.norm(mean, sd) if np.isinf(degrees) else stats.t(degrees, mean, sd)
        # the t's draws beyond 8 scales, 0.4 % of them, are put at the end
        assert stats.kstest(column, prior.cdf).statistic < 1.63 / 20_000**0.5
        want += prior.logpdf(column)
    np.testing.assert_allclose(log_prior(family, shapes), want, rtol=1e-10)


def test_the_mixture_weighs_each_part_by_its_proposals():
    parts = [some_part(300, 4), some_part(100, 5)]
    shapes = draw_prior(BROKEN, 40, np.random.default_rng(6))
    want = logsumexp(
        [
            log_prior(BROKEN, shapes) + np.log(0.5),
            parts[0].log_density(shapes) + np.log(0.375),
            parts[1].log_density(shapes) + np.log(0.125),
        ],
        axis=0,
    )
    np.testing.assert_allclose(log_mixture(BROKEN, shapes, parts, 400), want, rtol=1e-12)


def test_one_heavy_proposal_does_not_shrink_the_next_ones_to_a_point():
    shapes = np.random.default_rng(7).normal(0, 1, (1000, 3))
    heavy = np.full(1000, 1e-6)
    heavy[3] = 1 - heavy.sum() + heavy[3]
    spread = np.sqrt(np.diag(around(shapes, heavy, 10).covariance))
    assert (spread > 0.5).all()
    alike = around(shapes, np.full(1000, 1e-3), 10)
    np.testing.assert_allclose(alike.covariance, np.cov(shapes.T, bias=True), rtol=1e-8)


@pytest.mark.parametrize("off", [0.0, 1.0, 2.0])
def test_draws_are_worth_their_number_also_from_a_start_far_off(off):
    """Three batch sizes past a sharp turn; the start is that many times e off in its place."""
    family = FAMILIES["knee_with_upturn"]
    x_C = np.linspace(-3, 3, 12)
    shape = np.array([[-2.0, 0.1]])
    theta_P = family.theta_of_shape(shape, 3.0)[0]
    cells = CellMeans(
        x_C=x_C,
        log_steps_C=family.log_steps(theta_P[None], x_C)[0][0],
        information_C=np.ones(12),
        measured_C=np.ones(12, dtype=bool),
        met_early_C=np.zeros(12, dtype=bool),
        spread_C=np.zeros(12),
        width_C=np.zeros(12),
        group_variance_C=np.zeros(12),
    )
    start = family.theta_of_shape(shape + np.array([0.0, off]), 3.0)[0]
    known = NoiseKnowledge(size=0.01, degrees=1e6)
    draws = draw_posterior(family, cells, known, start, 1000, np.random.default_rng(8))
    assert draws.effective > 1000
    knees, turns = family.shape_coordinates(draws.theta_RP, np.full(1000, 3.0))[0].T
    assert abs(np.median(knees) + 2.0) < 0.02 and abs(np.median(turns) - 0.1) < 0.02
