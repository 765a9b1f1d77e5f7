"""Reading and reducing a table of trials against plain loops over its rows."""

import math
from collections import defaultdict
from pathlib import Path
from statistics import median_low

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.trial_merge import merged
from models_of_scaling.trials import (
    TRIAL_SCHEMA,
    read_trials,
    table_to_trials,
    trials_to_table,
    write_trials,
)


def random_trials(simulated, rng, count):
    """Trials of two workloads and two optimizers, some of them several times."""
    found = []
    for _ in range(count):
        length = int(rng.integers(0, 5))
        # Steps of their own, so that hardly two trials tie.
        steps = [10 * (k + 1) + int(rng.integers(0, 10)) for k in range(length)]
        curve = [(step, float(rng.uniform(0.6, 1))) for step in steps]
        found.append(
            simulated.trial(
                batch_size=int(rng.choice([8, 16, 32])),
                curve=curve,
                status=str(rng.choice(["reached", "not_reached", "diverged", "interrupted"])),
                phase=str(rng.choice(["search", "repeat", "shortlist"])),
                learning_rate=float(rng.choice([0.1, 0.2, 0.3])),
                seed=int(rng.integers(0, 4)),
                workload=str(rng.choice(["digits", "other"])),
                optimizer=str(rng.choice(["sgd", "lars"])),
                steps=int(rng.integers(40, 60)),
            )
        )
    return found


def merged_by_loop(trials):
    """One row per trial_id: ended before interrupted, then more steps, then the first."""
    best = {}
    for trial in trials:
        key = trial.trial_id
        rank = (trial.status != "interrupted", trial.steps)
        if key not in best or rank > best[key][0]:
            best[key] = (rank, trial)
    kept = [trial for _, trial in best.values()]
    return sorted(kept, key=lambda each: (each.batch_size, each.phase, each.seed, each.trial_id))


def outcome_by_loop(trial):
    """(steps, low, high) at the first evaluation that holds, else where the trial ended."""
    before = 0
    for step, value in zip(trial.curve_steps, trial.curve_validation_accuracy, strict=True):
        if value >= 0.9:
            return step, before, step
        before = step
    return trial.steps, trial.steps, math.inf


def measured_by_loop(trials):
    """Rows (batch size, steps, low, high) of one study by the rule in `steps_to_target`."""
    rows = []
    for size in sorted({trial.batch_size for trial in trials}):
        own = [trial for trial in trials if trial.batch_size == size]
        search = [trial for trial in own if trial.phase == "search"]
        repeats = [trial for trial in own if trial.phase == "repeat"]
        rate = lambda trial: trial.hyper_parameters["learning_rate"]  # noqa: E731
        value = lambda trial: outcome_by_loop(trial)[0]  # noqa: E731
        reached = lambda trial: outcome_by_loop(trial)[2] < math.inf  # noqa: E731
        repeated = {rate(trial) for trial in repeats}
        known = [trial for trial in search if rate(trial) in repeated and reached(trial)]
        if repeats:
            assert known, "the random table is too small for this twin"
            winner = rate(min(known, key=value))
            listed = defaultdict(list)
            for trial in own:
                if trial.phase == "shortlist" and rate(trial) in repeated:
                    listed[rate(trial)].append(value(trial) if reached(trial) else math.inf)
            if set(listed) == repeated:
                least = {
                    each: min([value(t) for t in known if rate(t) == each], default=math.inf)
                    for each in repeated
                }
                winner = min(repeated, key=lambda r: (median_low(listed[r]), least[r]))
            chosen = [trial for trial in repeats if rate(trial) == winner]
        else:
            chosen = [min((trial for trial in search if reached(trial)), key=value)]
        rows += [(size, *outcome_by_loop(trial)) for trial in chosen]
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_reading_keeps_and_sorts_the_rows_that_a_loop_keeps(simulated, tmp_path, seed):
    rng = np.random.default_rng(seed)
    trials = random_trials(simulated, rng, 400)
    for number, part in enumerate(np.array_split(np.arange(400), 5)):
        write_trials(tmp_path, [trials[k] for k in part], name=f"part-{number}")
    expected = merged_by_loop(trials)
    assert len(expected) < 400
    # written out, because a curve's NaN differs from itself
    assert str(table_to_trials(read_trials(tmp_path))) == str(
        table_to_trials(trials_to_table(expected))
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_measurements_are_those_of_a_loop_over_trials(simulated, tmp_path, seed):
    trials = random_trials(simulated, np.random.default_rng(seed), 600)
    write_trials(tmp_path, trials)
    choice = TableChoice(workload="digits", optimizer="lars")
    got = read_measurements(tmp_path, choice)
    own = [
        trial
        for trial in merged_by_loop(trials)
        if (trial.workload, trial.optimizer) == ("digits", "lars")
    ]
    columns = np.array(measured_by_loop(own), dtype=float).T
    for name, column in zip(
        ("batch_size", "steps", "steps_low", "steps_high"), columns, strict=True
    ):
        np.testing.assert_array_equal(getattr(got, name), column, err_msg=name)
    assert got.source.num_rows == len(own)


def test_rows_without_a_name_status_or_steps_do_not_stop_the_merge(simulated):
    table = trials_to_table([simulated.trial(seed=seed) for seed in (2, 0, 1, 1)])
    for name, values in {
        "trial_id": ["c", None, "b", "b"],
        "status": ["reached", None, "interrupted", None],
        "steps": [5, None, 9, None],
    }.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, TRIAL_SCHEMA.field(name).type))
    kept = merged(table)
    assert kept["trial_id"].to_pylist() == [None, "b", "c"]
    assert kept["status"].to_pylist() == [None, None, "reached"]


def test_some_columns_are_read_with_those_that_tell_trials_apart(simulated, tmp_path):
    write_trials(tmp_path, [simulated.trial(seed=seed) for seed in range(3)])
    table = read_trials(tmp_path, columns=["target"])
    assert set(table.column_names) == {
        "trial_id", "phase", "batch_size", "seed", "target", "status", "steps",
    }  # fmt: skip
    assert table.equals(read_trials(tmp_path).select(table.column_names))


def test_a_column_of_another_type_is_named(simulated, tmp_path: Path, run_command_line):
    table = trials_to_table([simulated.trial()])
    place = table.column_names.index("batch_size")
    table = table.set_column(place, "batch_size", pa.array(["4k"]))
    pq.write_table(table.replace_schema_metadata(TRIAL_SCHEMA.metadata), tmp_path / "a.parquet")
    code, _, error = run_command_line("fit", tmp_path, "--out", tmp_path / "fit.json")
    assert code == 2 and len(error.splitlines()) == 1
    assert "a.parquet: column batch_size must be int64" in error
