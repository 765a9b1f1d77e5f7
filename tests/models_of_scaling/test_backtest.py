import json
import math
from dataclasses import replace

import numpy as np
import pytest

from models_of_scaling.backtest.cases import Case, cases_of
from models_of_scaling.backtest.forecasters import (
    AVERAGED,
    FORECASTERS,
    TODAYS_PRACTICE,
    Forecast,
    KnownRows,
    averaged,
    laws_needed,
    of_law,
    todays_practice,
)
from models_of_scaling.backtest.run import back_test
from models_of_scaling.backtest.scores import Outcome, scores
from models_of_scaling.interval_scores import over_series, share_over_series, winkler_log_score
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import AVERAGED_LAWS, LAW_NAMES, Hyperbola, KneeWithUpturn
from models_of_scaling.measurements import Measurements, TableSource
from models_of_scaling.prediction import estimated_steps, predict
from models_of_scaling.published.loader import choose_series, steps_series


def measured(batch_size, steps, reached=None):
    sizes = np.array(batch_size, dtype=np.int64)
    values = np.array(steps, dtype=float)
    met = np.ones(len(sizes), dtype=bool) if reached is None else np.array(reached)
    return Measurements(
        batch_size=sizes,
        steps=values,
        reached=met,
        steps_low=values,
        steps_high=np.where(met, values, np.inf),
        weight=np.ones(len(sizes)),
        group=np.full(len(sizes), ""),
        workload="",
        source=TableSource(path="table.csv", kind="table", sha256="", num_rows=len(sizes)),
    )


def at_sizes(*sizes, reached=None):
    return measured(sizes, [1e6 / size for size in sizes], reached)


def pairs(measurements, design):
    return [
        (case.factor, case.largest_fitted, case.batch_size)
        for case in cases_of(measurements)
        if case.design == design
    ]


def test_each_origin_predicts_what_lies_nearest_to_2_4_and_8_times_it():
    rows = at_sizes(16, 32, 64, 120, 260, 500)
    assert pairs(rows, "rolling") == [
        (2, 64, 120), (4, 64, 260), (8, 64, 500),
        (2, 120, 260), (4, 120, 500),
        (2, 260, 500),
    ]  # fmt: skip


def test_the_largest_batch_size_is_predicted_from_at_most_a_half_a_quarter_and_an_eighth_of_it():
    rows = at_sizes(16, 32, 64, 120, 260, 500)
    assert pairs(rows, "largest") == [(2, 120, 500), (4, 120, 500)]
    (last,) = [case for case in cases_of(rows) if (case.design, case.factor) == ("largest", 4)]
    assert last.ratio == 500 / 120  # the ratio that it truly is


def test_one_more_batch_size_is_known_between_the_origin_and_what_is_predicted_8x_beyond():
    rows = at_sizes(16, 32, 64, 120, 260, 500)
    (case,) = [case for case in cases_of(rows) if case.design == "one_more"]
    assert (case.largest_fitted, case.also_fitted, case.batch_size) == (64, 260, 500)


def test_batch_sizes_within_a_doubling_or_too_few_that_reached_are_no_origin():
    assert pairs(at_sizes(100, 110, 120, 240), "rolling") == []
    short = at_sizes(16, 32, 64, 128, reached=[True, True, False, True])
    assert pairs(short, "rolling") == []


def test_an_origin_has_a_gap_after_it():
    assert pairs(at_sizes(16, 32, 64, 66, 128), "rolling") == [(2, 66, 128)]


def test_winkler_score_is_the_width_alone_inside_and_20_times_the_miss_more_outside():
    low, high = 100.0, 200.0
    width = math.log(2.0)
    for inside in (low, 150.0, high):
        assert winkler_log_score(low, high, inside, level=0.9) == width
    assert winkler_log_score(low, high, 400.0, level=0.9) == pytest.approx(width + 20 * width)
    assert winkler_log_score(low, high, 50.0, level=0.9) == pytest.approx(width + 20 * width)
    assert winkler_log_score(low, high, 400.0, level=0.5) == pytest.approx(width + 4 * width)
    assert winkler_log_score(low, math.inf, 150.0, level=0.9) == math.inf
    assert winkler_log_score(0.0, high, 150.0, level=0.9) == math.inf


def outcome(forecast, value, at_least=0.0, *, series="a"):
    case = Case(design="rolling", factor=2, largest_fitted=64, batch_size=128)
    return Outcome(
        series=series,
        part="workload",
        forecaster=AVERAGED,
        case=case,
        forecast=forecast,
        measured=value,
        measured_at_least=at_least,
        level=0.9,
    )


def test_a_batch_size_where_nothing_reached_has_no_error_and_contradicts_only_a_low_interval():
    forecast = Forecast(steps=100.0, low=50.0, high=200.0)
    short, long = outcome(forecast, math.inf, 150.0), outcome(forecast, math.inf, 300.0)
    assert (short.error, short.interval_score) == (None, None)
    assert (short.is_covered, long.is_covered) == (True, False)
    (score,) = scores([short, long, outcome(forecast, 125.0)])
    assert (score.num_cases, score.num_not_reached) == (3, 2)
    assert score.median_error.value == pytest.approx(0.2)
    assert score.coverage.value == pytest.approx(2 / 3)


def test_a_forecast_without_an_interval_has_no_coverage_width_or_score():
    (score,) = scores([outcome(Forecast(steps=100.0), 80.0)])
    assert (score.coverage, score.median_width, score.interval_score) == (None, None, None)
    assert score.median_error.value == pytest.approx(0.25)


def test_a_median_over_one_series_has_no_spread_between_series():
    one = over_series(np.array([1.0, 2.0, 9.0]), ["a", "a", "a"], np.median)
    assert (one.value, one.low, one.high) == (2.0, 2.0, 2.0)
    two = over_series(np.array([1.0, 1.0, 9.0, 9.0]), ["a", "a", "b", "b"], np.median)
    assert (two.value, two.low, two.high) == (5.0, 1.0, 9.0)


def test_a_share_of_one_is_not_certain_and_more_cases_of_a_series_do_not_make_it_so():
    few = share_over_series(np.ones(3), ["a", "b", "c"])
    many = share_over_series(np.ones(6), ["a", "b", "c"] * 2)
    assert few == many
    # Wilson 1927 for 3 of 3: n / (n + z^2) with z = 1.6449.
    assert few.low == pytest.approx(3 / (3 + 1.6448536**2), rel=1e-6)
    assert few.high == 1.0


def test_todays_practice_gives_a_noise_free_hyperbola_back():
    law = Hyperbola(min_steps=120, critical_batch_size=700)
    sizes = 2 ** np.arange(4, 11)
    known = KnownRows(
        measurements=measured(sizes, law.steps_to_target(sizes)), choice=FitChoice(laws=())
    )
    (forecast,) = todays_practice(known, [8192])
    # The optimiser stops at relative changes of 1e-8 in the squared residuals.
    assert forecast.steps == pytest.approx(float(law.steps_to_target(8192)), rel=1e-5)
    assert (forecast.low, forecast.high) == (None, None)


def test_a_law_that_is_added_to_the_laws_is_a_forecaster():
    assert list(FORECASTERS) == [*LAW_NAMES, AVERAGED, TODAYS_PRACTICE]
    assert laws_needed([AVERAGED]) == AVERAGED_LAWS
    assert laws_needed([AVERAGED, "gaussian_process"]) == (*AVERAGED_LAWS, "gaussian_process")
    assert laws_needed(["hyperbola", TODAYS_PRACTICE]) == ("hyperbola",)
    assert laws_needed([TODAYS_PRACTICE]) == ()


def test_a_laws_forecast_from_the_shared_fit_is_that_of_fitting_it_alone():
    rows = choose_series(["mlperf_reference_google"])[0].rows
    known_rows = rows.take(rows.batch_size <= 32768)
    shared = KnownRows(measurements=known_rows, choice=FitChoice(laws=LAW_NAMES, replicates=50))
    (forecast,) = of_law("hyperbola")(shared, [65536])
    alone = fit_laws(known_rows, FitChoice(laws=("hyperbola",), replicates=50))
    (answer,) = predict(alone, [65536])
    assert forecast == Forecast(
        steps=answer.steps.estimate, low=answer.steps.low, high=answer.steps.high
    )


def test_no_forecast_depends_on_rows_beyond_its_origin():
    (series,) = choose_series(["mlperf_v0.6_lars"])
    rows = series.measurements
    beyond = rows.batch_size > 4096
    rng = np.random.default_rng(0)
    factor = np.where(beyond, rng.uniform(5.0, 50.0, len(rows)), 1.0)
    spoiled = replace(
        rows,
        steps=rows.steps * factor,
        steps_low=rows.steps_low * factor,
        steps_high=rows.steps_high * factor,
        weight=np.where(beyond, 7.0, 1.0),
    )

    def forecasts(measurements):
        outcomes = back_test(
            [replace(series, measurements=measurements)],
            forecasters=tuple(FORECASTERS),
            replicates=50,
        )
        return [
            (each.forecaster, each.case, each.forecast)
            for each in outcomes
            if each.case.largest_fitted == 4096 and each.case.also_fitted is None
        ]

    assert len(forecasts(rows)) >= 2 * len(FORECASTERS)
    assert forecasts(spoiled) == forecasts(rows)


def test_todays_practice_misses_the_reference_points_by_what_the_issue_measured():
    (series,) = choose_series(["mlperf_reference"])
    rows = series.rows
    at_end = rows.take(rows.batch_size == 65536)
    truth = np.exp(0.5 * np.log(at_end.steps_low * at_end.steps_high).mean())
    errors = []
    for largest in (8192, 13056, 32768):
        known = KnownRows(
            measurements=rows.take(rows.batch_size <= largest), choice=FitChoice(laws=())
        )
        errors.append(todays_practice(known, [65536])[0].steps / truth - 1)
    # Deterministic; one per mille is left for other versions of the optimiser.
    np.testing.assert_allclose(errors, [0.270, 0.131, -0.055], atol=1e-3)
    # The issue: 26 % and 11 % too high, 7 % too low, with a robust loss that it doesn't name.
    np.testing.assert_allclose(errors, [0.26, 0.11, -0.07], atol=0.025)


def test_todays_practice_keeps_its_figures_over_all_series():
    found = {
        (score.part, score.design, score.factor): score
        for score in scores(back_test(steps_series(), forecasters=[TODAYS_PRACTICE]))
    }
    # (cases, series, median error, its 90th percentile); deterministic, so the tolerance of half
    # a per cent is for other versions of the optimiser only.
    expected = {
        ("workload", "rolling", 2): (35, 15, 0.084, 0.21),
        ("workload", "rolling", 4): (20, 11, 0.166, 0.45),
        ("workload", "rolling", 8): (6, 5, 0.280, 1.29),
        ("workload", "largest", 2): (16, 16, 0.079, 0.19),
        ("workload", "largest", 4): (11, 11, 0.161, 0.55),
        ("workload", "largest", 8): (5, 5, 0.280, 1.33),
        ("workload", "one_more", 8): (5, 4, 0.141, 0.23),
        ("resnet50_cut", "one_more", 8): (20, 9, 0.057, 0.08),
        ("resnet50_cut", "rolling", 2): (59, 18, 0.046, 0.13),
        ("resnet50_cut", "rolling", 4): (39, 13, 0.114, 0.23),
        ("resnet50_cut", "rolling", 8): (27, 9, 0.231, 0.38),
        ("resnet50_cut", "largest", 2): (20, 20, 0.069, 0.19),
        ("resnet50_cut", "largest", 4): (14, 14, 0.099, 0.33),
        ("resnet50_cut", "largest", 8): (11, 11, 0.341, 0.60),
    }
    assert set(found) == set(expected)
    for key, (num_cases, num_series, median, high) in expected.items():
        score = found[key]
        assert (score.num_cases, score.num_series) == (num_cases, num_series)
        assert score.median_error.value == pytest.approx(median, abs=0.005)
        assert score.high_error == pytest.approx(high, abs=0.01)


@pytest.mark.slow
def test_averaged_predictions_hold_the_measured_value_and_stay_near_todays_practice():
    workloads = [each for each in steps_series() if each.part == "workload"]
    found = {
        score.factor: score
        for score in scores(back_test(workloads, forecasters=[AVERAGED]))
        if (score.part, score.design) == ("workload", "rolling")
    }
    # One-sided: better is welcome. Measured: 9.0 %, 15.0 % and 31 %, coverages of 0.89, 0.85 and
    # 1.00; a quarter to two fifths more error would be a fault.
    for factor, largest_median in ((2, 0.12), (4, 0.187), (8, 0.43)):
        assert found[factor].median_error.value <= largest_median
        # 0.90 less two standard errors of a share over 15 and 11 series is 0.745 and 0.72.
        assert found[factor].coverage.value >= 0.745
        assert found[factor].median_width is not None


def test_the_average_has_the_upturn_where_the_largest_batch_sizes_never_reached():
    law = KneeWithUpturn(min_steps=120, critical_batch_size=300, turning_batch_size=900)
    sizes = 2 ** np.arange(4, 13)
    steps = law.steps_to_target(sizes)
    steps[-1] = 4000.0
    rows = measured(sizes, steps, reached=sizes < 4096)
    known = KnownRows(measurements=rows, choice=FitChoice(laws=AVERAGED_LAWS, replicates=200))
    (found,) = averaged(known, [8192])
    fit = fit_laws(rows, FitChoice(replicates=200))
    assert "knee_with_upturn" in [each.name for each in fit.laws]
    assert found.steps == estimated_steps(fit, 8192)


def test_backtest_prints_each_forecaster_at_each_distance(run_command_line):
    code, out, error = run_command_line(
        "backtest", "--series", "mlperf_reference_google", "--replicates", 50
    )
    assert (code, error) == (0, "")
    for name in FORECASTERS:
        assert name in out
    assert out.startswith("1 published series of steps to target; 1 ")
    assert "todays_practice" in out and "coverage" in out


def test_backtest_prints_one_json_object_and_the_same_one_again(run_command_line):
    words = ("backtest", "--series", "mlperf_v0.5_sgd", "--law", "hyperbola", "todays_practice")
    code, out, error = run_command_line(*words, "--replicates", 50, "--level", 0.8, "--json")
    assert (code, error) == (0, "")
    answer = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (answer["level"], answer["replicates"]) == (0.8, 50)
    (series,) = answer["series"]
    assert series["source"]["file"] == "mlperf_results_resnet_runs.csv"
    assert series["batch_sizes"] == [1024, 2048, 4096, 16384]
    assert {case["forecaster"] for case in answer["cases"]} == {"hyperbola", "todays_practice"}
    assert {case["batch_size"] for case in answer["cases"]} == {16384}
    assert run_command_line(*words, "--replicates", 50, "--level", 0.8, "--json")[1] == out


def test_series_without_a_case_give_no_scores(run_command_line):
    code, out, _ = run_command_line("backtest", "--series", "mlperf_v0.7_sgd", "--json")
    answer = json.loads(out)
    assert (code, answer["scores"], answer["cases"]) == (0, [], [])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--series", "imagenet"), "--series 'imagenet' is not one of: mlperf_reference, "),
        (("--law", "line"), "--law 'line' is not one of: hyperbola, "),
        (("--replicates", "5"), "--replicates 5 must lie in 50 .. 100000"),
        (("--level", "1.5"), "--level 1.5"),
        (("--replicates", "many"), "argument --replicates: invalid int value: 'many'"),
    ],
)
def test_a_bad_flag_of_backtest_is_refused_in_one_line(words, says, run_command_line):
    code, out, error = run_command_line("backtest", *words)
    assert (code, out) == (2, "")
    assert says in error
    assert error.count("\n") == 1


def test_a_table_of_ones_own_is_back_tested_by_workload(tmp_path, run_command_line):
    sizes = 2 ** np.arange(3, 10)
    lines = [
        f"{word},{size},{float(Hyperbola(min_steps=100, critical_batch_size=knee).examples(size))}"
        for word, knee in (("small", 40), ("large", 300))
        for size in sizes
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["workload,batch_size,examples", *lines]))
    code, out, error = run_command_line("backtest", "--table", path, "--law", "todays_practice")
    assert (code, error) == (0, "")
    assert out.startswith("2 own series of steps to target; 2 are long and wide enough")
    assert "YOUR TABLES" in out and "ONE SERIES" not in out
    code, out, error = run_command_line("backtest", "--table", path, "--series", "mlperf_bert")
    assert (code, out) == (2, "") and error.startswith("error: --series:")
