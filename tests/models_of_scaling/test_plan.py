"""Plans: which batch size, rate, warm-up and length, each by its stated rule."""

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from fullscale.durations import Duration
from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.machine.machines import Machines
from models_of_scaling.machine.steps_draws import StepsDraws
from models_of_scaling.planning.plan import Sources, make_plan
from models_of_scaling.planning.plan_choice import choose_run
from models_of_scaling.planning.plan_file import plan_text, read_settings
from models_of_scaling.planning.run_length import duration_in_steps
from models_of_scaling.planning.tuned_values import (
    Tuned,
    default_rule,
    numbers_at,
    scaled_rate,
    tuned_values,
)
from models_of_scaling.prediction import estimated_steps
from models_of_scaling.published.csv_files import read_published
from models_of_scaling.targets import Target
from models_of_scaling.trials import trials_to_table

LAW = Hyperbola(min_steps=1000, critical_batch_size=4096)
SIZES = 2 ** np.arange(6, 16)
RECIPES = Path(__file__).parents[2] / "fullscale" / "recipes"
ONE = Machines(nodes=(1,), devices_per_node=8)
BASE = {
    "trainer": {"accelerator": "gpu", "precision": "bf16-mixed"},
    "model": {
        "name": "resnet50",
        "optimizer": "momentum",
        "learning_rate": 0.1,
        "end_learning_rate": 0.001,
        "momentum": 0.9,
        "warmup": "1 epochs",
        "decay_power": 2.0,
        "target": "validation_accuracy>=0.759",
    },
    "data": {"name": "image_folder", "global_batch_size": 256, "evaluate_every": "1 epochs"},
}


@pytest.fixture(scope="module")
def fit(simulated):
    choice = FitChoice(laws=("hyperbola",))
    rows = simulated.measurements(SIZES, LAW.steps_to_target(SIZES))
    return dataclasses.replace(fit_laws(rows, choice), num_train_examples=1_281_167)


def tuned_at(batch_size, learning_rate, momentum=0.9, **schedule):
    return Tuned(
        batch_size=batch_size,
        numbers={"learning_rate": learning_rate, "momentum": momentum, "weight_decay": 1e-4},
        schedule=schedule,
        dataset="digits",
        model="mlp",
        optimizer="momentum",
        reached=True,
    )


def planned(fit, *, batch_size=8192, base=BASE, tuned=(), machines=ONE, probability=0.95, **more):
    choice = choose_run(
        fit, None, machines, [batch_size], objective="balanced", probability=probability
    )
    return make_plan(fit, choice, Sources(base=base, tuned=tuned, **more))


def test_without_a_step_time_balanced_is_the_critical_batch_size_of_the_hyperbola(fit):
    """S E = S_min E_min (1 + B_crit / B)(1 + B / B_crit) is least at B = B_crit."""
    choice = choose_run(
        fit, None, ONE, [int(size) for size in SIZES], objective="balanced", probability=0.9
    )
    assert choice.placement.batch_size == 4096
    assert "by steps and examples alone" in choice.reasons[0]


def test_without_a_step_time_fastest_and_cheapest_stop_within_a_tenth_of_the_best(fit):
    sizes = [int(size) for size in SIZES]
    steps = {size: float(LAW.steps_to_target(size)) for size in sizes}
    fastest, cheapest = (
        choose_run(fit, None, ONE, sizes, objective=each, probability=0.9).placement.batch_size
        for each in ("fastest", "cheapest")
    )
    least = min(steps.values())
    assert steps[fastest] <= 1.1 * least < steps[fastest // 2]
    fewest = min(size * count for size, count in steps.items())
    assert cheapest * steps[cheapest] <= 1.1 * fewest < 2 * cheapest * steps[2 * cheapest]


def test_several_numbers_of_nodes_need_a_step_time(fit):
    with pytest.raises(InputError, match="the time of a step must be known"):
        choose_run(
            fit, None, Machines(nodes=(1, 2), devices_per_node=8), [64],
            objective="fastest", probability=0.9,
        )  # fmt: skip
    with pytest.raises(InputError, match="8 devices need a batch size of at least 8"):
        choose_run(fit, None, ONE, [4], objective="fastest", probability=0.9)
    with pytest.raises(InputError, match="--probability 1.0 must be in"):
        choose_run(fit, None, ONE, [64], objective="fastest", probability=1.0)


def test_the_length_is_the_stated_quantile_of_what_a_new_study_would_measure(fit, simulated):
    rng = np.random.default_rng(1)
    noisy = LAW.steps_to_target(SIZES) * np.exp(0.1 * rng.standard_normal(len(SIZES)))
    noisy_fit = fit_laws(simulated.measurements(SIZES, noisy), FitChoice())
    values, weights = StepsDraws(noisy_fit, seed=0).predictive(2048)
    lengths = []
    for probability in (0.8, 0.95, 0.99):
        choice = choose_run(
            noisy_fit, None, ONE, [2048], objective="fastest", probability=probability
        )
        lengths.append(choice.length_steps)
        assert weights[values <= choice.length_steps].sum() >= probability - 1e-9
        assert weights[values <= choice.length_steps - 1].sum() < probability
    assert lengths == sorted(set(lengths)) and lengths[0] > estimated_steps(noisy_fit, 2048)


def test_a_target_that_no_length_reaches_with_the_probability_is_refused(fit):
    law = fit.laws[0]
    steps = law.replicates["min_steps"]
    some = dataclasses.replace(
        law,
        replicates=law.replicates
        | {"min_steps": tuple(math.inf if i % 10 == 0 else x for i, x in enumerate(steps))},
    )
    doubtful = dataclasses.replace(fit, laws=(some,))
    words = {"objective": "fastest", "probability": 0.95}
    with pytest.raises(InputError, match="not reached with that probability at batch size 2048"):
        choose_run(doubtful, None, ONE, [2048], **words)
    assert choose_run(doubtful, None, ONE, [2048], **words | {"probability": 0.8}).length_steps > 0


def test_the_length_in_the_plan_is_rounded_up_to_whole_evaluations(fit):
    plan = planned(fit)
    assert plan.settings["data"]["evaluate_every"] == "1 epochs"
    epoch = Duration.parse("1 epochs").to_steps(batch_size=8192, num_train_examples=1_281_167)
    length = int(plan.settings["model"]["train_duration"].removesuffix(" steps"))
    assert length % epoch == 0
    assert 0 <= length - plan.choice.length_steps < epoch


def test_a_target_of_training_loss_gets_one_evaluation_more_over_at_least_1024_examples(fit):
    base = copy.deepcopy(BASE)
    base["model"]["target"] = "train_loss<=0.05"
    del base["data"]["evaluate_every"]
    plan = planned(dataclasses.replace(fit, target="train_loss<=0.05"), base=base, batch_size=64)
    every = int(plan.settings["data"]["evaluate_every"].removesuffix(" steps"))
    assert every * 64 >= 1024
    length = int(plan.settings["model"]["train_duration"].removesuffix(" steps"))
    assert every <= length - plan.choice.length_steps < 2 * every
    assert any("mean since the last one" in reason for reason in plan.reasons)


def test_linear_and_square_root_rules_are_those_of_their_sources():
    """Goyal et al. 2017: 0.1 at 256 is 3.2 at 8,192; Krizhevsky 2014: by sqrt(k) for the root."""
    rate, words = scaled_rate(0.1, from_batch_size=256, to_batch_size=8192, rule="linear")
    assert rate == pytest.approx(3.2, rel=1e-12)
    assert "linear rule (Krizhevsky 2014; Goyal et al. 2017)" in words and "not tuned" in words
    rate, words = scaled_rate(0.1, from_batch_size=256, to_batch_size=1024, rule="sqrt")
    assert rate == pytest.approx(0.2, rel=1e-12)
    assert "square-root rule" in words
    assert scaled_rate(0.1, from_batch_size=256, to_batch_size=256, rule="sqrt")[0] == 0.1


def test_published_lars_rates_grow_no_faster_than_the_square_root():
    """What `default_rule` says of MLPerf's reference points, 1,632 to 65,536."""
    rates = {
        int(row["batch_size"]): float(row["base_lr"])
        for row in read_published("mlperf_rcp_resnet_summary.csv")
    }
    slope = math.log(rates[65536] / rates[1632]) / math.log(65536 / 1632)
    print(f"MLPerf LARS: rate grows as batch size to the power {slope:.2f}")
    assert 0.2 < slope < 0.5
    assert (default_rule("lars"), default_rule("momentum")) == ("sqrt", "linear")


def test_a_plan_scales_the_base_recipe_s_rates_and_says_by_which_rule(fit):
    plan = planned(fit)
    assert plan.settings["model"]["learning_rate"] == pytest.approx(3.2, rel=1e-6)
    assert plan.settings["model"]["end_learning_rate"] == pytest.approx(0.032, rel=1e-6)
    assert any("times 32 by the linear rule" in reason for reason in plan.reasons)
    root = planned(fit, rule="sqrt")
    assert root.settings["model"]["learning_rate"] == pytest.approx(0.1 * 32**0.5, rel=1e-5)
    same = planned(fit, batch_size=256)
    assert same.settings["model"]["learning_rate"] == 0.1
    given = planned(fit, learning_rate=0.7)
    assert given.settings["model"]["learning_rate"] == 0.7
    assert any("given by --learning-rate" in reason for reason in given.reasons)


def test_tuned_values_are_taken_where_there_are_some_interpolated_between_and_scaled_outside():
    tuned = [tuned_at(64, 0.1, 0.9), tuned_at(256, 0.1, 0.6)]
    numbers, words = numbers_at(tuned, 256, rule="linear")
    assert numbers == tuned[1].numbers and words == "tuned at batch size 256"
    numbers, words = numbers_at(tuned, 128, rule="linear")
    # Effective rates 1 and 0.25, dampings 0.1 and 0.4: geometric means 0.5 and 0.2.
    assert numbers["momentum"] == pytest.approx(0.8, rel=1e-6)
    assert numbers["learning_rate"] == pytest.approx(0.1, rel=1e-6)
    assert "interpolated" in words and "64" in words and "256" in words
    numbers, words = numbers_at(tuned, 1024, rule="linear")
    assert numbers["learning_rate"] == pytest.approx(0.4, rel=1e-6) and "not tuned" in words
    assert numbers_at(tuned, 16, rule="sqrt")[0]["learning_rate"] == pytest.approx(0.05, rel=1e-6)


def test_the_winner_of_each_batch_size_is_read_from_the_trials(simulated):
    rng = np.random.default_rng(0)
    trials = simulated.study_trials(LAW, [64, 256], rng, searched=16)
    table = trials_to_table(trials)
    found = tuned_values(table, Target.parse(simulated.TARGET), where="here")
    for each in found:
        repeated = {
            trial.hyper_parameters["learning_rate"]
            for trial in trials
            if trial.phase == "repeat" and trial.batch_size == each.batch_size
        }
        assert {each.numbers["learning_rate"]} == repeated
    assert [each.batch_size for each in found] == [64, 256]
    with pytest.raises(InputError, match="here: no trial reached validation_accuracy>=0.99"):
        tuned_values(table, Target.parse("validation_accuracy>=0.99"), where="here")


def test_a_plan_of_trials_alone_keeps_their_network_data_and_schedule(fit):
    fit = dataclasses.replace(fit, target="validation_accuracy>=0.9", num_train_examples=1024)
    constant = planned(fit, base=None, tuned=[tuned_at(64, 0.1)], batch_size=64).settings
    assert constant["model"] | {"train_duration": ""} == {
        "name": "mlp",
        "optimizer": "momentum",
        "target": "validation_accuracy>=0.9",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "warmup": "0 steps",
        "decay_power": 0.0,
        "train_duration": "",
    }
    assert constant["data"]["name"] == "digits"
    decayed = [tuned_at(64, 0.1, warmup_steps=10.0, decay_power=2.0)]
    plan = planned(fit, base=None, tuned=decayed, batch_size=128)
    assert plan.settings["model"]["warmup"] == "640 examples"  # 10 steps of 64
    assert plan.settings["model"]["decay_power"] == 2.0
    assert any("decays over this length" in reason for reason in plan.reasons)


def test_a_warm_up_in_steps_is_carried_over_in_examples_and_one_in_epochs_stays(fit):
    assert planned(fit).settings["model"]["warmup"] == "1 epochs"
    base = copy.deepcopy(BASE)
    base["model"]["warmup"] = "100 steps"
    assert planned(fit, base=base).settings["model"]["warmup"] == "25600 examples"
    assert planned(fit, base=base, warmup="7 steps").settings["model"]["warmup"] == "7 steps"
    base["model"]["warmup"] = "0 steps"
    assert any("consider --warmup '5 epochs'" in line for line in planned(fit, base=base).reasons)


def test_memory_and_machines_stand_in_the_plan_and_the_base_is_left_alone(fit):
    before = copy.deepcopy(BASE)
    machines = Machines(nodes=(4,), devices_per_node=8, max_per_device_batch_size=64)
    settings = planned(fit, machines=machines).settings
    assert settings["trainer"] == {
        "accelerator": "gpu", "precision": "bf16-mixed", "devices": 8, "num_nodes": 4,
    }  # fmt: skip
    assert settings["data"]["global_batch_size"] == 8192
    assert settings["data"]["max_per_device_batch_size"] == 64
    # Without a limit the whole share is one forward, not the trainer's default of 1,024.
    assert planned(fit, batch_size=32768).settings["data"]["max_per_device_batch_size"] == 4096
    assert before == BASE


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({}, {"base": None}, "give --base-config RECIPE.yaml .*, or --table"),
        ({"optimizer": "lars"}, {}, "model.optimizer 'momentum' is not that of the fit, 'lars'"),
        ({}, {"tuned": [tuned_at(64, 0.1)]}, "model.name 'resnet50' is not that of the fit"),
        ({}, {"warmup": "500 epochs"}, "a warm-up of 500 epochs is 78197 steps"),
        ({}, {"warmup": "soon"}, "duration 'soon' is not of the form"),
        ({}, {"base": {"model": []}}, "model must be a mapping"),
        ({}, {"base": {"model": {"target": "train_loss<=1"}}}, "must be numbers"),
        ({}, {"base": {"model": {"learning_rate": 0.1}}}, "which target the steps are to"),
    ],
)
def test_what_no_source_gives_or_two_give_differently_is_refused(fit, changes, more, message):
    with pytest.raises(InputError, match=message):
        planned(dataclasses.replace(fit, **changes), **more)


@pytest.mark.parametrize("text", ["5 epochs", "1 epoch", "0.1 epochs", "500 steps", "1e6 examples"])
def test_durations_are_read_as_the_trainer_reads_them(text):
    wanted = Duration.parse(text).to_steps(batch_size=384, num_train_examples=50_000)
    assert duration_in_steps(text, 384, 50_000) == wanted
    assert (duration_in_steps(text, 384, None) is None) == ("epoch" in text)


def test_the_file_has_the_reasons_as_comments_on_top_and_reads_back_as_the_settings(fit, tmp_path):
    machines = Machines(nodes=(2,), devices_per_node=8)
    plan = planned(fit, machines=machines)
    path = tmp_path / "plan.yaml"
    path.write_text(plan_text(plan, path, source="fit.json"))
    lines = path.read_text().splitlines()
    top = [line for line in lines if line.startswith("#")]
    assert lines[: len(top)] == top
    assert yaml.safe_load(path.read_text()) == plan.settings == read_settings(path)
    comments = " ".join(line.lstrip("# -") for line in top)
    for word in ("Batch size 8,192", "Learning rate 3.2", "Warm-up 1 epochs", "Length"):
        assert word in comments
    assert "torchrun --nnodes 2 --nproc-per-node 8" in comments
    numbers = yaml.safe_load(path.read_text())["model"]
    assert isinstance(numbers["learning_rate"], float)


def test_a_bad_base_config_is_refused_by_name(tmp_path):
    path = tmp_path / "recipe.yaml"
    with pytest.raises(
        InputError, match="recipe.yaml: no such file; `python -m fullscale.recipes`"
    ):
        read_settings(path)
    path.write_text("model: [")
    with pytest.raises(InputError, match="not a readable YAML"):
        read_settings(path)
    path.write_text("- 1")
    with pytest.raises(InputError, match="must hold sections"):
        read_settings(path)


def test_trials_without_a_learning_rate_are_refused(simulated):
    trial = dataclasses.replace(simulated.trial(), hyper_parameters={"momentum": 0.9})
    table = trials_to_table([trial])
    assert isinstance(table, pa.Table)
    with pytest.raises(InputError, match="has no number learning_rate"):
        tuned_values(table, Target.parse(simulated.TARGET), where="here")
