import dataclasses
import json
import re

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from models_of_scaling.curves import Curves
from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import LAW_NAMES, Hyperbola, KneeWithUpturn
from models_of_scaling.limit import judge, verdict_as_json
from models_of_scaling.limit_claims import differ_by, difference_in_words, fastest_batch_sizes
from models_of_scaling.limit_words import verdict_in_words
from models_of_scaling.prediction import predict
from models_of_scaling.wording import number_in_words

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
    for claim, planted in (
        (verdict.pays_up_to, 100),
        (verdict.critical_batch_size, 300),
        (verdict.stops_paying, 4.5 * 300),
    ):
        # a median of draws, whose noise is at least 0.3 %
        assert claim.batch_size.estimate == pytest.approx(planted, rel=3e-3)
    assert verdict.pays_up_to.extrapolated_share == 0
    assert verdict.notes == ()


def test_a_claim_beyond_the_data_says_how_much_of_it_is_extrapolated(simulated):
    sizes = SIZES[SIZES <= 512]
    fit = fit_laws(simulated.measurements(sizes, LAW.steps_to_target(sizes)), FitChoice())
    claim = judge(fit).stops_paying
    assert claim.extrapolated_share == pytest.approx(1.0)
    # a median of draws; with its prior the noise of noise-free rows is drawn at about 1.5 %
    assert claim.extrapolation == pytest.approx(1350 / 512, rel=5e-3)
    words = verdict_in_words(judge(fit))
    assert f"extrapolated: {claim.extrapolation:.2f}x the largest batch size fitted (512)" in words
    assert "with 100 % probability beyond it" in words


def test_the_verdict_begins_with_the_answer_in_short(fit, perfect_scaling):
    first = verdict_in_words(judge(fit)).splitlines()[0]
    assert re.fullmatch(
        r"In short: up to about 100 a doubling of the batch size takes 38 % or more off the "
        r"steps; from about 1,3\d0 on less than 9 %\.",
        first,
    )
    open_end = judge(perfect_scaling)
    first = verdict_in_words(open_end).splitlines()[0]
    bound = number_in_words(open_end.stops_paying.batch_size.low)
    assert f"where it takes less than 9 % off lies beyond {bound}" in first


def test_a_limit_below_the_smallest_batch_size_fitted_is_called_extrapolated(simulated):
    sizes = SIZES[SIZES >= 256]  # doubling pays up to 100
    verdict = judge(
        fit_laws(simulated.measurements(sizes, LAW.steps_to_target(sizes)), FitChoice())
    )
    lines = verdict_in_words(verdict).splitlines()
    assert lines[0].startswith("In short: already at 256 a doubling of the batch size no longer")
    assert "below the smallest batch size fitted (256): extrapolated" in lines[1]


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


def test_only_fitted_batch_sizes_are_named_where_nobody_repeated_a_search(simulated):
    from dataclasses import replace

    rows = simulated.measurements(SIZES, 100 * (1 + 60 / SIZES))
    for searched, named in (((16, 4096), "batch size 16: "), ((4096,), None)):
        source = replace(rows.source, from_search=searched)
        fit = fit_laws(replace(rows, source=source), FitChoice(replicates=50))
        said = [sentence for sentence in fit.advice if "Nobody repeated" in sentence]
        assert [named in sentence for sentence in said] == ([True] if named else [])


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


def test_the_overhead_is_counted_from_the_smallest_batch_size_fitted(fit):
    claim = judge(fit).with_overhead
    # 1 + B / 300 = 1.2 (1 + 8 / 300); between points of the grid the answer is off by up to 0.1 %.
    assert claim.batch_size.estimate == pytest.approx(0.2 * 300 + 1.2 * 8, rel=1e-3)
    assert "smallest one fitted (8)" in claim.meaning and "Zhang et al. 2024" in claim.source


def test_the_definitions_stand_side_by_side_and_one_line_says_by_how_much_they_differ(fit):
    verdict = judge(fit)
    names = [claim.name for claim in verdict.definitions]
    assert len(names) == len(set(names)) == 4
    assert all(claim.source and claim.batch_size.is_bounded for claim in verdict.definitions)
    words = verdict_in_words(verdict)
    for name in ("20 %-overhead batch size (Zhang et al. 2024)", "McCandlish et al. 2018"):
        assert name in words
    # The largest over the smallest: 4.5 * 300 over 69.6, that of Zhang et al.
    assert "differ by up to 19x, from 70 (20 %-overhead batch size) to 1,350" in words
    content = verdict_as_json(verdict)
    assert content["definitions"] == names
    assert content["definitions_differ_by"] == pytest.approx(1350 / 69.6, rel=2e-3)
    assert content["with_overhead"]["batch_size"]["level"] == 0.9


def test_a_definition_that_the_rows_do_not_place_is_not_compared(perfect_scaling, fit):
    assert differ_by(judge(perfect_scaling).definitions) is None
    assert "place fewer than two" in verdict_in_words(judge(perfect_scaling))
    known = judge(fit).definitions
    opened = dataclasses.replace(
        known[3], batch_size=dataclasses.replace(known[3].batch_size, high=np.inf)
    )
    assert differ_by([*known[:3], opened]) == pytest.approx(300 / 69.6, rel=2e-3)
    assert "the 3 that the rows place differ by up to 4.3" in difference_in_words([
        *known[:3],
        opened,
    ])


@pytest.mark.parametrize("law", LAW_NAMES)
def test_every_law_alone_gives_a_verdict_in_words_and_in_strict_json(simulated, law):
    rng = np.random.default_rng(5)
    rows = simulated.measurements(*simulated.noisy_rows(LAW, SIZES, rng))
    verdict = judge(fit_laws(rows, FitChoice(laws=(law,), replicates=100)))
    words = verdict_in_words(verdict)
    assert "nan" not in words and "more than infinity" not in words and "less than 0" not in words
    content = json.loads(json.dumps(verdict_as_json(verdict), allow_nan=False))
    # Each law bends as the planted hyperbola does where there are rows, whatever it does beyond.
    assert verdict.pays_up_to.batch_size.holds(100)
    assert 69.6 / 1.5 < content["with_overhead"]["batch_size"]["estimate"] < 69.6 * 1.5
    assert verdict.has_floor == (law != "smoothly_broken_power")
    assert (verdict.upturn is not None) == (law == "knee_with_upturn")


def test_a_law_without_a_floor_has_no_critical_batch_size_and_says_why(simulated):
    choice = FitChoice(laws=("smoothly_broken_power",), replicates=300)
    rows = simulated.measurements(SIZES, LAW.steps_to_target(SIZES))
    verdict = judge(fit_laws(rows, choice))
    words = verdict_in_words(verdict)
    assert "is infinite by definition" in words and "has no floor" in words
    assert "fewest steps that any batch size can need" not in words
    assert verdict_as_json(verdict)["critical_batch_size"]["batch_size"]["low"] is None
    assert "critical batch size" not in [claim.name for claim in verdict.definitions]


UPTURN = KneeWithUpturn(min_steps=100, critical_batch_size=300, turning_batch_size=4000)


def test_where_steps_rise_again_the_fastest_batch_size_is_a_claim(simulated):
    sizes = 2 ** np.arange(3, 14)  # to 8,192; the fewest steps are at 956
    rng = np.random.default_rng(2)
    rows = simulated.measurements(*simulated.noisy_rows(UPTURN, sizes, rng))
    verdict = judge(fit_laws(rows, FitChoice(laws=("knee_with_upturn",))))
    upturn = verdict.upturn
    assert upturn.fastest.batch_size.holds(UPTURN.fastest_batch_size)
    assert upturn.fastest.batch_size.high < 1.5 * upturn.fastest.batch_size.low
    assert upturn.fewest_steps.holds(float(UPTURN.steps_to_target(UPTURN.fastest_batch_size)))
    words = verdict_in_words(verdict)
    assert "One law lets the steps rise again (weight 100 %): by it the fewest are" in words
    assert "those of the hyperbola without its rise" in words
    assert verdict.definitions[-1].name == "fastest batch size"


def test_a_rise_that_the_rows_do_not_show_leaves_the_fastest_batch_size_open(simulated):
    rows = simulated.measurements(
        *simulated.noisy_rows(LAW, SIZES[SIZES <= 256], np.random.default_rng(0))
    )
    upturn = judge(fit_laws(rows, FitChoice(laws=("knee_with_upturn",)))).upturn
    assert upturn.fastest.batch_size.high == np.inf
    assert upturn.fewest_steps.low == 0
    assert upturn.fastest.batch_size.low > 128


def test_the_fastest_batch_size_of_many_curves_is_where_each_has_its_fewest_steps():
    columns = {
        "min_steps": np.array([100.0, 20.0, 7.0]),
        "critical_batch_size": np.array([300.0, 1e-3, 1e9]),
        "turning_batch_size": np.array([4000.0, 50.0, 1e4]),
    }
    fastest = fastest_batch_sizes(Curves(columns=columns))
    for at, found in enumerate(fastest):
        law = KneeWithUpturn(**{name: float(values[at]) for name, values in columns.items()})
        lowest = minimize_scalar(
            lambda log_size, law=law: np.log(law.steps_to_target(np.exp(log_size))),
            bounds=(np.log(found) - 3, np.log(found) + 3),
            method="bounded",
            options={"xatol": 1e-9},
        )
        # A search for a minimum is exact to the square root of the rounding error, no further.
        assert np.log(found) == pytest.approx(lowest.x, abs=1e-5)
    # For one curve the law has the same in closed form.
    assert fastest[0] == pytest.approx(UPTURN.fastest_batch_size, rel=1e-12)


def test_batch_sizes_that_never_reached_the_target_do_not_stop_the_verdict(simulated):
    sizes = 2 ** np.arange(3, 14)
    steps = np.where(sizes > 2048, 5000.0, LAW.steps_to_target(sizes))
    rows = simulated.measurements(sizes, steps, cap=4999)  # 4,096 and 8,192 never did
    assert (~rows.reached).sum() == 2
    for laws in ((), *((name,) for name in LAW_NAMES)):
        verdict = judge(fit_laws(rows, FitChoice(laws=laws, replicates=60)))
        assert "nan" not in verdict_in_words(verdict)
        assert any("No row reached the target" in sentence for sentence in verdict.advice)
        json.dumps(verdict_as_json(verdict), allow_nan=False)


def test_the_floor_has_the_level_that_was_asked_for(fit):
    assert judge(fit, level=0.5).min_steps.level == 0.5
    assert judge(fit).min_steps == fit.min_steps


def test_rows_that_start_beyond_perfect_scaling_make_the_overhead_too_lenient(simulated):
    sizes = SIZES[SIZES >= 32]  # doubling 32 divides the steps by 1.81
    verdict = judge(
        fit_laws(simulated.measurements(sizes, LAW.steps_to_target(sizes)), FitChoice())
    )
    assert any("smaller than stated here" in note for note in verdict.notes)


def test_a_badly_tuned_batch_size_is_named_in_the_verdict_and_no_other(simulated):
    batch_size, steps = simulated.noisy_rows(LAW, SIZES, np.random.default_rng(1))
    steps = np.where(batch_size == 128, 1.5 * steps, steps)
    verdict = judge(fit_laws(simulated.measurements(batch_size, steps), FitChoice()))
    named = [note for note in verdict.notes if "badly tuned" in note]
    assert len(named) == 1 and named[0].startswith("Batch size 128 needed")
