import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.trials import (
    TRIAL_SCHEMA,
    is_trial_file,
    read_trials,
    table_to_trials,
    trials_to_table,
    write_trials,
)


def test_trials_read_back_are_the_trials_written(simulated, tmp_path):
    # NaN differs from itself, so the empty curves get numbers here
    values = {"curve_train_loss": [0.5, 0.1], "curve_validation_loss": [0.6, 0.2]}
    trial = dataclasses.replace(simulated.trial(), **values)
    write_trials(tmp_path, [trial])
    assert table_to_trials(read_trials(tmp_path)) == [trial]


def test_the_table_does_not_depend_on_which_file_a_trial_is_in(simulated, tmp_path):
    trials = [
        dataclasses.replace(
            simulated.trial(), batch_size=size, seed=seed, curve_train_loss=[0.0] * 2
        )
        for size in (8, 64)
        for seed in range(3)
    ]
    trials = [dataclasses.replace(each, curve_validation_loss=[0.0] * 2) for each in trials]
    write_trials(tmp_path / "one", trials)
    for number, trial in enumerate(reversed(trials)):
        write_trials(tmp_path / "many", [trial], name=f"part-{number}")
    assert read_trials(tmp_path / "many").equals(read_trials(tmp_path / "one"))
    assert table_to_trials(read_trials(tmp_path / "many")) == trials


def test_half_written_files_are_never_read(simulated, tmp_path):
    path = write_trials(tmp_path, [simulated.trial()])
    half = path.read_bytes()[:100]
    (tmp_path / f".{path.name}.ab12.tmp").write_bytes(half)
    assert len(read_trials(tmp_path)) == 1


def test_a_failed_write_leaves_nothing_behind(simulated, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_trials(tmp_path / "trials", [simulated.trial()])
    assert list((tmp_path / "trials").iterdir()) == []


def test_a_damaged_file_is_named_and_skipped_only_when_asked(simulated, tmp_path, capsys):
    write_trials(tmp_path, [simulated.trial()])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"broken\.parquet"):
        read_trials(tmp_path)
    assert len(read_trials(tmp_path, skip_damaged=True)) == 1
    assert "broken.parquet" in capsys.readouterr().err


def test_a_file_that_lacks_a_newer_column_merges_with_one_that_has_it(simulated, tmp_path):
    write_trials(tmp_path, [simulated.trial(seed=1)])
    older = trials_to_table([simulated.trial(seed=2)]).drop_columns(["num_parameters"])
    pq.write_table(older.replace_schema_metadata(TRIAL_SCHEMA.metadata), tmp_path / "a.parquet")
    table = read_trials(tmp_path)
    assert table.schema == TRIAL_SCHEMA
    assert sorted(table["num_parameters"].to_pylist(), key=str) == [100, None]


def test_a_newer_schema_and_a_foreign_parquet_file_are_refused(simulated, tmp_path):
    table = trials_to_table([simulated.trial()])
    newer = table.replace_schema_metadata({b"trial_schema_version": b"99"})
    pq.write_table(newer, tmp_path / "newer.parquet")
    with pytest.raises(InputError, match="upgrade"):
        read_trials(tmp_path)
    pq.write_table(pa.table({"batch_size": [8]}), tmp_path / "newer.parquet")
    assert not is_trial_file(tmp_path / "newer.parquet")
    with pytest.raises(InputError, match=r"newer\.parquet"):
        read_trials(tmp_path)


def test_many_writers_never_collide(simulated, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = list(
            pool.map(lambda seed: write_trials(tmp_path, [simulated.trial(seed=seed)]), range(40))
        )
    assert len(set(paths)) == 40
    assert sorted(read_trials(tmp_path)["seed"].to_pylist()) == list(range(40))


def test_the_same_name_replaces_the_file(simulated, tmp_path):
    for seed in (1, 2):
        write_trials(tmp_path, [simulated.trial(seed=seed)], name="one")
    assert read_trials(tmp_path)["seed"].to_pylist() == [2]


def test_of_an_interrupted_and_a_finished_run_of_one_trial_the_finished_is_kept(
    simulated, tmp_path
):
    longer = simulated.trial(status="interrupted", curve=[(10, 0.1)], steps=900)
    finished = simulated.trial()
    short = simulated.trial(status="interrupted", curve=[], steps=3)
    assert longer.trial_id == finished.trial_id == short.trial_id
    for order in ([longer, finished, short], [finished, short, longer]):
        write_trials(tmp_path, order, name="one")
        table = read_trials(tmp_path)
        assert table["status"].to_pylist() == ["reached"]
    write_trials(tmp_path, [short, longer], name="one")
    assert read_trials(tmp_path)["steps"].to_pylist() == [900]


def test_a_trial_is_named_by_its_configuration_not_by_how_it_went(simulated):
    trial = simulated.trial()
    assert trial.trial_id == simulated.trial(status="diverged", steps=1).trial_id
    for change in ({"seed": 5}, {"batch_size": 9}, {"learning_rate": 0.2}, {"phase": "repeat"}):
        assert simulated.trial(**change).trial_id != trial.trial_id


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"status": "fine"}, "status 'fine'"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"curve_steps": [1]}, "different lengths"),
    ],
)
def test_a_trial_with_one_bad_field_is_refused(simulated, change, rule):
    with pytest.raises(ValueError, match=rule):
        dataclasses.replace(simulated.trial(), **change)


def test_no_trials_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="no trials"):
        write_trials(tmp_path, [])


def test_importing_the_trial_record_loads_no_heavy_package():
    code = (
        "import sys, models_of_scaling.trials\n"
        "heavy = {'torch', 'statsmodels', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
