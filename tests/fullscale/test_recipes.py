"""Recipes: published rows as files that the trainer reads, and the command that lists and shows."""

import json
import math
import re
from pathlib import Path

import pytest
from setuptools import find_packages

from fullscale.recipes.__main__ import main
from fullscale.recipes.catalogue import NO_RECIPE, PAPERS, all_recipes, results_without_recipe
from fullscale.recipes.from_rows import schedule_steps
from fullscale.recipes.recipe import parse_recipe
from models_of_scaling.errors import InputError
from models_of_scaling.published.csv_files import read_published

ROOT = Path(__file__).parents[2]
STORED = sorted((ROOT / "fullscale" / "recipes").glob("*.yaml"))
POINTS = "mlperf_rcp_resnet_summary.csv"


def run(capsys, *words):
    try:
        code = main([str(word) for word in words])
    except SystemExit as left:
        code = left.code
    return code, *capsys.readouterr()


def test_every_row_of_the_papers_is_a_recipe_or_has_a_reason():
    cited = {
        int(line)
        for recipe in all_recipes().values()
        for field in ("Row", "Source")
        for line in re.findall(rf"{PAPERS} line (\d+)", recipe.fields.get(field, ""))
    }
    every = set(range(2, 2 + len(read_published(PAPERS))))
    assert cited | set(NO_RECIPE) == every
    assert not cited & set(NO_RECIPE)
    for each in results_without_recipe():
        assert each.reason.startswith(("result only: ", "needs ")), each


def test_a_row_that_is_said_to_have_no_batch_size_has_none():
    for each in results_without_recipe():
        assert each.batch_size == "" or "no batch size" not in each.reason


def test_every_reference_point_is_a_recipe_with_the_numbers_of_its_row():
    recipes = {each.row: each for name, each in all_recipes().items() if "_mlperf_" in name}
    rows = read_published(POINTS)
    assert len(recipes) == len(rows) == 19
    for line, row in enumerate(rows, start=2):
        recipe = recipes[POINTS, line]
        model, epochs = recipe.model, row["warmup_epochs"]
        assert recipe.batch_size == int(row["batch_size"])
        assert model["learning_rate"] == float(row["base_lr"])
        assert model["momentum"] == float(row["momentum"])
        assert model["warmup"] == f"{epochs} epochs"
        assert model["batch_norm_span"] == int(row["bn_span"])
        assert recipe.num_seeds == int(row["n_seeds"])
        assert recipe.result.startswith(f"{float(row['mean_epochs']):.1f} +- ")
        if model["weight_decay"] != float(row["weight_decay"]):
            assert row["versions"] == "1.0.0"
            assert "misprint" in recipe.fields["Differs from the source"]
        # MLPerf's rules for the closed division: 0.0001 times a power of two.
        assert math.log2(model["weight_decay"] / 0.0001).is_integer()
        for column, flag in (("end_lr", "end_learning_rate"), ("poly_power", "decay_power")):
            assert not row[column] or model[flag] == float(row[column])


def test_no_schedule_ends_before_its_slowest_seed_met_the_target():
    for row in read_published(POINTS):
        steps, _ = schedule_steps(row)
        needed = float(row["max_epochs"]) * 1_281_167 / int(row["batch_size"])
        # At 8,192 the warm-up's 782 steps and 6,095 more end 4.1 steps short of 44 whole epochs.
        assert needed - 5 < steps < needed + 5 * 1_281_167 / int(row["batch_size"])


@pytest.mark.parametrize(("batch_size", "train_epochs"), [("2048", 41), ("4096", 42)])
def test_a_schedule_is_as_long_as_in_the_command_of_mlperfs_readme(batch_size, train_epochs):
    for row in read_published(POINTS):
        if row["batch_size"] == batch_size:
            steps, _ = schedule_steps(row)
            epochs = steps * int(batch_size) / 1_281_167
            # The source counts whole steps an epoch: 626 at 2,048, not 625.6.
            assert epochs == pytest.approx(train_epochs, abs=0.03)


def test_the_stored_recipe_of_a_reference_point_agrees_with_its_row():
    stored, made = (all_recipes()[f"resnet50_lars_{n}"] for n in ("32k", "mlperf_32768"))
    assert stored.row == made.row == (POINTS, 14)
    assert stored.settings["data"] == made.settings["data"]
    # 58 epochs are 2,268 steps, which its comment says.
    assert {**stored.model, "train_duration": made.model["train_duration"]} == dict(made.model)
    assert "not 2,267" in stored.fields["Differs from the source"]


def test_the_trainer_parses_and_plans_every_recipe_on_one_node(tmp_path):
    from fullscale.cli import build_cli, quieten
    from fullscale.data.modules import ImageData
    from fullscale.module import Classifier

    quieten()
    parser = build_cli(["--config", str(STORED[0]), "--dry_run"]).parser
    for name, recipe in all_recipes().items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(recipe.text)
        parsed = parser.parse_args(["--config", str(file), "--dry_run"]).as_dict()
        for section, settings in recipe.settings.items():
            # Paths and unions come back in their own types.
            assert {flag: parsed[section][flag] for flag in settings if flag != "root"} == {
                flag: value for flag, value in settings.items() if flag != "root"
            }
        module = Classifier(**parsed["model"])
        assert set(recipe.model.get("optimizer_numbers", {})) <= set(module.rule.defaults), name
        data = ImageData(**parsed["data"] | {"train_duration": recipe.model["train_duration"],
                         "batch_norm_span": recipe.model.get("batch_norm_span")})  # fmt: skip
        data.prepare_dry_run(processes=8, copies=1, limits=(None, None))
        assert data.plan.layout.global_batch_size == recipe.batch_size
        vars(module)["_data"] = data
        schedule = module.schedule
        assert schedule.factor(schedule.warmup_steps) == pytest.approx(1.0)


@pytest.mark.slow
def test_a_shown_recipe_dry_runs_unchanged(tmp_path, capsys):
    from fullscale.fit import main as fit

    name = "resnet50_nesterov_haiku_4096"
    _, text, _ = run(capsys, "show", name)
    (tmp_path / "my.yaml").write_text(text)
    assert fit(["--config", str(tmp_path / "my.yaml"), "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "batch   4096 = 128 per device x 8 devices x 4 accumulation" in out
    assert "batch norm over 32 examples" in out


def test_show_prints_a_stored_file_as_it_is(capsys):
    for path in STORED:
        assert run(capsys, "show", path.stem) == (0, path.read_text(), "")


def test_every_recipe_names_itself_in_its_command():
    for name, recipe in all_recipes().items():
        assert f"{name}.yaml" in recipe.fields["Run"]


def test_an_unknown_name_gets_the_nearest_ones(capsys):
    code, out, err = run(capsys, "show", "resnet50_lars_mlperf_32k")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "did you mean" in err and "resnet50_lars_mlperf_32768" in err
    code, _, err = run(capsys, "show", "xyz")
    assert code == 2 and "did you mean" not in err


def test_the_page_has_the_list_as_the_command_prints_it(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert out in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert run(capsys, "list")[1] == out


def test_the_list_as_json_has_every_recipe_and_every_reason(capsys):
    _, out, _ = run(capsys, "list", "--json")
    found = json.loads(out)
    assert [each["recipe"] for each in found["recipes"]] == list(all_recipes())
    assert len(found["no_recipe"]) == len(NO_RECIPE)
    assert run(capsys, "--json")[1] == out


def test_a_comment_without_a_field_is_refused():
    text = STORED[0].read_text()
    with pytest.raises(InputError, match="recipe x: its comment has no field Cost"):
        parse_recipe("x", text.replace("# Cost:", "# Price:"))


def test_the_recipes_are_installed_with_the_package():
    assert "fullscale.recipes" in find_packages(str(ROOT), include=["fullscale*"])
