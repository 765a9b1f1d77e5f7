"""Fits and scores that parts of one series share: the same as when each part is fitted alone."""

import numpy as np
import pytest

from models_of_scaling import fitting
from models_of_scaling.damped_steps import next_damping
from models_of_scaling.families import FAMILIES
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.likelihood import Observations
from models_of_scaling.prediction import predict
from models_of_scaling.prefix_fits import SeriesMemory
from models_of_scaling.published.loader import choose_series
from models_of_scaling.row_sums import row_sums

SIZES = 2 ** np.arange(3, 12)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_curve_is_the_same_in_another_reference(name):
    family, rng = FAMILIES[name], np.random.default_rng(0)
    shapes = family.prior_mean_K + family.prior_sd_K * rng.standard_normal((
        20,
        len(family.prior_mean_K),
    ))
    theta_RP, x_N = family.theta_of_shape(shapes, 2.0), np.linspace(-3, 3, 7)
    shift_R = rng.uniform(-2, 2, 20)
    moved = family.moved(theta_RP, shift_R)
    for row in range(20):
        here = family.log_steps(theta_RP[row : row + 1], x_N)[0]
        there = family.log_steps(moved[row : row + 1], x_N - shift_R[row])[0]
        np.testing.assert_allclose(there, here, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "smoothly_broken_power"])
def test_the_critical_batch_size_of_a_shape_is_that_of_its_natural_parameters(name):
    family, rng = FAMILIES[name], np.random.default_rng(1)
    shapes = family.prior_mean_K + family.prior_sd_K * rng.standard_normal((
        20,
        len(family.prior_mean_K),
    ))
    theta_RP = family.theta_of_shape(shapes, 2.0)
    natural = family.natural(theta_RP, 300.0)
    np.testing.assert_allclose(300.0 * np.exp(family.log_critical(theta_RP)), natural[:, 1])


def test_a_law_without_a_floor_has_no_critical_batch_size_to_speak_of():
    family = FAMILIES["smoothly_broken_power"]
    assert family.log_critical(np.zeros((3, len(family.parameter_names)))) is None


def test_a_fit_with_what_larger_fits_remembered_is_the_fit_alone(simulated):
    law = Hyperbola(min_steps=100, critical_batch_size=256)
    rows = simulated.measurements(*simulated.noisy_rows(law, SIZES, np.random.default_rng(0)))
    memory, choice = SeriesMemory(), FitChoice(replicates=100)
    fit_laws(rows, choice, memory)
    scores = len(memory.scores)
    part = rows.take(rows.batch_size <= 512)
    shared, alone = fit_laws(part, choice, memory), fit_laws(part, choice)
    assert len(memory.scores) == scores  # nothing had to be scored again
    for one, other in zip(shared.laws, alone.laws, strict=True):
        # Both are at the same maximum, to the gain at which the solver stops.
        for name, value in one.point.items():
            assert value == pytest.approx(other.point[name], rel=1e-5)
        assert one.weight == pytest.approx(other.weight, rel=1e-4)
    answers = [predict(fit, [4096])[0].steps for fit in (shared, alone)]
    assert answers[0].estimate == pytest.approx(answers[1].estimate, rel=1e-3)


def test_memory_tells_rows_apart_that_differ_in_one_value(simulated):
    law = Hyperbola(min_steps=100, critical_batch_size=256)
    steps = law.steps_to_target(SIZES)
    memory, choice = SeriesMemory(), FitChoice(replicates=50, laws=("hyperbola",))
    first = fit_laws(simulated.measurements(SIZES, steps), choice, memory)
    steps[2] *= 1.5
    again = fit_laws(simulated.measurements(SIZES, steps), choice, memory)
    assert again.best.point == fit_laws(simulated.measurements(SIZES, steps), choice).best.point
    assert again.best.point != first.best.point


def test_rows_alike_are_one_row_of_their_weight():
    low = np.log([[50.0, 50.0, 60.0, 50.0]])
    rows = Observations(
        log_low_RN=low, log_high_RN=low + 0.1, weight_RN=np.array([[1.0, 2.0, 1.0, 4.0]])
    )
    sums = row_sums(rows, np.array([0.0, 0.0, 0.0, 1.0]))  # the last is of another batch size
    assert sums.x.tolist() == [0.0, 0.0, 1.0]
    assert sums.others.weight_RN.tolist() == [[3.0, 1.0, 4.0]]
    assert sums.others.log_low_RN.tolist() == np.log([[50.0, 60.0, 50.0]]).tolist()


def test_a_step_past_the_minimum_is_damped_to_where_it_lies():
    ones = np.ones(4)
    #  as expected, past the minimum, rejected, below rounding
    lowered, expected = np.array([1.0, 0.1, -0.5, 0.0]), np.array([1.0, 1.0, 1.0, 1e-16])
    damping = next_damping(1e-3 * ones, lowered, expected, 1e-14 * ones)
    np.testing.assert_allclose(damping, [1e-4, 0.9, 8e-3, 1e-4])


def test_whole_epochs_with_a_sigma_far_below_them_do_not_send_the_solver_to_and_fro(monkeypatch):
    """MLPerf's v1.0: 150 rounds were the limit, and ten of these fits reached it."""
    rounds = []
    evaluate = fitting.evaluate

    def counted(*arguments):
        rounds[-1] += 1
        return evaluate(*arguments)

    descend = fitting.descend

    def counted_descend(*arguments):
        rounds.append(0)
        return descend(*arguments)

    monkeypatch.setattr(fitting, "evaluate", counted)
    monkeypatch.setattr(fitting, "descend", counted_descend)
    (series,) = choose_series(["mlperf_v1.0_lars"])
    rows = series.rows.take(series.rows.batch_size <= 6144)
    fit = fit_laws(rows, FitChoice(laws=tuple(FAMILIES), replicates=50))
    assert all(law.converged for law in fit.laws)
    # One descent of each law; 20 to 70 measured.
    assert len(rounds) <= 2 * len(FAMILIES) and max(rounds) < 100


def test_groups_that_make_statsmodels_step_to_a_singular_matrix_are_fitted():
    (series,) = choose_series(["mlperf_bert"])
    fit = fit_laws(series.rows, FitChoice(laws=("hyperbola",), replicates=50, scored=False))
    assert 0 <= fit.group_sd < 0.05
