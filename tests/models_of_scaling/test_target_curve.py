"""B_crit against target: exact algebra, Kaplan's printed figure, planted truths, coverage."""

import dataclasses
import math

import numpy as np
import pytest

from models_of_scaling.law_fit import FitChoice
from models_of_scaling.over_targets.target_curve import fit_target_law, loss_of
from models_of_scaling.over_targets.target_noise import TargetNoise, knee_weights, noise_correlation
from models_of_scaling.over_targets.target_study import (
    default_targets,
    explicit_targets,
    study_targets,
)
from models_of_scaling.targets import Target
from models_of_scaling.trials import trials_to_table

LOSSES = np.geomspace(1.0, 0.05, 6)
SIZES = 2 ** np.arange(1, 12)


def planted(losses, b_star=30.0, slope=0.5):
    return math.log(b_star) - slope * np.log(losses)


def test_draws_on_a_power_law_give_its_two_numbers_back():
    draws = np.tile(planted(LOSSES), (50, 1))
    law = fit_target_law(LOSSES.tolist(), draws, correlation=1.0)
    assert law.exponent().estimate == pytest.approx(0.5, rel=1e-12)
    assert law.critical_batch_size(1.0).estimate == pytest.approx(30.0, rel=1e-12)
    bend = law.bending()
    assert bend is not None
    assert bend.estimate == pytest.approx(0, abs=1e-12)


def test_kaplans_exponent_doubles_b_crit_for_each_13_percent_off_the_loss():
    """Kaplan et al. 2020, figure 10 and eq. 5.3: alpha_B = 0.21, B_* = 2e8 tokens."""
    draws = np.tile(planted(LOSSES, b_star=2e8, slope=1 / 0.21), (10, 1))
    law = fit_target_law(LOSSES.tolist(), draws, correlation=1.0)
    ratio = law.critical_batch_size(0.87).estimate / law.critical_batch_size(1.0).estimate
    assert ratio == pytest.approx(2, rel=0.05)  # printed with two digits


def test_a_curve_that_is_no_power_law_is_told_to_bend():
    draws = planted(LOSSES) + 0.3 * np.log(LOSSES) ** 2
    draws = draws + 0.05 * np.random.default_rng(0).standard_normal((500, len(LOSSES)))
    bend = fit_target_law(LOSSES.tolist(), draws, correlation=0.0).bending()
    assert bend is not None
    assert bend.low > 0
    assert bend.holds(0.3)


def test_two_targets_are_too_few_for_a_law():
    with pytest.raises(ValueError, match="needs 3"):
        fit_target_law([1.0, 0.5], np.zeros((10, 2)), correlation=0.0)


def test_the_loss_of_an_accuracy_is_its_error():
    assert loss_of(Target.parse("validation_accuracy>=0.75")) == 0.25
    assert loss_of(Target.parse("train_loss<=0.2")) == 0.2


def test_knee_weights_are_the_derivative_of_a_fitted_hyperbola():
    sizes, critical = SIZES.astype(float), 40.0

    def fitted_log_critical(log_steps):
        theta = np.log([10.0, 10.0 * critical])
        for _ in range(20):  # Gauss-Newton from the truth
            floor, fall = np.full(len(sizes), np.exp(theta[0])), np.exp(theta[1]) / sizes
            jacobian = np.stack([floor, fall], axis=1) / (floor + fall)[:, None]
            theta = theta + np.linalg.lstsq(jacobian, log_steps - np.log(floor + fall))[0]
        return theta[1] - theta[0]

    truth, step = np.log(10.0 * (1 + critical / sizes)), 1e-5
    slopes = np.array([
        (fitted_log_critical(truth + step * unit) - fitted_log_critical(truth - step * unit))
        / (2 * step)
        for unit in np.eye(len(sizes))
    ])
    expected = slopes / np.linalg.norm(slopes)
    # Central differences of step 1e-5 are good to about 1e-9.
    np.testing.assert_allclose(knee_weights(sizes, critical), expected, atol=1e-7)


def noises(rng, correlation, *, repeats, cells=11):
    root = np.linalg.cholesky(correlation)
    tuning = rng.standard_normal((cells, len(correlation))) @ root.T
    seeds = rng.standard_normal((cells, repeats, len(correlation))) @ root.T
    seeds -= seeds.mean(axis=1, keepdims=True)
    return [
        TargetNoise(
            residual={cell: float(tuning[cell, k]) for cell in range(cells)},
            deviations={cell: tuple(seeds[cell, :, k].tolist()) for cell in range(cells)},
        )
        for k in range(len(correlation))
    ]


def test_the_noise_correlation_is_recovered():
    planted_correlation = 0.8 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    rng = np.random.default_rng(1)
    found = [noise_correlation(noises(rng, planted_correlation, repeats=5)) for _ in range(200)]
    # Standard error of a correlation from 52 degrees of freedom is at most 0.14, of the mean of
    # 200 of them 0.01; the estimate's own bias, rho (1 - rho^2) / 2 / 52, is below 0.004.
    np.testing.assert_allclose(np.mean(found, axis=0), planted_correlation, atol=4 * 0.01 + 0.004)


def test_with_too_few_degrees_of_freedom_targets_count_as_independent():
    correlation = np.full((6, 6), 0.9) + 0.1 * np.eye(6)
    few = noises(np.random.default_rng(2), correlation, repeats=1, cells=4)
    np.testing.assert_array_equal(noise_correlation(few), np.eye(6))


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_the_slopes_interval_holds_the_truth_whatever_the_correlation(rho):
    """500 sets of 6 targets, errors of 20 %, correlation rho^|k - l|."""
    rng = np.random.default_rng(3)
    gaps = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    root = np.linalg.cholesky(0.2**2 * (rho**gaps if rho else np.eye(6)))
    held = []
    for _ in range(500):
        centre = planted(LOSSES) + root @ rng.standard_normal(6)
        draws = centre + rng.standard_normal((400, 6)) @ root.T
        law = fit_target_law(LOSSES.tolist(), draws, correlation=rho)
        held.append(law.exponent().holds(0.5))
    # Standard error 0.013; 400 draws widen or narrow an interval by chance alone.
    assert 0.86 <= np.mean(held) <= 0.94


def study(simulated, rng, *, seeds=4, slope=0.5, b_star=30.0):
    """Trials whose steps to any loss L follow S_min(L) (1 + B_crit(L) / B), with 10 % noise.

    Half the noise's variance is common to all losses, half is a smooth random wave along log L.
    """
    trials, losses = [], np.geomspace(2.0, 0.05, 120)
    for size in SIZES.tolist():
        steps = 40 * losses**-0.8 * (1 + b_star * losses**-slope / size)
        for seed in range(seeds):
            phase, height = rng.uniform(0, 2 * np.pi), rng.standard_normal(2)
            wave = height[0] + height[1] * np.sqrt(2) * np.cos(2 * np.log(losses) + phase)
            at = np.maximum.accumulate(np.rint(steps * np.exp(0.07 * wave)).astype(int))
            keep = np.append(np.diff(at) > 0, True)
            curve = list(zip(at[keep].tolist(), [0.5] * int(keep.sum()), strict=True))
            trial = simulated.trial(
                batch_size=size, curve=curve, phase="single", seed=seed,
                target="train_loss<=0.05",
            )  # fmt: skip
            trials.append(dataclasses.replace(trial, curve_train_loss=losses[keep].tolist()))
    return trials_to_table(trials)


def run_study(simulated, rng, tmp_path, **planted_truth):
    table = study(simulated, rng, **planted_truth)
    carried = Target.parse("train_loss<=0.05")
    targets = default_targets(table, "train_loss", carried, count=6, where="simulated")
    return study_targets(table, targets, carried, FitChoice(replicates=200), path=tmp_path)


def test_planted_b_crit_and_its_growth_lie_inside_the_intervals(simulated, tmp_path):
    found = run_study(simulated, np.random.default_rng(4), tmp_path)
    assert [point.num_reached for point in found.points] == [len(SIZES)] * 6
    assert found.points[-1].target == found.carried
    inside = [
        point.critical_batch_size.holds(math.exp(planted(point.loss))) for point in found.points
    ]
    assert sum(inside) >= 4  # of six 90 % intervals, which are wrong together
    assert found.law is not None
    assert found.law.exponent().holds(0.5)
    assert found.law.exponent().low > 0
    assert 0 < found.law.correlation < 1


def test_targets_are_ordered_from_easy_to_hard_and_take_five_steps(simulated):
    table = study(simulated, np.random.default_rng(5), seeds=1)
    carried = Target.parse("train_loss<=0.05")
    targets = default_targets(table, "train_loss", carried, count=8, where="simulated")
    losses = [loss_of(target) for target in targets]
    assert losses == sorted(losses, reverse=True)
    assert targets[-1] == carried
    assert explicit_targets(["0.1", "train_loss<=0.7"], "train_loss")[0].value == 0.7


@pytest.mark.slow
def test_the_growth_of_b_crit_is_covered_over_simulated_studies(simulated, tmp_path, capsys):
    rng, held, widths = np.random.default_rng(6), [], []
    for _ in range(18):
        law = run_study(simulated, rng, tmp_path, seeds=2).law
        assert law is not None
        exponent = law.exponent()
        held.append(exponent.holds(0.5))
        widths.append(exponent.high - exponent.low)
    with capsys.disabled():
        print(
            f"\n1/alpha = 0.5: 90 % intervals held it in {sum(held)} of {len(held)} studies, "
            f"median width {np.median(widths):.2f}"
        )
    assert sum(held) >= 13  # fewer has a chance of 0.01 where 90 % is true
    assert np.median(widths) < 0.2  # else it would hold anything
