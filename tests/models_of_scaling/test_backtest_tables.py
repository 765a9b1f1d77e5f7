"""The back-test of one's own sweeps: which series several tables hold, and the rows of each."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models_of_scaling.backtest.table_series import table_series
from models_of_scaling.errors import InputError
from models_of_scaling.laws import Hyperbola
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.trials import write_trials

SIZES = [8, 16, 32, 64, 128, 256]
COLUMNS = ("batch_size", "steps", "reached", "steps_low", "steps_high", "weight")


def sweep(simulated, seed, **words):
    law = Hyperbola(min_steps=100, critical_batch_size=60)
    trials = simulated.study_trials(law, SIZES, np.random.default_rng(seed), searched=8)
    return [replace(trial, **words) for trial in trials]


@pytest.fixture
def sweeps(simulated, tmp_path):
    """A folder of sweeps of one workload by two optimizers, and a table of another workload."""
    folder, table = tmp_path / "trials", tmp_path / "own.csv"
    for seed, optimizer in enumerate(("momentum", "adam")):
        write_trials(folder, sweep(simulated, seed, optimizer=optimizer))
    table.write_text("batch_size,steps\n" + "".join(f"{b},{100 + 6000 / b}\n" for b in SIZES))
    return folder, table


def test_a_folder_of_sweeps_and_a_table_are_a_series_for_each_workload_and_optimizer(sweeps):
    folder, table = sweeps
    found = table_series([folder, table])
    assert sorted(each.name for each in found) == ["digits-adam", "digits-momentum", "own"]
    assert {each.source.file for each in found} == {str(folder), str(table)}
    assert all(each.batch_sizes == tuple(SIZES) for each in found)


def test_a_sweep_is_back_tested_on_the_rows_that_fit_takes(sweeps):
    folder, _ = sweeps
    for each in table_series([folder]):
        _, optimizer = each.name.split("-")
        fitted = read_measurements(folder, TableChoice(optimizer=optimizer))
        assert len(fitted) == 3 * len(SIZES)  # the winner's repeats, not the 8 searched
        for column in COLUMNS:
            np.testing.assert_array_equal(getattr(each.rows, column), getattr(fitted, column))


def test_a_series_is_named_by_what_tells_it_from_the_others(simulated, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    write_trials(first, sweep(simulated, 0, workload="mnist"))
    assert [each.name for each in table_series([first])] == ["mnist"]
    write_trials(second, sweep(simulated, 1, workload="mnist", optimizer="lars"))
    names = [each.name for each in table_series([first, second])]
    assert names == ["mnist-sgd", "mnist-lars"]


def test_trials_of_two_targets_are_two_series_each_asked_its_own(simulated, tmp_path):
    # Of one search to 0.9; another to 0.4, which its curves meet on their way.
    write_trials(tmp_path, sweep(simulated, 0))
    other = "validation_accuracy>=0.4"
    rising = [
        replace(
            trial,
            target=other,
            curve_validation_accuracy=np.linspace(0.3, 0.95, len(trial.curve_steps)).tolist(),
        )
        for trial in sweep(simulated, 1)
    ]
    write_trials(tmp_path, rising)
    found = {each.name: each.rows for each in table_series([tmp_path])}
    assert set(found) == {f"digits-sgd-{other}", f"digits-sgd-{simulated.TARGET}"}
    easy, hard = found[f"digits-sgd-{other}"], found[f"digits-sgd-{simulated.TARGET}"]
    assert (easy.target, hard.target) == (other, simulated.TARGET)
    assert (easy.steps < 0.5 * hard.steps).all()
    assert len(easy) == len(hard) == 3 * len(SIZES)


def test_rows_of_a_table_with_an_optimizer_column_are_a_series_each(tmp_path):
    table = tmp_path / "own.csv"
    rows = [f"{name},{b},{s / b}" for name, s in (("sgd", 9e3), ("lars", 5e3)) for b in SIZES]
    table.write_text("\n".join(["optimizer,batch_size,steps", *rows]))
    found = table_series([table])
    assert [each.name for each in found] == ["own-sgd", "own-lars"]
    np.testing.assert_allclose(found[1].rows.steps, 5e3 / np.array(SIZES), rtol=1e-12)


def test_two_tables_of_one_series_are_refused(sweeps, simulated, tmp_path, run_command_line):
    folder, _ = sweeps
    again = tmp_path / "again"
    write_trials(again, sweep(simulated, 7, optimizer="adam"))
    with pytest.raises(InputError, match="holds rows of digits-adam-"):
        table_series([folder, again])
    code, out, error = run_command_line("backtest", "--table", folder, again)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"error: --table {again}: holds rows of digits-adam-")
    code, out, error = run_command_line("backtest", "--table", folder, tmp_path / "none.csv")
    assert (code, out, error.count("\n")) == (2, "", 1) and "no such file" in error


def test_backtest_scores_all_tables_together_and_finds_evidence_by_name(
    sweeps, tmp_path, run_command_line
):
    evidence = tmp_path / "evidence.csv"
    evidence.write_text("workload,critical_batch_size,knee_factor\ndigits-adam,60,1.5\n")
    words = ("backtest", "--table", *sweeps, "--evidence", evidence, "--law", "averaged")
    code, out, error = run_command_line(*words, "--replicates", 50, "--json")
    assert (code, error) == (0, "")
    answer = json.loads(out)
    assert {case["series"] for case in answer["cases"]} == {"digits-adam", "digits-momentum", "own"}
    score = next(
        each
        for each in answer["scores"]
        if (each["design"], each["factor"], each["forecaster"]) == ("rolling", 2, "averaged")
    )
    assert (score["num_series"], score["num_cases"]) == (3, 9)  # origins at 32, 64 and 128
    more = {each["series"] for each in answer["cases"] if each["forecaster"] == "with_evidence"}
    assert more == {"digits-adam"}
