"""`machine` and `plan` on the command line, up to a run that reaches its target."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml

from models_of_scaling.laws import Hyperbola
from models_of_scaling.trials import read_trials, write_trials

LAW = Hyperbola(min_steps=1000, critical_batch_size=4096)
SIZES = 2 ** np.arange(6, 15)
ROOFLINE = ("--flops-per-example", 1e10, "--peak-flops", 1e13, "--parameter-bytes", 1e8)
MACHINES = ("--nodes", 1, 4, 16, 64, "--devices-per-node", 8)
HEADER = "nodes,devices,per_device_batch_size,seconds_per_step"


@pytest.fixture
def fit(tmp_path, run_command_line):
    table = tmp_path / "measured.csv"
    rows = [f"{size},{float(LAW.steps_to_target(size))}" for size in SIZES]
    table.write_text("\n".join(["batch_size,steps", *rows]) + "\n")
    path = tmp_path / "fit.json"
    code, _, error = run_command_line(
        "fit", table, "--num-train-examples", 60_000, "--law", "hyperbola", "--out", path
    )
    assert (code, error) == (0, "")
    return path


@pytest.fixture
def throughput(tmp_path):
    path = tmp_path / "throughput.csv"
    rows = [
        f"{nodes},8,{size},{0.01 + 0.002 * size + 0.002 * np.log2(nodes)}"
        for nodes in (1, 2, 8)
        for size in (4, 16, 64)
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        yaml.safe_dump({
            "trainer": {"accelerator": "cpu"},
            "model": {
                "name": "mlp",
                "optimizer": "momentum",
                "learning_rate": 0.1,
                "warmup": "1 epochs",
                "target": "validation_accuracy>=0.9",
            },
            "data": {"name": "digits", "global_batch_size": 256, "max_per_device_batch_size": 32},
        })
    )
    return path


def test_machine_prints_one_json_object_with_every_option(fit, run_command_line):
    code, out, error = run_command_line(
        "machine", fit, *MACHINES, *ROOFLINE, "--price-per-device-hour", 2,
        "--watts-per-device", 500, "--batch-size", 1024, 16384, "--json",
    )  # fmt: skip
    assert (code, error) == (0, "")
    answer = json.loads(out)
    found = {(each["nodes"], each["batch_size"]) for each in answer["options"]}
    assert found == {(m, b) for m in (1, 4, 16, 64) for b in (1024, 16384)}
    for each in answer["options"]:
        hours = each["time_s"] * each["nodes"] * 8 / 3600
        assert each["device_hours"] == pytest.approx(hours, rel=1e-12)
        assert each["money"] == pytest.approx(2 * hours, rel=1e-12)
        assert each["energy_kwh"] == pytest.approx(0.5 * hours, rel=1e-12)
        assert each["time_s_low"] < each["time_s"] < each["time_s_high"]
    assert answer["fastest"]["time_s"] <= answer["cheapest"]["time_s"] / 2
    twice = answer["twice_as_fast_as_cheapest"]
    assert twice["time_s"] <= answer["cheapest"]["time_s"] / 2
    assert answer["limited_by"] == max(
        answer["d_log_time_d_log"], key=lambda name: abs(answer["d_log_time_d_log"][name])
    )
    assert answer["step_time"]["source"] == "roofline"


def test_machine_says_in_words_what_limits_and_what_twice_as_fast_costs(fit, run_command_line):
    code, out, _ = run_command_line("machine", fit, *MACHINES, *ROOFLINE, "--saving", 0.45)
    assert code == 0
    for words in (
        "Pareto, cheapest",
        "fastest",
        "Being at least twice as fast as the cheapest costs",
        "What limits at the balanced option",
        "Per cent of time that 1 % better saves",
        "largest machine that still helps",
        "from a data sheet, nothing measured",
    ):
        assert words in out
    every = run_command_line("machine", fit, *MACHINES, *ROOFLINE, "--all")[1]
    assert len(every.splitlines()) > len(out.splitlines())


def test_no_batch_size_is_larger_than_the_training_set(fit, run_command_line):
    _, out, _ = run_command_line("machine", fit, *MACHINES, *ROOFLINE, "--json")
    assert max(each["batch_size"] for each in json.loads(out)["options"]) == 60_000
    code, _, error = run_command_line("machine", fit, *MACHINES, *ROOFLINE, "--batch-size", 60_001)
    assert code == 2 and "--batch-size 60001 must not exceed the training set" in error


def test_measured_throughput_is_fitted_and_what_it_does_not_tell_is_said(
    fit, throughput, tmp_path, run_command_line
):
    words = ("--throughput", throughput, "--parameter-bytes", 1e8)
    picture = tmp_path / "machine.svg"
    code, out, error = run_command_line("machine", fit, *MACHINES, *words, "--plot", picture)
    assert (code, error) == (0, "")
    assert "fitted to 9 rows at 9 configurations, all-reduce as tree" in out
    assert "step time extrapolated" in out
    assert "The rows do not tell" in out
    assert picture.read_bytes().startswith(b"<?xml")
    _, out, _ = run_command_line("machine", fit, *MACHINES, *words, "--json")
    step_time = json.loads(out)["step_time"]
    assert step_time["parameters"]["seconds_per_example"]["low"] < 0.002 * 1.1
    assert step_time["told_by_rows"]["seconds_per_example"] is True


def test_a_single_machine_has_no_largest_useful_one(fit, run_command_line):
    one = ("--nodes", 8, "--devices-per-node", 8)
    _, out, _ = run_command_line("machine", fit, *one, *ROOFLINE)
    assert "Give several --nodes" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the time of a step is not known; give --throughput CSV, or a roofline"),
        (("--flops-per-example", 1e10), "--peak-flops is missing: a roofline needs it"),
        (ROOFLINE[:4], "--parameter-bytes is missing"),
        ((*ROOFLINE, "--overlap", 1.5), "--overlap 1.5 must be a share"),
        ((*ROOFLINE, "--attainable", 0), "--attainable 0 must be a share"),
        ((*ROOFLINE, "--bandwidth-within", 0), "--bandwidth-within 0 must be a finite number"),
        ((*ROOFLINE, "--latency-between", -1), "--latency-between -1 must be a finite number"),
        ((*ROOFLINE, "--roofline-error", 0.5), "--roofline-error 0.5 must be"),
        ((*ROOFLINE, "--price-per-device-hour", 0), "--price-per-device-hour 0 must be"),
        ((*ROOFLINE, "--max-per-device-batch-size", 0), "--max-per-device-batch-size 0 must"),
        ((*ROOFLINE, "--level", 1.5), "--level 1.5 must lie in"),
        ((*ROOFLINE, "--saving", 1), "--saving 1.0 must be a share"),
        ((*ROOFLINE, "--plot", "machine.doc"), "its ending must be one of"),
        ((*ROOFLINE, "--throughput", "x.csv"), "either --throughput or a roofline, not both"),
        (("--throughput", "nowhere.csv", "--parameter-bytes", 1), "nowhere.csv: not a readable"),
    ],
)
def test_wrong_words_of_machine_are_one_line_and_code_2(fit, run_command_line, words, message):
    code, out, error = run_command_line("machine", fit, *MACHINES, *words)
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1 and message in error


def test_zero_nodes_are_refused(fit, run_command_line):
    code, _, error = run_command_line(
        "machine", fit, "--nodes", 0, "--devices-per-node", 8, *ROOFLINE
    )
    assert code == 2 and "--nodes 0 must be at least 1" in error


def test_plan_chooses_nodes_and_batch_size_by_the_objective(
    fit, recipe, throughput, tmp_path, run_command_line
):
    out = tmp_path / "plan.yaml"
    time = ("--throughput", throughput, "--parameter-bytes", 1e8)
    found = {}
    for objective in ("fastest", "cheapest"):
        code, text, error = run_command_line(
            "plan", fit, *MACHINES, *time, "--objective", objective,
            "--base-config", recipe, "--out", out, "--json",
        )  # fmt: skip
        assert (code, error) == (0, "")
        found[objective] = json.loads(text)
        settings = yaml.safe_load(out.read_text())
        assert settings == found[objective]["settings"]
        assert settings["trainer"]["num_nodes"] == found[objective]["nodes"]
        assert settings["data"]["global_batch_size"] == found[objective]["batch_size"]
        # The recipe's memory limit holds for the model of time as for the run.
        assert found[objective]["per_device_batch_size"] <= 32
        assert settings["data"]["max_per_device_batch_size"] == 32
    assert found["fastest"]["nodes"] > found["cheapest"]["nodes"]
    assert found["fastest"]["time_s"] < found["cheapest"]["time_s"]
    assert found["fastest"]["device_hours"] > found["cheapest"]["device_hours"]


def test_plan_without_a_step_time_says_so(fit, recipe, tmp_path, run_command_line):
    out = tmp_path / "plan.yaml"
    code, text, _ = run_command_line(
        "plan", fit, "--nodes", 1, "--devices-per-node", 2, "--base-config", recipe, "--out", out
    )
    assert code == 0
    assert "No model of the step's time was given" in text
    assert f"Written: {out}" in text
    assert "# - Batch size 4,096: balanced of" in out.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (),
            "give --base-config RECIPE.yaml (`python -m fullscale.recipes` lists some), or --table",
        ),
        (("--learning-rate", 0), "--learning-rate 0.0 must be positive"),
        (("--table", "nowhere"), "--table nowhere: no such file or folder"),
        (
            ("--base-config", "nowhere.yaml"),
            "nowhere.yaml: no such file; `python -m fullscale.recipes`",
        ),
        (("--probability", 0.2), "--probability 0.2 must be in"),
        (("--objective", "best"), "invalid choice"),
    ],
)
def test_wrong_words_of_plan_write_nothing(fit, tmp_path, run_command_line, words, message):
    out = tmp_path / "plan.yaml"
    code, _, error = run_command_line(
        "plan", fit, "--nodes", 1, "--devices-per-node", 1, *words, "--out", out
    )
    assert code == 2 and len(error.splitlines()) == 1 and message in error
    assert not out.exists()


def test_a_table_of_steps_has_no_learning_rates(fit, tmp_path, run_command_line):
    words = ("plan", fit, "--nodes", 1, "--devices-per-node", 1, "--out", tmp_path / "plan.yaml")
    code, _, error = run_command_line(*words, "--table", tmp_path / "measured.csv")
    assert code == 2 and "is no folder of trials" in error
    code, _, error = run_command_line(*words[:-1], tmp_path)
    assert code == 2 and "is a folder; name a file" in error


def test_tuned_values_come_from_the_folder_that_was_fitted(simulated, tmp_path, run_command_line):
    trials = simulated.study_trials(LAW, [64, 256, 1024], np.random.default_rng(0), searched=16)
    write_trials(tmp_path / "trials", trials)
    fit, out = tmp_path / "fit.json", tmp_path / "plan.yaml"
    assert run_command_line("fit", tmp_path / "trials", "--out", fit)[0] == 0
    code, text, error = run_command_line(
        "plan", fit, "--nodes", 1, "--devices-per-node", 1, "--table", tmp_path / "trials",
        "--batch-size", 256, "--out", out,
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert "tuned at batch size 256" in text
    repeats = [each for each in trials if each.phase == "repeat" and each.batch_size == 256]
    rate = yaml.safe_load(out.read_text())["model"]["learning_rate"]
    assert rate == repeats[0].hyper_parameters["learning_rate"]


def run_module(*words):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_trainer_reads_a_plan_for_64_nodes_unchanged(fit, tmp_path, run_command_line):
    """Scaled from the LARS recipe; --print_config resolves every setting against the trainer."""
    out = tmp_path / "plan.yaml"
    recipe = "fullscale/recipes/resnet50_lars_32k.yaml"
    code, _, error = run_command_line(
        "plan", fit, "--nodes", 64, "--devices-per-node", 8, *ROOFLINE, "--base-config", recipe,
        "--batch-size", 16384, "--out", out, "--warmup", "2 epochs",
    )  # fmt: skip
    assert (code, error) == (0, "")
    plan = yaml.safe_load(out.read_text())
    assert plan["model"]["learning_rate"] == pytest.approx(21.2 * 0.5**0.5, rel=1e-5)
    resolved = yaml.safe_load(run_module("fullscale.fit", "--config", out, "--print_config"))
    for section, settings in plan.items():
        for name, value in settings.items():
            assert resolved[section][name] == value


@pytest.mark.slow
def test_a_plan_from_a_sweep_of_digits_reaches_its_target_in_the_planned_length(tmp_path):
    """Sweep, fit, plan and the run itself, two processes, on real images."""
    trials, fit, plan = tmp_path / "trials", tmp_path / "fit.json", tmp_path / "plan.yaml"
    run_module(
        "surrogate.sweep", "--workload", "digits", "--quick", "--trials", 16,
        "--batch-sizes", "128,256,512,1024", "--workers", 1, "--out", tmp_path,
    )  # fmt: skip
    run_module("models_of_scaling", "fit", trials, "--out", fit)
    text = run_module(
        "models_of_scaling", "plan", fit, "--nodes", 1, "--devices-per-node", 2,
        "--table", trials, "--objective", "fastest", "--out", plan, "--json",
    )  # fmt: skip
    answer = json.loads(text)
    settings = yaml.safe_load(plan.read_text())
    assert settings["trainer"]["devices"] == 2
    run_module("fullscale.fit", "--config", plan, "--trainer.accelerator", "cpu")
    (trial,) = [each for each in read_trials(trials).to_pylist() if each["study"] == "fullscale"]
    print(f"planned {answer['train_duration']}, predicted {answer['steps']:.0f}, took", end=" ")
    print(f"{trial['steps']} at batch size {trial['batch_size']}")
    assert trial["status"] == "reached"
    assert trial["batch_size"] == answer["batch_size"]
    # 95 % of runs end before the length; twice too fast would be no forecast either.
    assert answer["steps"] / 2 < trial["steps"]
    # The same command as before says what came of it, and its rows are what they were.
    rows = json.loads(fit.read_text())["measured"]
    text = run_module("models_of_scaling", "fit", trials, "--out", fit)
    (line,) = [line for line in text.splitlines() if line.startswith("Full-scale run")]
    assert f"at batch size {trial['batch_size']:,}: predicted" in line
    assert f"took {trial['steps']}: " in line
    assert json.loads(fit.read_text())["measured"] == rows
