"""What stands out from the curve, and what does not."""

import dataclasses

import numpy as np
import pytest

from models_of_scaling.fit_record import MeasuredRows
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.prediction import estimated_steps
from models_of_scaling.residuals import batch_size_residuals, noise_of_one

LAW = Hyperbola(min_steps=100, critical_batch_size=300)
SIZES = 2 ** np.arange(3, 12)
CHOICE = FitChoice(replicates=300)


def residuals(rows):
    return {each.batch_size: each for each in batch_size_residuals(fit_laws(rows, CHOICE))}


def test_a_residual_is_the_log_ratio_to_the_averaged_curve_in_units_of_noise(simulated):
    rows = simulated.measurements(*simulated.noisy_rows(LAW, SIZES, np.random.default_rng(0)))
    fit = fit_laws(rows, CHOICE)
    found = batch_size_residuals(fit)
    assert [each.batch_size for each in found] == SIZES.tolist()
    mean = np.log(rows.steps[rows.batch_size == 64]).mean()
    expected = mean - np.log(estimated_steps(fit, 64))
    assert found[3].log_ratio == pytest.approx(expected, abs=1e-12)
    assert found[3].in_noise == pytest.approx(expected / noise_of_one(fit), abs=1e-12)


@pytest.mark.parametrize("factor", [1.5, 1 / 1.5])
def test_one_batch_size_of_nine_that_is_off_is_found_alone_and_its_way_is_said(simulated, factor):
    batch_size, steps = simulated.noisy_rows(LAW, SIZES, np.random.default_rng(3))
    steps = np.where(batch_size == 64, factor * steps, steps)
    found = residuals(simulated.measurements(batch_size, steps))
    assert [size for size, each in found.items() if each.is_outlier] == [64]
    assert ("more steps" if factor > 1 else "fewer steps") in found[64].in_words()


def test_rows_with_normal_noise_and_nothing_amiss_seldom_stand_out(simulated):
    rng = np.random.default_rng(4)
    flagged = sum(
        any(
            each.is_outlier
            for each in residuals(
                simulated.measurements(*simulated.noisy_rows(LAW, SIZES, rng, seeds=1))
            ).values()
        )
        for _ in range(15)
    )
    assert flagged <= 3  # 3 of 120 measured; more than 3 of 15 has a chance of 1e-3 then


@pytest.mark.parametrize(("given", "told"), [(60.0, False), (400.0, True)])
def test_a_run_without_the_target_tells_something_only_beyond_the_curve(simulated, given, told):
    # The curve says 107 steps at 4,096; a run there was stopped at 60, or at 400.
    rows = simulated.measurements(*simulated.noisy_rows(LAW, SIZES, np.random.default_rng(0)))
    fit = fit_laws(rows, CHOICE)
    new = {
        "batch_size": 4096, "steps": given, "steps_low": given, "steps_high": np.inf,
        "reached": False,
    }  # fmt: skip
    columns = {name: (*getattr(fit.measured, name), value) for name, value in new.items()}
    fit = dataclasses.replace(fit, measured=MeasuredRows(**columns))
    last = batch_size_residuals(fit)[-1]
    assert last.batch_size == 4096 and not last.reached
    assert last.log_ratio == pytest.approx(np.log(given / estimated_steps(fit, 4096)), abs=1e-12)
    assert last.is_outlier == told
    assert ("at least" in last.in_words()) and ("out of reach" in last.in_words())


def test_what_the_width_of_sparse_evaluation_explains_is_no_outlier(simulated):
    steps = LAW.steps_to_target(SIZES)
    rows = simulated.measurements(SIZES, steps)
    off = SIZES == 256
    # The target was met between 0.7 and 1.7 times what the law says: the middle is 9 % above it.
    rows.steps_low[off] = 0.7 * steps[off]
    rows.steps_high[off] = 1.7 * steps[off]
    assert abs(residuals(rows)[256].in_noise) < 1
