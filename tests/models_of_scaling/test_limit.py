import json

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.limit import judge, verdict_as_json, verdict_in_words
from models_of_scaling.prediction import predict

LAW = Hyperbola(min_steps=100, critical_batch_size=300)
SIZES = 2 ** np.arange(3, 12)


@pytest.fixture(scope="module")
def fit(simulated):
    return fit_laws(simulated.measurements(SIZES, LAW.steps_to_target(SIZES)), FitChoice())


@pytest.fixture(scope="module")
def perfect_scaling(simulated):
    sizes = SIZES[:5]
    noise = np.exp(0.02 * np.sin(np.arange(5)))
    return fit_laws(simulated.measurements(sizes, 1e5 / sizes * noise), FitChoice())


def test_the_three_claims_are_those_of_the_planted_law(fit):
    verdict = judge(fit)
    assert verdict.pays_up_to.batch_size.estimate == pytest.approx(100, rel=1e-6)
    assert verdict.critical_batch_size.batch_size.estimate == pytest.approx(300, rel=1e-6)
    assert verdict.stops_paying.batch_size.estimate == pytest.approx(4.5 * 300, rel=1e-6)
    assert verdict.pays_up_to.extrapolated_share == 0
    assert verdict.notes == ()


def test_a_claim_beyond_the_data_says_how_much_of_it_is_extrapolated(simulated):
    sizes = SIZES[SIZES <= 512]
    fit = fit_laws(simulated.measurements(sizes, LAW.steps_to_target(sizes)), FitChoice())
    claim = judge(fit).stops_paying
    assert claim.extrapolated_share == pytest.approx(1.0)
    assert claim.extrapolation == pytest.approx(1350 / 512, rel=1e-6)
    words = verdict_in_words(judge(fit))
    assert "100 % of this claim is extrapolated" in words and "by 2.64x" in words


def test_a_limit_that_is_not_identified_is_an_open_interval_never_a_bare_number(perfect_scaling):
    verdict = judge(perfect_scaling)
    assert verdict.code == "not_identified"
    claim = verdict.critical_batch_size
    assert claim.batch_size.high == np.inf and claim.batch_size.low > 64
    words = verdict_in_words(verdict)
    assert "more than" in words and "to infinity" in words
    assert "Measure at 256 and 512 next" in words
    content = json.loads(json.dumps(verdict_as_json(verdict), allow_nan=False))
    assert content["critical_batch_size"]["batch_size"]["high"] is None


def test_a_bound_that_only_the_prior_gives_is_left_open_but_the_near_end_is_a_number(
    perfect_scaling,
):
    for claim in (judge(perfect_scaling).critical_batch_size, judge(perfect_scaling).stops_paying):
        assert claim.batch_size.high == np.inf
        assert 64 < claim.batch_size.low < 1e4
    draws = [law.replicates["critical_batch_size"] for law in perfect_scaling.laws]
    assert np.isfinite(draws).all()  # predictions use them as they are
    assert judge(perfect_scaling).min_steps.low == 0


def test_steps_that_hardly_fall_leave_the_lower_end_open(simulated):
    steps = 100 * np.exp(0.03 * np.sin(np.arange(9)))
    fit = fit_laws(simulated.measurements(SIZES, steps), FitChoice())
    assert fit.code == "not_identified"
    assert fit.critical_batch_size.low < 8
    assert any("No batch size below 8" in sentence for sentence in fit.advice)


def test_the_verdict_mentions_the_training_set_where_it_ends_first(simulated):
    from dataclasses import replace

    rows = simulated.measurements(SIZES, LAW.steps_to_target(SIZES))
    verdict = judge(fit_laws(replace(rows, num_train_examples=1000), FitChoice()))
    assert any("exceeds the training set of 1,000" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ({"saving": 1.0}, "--saving"), ({"saving": 2.0}, "--saving"),
        ({"saving": float("nan")}, "--saving"), ({"stop_saving": 1.0}, "--stop-saving"),
        ({"saving": 1.2, "stop_saving": 1.3}, "--stop-saving"), ({"level": 1.0}, "--level"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(fit, arguments, flag):
    with pytest.raises(InputError, match=flag):
        judge(fit, **arguments)


def test_predictions_of_noise_free_data_are_near_and_efficiency_is_relative(fit):
    answers = predict(fit, [8, 300, 8192])
    for answer in answers:
        truth = float(LAW.steps_to_target(answer.batch_size))
        # a row without noise counts as one of about 1 %: see priors.TYPICAL_NOISE
        assert answer.steps.estimate == pytest.approx(truth, rel=0.02)
        assert answer.steps.holds(truth)
        assert answer.examples == answer.batch_size * answer.steps.estimate
    assert answers[0].efficiency == pytest.approx(1.0)
    assert answers[1].efficiency == pytest.approx((1 + 8 / 300) / 2, rel=0.02)


def test_intervals_widen_with_the_level_and_with_the_distance(perfect_scaling):
    near, far = predict(perfect_scaling, [128, 4096])
    wide = predict(perfect_scaling, [128], level=0.99)[0]
    assert wide.steps.high / wide.steps.low > near.steps.high / near.steps.low
    assert far.steps.high / far.steps.low > 1.5 * near.steps.high / near.steps.low
