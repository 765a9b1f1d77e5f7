import time

import numpy as np

from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.noise import NOISE_SIZES, NoiseKnowledge, noise_knowledge
from models_of_scaling.priors import TYPICAL_NOISE
from models_of_scaling.resampling import resample
from models_of_scaling.study_source import TableChoice, measurements_from_trials
from models_of_scaling.trials import trials_to_table

LAW = Hyperbola(min_steps=300, critical_batch_size=256)


def study(simulated, tmp_path, seed=0, **protocol):
    rng = np.random.default_rng(seed)
    sizes = [2**k for k in range(3, 11)]
    table = trials_to_table(simulated.study_trials(LAW, sizes, rng, **protocol))
    return measurements_from_trials(table, TableChoice(), path=tmp_path)


def test_resampling_rows_draws_whole_rows_within_their_batch_size(simulated):
    rows = simulated.measurements([8, 8, 8, 16, 16], [10.0, 20.0, 30.0, 5.0, 6.0])
    drawn = resample(rows, 200, np.random.default_rng(0)).rows
    offset = drawn.log_low_RN[:, :3].mean() - np.log([10, 20, 30]).mean()
    assert abs(offset) < 1e-12  # each cell is moved back to its measured mean
    values = np.unique(np.exp(drawn.log_low_RN[:, :3]).round(3))
    assert len(values) == 3
    assert len({tuple(row) for row in drawn.log_low_RN[:, :3].round(6)}) > 20


def test_the_winner_is_chosen_again_in_every_replicate(simulated, tmp_path):
    measured = study(simulated, tmp_path)
    cell = measured.cells[0]
    drawn = resample(measured, 4000, np.random.default_rng(0))
    own = drawn.rows.log_low_RN[:, drawn.cell_N == 0]
    # The search's best is missing from a share (1 - 1/n)^n of resamples; then the rows move up
    # by the log ratio of the next best to the best, which only those replicates show.
    values = np.sort(cell.search_log_steps)
    gap = values[1] - values[0]
    assert gap > 0
    only = own.max(axis=1)
    base = np.sort(np.unique(only.round(9)))
    n = len(values)
    assert len(base) > 3  # more levels than three repeats give by themselves
    moved = (only > base[0] + 1e-6 + np.ptp(measured.observations().log_low_RN[0, :3])).mean()
    assert moved <= (1 - 1 / n) ** n + 0.05


def test_replicates_vary_by_tuning_even_when_the_repeats_do_not(simulated, tmp_path):
    """Two repeats in one interval show no spread; the search behind them does."""
    measured = study(simulated, tmp_path, searched=8, repeats=2)
    same = measured.steps_high.copy()
    for size in np.unique(measured.batch_size):
        at = measured.batch_size == size
        same[at] = same[at][0]
    assert (resample(measured, 500, np.random.default_rng(0)).spread.spread_C > 0.005).mean() > 0.7


def test_resampling_a_study_keeps_its_measured_mean(simulated, tmp_path):
    """The bootstrap of a minimum is biased upwards; the cell is moved back."""
    measured = study(simulated, tmp_path)
    drawn = resample(measured, 2000, np.random.default_rng(0))
    point = measured.observations()
    cells = np.unique(measured.batch_size, return_inverse=True)[1]
    for cell in range(8):
        weight = drawn.rows.weight_RN[:, drawn.cell_N == cell]
        middle = drawn.rows.log_middle_RN[:, drawn.cell_N == cell]
        mean = (weight * middle).sum(axis=1) / weight.sum(axis=1)
        want = point.log_middle_RN[0, cells == cell].mean()
        np.testing.assert_allclose(mean.mean(), want, atol=1e-9)


def test_a_thousand_replicates_of_eleven_searches_of_64_take_well_under_a_second(
    simulated, tmp_path
):
    rng = np.random.default_rng(0)
    trials = simulated.study_trials(LAW, [2**k for k in range(11)], rng, searched=64)
    measured = measurements_from_trials(trials_to_table(trials), TableChoice(), path=tmp_path)
    begin = time.perf_counter()
    resample(measured, 1000, rng)
    assert time.perf_counter() - begin < 0.5  # 0.01 s measured on one core


def test_a_study_of_trials_recovers_the_planted_law(simulated, tmp_path):
    held = 0
    for seed in range(5):
        fit = fit_laws(study(simulated, tmp_path, seed=seed), FitChoice(replicates=200))
        held += fit.critical_batch_size.holds(256)
        assert abs(np.log(fit.best.steps(64) / 1500)) < 0.15  # tuning and seeds: 5 % a size
    assert held >= 3  # 5 of 90 % each; fewer than 3 happen once in 120


def test_held_out_batch_sizes_take_their_searches_with_them(simulated, tmp_path):
    measured = study(simulated, tmp_path)
    fit = fit_laws(measured, FitChoice(replicates=50, holdout_above=128))
    assert set(fit.held_out.batch_size) == {256, 512, 1024}
    assert fit.largest_batch_size == 128


def test_rows_without_repeats_show_no_spread_of_their_own(simulated):
    rows = simulated.measurements([8, 16, 32], [100.0, 50.0, 25.0])
    drawn = resample(rows, 200, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.spread.spread_C, 0, atol=1e-12)


def test_the_noise_prior_is_a_scaled_inverse_chi_squared():
    fine = np.exp(np.linspace(np.log(1e-3), np.log(100.0), 4000))
    shares = np.cumsum(np.exp(NoiseKnowledge(size=0.1, degrees=4.0).log_probability(fine)))
    want = 0.1 * np.sqrt(4.0 / np.random.default_rng(0).chisquare(4.0, 200_000))
    for share in (0.1, 0.5, 0.9):
        got = fine[np.searchsorted(shares, share)]
        np.testing.assert_allclose(got, np.quantile(want, share), rtol=0.02)


def test_noise_is_never_below_what_repeats_show(simulated):
    sizes = np.repeat([8, 16, 32, 64], 2)
    truth = LAW.steps_to_target(sizes)
    cells = np.repeat(np.arange(4), 2)
    # repeats 20 % apart whose means lie on the law by luck: a mean of two scatters by 0.1
    apart = simulated.measurements(sizes, truth * np.exp(np.tile([0.1, -0.1], 4)))
    knowledge = noise_knowledge(apart.observations(), cells)
    assert (knowledge.repeat_degrees, knowledge.size) == (4, TYPICAL_NOISE)
    np.testing.assert_allclose(knowledge.variance, 0.02 / 2, rtol=1e-12)
    probability = np.exp(knowledge.log_probability(NOISE_SIZES))
    assert probability[NOISE_SIZES < 0.05].sum() < 0.01
    exact = noise_knowledge(simulated.measurements(sizes, truth).observations(), cells)
    assert exact.variance == 0
