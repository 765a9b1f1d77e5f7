"""The active design's study, and the command that runs it."""

import dataclasses
import json

import pytest

from surrogate.active.cells import charged_examples
from surrogate.active.plan import active_plan
from surrogate.active.recorded_trials import compute_trials
from surrogate.active.sweep import ActiveSettings
from surrogate.run_sweep import SweepSettings
from surrogate.search import next_stage
from surrogate.sweep import main

WORKLOAD = "noisy_quadratic_modes20"


def plan_of(tmp_path):
    return active_plan(SweepSettings(workload=WORKLOAD, out=tmp_path).plan)


def test_a_larger_effort_belongs_to_the_same_study_and_takes_up_the_smaller_ones_trials(tmp_path):
    small = plan_of(tmp_path).with_effort(trials=16, repeats=1)
    large = small.with_effort(trials=32, repeats=1)
    assert small.study == large.study
    assert small.study != SweepSettings(workload=WORKLOAD, out=tmp_path).plan.study
    done = compute_trials(small, 64, [])
    stage = next_stage(large, 64, done)
    assert (stage.name, len(stage.candidates)) == ("wide", 8)  # 16 points, 8 of which are there


def test_an_effort_changes_what_is_run_and_not_the_study(tmp_path):
    settings = ActiveSettings(workload=WORKLOAD, out=tmp_path)
    assert settings.plan == plan_of(tmp_path)
    assert settings.plan.protocol.trials == 128  # a full search's, for the simulator


def test_a_simulated_trial_is_charged_to_where_the_protocol_would_stop_it(tmp_path):
    plan = plan_of(tmp_path).with_effort(trials=4, repeats=1)
    trials = compute_trials(plan, 64, [])
    wide = [each for each in trials if each.settings["stage"] == "wide" and each.phase == "search"]

    def ended(status, steps):
        return dataclasses.replace(wide[0], status=status, steps=steps)

    known = [ended("reached", 100), ended("not_reached", 1000), ended("diverged", 7)]
    again = dataclasses.replace(ended("reached", 400), phase="repeat")
    spent = charged_examples(plan, [*known, again])
    # 1.5 times the fewest steps, 150, is where the second would have been stopped; no repeat is.
    assert spent == {"search": 64 * (100 + 150 + 7), "shortlist": 0, "repeat": 64 * 400}


ARGUMENTS = ["--workload", "noisy_quadratic", "--modes", "20", "--trials", "16", "--workers", "1"]


@pytest.mark.slow
def test_the_command_goes_on_from_the_table_to_the_same_decisions(tmp_path, capsys):
    command = [*ARGUMENTS, "--design", "active", "--ask", "steps@1024", "--out", str(tmp_path)]
    command += ["--batch-sizes", "64,1024,4096", "--precision", "100", "--json"]

    def run():
        assert main(command) == 0
        said = capsys.readouterr()
        return json.loads(said.out), [
            line for line in said.err.splitlines() if "steps@1024 now" in line
        ]

    first, lines = run()
    assert first["stop"] == "precision"
    assert len(lines) == 2
    files = sorted((tmp_path / "trials").glob("*.parquet"))
    assert run() == (first, lines)
    assert sorted((tmp_path / "trials").glob("*.parquet")) == files


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--design", "active"], "--precision"),
        (["--design", "active", "--precision", "1"], "--precision 1"),
        (["--design", "active", "--budget-examples", "-3"], "--budget-examples -3"),
        (["--design", "active", "--precision", "2", "--ask", "B_crit"], "--ask 'B_crit'"),
        (["--precision", "2"], "--design active"),
        (["--design", "active", "--precision", "2", "--batch-sizes", "64"], "--batch-sizes"),
    ],
)
def test_what_can_not_be_asked_is_refused_in_one_line_and_nothing_is_written(
    flags, word, tmp_path, capsys
):
    with pytest.raises(SystemExit) as stopped:
        main([*ARGUMENTS, "--out", str(tmp_path / "new"), *flags])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert word in error
    assert "\n" not in error
    assert not (tmp_path / "new").exists()
