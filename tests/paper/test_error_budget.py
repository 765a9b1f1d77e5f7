"""The error budget: what it calls noise is noise, and what it calls missing is missing."""

import numpy as np
import pytest

from models_of_scaling.backtest.forecasters import mean_log_steps
from models_of_scaling.laws import Hyperbola
from models_of_scaling.measurements import Measurements, TableSource
from models_of_scaling.prediction import estimated_steps
from paper.error_budget import budget_of, fit_of, noise_beside_seeds, on_curve, spread_of_means

LAW = Hyperbola(min_steps=200, critical_batch_size=128)
SIZES = 2 ** np.arange(3, 10)


def study(*, tuning, seeds, repeats=4, seed=0):
    rng = np.random.default_rng(seed)
    batch_size = np.repeat(SIZES, repeats)
    off = np.repeat(tuning * rng.standard_normal(len(SIZES)), repeats)
    off += seeds * rng.standard_normal(len(batch_size))
    steps = LAW.steps_to_target(batch_size) * np.exp(off)
    count = len(steps)
    return Measurements(
        batch_size=batch_size,
        steps=steps,
        reached=np.ones(count, dtype=bool),
        steps_low=steps,
        steps_high=steps,
        weight=np.ones(count),
        group=np.full(count, ""),
        workload="",
        source=TableSource(path="simulated", kind="table", sha256="", num_rows=count),
    )


def test_rows_put_on_the_curve_lie_on_it_and_noise_moves_their_means_only():
    rows = study(tuning=0.1, seeds=0.05)
    whole = fit_of(rows)
    truth = np.log([estimated_steps(whole, size) for size in SIZES])
    exact = on_curve(rows, whole, None)
    np.testing.assert_allclose(np.log(exact.steps), np.repeat(truth, 4), rtol=1e-12)
    off = np.linspace(-0.1, 0.1, len(SIZES))
    moved = on_curve(rows, whole, off)
    np.testing.assert_allclose(mean_log_steps(moved)[1], truth + off, rtol=1e-12)
    for one, other in zip(
        spread_of_means(rows).items(), spread_of_means(moved).items(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_tuning_is_told_from_seeds():
    """400 seeds leave 0.25 % of a mean, so what lies off the curve is tuning."""
    tuned = study(tuning=0.08, seeds=0.05, repeats=400)
    found = noise_beside_seeds(tuned, fit_of(tuned))
    assert 0.04 < found < 0.16  # 0.08 by 7 batch sizes less 2 to 3 parameters: a factor of 2
    alike = study(tuning=0.0, seeds=0.05, repeats=400)
    assert noise_beside_seeds(alike, fit_of(alike)) < 0.01
    spread = np.array(list(spread_of_means(alike).values()))
    np.testing.assert_allclose(spread, 0.05 / 20, rtol=0.15)  # 4 times 1 / sqrt(2 * 399)


def test_without_noise_only_the_knee_is_missing_and_with_it_known_nothing_is():
    rows = study(tuning=0.0, seeds=1e-4)
    budget = budget_of(rows, "known", draws=2)
    assert {row["design"] for row in budget} == {"rolling", "largest"}
    for row in budget:
        assert abs(row["all_rows"]) < 0.01 and row["seeds"] < 1e-3
        assert row["error"] == pytest.approx(row["exact_rows"], abs=0.03)
        if row["largest_fitted"] <= 32:  # a quarter of B_crit
            assert abs(row["knee_known"]) <= abs(row["error"]) + 0.01
