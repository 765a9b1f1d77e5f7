"""The paper's numbers: rounding, agreement with the records, and sentences that can turn false."""

import copy
import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.published.csv_files import read_published
from paper.numbers.claims import CLAIMS, check_claims
from paper.numbers.full_batch import best_of
from paper.numbers.quoted import Quoted, direction, geometric_mean_of, mean_of
from paper.numbers.reproduction import dictionary_digests, unlisted_or_changed
from paper.numbers.study import RESULTS, as_text, numbers_of
from paper.numbers.sweep_numbers import verdict_over
from paper.numbers.sweep_records import sweep_files


@pytest.fixture(scope="module")
def numbers(study):
    return numbers_of(study)


def record(name):
    with (RESULTS / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("low", "estimate", "high", "said"),
    [
        (74.2, 114.4, 181.9, "110 (70 to 180)"),  # a width of 108: tens
        (18.12, 22.13, 26.91, "22.1 (18.1 to 26.9)"),
        (0.3376, 0.3458, 0.3532, "0.346 (0.338 to 0.353)"),
        (2004.0, 8120.0, 66012.0, "8,000 (2,000 to 66,000)"),
        (0.04, 0.9, 12.0, "0.90 (0.04 to 12.00)"),  # an end above 0 stays above it
        (-0.58, -0.31, -0.04, "\u22120.31 (\u22120.58 to \u22120.04)"),
    ],
)
def test_a_number_is_rounded_to_the_second_digit_of_its_intervals_width(low, estimate, high, said):
    assert Quoted(estimate=estimate, low=low, high=high, n=5).text == said


def test_an_open_end_is_said_as_a_bound():
    number = Quoted(estimate=math.inf, low=90.0, high=math.inf, n=5)
    assert number.text == "more than 90.0"
    assert number.full_text == "more than 90.0 (n = 5 runs)"
    half_open = Quoted(estimate=120.0, low=90.0, high=math.inf, n=5)
    assert half_open.text == "120 (90 to \u221e)"


def test_an_end_that_is_not_nothing_is_not_rounded_to_it():
    number = Quoted(estimate=2.17, low=0.983, high=5.2, n=5)
    assert number.interval_text == "1.0 to 5.2"
    number = Quoted(estimate=2.17, low=0.983, high=5.2, n=5, nothing=1.0)
    assert number.interval_text == "0.98 to 5.20"


def test_words_of_direction_need_an_interval_that_leaves_out_nothing():
    words = ("larger than", "smaller than", "not told from")
    said = [
        direction(Quoted(estimate=1.5, low=low, high=high, n=2), 1.0, words)
        for low, high in ((1.1, 2.0), (0.2, 0.9), (0.9, 2.0))
    ]
    assert said == list(words)
    parts = [{"word": "larger than"}, {"word": "larger than"}, {"word": "not told from"}]
    assert verdict_over(parts, "word", words) == (
        "larger than momentum\u2019s on 2 workloads and not told from momentum\u2019s on 1 workload"
    )
    assert verdict_over(parts[:2], "word", words) == "larger than momentum\u2019s"


def test_means_have_students_interval_over_their_values():
    number = mean_of([1.0, 2.0, 3.0])  # t of 2 degrees at 0.95: 2.9200
    assert (number.estimate, number.n) == (2.0, 3)
    np.testing.assert_allclose(number.high - 2.0, 2.919986 / math.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(geometric_mean_of([1.0, 4.0]).estimate, 2.0, rtol=1e-12)


def test_the_best_of_all_runs_is_the_best():
    assert best_of(np.array([0.1, 0.5, 0.9, 0.4]), 4, draws=10).estimate == 0.9


def test_the_numbers_are_the_same_for_the_same_records(study, numbers):
    assert as_text(numbers_of(study)) == as_text(numbers)


def test_the_published_full_batch_numbers_are_those_of_the_logs(numbers):
    rows = {row["optimizer"]: row for row in numbers["full_batch"]["published"]["rows"]}
    best = {
        row["optimizer_dir"]: f"{100 * float(row['best_test_accuracy']):.2f} %"
        for row in read_published("you_mnist_tpu_fullbatch_best.csv")
        if row["batch_size"] == "60000"
    }
    assert rows["SGD with momentum"]["best"] == best["momentum_poly"] == "92.44 %"
    assert rows["LARS"]["best"] == best["momentum_lars"] == "97.27 %"
    assert rows["LAMB"]["best"] == best["lamb"] == "98.87 %"
    assert numbers["full_batch"]["published"]["steps"] == 35


def test_the_sweeps_numbers_are_those_of_its_rows(numbers):
    rows = [row for row in record("fashion_mnist.csv") if row["batch_size"] == "60000"]
    logs = np.log([float(row["steps"]) for row in rows])
    (said,) = numbers["sweeps"]["rows"]
    np.testing.assert_allclose(said["steps_at_largest"]["value"], np.exp(logs.mean()), rtol=1e-12)
    assert said["n"] == len(record("fashion_mnist.csv"))
    held = [row["batch_size"] for row in numbers["sweeps"]["held_out"]["rows"]]
    assert held == ["16,384", "60,000"]


def test_the_growing_batchs_numbers_are_those_of_its_runs(numbers):
    runs = record("batch_growth_digits.csv")
    accuracy = {(row["arm"], row["seed"]): float(row["validation_accuracy"]) for row in runs}
    pairs = [accuracy["growing", seed] - accuracy["decay", seed] for _, seed in accuracy]
    said = next(row for row in numbers["growth"]["rows"] if row["arm"] == "growing")
    np.testing.assert_allclose(said["points"]["value"], np.mean(pairs), rtol=1e-9)
    assert said["seeds"] == len({row["seed"] for row in runs})


def test_the_sweeps_back_test_says_what_its_cases_say(numbers):
    cases = [row for row in record("backtest_sweeps_cases.csv") if row["design"] == "largest"]
    said = numbers["back_test"]["largest"]
    assert [row["cases"] for row in said] == [10, 10, 10]
    for row, factor in zip(said, ("2", "4", "8"), strict=True):
        for key, name in (("error", "averaged"), ("practice", "todays_practice")):
            chosen = [
                case for case in cases if (case["factor"], case["forecaster"]) == (factor, name)
            ]
            errors = [abs(float(case["steps"]) / float(case["measured"]) - 1) for case in chosen]
            # Cases are recorded with five digits.
            np.testing.assert_allclose(row[key]["value"], np.median(errors), atol=1e-4)


def test_every_number_with_an_interval_says_what_it_rests_on(numbers):
    def walk(value):
        if isinstance(value, dict):
            if {"low", "high", "value"} <= value.keys():
                assert value["n"] >= 1 and value["of"] and value["level"] == 0.9
                assert f"n = {value['n']:,} {value['of']}" in value["full"]
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(numbers)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("walks", "not_log"), 3, "no setting of the walks follows log t"),
        (("walks", "below_half"), False, "every exponent of the walks lies below 1/2"),
        (("back_test", "better", "clear"), 1, "no error is told from today's practice"),
        (("growth", "rows", 1, "share_of_steps"), "71 %", "less than half of the steps"),
    ],
)
def test_a_record_that_contradicts_a_sentence_stops_the_build(numbers, path, value, sentence):
    check_claims(numbers)
    changed = copy.deepcopy(numbers)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError) as refused:
        check_claims(changed)
    assert sentence in str(refused.value)
    assert str(refused.value).count(";") == 0  # that sentence alone
    assert any(sentence in claim for claim in CLAIMS)


def test_every_record_is_in_the_data_dictionary_with_its_digest():
    assert unlisted_or_changed(RESULTS) == []
    assert len(dictionary_digests(RESULTS)) >= 18


def test_a_changed_a_missing_and_an_unlisted_record_are_named(tmp_path):
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results)
    (results / "costs.csv").write_text("changed\n")
    (results / "fashion_mnist.csv").unlink()
    (results / "new.csv").write_text("a\n")
    walk = next((results / "diffusion_fashion_mnist").iterdir())
    walk.write_text(walk.read_text() + "\n")
    assert unlisted_or_changed(results) == [
        "fashion_mnist.csv: listed, not there",
        "costs.csv: changed",
        "new.csv: not in the data dictionary",
        "diffusion_fashion_mnist/: changed, or not in the data dictionary",
    ]


def test_a_sweep_of_the_rows_alone_gives_way_to_one_with_trials(tmp_path):
    shutil.copy(RESULTS / "fashion_mnist.csv", tmp_path)
    (only,) = sweep_files(tmp_path)
    assert (only.workload, only.has_trials) == ("fashion_mnist", False)
    assert isinstance(only.path, Path)
