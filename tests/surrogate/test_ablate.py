"""The step-by-step comparison: what of a recipe is an ingredient, and a small one to its table."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import yaml

from fullscale.optimizers.parameter_groups import USUAL
from fullscale.recipes.catalogue import all_recipes
from models_of_scaling.errors import InputError
from surrogate.ablate import main
from surrogate.ablation.ingredient_list import read_ingredients
from surrogate.ablation.rungs import plan_comparison, run_rungs, runs_of
from surrogate.ingredients import Ingredients
from surrogate.optimizer_spaces import NETWORK_SPACES
from surrogate.protocol_flags import RunChoice
from surrogate.run_sweep import SweepSettings

SMALL = {
    "model": {
        "optimizer": "lars",
        "warmup": "3 epochs",
        "train_duration": "30 epochs",
        "label_smoothing": 0.1,
        "channels_last": True,
    },
    "data": {"name": "digits"},
}


def ingredients_of(content, baseline="momentum"):
    return read_ingredients(content, baseline, RunChoice(epochs=30), where="recipe.yaml")


def recipe_file(folder, content):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_the_usual_groups_are_the_trainers():
    assert Ingredients().no_decay == Ingredients().no_trust_ratio == USUAL


def test_a_published_recipe_becomes_the_steps_that_it_takes():
    found = ingredients_of(all_recipes()["resnet50_lars_32k"].settings)
    assert [each.name for each in found.ingredients] == [
        "optimizer", "schedule", "warmup", "weight_decay", "label_smoothing",
    ]  # fmt: skip
    whole = found.settings_of(frozenset(each.name for each in found.ingredients))
    assert whole.optimizer == "lars" and whole.run.weight_decay == "2.5e-05"
    assert whole.run.schedule.name == "polynomial"
    assert whole.run.schedule.warmup_share == pytest.approx(16 / 58)
    assert whole.run.ingredients.label_smoothing == 0.1 and whole.run.epochs == 30
    assert "batch_norm_span 128" in found.left_out and "precision bf16-mixed" in found.left_out


@pytest.mark.parametrize("name", sorted(all_recipes()))
def test_every_recipe_can_be_compared_step_by_step(name):
    settings = all_recipes()[name].settings
    if settings["model"]["optimizer"] not in NETWORK_SPACES:
        pytest.skip("an optimizer without a search space")
    assert ingredients_of(settings).ingredients


def test_rungs_differ_in_one_ingredient_and_share_all_else(tmp_path):
    settings = SweepSettings(
        workload="digits", out=tmp_path, batch_sizes=(64,), trials=8, run=RunChoice(epochs=2)
    )
    comparison = plan_comparison(settings, ingredients_of(SMALL), searches=2)
    sizes = [len(rung.names) for rung in comparison.ladder]
    assert sizes == [0, 1, 2, 3, 4] and len(comparison.without) == 4
    assert comparison.without["label_smoothing"].names == comparison.ladder[-2].names
    # Eight rungs of two searches: the whole without the last is the ladder's last but one.
    assert len(comparison.sweeps) == 16
    for rung in (*comparison.ladder, *comparison.without.values()):
        assert [sweep.seed for sweep in rung.sweeps] == [0, 1]
        for sweep in rung.sweeps:
            plain = replace(sweep, optimizer="momentum", run=settings.run, seed=0)
            assert plain == settings


def test_ingredients_name_a_study_of_their_own_and_none_keeps_the_old_name(tmp_path):
    plain = SweepSettings(workload="digits", out=tmp_path)
    smoothed = replace(plain, run=RunChoice(ingredients=Ingredients(label_smoothing=0.1)))
    assert smoothed.plan.study != plain.plan.study
    assert smoothed.plan.settings["label_smoothing"] == "0.1"
    assert "label_smoothing" not in plain.plan.settings
    assert plain.plan.study == "digits-momentum-e30df2ce"  # that of the release before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"warmup": "10 steps"}, "must have one unit"),
        ({"decay_power": 3.0}, "decay_power 3 is not one of"),
        ({"decay_power": "two"}, "model.decay_power 'two' must be a finite number"),
        ({"weight_decay": "much"}, "'much' must be a finite number"),
        ({"weight_decay": True}, "model.weight_decay True must be a finite number"),
        ({"train_duration": "0 epochs"}, "must be shorter than model.train_duration 0 epochs"),
        ({"label_smoothing": 1.5}, "--label-smoothing 1.5 must be in [0, 1)"),
    ],
)
def test_what_can_not_be_compared_is_refused_in_one_line(change, words, tmp_path, capsys):
    path = recipe_file(tmp_path, {**SMALL, "model": {**SMALL["model"], **change}})
    with pytest.raises(SystemExit) as raised:
        main(["--recipe", path, "--workload", "digits", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert raised.value.code == 2 and words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_batch_size_of_0_is_refused_and_is_not_the_whole_set(tmp_path, capsys):
    words = ["--recipe", recipe_file(tmp_path, SMALL), "--workload", "digits", "--dry-run"]
    with pytest.raises(SystemExit) as raised:
        main([*words, "--out", str(tmp_path / "out"), "--batch-size", "0"])
    assert raised.value.code == 2
    assert "--batch-sizes: 0 is not in 1..1024" in capsys.readouterr().err


def test_a_recipe_that_adds_nothing_and_a_simulator_are_refused(tmp_path):
    plain = {"model": {"optimizer": "momentum", "schedule": "constant"}, "data": {}}
    with pytest.raises(InputError, match="adds nothing to momentum"):
        ingredients_of(plain)
    path = recipe_file(tmp_path, SMALL)
    with pytest.raises(SystemExit):
        main(["--recipe", path, "--workload", "noisy_quadratic", "--out", str(tmp_path)])


@pytest.mark.slow
def test_a_small_comparison_goes_from_recipe_to_table_and_is_not_run_twice(tmp_path, capsys):
    out = tmp_path / "out"
    model = {"optimizer": "lamb", "schedule": "constant", "label_smoothing": 0.1}
    words = [
        "--recipe", recipe_file(tmp_path, {"model": model, "data": {}}), "--workload", "digits",
        "--out", str(out), "--epochs", "4", "--batch-size", "256", "--trials", "4",
        "--repeats", "2", "--searches", "2", "--workers", "1",
    ]  # fmt: skip
    assert main([*words, "--plot", str(tmp_path / "steps.svg")]) == 0
    said = capsys.readouterr().out
    assert "+ lamb" in said and "+ label smoothing 0.1" in said and "in all" in said
    table = json.loads((out / "ablation.json").read_text())
    assert [row["num_runs"] for row in table["rows"]] == [4, 4, 4]
    assert table["total"]["low"] < table["total"]["gain"] < table["total"]["high"]
    gains = sum(row["gain"]["gain"] for row in table["rows"][1:])
    assert gains == pytest.approx(table["total"]["gain"])
    assert main([*words, "--json"]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == table and "sweep 1 of" not in again.err


@pytest.mark.slow
def test_rungs_run_in_a_thread_of_this_process_as_in_its_children(tmp_path):
    recipe = {"model": {"optimizer": "lamb", "schedule": "constant"}, "data": {}}
    found = []
    for name in ("thread", "children"):
        settings = SweepSettings(
            workload="digits", out=tmp_path / name, batch_sizes=(256,), trials=4, repeats=2,
            run=RunChoice(epochs=4), workers=1,
        )  # fmt: skip
        comparison = plan_comparison(settings, ingredients_of(recipe), searches=1)
        if name == "thread":
            with ThreadPoolExecutor(1) as here:
                run_rungs(comparison, workers=here, progress=False)
        else:
            run_rungs(comparison, progress=False)
        found.append([runs_of(rung, "accuracy") for rung in comparison.ladder])
    assert found[0] == found[1]
    assert [rung.num_runs for rung in found[0]] == [2, 2]
