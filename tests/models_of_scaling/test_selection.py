import numpy as np
import pytest

from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola, PowerWithFloor
from models_of_scaling.selection import LawScore, choose_law, corrected_akaike, law_weights

SIZES = 2 ** np.arange(0, 11)


def score(error, *, held_out=6, aicc=None):
    return LawScore(held_out_error=error, num_held_out=held_out, aicc=aicc, log_likelihood=0.0)


def test_the_law_that_made_the_data_is_chosen(simulated):
    rng = np.random.default_rng(0)
    soft = PowerWithFloor(min_steps=100, critical_batch_size=100, exponent=0.6)
    hyperbola = Hyperbola(min_steps=100, critical_batch_size=100)
    for law, name in ((soft, "power_with_floor"), (hyperbola, "hyperbola")):
        rows = simulated.measurements(*simulated.noisy_rows(law, SIZES, rng))
        assert fit_laws(rows, FitChoice(replicates=50)).law == name


def test_the_choice_never_sees_held_out_rows(simulated):
    steps = Hyperbola(min_steps=100, critical_batch_size=64).steps_to_target(SIZES)
    spoiled = np.where(SIZES > 128, 10 * steps, steps)
    fits = [
        fit_laws(simulated.measurements(SIZES, each), FitChoice(replicates=50, holdout_above=128))
        for each in (steps, spoiled)
    ]
    assert fits[0].laws == fits[1].laws
    assert fits[0].held_out != fits[1].held_out


def test_two_laws_that_err_alike_share_the_weight_and_the_simpler_is_named():
    weights = law_weights([score(0.05), score(0.05)])
    np.testing.assert_allclose(weights, [0.5, 0.5], rtol=1e-12)
    assert choose_law(weights) == 0
    assert choose_law([0.2, 0.8]) == 1


def test_a_difference_below_the_typical_noise_hardly_counts():
    near = law_weights([score(0.001), score(0.005)])
    far = law_weights([score(0.02), score(0.2)])
    assert near[0] < 0.55 < 0.95 < far[0]


def test_with_four_batch_sizes_nothing_is_held_against_the_law_that_aicc_cannot_judge(simulated):
    law = Hyperbola(min_steps=100, critical_batch_size=64)
    rows = simulated.measurements(SIZES[::3], law.steps_to_target(SIZES[::3]))
    fit = fit_laws(rows, FitChoice(replicates=50))
    assert [each.held_out_error for each in fit.laws] == [None, None]
    assert [each.weight for each in fit.laws] == [0.5, 0.5]


def test_aicc_is_the_published_formula_and_absent_where_undefined():
    # k = 3 with the noise; n = 10: 2*3 - 2*(-4) + 2*3*4/6
    assert corrected_akaike(-4.0, num_parameters=2, num_cells=10) == pytest.approx(18.0)
    assert corrected_akaike(-4.0, num_parameters=2, num_cells=4) is None


def test_two_batch_sizes_give_an_answer_that_says_how_little_it_knows(simulated):
    rows = simulated.measurements([8, 16], [1000.0, 520.0])
    fit = fit_laws(rows, FitChoice(replicates=200))
    assert fit.code == "not_identified"
    assert not fit.critical_batch_size.is_bounded
    assert fit.min_steps.low == 0
    assert any("Measure at 32 and 64 next" in sentence for sentence in fit.advice)
