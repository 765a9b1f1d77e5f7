"""lint: what is unusual in a user's file beside published runs, and on what row that stands."""

import inspect
import json
import re
from pathlib import Path

import pytest
import yaml

from fullscale.recipes.__main__ import main
from fullscale.recipes.catalogue import all_recipes
from fullscale.recipes.lint import compare
from fullscale.recipes.lint_words import lint_file
from fullscale.recipes.on_record import settings_on_record
from fullscale.recipes.run_settings import MODEL_DEFAULTS, settings_of
from models_of_scaling.published.csv_files import read_published


def settings(recipe, *, batch_size=None, drop=(), **model):
    content = yaml.safe_load(all_recipes()[recipe].text)
    content["model"].update(model)
    for name in drop:
        del content["model"][name]
    if batch_size is not None:
        content["data"]["global_batch_size"] = batch_size
    return content


def lint(recipe, **changes):
    return compare(settings_of(settings(recipe, **changes), place="my.yaml"))


def remarks(recipe, **changes):
    return {each.quantity: each for each in lint(recipe, **changes).remarks}


def run(capsys, *words):
    try:
        code = main([str(word) for word in words])
    except SystemExit as left:
        code = left.code
    return code, *capsys.readouterr()


def test_the_defaults_are_the_trainers():
    from fullscale.module import Classifier

    flags = inspect.signature(Classifier.__init__).parameters
    assert {name: each.default for name, each in flags.items() if name != "self"} == MODEL_DEFAULTS


def test_a_rate_beyond_all_and_a_short_warm_up_are_said_with_the_rows_they_stand_on():
    found = remarks("resnet50_lars_32k", learning_rate=51.0, warmup="5 epochs")
    assert set(found) == {"peak_learning_rate", "warmup_epochs"}
    rates = [
        float(row["base_lr"])
        for row in read_published("mlperf_results_resnet_runs.csv")
        if row["batch_size"] in {"32256", "32768", "33280"} and row["optimizer"] == "lars"
        and row["division"] == "closed"
    ]  # fmt: skip
    words = found["peak_learning_rate"].words
    assert f"51 is {51 / max(rates):.2g}x the largest on record for LARS at 32,256 to" in words
    assert "linearly" in words and "by the square root" in words
    assert "warm-up 5 epochs is 0.62x the shortest on record" in found["warmup_epochs"].words
    assert all(each.expectation is None for each in found.values())
    rows = dict(enumerate(read_published("mlperf_results_resnet_runs.csv"), start=2))
    for remark, column, value in zip(
        found.values(), ("base_lr", "warmup_epochs"), (33.0, 8.0), strict=True
    ):
        first, last = re.search(r"runs\.csv lines (\d+)-(\d+)", remark.source).groups()
        lines = range(int(first), int(last) + 1)
        assert {float(rows[line][column]) for line in lines} == {value}
        assert f"n = {len(lines)})" in remark.words


def test_no_recipe_is_outside_the_record_that_it_belongs_to():
    unusual = {
        (name, each.quantity)
        for name, recipe in all_recipes().items()
        if recipe.model["name"] == "resnet50"
        for each in compare(settings_of(recipe.settings, place=name)).remarks
    }
    # Momentum SGD lost accuracy there; and the momentum that Kumar's logs don't record is a guess.
    assert unusual == {
        ("resnet50_nesterov_haiku_32768", "batch_size"),
        ("resnet50_lars_32k_kumar2019", "momentum"),
    }


def test_every_log_that_counts_is_in_one_setting_and_open_systems_are_in_none():
    lines = []
    for each in settings_on_record():
        if "runs.csv" in each.source:
            ranges = re.search(r"lines? ([\d, -]+) \(", each.source)[1].split(", ")
            ends = [list(map(int, part.split("-"))) for part in ranges]
            its = [line for a, *b in ends for line in range(a, (b or [a])[0] + 1)]
            assert each.num_runs == len(its), each.source
            lines += its
    assert len(lines) == len(set(lines)) > 1000
    rows = dict(enumerate(read_published("mlperf_results_resnet_runs.csv"), start=2))
    assert all(rows[line]["division"] == "closed" for line in lines)
    assert not any("open" in rows[line]["system"] for line in lines)


@pytest.mark.parametrize(
    ("changes", "quantity", "lost", "lines"),
    [
        ({"warmup": "0 epochs"}, "warmup_epochs", 24.84 - 23.74, (6, 10)),
        ({"learning_rate": 0.1}, "peak_learning_rate", 41.67 - 23.74, (6, 8)),
        ({"learning_rate": 1.6}, "peak_learning_rate", 24.27 - 23.74, (6, 5)),
        ({"learning_rate": 6.4}, "peak_learning_rate", 24.05 - 23.74, (6, 7)),
    ],
)
def test_what_goyal_measured_is_expected_and_cited(changes, quantity, lost, lines):
    remark = remarks("resnet50_nesterov_8k_goyal2017", **changes)[quantity]
    assert remark.expectation.words.startswith(f"about {lost:.1f} points of top-1 less")
    assert remark.expectation.source == f"goyal2017_tables.csv lines {lines[0]} and {lines[1]}"


def test_beyond_what_was_tried_at_least_that_is_expected_and_between_nothing():
    recipe = "resnet50_nesterov_8k_goyal2017"
    far = remarks(recipe, learning_rate=12.8)["peak_learning_rate"]
    assert far.expectation.words.startswith("at least about 0.3 points")
    assert remarks(recipe, learning_rate=5.0)["peak_learning_rate"].expectation is None
    # No warm-up was tried at the full rate only.
    gentle = remarks(recipe, learning_rate=1.0, warmup="0 epochs")
    assert gentle["warmup_epochs"].expectation is None


def test_a_batch_at_which_momentum_lost_accuracy_is_said():
    recipe = "resnet50_nesterov_8k_goyal2017"
    assert "batch_size" not in remarks(recipe)
    remark = remarks(recipe, batch_size=16384, learning_rate=6.4)["batch_size"]
    assert remark.expectation.words.startswith("at least about 1.2 points of top-1 less")
    assert remark.source == "goyal2017_tables.csv lines 3 and 12"


def test_a_run_shorter_than_the_fastest_is_expected_to_miss_the_target():
    recipe = "resnet50_lars_32k"
    remark = remarks(recipe, train_duration="54 epochs")["train_epochs"]
    assert "55 epochs (mlperf_rcp_resnet_summary.csv line 14, n = 10)" in remark.words
    assert remark.expectation.words == "75.9 % top-1 not to be met"
    same_in_steps = remarks(recipe, train_duration="2112 steps")["train_epochs"]
    assert same_in_steps.expectation == remark.expectation
    assert not remarks(recipe, train_duration="58 epochs")
    # An easier target may be met sooner.
    easy = {"train_duration": "54 epochs", "target": "validation_accuracy>=0.7"}
    assert remarks(recipe, **easy)["train_epochs"].expectation is None


def test_a_rate_that_no_scaling_explains_is_unusual_where_none_is_on_record():
    def rate(value):
        return remarks("resnet50_lars_32k", batch_size=24_000, learning_rate=value)

    assert "peak_learning_rate" not in rate(20.0)
    assert "whether scaled or not" in rate(60.0)["peak_learning_rate"].words
    assert "below every LARS rate" in rate(1.0)["peak_learning_rate"].words


def test_without_a_neighbour_nothing_is_judged_but_the_batch_size():
    found = lint("resnet50_lars_32k", batch_size=1_281_167, learning_rate=1e6, momentum=0.1)
    assert [each.quantity for each in found.remarks] == ["batch_size"]
    assert "19x the largest on record for LARS with its settings, 67,840" in found.remarks[0].words
    assert "131,072 with K-FAC" in found.remarks[0].words
    assert "no LARS run is on record within a factor of 2" in found.not_compared[0]


@pytest.mark.parametrize(
    ("recipe", "changes", "words"),
    [
        ("digits_mlp_momentum_256", {}, "all are ResNet-50 on ImageNet"),
        ("resnet50_lars_32k", {"name": "resnet18"}, "all are ResNet-50 on ImageNet"),
        ("resnet50_lars_32k", {"optimizer": "adamw"}, "no published run here is with optimizer"),
        ("resnet50_lars_32k", {"optimizer": "lookahead:lars"}, "with optimizer lookahead:lars"),
    ],
)
def test_another_workload_or_optimizer_is_not_judged(recipe, changes, words):
    found = lint(recipe, **changes)
    assert not found.remarks
    assert words in found.not_compared[0]


def test_a_trust_coefficient_and_a_rate_that_cancel_leave_the_rate_usual():
    numbers = {"trust_coefficient": 0.002}
    found = remarks("resnet50_lars_32k", learning_rate=10.6, optimizer_numbers=numbers)
    assert set(found) == {"trust_coefficient"}
    assert "2x that of MLPerf's" in found["trust_coefficient"].words


def test_decayed_batch_norm_and_a_span_that_follows_the_devices_are_said():
    found = remarks("resnet50_lars_32k", no_decay="bias", drop=["batch_norm_span"])
    assert set(found) == {"no_decay", "batch_norm_span"}
    assert "changes with the devices" in found["batch_norm_span"].words


def test_the_command_says_remarks_with_exit_code_0_and_the_same_as_json(tmp_path, capsys):
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(settings("resnet50_lars_32k", learning_rate=51.0)))
    code, out, err = run(capsys, "lint", file)
    assert (code, err) == (0, "")
    assert "1.5x the largest on record" in " ".join(out.split())
    assert "no published row shows what comes of it" in out
    code, out, _ = run(capsys, "lint", file, "--json")
    (remark,) = json.loads(out)["remarks"]
    assert (code, remark["quantity"], remark["expectation"]) == (0, "peak_learning_rate", None)
    assert remark["source"].startswith("mlperf_results_resnet_runs.csv lines ")


def test_an_adapted_regime_is_compared_by_the_rate_and_lengths_that_it_comes_to():
    adapted = settings(
        "resnet50_lars_32k",
        learning_rate=2.5,
        warmup="0.25 epochs",
        train_duration="5000 steps",
        adapt_regime_from=256,
    )
    found = settings_of(adapted, place="my.yaml").quantities
    plain = settings(
        "resnet50_lars_32k",
        learning_rate=2.5 * 128**0.5,
        warmup="32 epochs",
        train_duration="5000 steps",
    )
    assert found == pytest.approx(settings_of(plain, place="my.yaml").quantities)


def test_the_page_shows_what_the_command_prints():
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    shown = page.split("$ python -m fullscale.recipes lint mine.yaml\n")[1].split("\n```")[0]
    text = all_recipes()["resnet50_lars_mlperf_32768"].text
    for old, new in (("learning_rate: 21.2", "learning_rate: 51"), ("16 epochs", "5 epochs"),
                     ("2267 steps", "50 epochs")):  # fmt: skip
        text = text.replace(old, new)
    assert lint_file(text, place="mine.yaml", as_json=False) == shown


GOOD = "model: {name: resnet50, optimizer: lars}\ndata: {global_batch_size: 32768}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "can't be read: No such file"),
        ("a: [", "not a YAML file"),
        ("- 1", "must hold sections trainer, model and data"),
        ("model: {}\n", "section data is missing"),
        ("model: 3\ndata: {}\n", "section model is missing, or holds no settings"),
        ("model: {}\ndata: {}\n", "data.global_batch_size is missing"),
        (GOOD.replace("32768", "many"), "data.global_batch_size 'many' must be a finite"),
        (GOOD.replace("32768", "0"), "global_batch_size 0 must be a whole number, at least 1"),
        (GOOD.replace("32768", "99.5"), "global_batch_size 99.5 must be a whole number"),
        (GOOD.replace("name: res", "learning_rate: .nan, name: res"), "nan must be a finite"),
        (GOOD.replace("name: res", "learning_rate: true, name: res"), "True must be a finite"),
        (GOOD.replace("name: res", "weight_decay: -1, name: res"), "-1 must be finite and not"),
        (
            GOOD.replace("name: res", "optimizer_numbers: {trust_coefficient: 0}, name: res"),
            "model.optimizer_numbers.trust_coefficient 0.0 must be positive",
        ),
        (
            GOOD.replace("name: res", "warmup: 20 epochs, name: res"),
            "model.warmup 20 epochs must be shorter than model.train_duration 20 epochs",
        ),
        (GOOD.replace("name: res", "lerning_rate: 1, name: res"), "did you mean learning_rate?"),
        (GOOD.replace("name: res", "learning_rate: 0, name: res"), "learning_rate 0 must be"),
        (GOOD.replace("name: res", "momentum: big, name: res"), "model.momentum 'big' must be"),
        (GOOD.replace("name: res", "warmup: 5, name: res"), "model.warmup '5' is not of the form"),
        (GOOD.replace("name: res", "target: fast, name: res"), "target"),
        (GOOD.replace("lars", "lasr"), "optimizer 'lasr' is not one of"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it_and_exit_code_2(text, words, tmp_path, capsys):
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text)
    code, out, err = run(capsys, "lint", file)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "bad.yaml: " in err
    assert words in err


def test_numbers_that_a_file_leaves_out_are_the_optimizers_own(tmp_path, capsys):
    file = tmp_path / "my.yaml"
    file.write_text(GOOD.replace("resnet50,", "resnet50, train_duration: 90 epochs,")
                    .replace("32768", "32768, name: image_folder"))  # fmt: skip
    _, out, _ = run(capsys, "lint", file)
    text = " ".join(out.split())
    # LARS's own: momentum 0.9, no weight decay; the trainer's: rate 0.1, no warm-up.
    assert "peak learning rate 0.1 is" in text
    assert "weight decay 0 is below the smallest on record" in text
    assert "warm-up 0 epochs is below the shortest on record" in text
