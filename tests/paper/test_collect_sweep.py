"""A sweep's record: what is thinned, what is kept, and that records are never edited."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.trials import Trial, read_trials, write_trials

ROOT = Path(__file__).parents[2]
STEPS = (*range(1, 21), *(round(20 * 1.05**k) for k in range(1, 80)))
HEADS = "# Results\n\n{files}\n|---|---|---|\n\n{sweeps}\n|---|---|---|---|\n\nThe end.\n"


@pytest.fixture(scope="module")
def script():
    """The script `paper/collect_sweep.py`."""
    spec = importlib.util.spec_from_file_location(
        "collect_sweep", ROOT / "paper" / "collect_sweep.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["collect_sweep"] = module
    spec.loader.exec_module(module)
    return module


def trial(study, batch_size, phase, number):
    """A run whose loss falls as 1 / step, sooner or later below the target."""
    speed = 1.0 + 0.1 * (number % 7)
    met = [step for step in STEPS if 2 / (1 + speed * step / 100) <= 0.5]
    curve = [step for step in STEPS if step <= min(met)] if number % 5 else STEPS[:30]
    loss = [2 / (1 + speed * step / 100) for step in curve]
    return Trial(
        study=study, phase=phase, workload="digits", dataset="digits", num_train_examples=1024,
        model="mlp", num_parameters=2410, optimizer="momentum",
        hyper_parameters={"learning_rate": 0.1 * speed if phase == "search" else 0.1},
        settings={"stage": "wide"}, batch_size=batch_size, seed=number, target="train_loss<=0.5",
        status="reached" if number % 5 else "not_reached", steps=curve[-1],
        examples=curve[-1] * batch_size, wall_time_s=0.5, curve_steps=curve,
        curve_train_loss=loss, curve_validation_loss=loss,
        curve_validation_accuracy=[0.5] * len(loss), commit="0123456789" * 4, dirty=False,
        versions={"python": "3"}, device="a core", start_time=datetime(2026, 11, 26, tzinfo=UTC),
    )  # fmt: skip


def trials(study, phases=("search", "shortlist", "repeat")):
    return [
        trial(study, size, phase, number)
        for size in (16, 64, 256)
        for phase in phases
        for number in range(1, {"search": 12, "shortlist": 7, "repeat": 5}[phase])
    ]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    write_trials(folder / "trials", trials("digits-momentum-0"))
    return folder


@pytest.fixture
def results(script, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    heads = HEADS.format(files=script.FILE_TABLE, sweeps=script.SWEEP_TABLE)
    (folder / "README.md").write_text(heads)
    return folder


def collected(script, results, sweep, *more, name="sweeps/digits.parquet"):
    out = results / name
    where = ["--out", str(out), "--results", str(results)]
    script.main([str(sweep), *where, "--command", "how it ran", *more])
    return out


def test_the_record_is_fitted_to_the_rows_of_the_whole_sweep(script, sweep, results):
    record = read_measurements(collected(script, results, sweep), TableChoice())
    whole = read_measurements(sweep / "trials", TableChoice())
    for name in ("batch_size", "steps", "reached", "steps_low", "steps_high"):
        np.testing.assert_array_equal(getattr(record, name), getattr(whole, name))
    for of_record, of_whole in zip(record.cells, whole.cells, strict=True):
        np.testing.assert_array_equal(of_record.search_log_steps, of_whole.search_log_steps)
        np.testing.assert_array_equal(of_record.repeat_log_low, of_whole.repeat_log_low)


def test_every_trial_stays_with_all_but_its_curves_and_repeats_keep_those(script, sweep, results):
    record, whole = read_trials(collected(script, results, sweep)), read_trials(sweep)
    curves = [name for name in whole.column_names if name.startswith("curve_")]
    assert record.drop_columns(curves).equals(whole.drop_columns(curves))
    repeats = pc.equal(whole["phase"], "repeat")
    assert record.filter(repeats).equals(whole.filter(repeats))
    kept, all_of_them = (
        pc.sum(pc.list_value_length(each["curve_steps"])).as_py() for each in (record, whole)
    )
    assert kept < all_of_them
    assert b"octave" in pq.read_schema(results / "sweeps/digits.parquet").metadata[b"curves"]


def test_a_thinned_curve_has_each_octaves_last_its_ends_and_the_target(script):
    steps = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], dtype=float)
    met = np.isin(steps, (6, 8, 9))  # the 8 and 9 count for nothing: met before
    assert [steps[i] for i in script.kept_evaluations(steps, met)] == [1, 3, 5, 6, 7, 11]
    assert script.kept_evaluations(np.array([]), np.array([], dtype=bool)) == []


def test_the_dictionary_gets_a_row_in_each_table_once(script, sweep, results):
    out = collected(script, results, sweep)
    text = (results / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `sweeps/digits.parquet`")]
    assert script.sha256_of(out) in rows[0]
    assert "`how it ran`" in rows[1]
    assert text.endswith("\n\nThe end.\n")
    again = dict(zip((script.FILE_TABLE, script.SWEEP_TABLE), rows, strict=True))
    assert script.with_rows(text, again) == text
    with pytest.raises(script.InputError, match="other content"):
        script.with_rows(text, {script.FILE_TABLE: rows[0].replace("| 63 |", "| 64 |")})


@pytest.mark.parametrize(
    ("more", "name", "said"),
    [
        (["--study", "mnist"], "sweeps/digits.parquet", "--study mnist must choose one of"),
        ([], "sweeps/digits.csv", "must be a .parquet file"),
        ([], "../digits.parquet", "must be a .parquet file below"),
    ],
)
def test_a_wrong_choice_is_one_line_and_nothing_is_written(
    script, sweep, results, capsys, more, name, said
):
    before = (results / "README.md").read_text()
    with pytest.raises(SystemExit) as left:
        collected(script, results, sweep, *more, name=name)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert (results / "README.md").read_text() == before
    assert not list(results.rglob("*.parquet"))


def test_a_record_that_is_there_is_not_written_again(script, sweep, results, capsys):
    collected(script, results, sweep)
    with pytest.raises(SystemExit):
        collected(script, results, sweep)
    assert "records are never edited" in capsys.readouterr().err


def test_one_study_of_several_is_chosen_by_name(script, results, tmp_path, capsys):
    write_trials(tmp_path, [*trials("digits-momentum-0"), *trials("digits-adam-0")])
    with pytest.raises(SystemExit):
        collected(script, results, tmp_path)
    assert "must choose one of digits-adam-0, digits-momentum-0" in capsys.readouterr().err
    record = read_trials(collected(script, results, tmp_path, "--study", "digits-adam"))
    assert pc.unique(record["study"]).to_pylist() == ["digits-adam-0"]


def test_without_its_table_in_the_dictionary_no_record_is_left(script, sweep, results):
    (results / "README.md").write_text(script.FILE_TABLE)
    with pytest.raises(SystemExit):
        collected(script, results, sweep)
    assert not list(results.rglob("*.parquet"))


def test_a_sweep_that_is_not_done_is_refused(script, results, tmp_path, capsys):
    done = [each for each in trials("digits-momentum-0") if each.batch_size < 256]
    begun = [each for each in trials("digits-momentum-0", ("search",)) if each.batch_size == 256]
    write_trials(tmp_path, done + begun)
    with pytest.raises(SystemExit):
        collected(script, results, tmp_path)
    assert "no repeats at batch size 256" in capsys.readouterr().err


def test_a_batch_size_that_never_reached_has_nothing_to_repeat(script, results, tmp_path):
    begun = [each for each in trials("digits-momentum-0", ("search",)) if each.batch_size == 256]
    never = [replace(each, status="not_reached") for each in begun]
    done = [each for each in trials("digits-momentum-0") if each.batch_size < 256]
    write_trials(tmp_path, done + never)
    assert len(read_trials(collected(script, results, tmp_path))) == len(done + never)


def test_the_script_runs_from_the_command_line():
    done = subprocess.run(
        [sys.executable, "paper/collect_sweep.py", "nowhere", "--out", "a", "--command", ""],
        check=False, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "nowhere: no such file or folder\n"
