"""`python -m surrogate.status DIR` and `--dry-run`: what stands there, and what it would cost."""

import json
import time

import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.trials import read_trials
from surrogate.run_sweep import SweepSettings, run_sweep
from surrogate.status import main
from surrogate.sweep import main as sweep
from surrogate.trial_parts import held_lock, is_locked, lock_path, read_part

SIMULATED = {"workload": "noisy_quadratic", "batch_sizes": (4096, 65536)}


def status(folder, capsys):
    assert main([str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    run_sweep(SweepSettings(out=out, **SIMULATED, trials=8, workers=1), progress=False)
    return out


def test_a_finished_sweep_is_complete_and_its_cost_is_that_of_every_trial(finished, capsys):
    (study,) = status(finished, capsys)
    rows = read_trials(finished / "trials").to_pylist()
    assert [each["batch_size"] for each in study["batch_sizes"]] == [4096, 65536]
    for each in study["batch_sizes"]:
        mine = [row for row in rows if row["batch_size"] == each["batch_size"]]
        assert each["stage"] == "complete"
        assert each["num_finished"] == each["num_planned"] == len(mine)
        reached = [row for row in mine if row["status"] == "reached"]
        assert each["num_reached"] == len(reached)
        assert each["fewest_steps"] == min(
            row["steps"] for row in reached if row["phase"] == "search"
        )
        cost = each["tuning_cost"]
        assert cost["search"] + cost["repeat"] == sum(row["examples"] for row in mine)
        assert cost["repeat"] == sum(r["examples"] for r in mine if r["phase"] == "repeat") > 0
        assert not each["is_worked_on"]


def test_what_is_missing_of_a_stage_and_who_works_on_it_is_said(finished, tmp_path, capsys):
    run_sweep(SweepSettings(out=tmp_path, **SIMULATED, trials=8, workers=1), progress=False)
    # The repeat is the last part that is written.
    newest = max(tmp_path.glob("trials/*.b00065536.*"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    (study,) = status(tmp_path, capsys)
    whole, cut = study["batch_sizes"]
    assert whole["stage"] == "complete"
    assert cut["stage"] == "repeat"
    assert cut["num_finished"] == cut["num_planned"] - 1
    with held_lock(lock_path(tmp_path, study["study"], 65536), lambda: True):
        assert main([str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.endswith("<- runs now") for line in lines[2:]] == [False, True]


def test_other_settings_in_a_folder_are_noted_and_every_study_is_listed(finished, capsys):
    flags = ["--workload", "noisy_quadratic", "--batch-sizes", "65536", "--trials", "4"]
    assert sweep([*flags, "--out", str(finished), "--workers", "1"]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(f"note: {finished} also holds noisy_quadratic-momentum-")
    assert first.endswith("(to validation_loss<=0.01, 9 trials a batch size)")
    assert [len(each["batch_sizes"]) for each in status(finished, capsys)].count(1) == 1
    assert len(status(finished, capsys)) == 2


def test_a_folder_without_trials_and_a_damaged_part_are_one_line_and_code_2(tmp_path, capsys):
    def refused():
        with pytest.raises(SystemExit) as left:
            main([str(tmp_path)])
        assert left.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err

    assert f"{tmp_path}: holds no trials" in refused()
    (tmp_path / "trials").mkdir()
    half = tmp_path / "trials" / "digits-momentum-0.b00000001.0.parquet"
    half.write_bytes(b"PAR1 half")
    said = refused()
    assert f"{half}: not a readable parquet file" in said and "remove it: its runs are" in said


GOOD = {
    "study": "digits-momentum-0",
    "settings": {"workload": "digits", "optimizer": "momentum"},
    "batch_sizes": [64],
    "planned_trials": 9,
    "target": "train_loss<=0.05",
}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"settings": None}, "settings must be an object"),
        ({"settings": {}}, "must be texts"),
        ({"settings": {"workload": 5, "optimizer": "momentum"}}, "must be texts"),
        ({"target": 7}, "must be texts"),
        ({"batch_sizes": ["64"]}, "must be whole numbers"),
        ({"batch_sizes": 64}, "batch_sizes a list"),
        ({"planned_trials": "many"}, "must be whole numbers"),
        ({"more": 1}, "and nothing else"),
    ],
)
def test_a_damaged_record_of_a_study_is_one_line_for_status_and_sweep(
    tmp_path, capsys, changes, rule
):
    path = tmp_path / "studies" / "digits-momentum-0.json"
    path.parent.mkdir()
    path.write_text(json.dumps(GOOD | changes), encoding="utf-8")
    begins = ["--workload", "digits", "--out", str(tmp_path)]
    for command, words in [(main, [str(tmp_path)]), (sweep, begins)]:
        with pytest.raises(SystemExit) as left:
            command(words)
        said = capsys.readouterr()
        assert left.value.code == 2 and (said.out, said.err.count("\n")) == ("", 1)
        assert f"{path}: not a study's record: " in said.err and rule in said.err
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    assert main([str(tmp_path)]) == 0


def test_a_share_that_another_sweep_joins_meanwhile_is_no_damage(tmp_path):
    assert read_part(tmp_path / "joined.parquet") == []
    (tmp_path / "link.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="link.parquet: .*remove it"):
        read_part(tmp_path / "link.parquet")


def test_what_is_no_lock_file_is_not_locked(tmp_path):
    assert not is_locked(tmp_path)


@pytest.mark.slow
@pytest.mark.alone
def test_a_dry_run_tells_the_time_within_a_factor_of_3_and_writes_nothing(tmp_path, capsys):
    flags = ["--workload", "digits", "--quick", "--out", str(tmp_path / "out")]
    assert sweep([*flags, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "out").exists()
    assert [each["batch_size"] for each in told["batch_sizes"]] == [2**k for k in range(4, 11)]
    assert all(each["num_runs"] == 32 + 6 + 2 for each in told["batch_sizes"])
    started = time.monotonic()
    assert sweep([*flags, "--json"]) == 0
    took = time.monotonic() - started
    assert told["seconds"] / 3 < took < told["seconds"] * 3
    assert told["seconds_low"] < told["seconds"] < told["seconds_high"]
