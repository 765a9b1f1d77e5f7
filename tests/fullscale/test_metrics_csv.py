"""metrics.csv: one row per evaluation, on every run; the same for other tools by flag."""

import csv
import importlib.util
import math
import os
import signal
from types import SimpleNamespace

import pytest

from fullscale.callbacks.metrics_csv import COLUMNS
from models_of_scaling.errors import InputError
from models_of_scaling.trials import read_trials, table_to_trials

RUN = (
    *("--data.global_batch_size=97", "--model.train_duration=24 steps", "--model.warmup=5 steps"),
    *("--model.target=validation_accuracy>=1", "--data.evaluate_every=4 steps"),
    "--throughput.warmup_steps=0",
)
STOP = (
    *("--trainer.callbacks+=fit_callbacks.SignalAtStep", "--trainer.callbacks.step=14"),
    f"--trainer.callbacks.number={int(signal.SIGINT)}",
)


def read(folder):
    """The rows of the only file, as numbers."""
    (path,) = folder.glob("*.metrics.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return path, [{name: float(cell or "nan") for name, cell in row.items()} for row in rows]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "trials"


def test_each_evaluation_is_a_row_that_says_what_the_trial_says(fit, folder):
    code, trial, _ = fit(*RUN)
    assert code == 0
    path, rows = read(folder)
    assert path.stem == f"{next(folder.glob('*.parquet')).stem}.metrics"
    assert tuple(rows[0]) == COLUMNS
    for column in ("steps", "train_loss", "validation_loss", "validation_accuracy"):
        # repr of a float is read back to the last bit.
        assert [row[column] for row in rows] == list(getattr(trial, f"curve_{column}"))
    for row in rows:
        assert row["examples"] == 97 * row["steps"]
        assert row["epochs"] == row["examples"] / 1024
        assert row["images_per_s"] > 0
    assert [row["wall_time_s"] for row in rows] == sorted(row["wall_time_s"] for row in rows)
    # Steps 4 and 5 of a warm-up of 5, then decay of power 2 over 19 steps: step 7, from 0.
    assert rows[0]["learning_rate"] == pytest.approx(0.1 * 4 / 5)
    assert rows[1]["learning_rate"] == pytest.approx(0.1 * (17 / 19) ** 2)


def test_a_resumed_run_goes_on_in_the_same_file_without_what_a_kill_undid(fit, folder, tmp_path):
    """A kill may come after evaluations that the last checkpoint does not know."""
    saved = (f"--checkpoint.folder={tmp_path / 'checkpoints'}", "--checkpoint.every=3 steps")
    assert fit(*RUN, *saved, *STOP)[0] == 130
    path, rows = read(folder)
    assert [row["steps"] for row in rows] == [4, 8, 12]
    earlier = path.read_text(encoding="utf-8")
    undone = ",".join(["16", *["7"] * 10])
    path.write_text(f"{earlier}{undone}\n20,1,2", encoding="utf-8")
    code, trial, _ = fit(*RUN, *saved)
    assert code == 0
    same, rows = read(folder)
    assert same == path
    assert path.read_text(encoding="utf-8").startswith(earlier)
    assert [row["steps"] for row in rows] == list(trial.curve_steps) == [4, 8, 12, 16, 20, 24]
    for row, accuracy in zip(rows, trial.curve_validation_accuracy, strict=True):
        assert row["validation_accuracy"] == accuracy


def test_what_is_not_known_is_an_empty_cell(fit, folder):
    """All 24 steps are within the warm-up of the clock."""
    fit(*RUN, "--throughput.warmup_steps=100")
    path, rows = read(folder)
    assert math.isnan(rows[0]["images_per_s"])
    assert path.read_text(encoding="utf-8").splitlines()[1].endswith(",,,")


def test_a_file_that_can_no_longer_be_written_is_one_warning_and_the_run_goes_on(fit, folder):
    folder.mkdir()
    import os
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        code, _, err = fit(*RUN, "--data.evaluate_every=1 steps")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    # The trial itself does not fit either: that is the error.
    warning, error = err.splitlines()
    assert "metrics.csv is written no further: " in warning and os.strerror(27) in warning
    assert error.startswith("error: the trial was not recorded: ") and code == 1


def test_an_evaluation_without_a_picture_is_one_line_and_no_division_by_zero():
    """Each of several processes may have met fewer damaged pictures than it bears."""
    from fullscale.module import Classifier

    module = Classifier()
    vars(module)["_trainer"] = SimpleNamespace(world_size=1, optimizers=[])
    source = SimpleNamespace(num_validation_examples=15)
    vars(module)["_data"] = SimpleNamespace(dataset="image_folder", source=source)
    with pytest.raises(InputError, match="image_folder: none of the 15 validation pictures"):
        module.on_validation_epoch_end()


def test_a_trial_that_has_no_room_in_its_folder_is_kept_elsewhere(
    fit, folder, tmp_path, monkeypatch
):
    """Hours of training are in it, and without checkpoints there is no doing it again."""
    import fullscale.callbacks.record_trial as recording

    def write(where, trials, *, name):
        if where == folder:
            raise OSError(28, os.strerror(28))
        return write_trials(where, trials, name=name)

    write_trials = recording.write_trials
    monkeypatch.setattr(recording, "write_trials", write)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, err = fit(*RUN)
    assert code == 1
    (kept,) = tmp_path.glob("trials-*.parquet")
    assert err.splitlines()[-1] == (
        f"error: the trial was not recorded: [Errno 28] {os.strerror(28)}; it is kept in {kept}, "
        "move it there"
    )
    (trial,) = table_to_trials(read_trials(kept))
    assert trial.curve_steps[-1] == trial.steps


def test_a_check_of_the_code_writes_no_metrics(fit, folder):
    fit("--data.global_batch_size=97", "--trainer.fast_dev_run=2")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("flag", "package"), [("tensorboard", "tensorboard"), ("wandb_offline", "wandb")]
)
def test_a_tool_that_is_not_installed_is_one_line_and_code_2(fit, monkeypatch, flag, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    code, trial, err = fit(*RUN, f"--log.{flag}=somewhere")
    assert (code, trial) == (2, None)
    assert err == (
        f"error: --log.{flag} somewhere: the package {package} is not installed; "
        f"pip install {package}\n"
    )


def test_a_folder_for_a_tool_that_can_not_be_made_is_refused(fit):
    pytest.importorskip("tensorboard")
    code, _, err = fit(*RUN, "--log.tensorboard=/proc/nothing")
    assert (code, err.count("\n")) == (2, 1)
    assert "--log.tensorboard /proc/nothing can't be written" in err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own, of its protobufs
def test_tensorboard_reads_every_evaluation(fit, tmp_path):
    pytest.importorskip("tensorboard")
    code, trial, _ = fit(*RUN, f"--log.tensorboard={tmp_path / 'board'}")
    assert code == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    points = events.Scalars("validation_accuracy")
    assert [point.step for point in points] == list(trial.curve_steps)
    for point, accuracy in zip(points, trial.curve_validation_accuracy, strict=True):
        assert point.value == pytest.approx(accuracy, rel=1e-6)  # single precision


@pytest.mark.slow
def test_weights_and_biases_writes_an_offline_run(finish, command, tmp_path):
    pytest.importorskip("wandb")
    words = [*RUN, "--trainer.accelerator=cpu", f"--record.folder={tmp_path / 'trials'}"]
    done = finish([*command, *words, f"--log.wandb_offline={tmp_path / 'wb'}"])
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "wb").glob("wandb/offline-run-*")
    (file,) = run.glob("*.wandb")
    content = file.read_bytes()
    for word in (b"validation_accuracy", b"global_batch_size"):
        assert word in content


@pytest.mark.slow
def test_two_processes_write_one_file_with_the_speed_of_both(finish, command, tmp_path):
    """97 examples a step, whatever each of the two had of them."""
    words = [*RUN, "--trainer.accelerator=cpu", "--trainer.devices=2"]
    done = finish([
        *(*command, *words, f"--record.folder={tmp_path / 'trials'}"),
        *("--mlperf_log.org=ours", f"--mlperf_log.file={tmp_path / 'result_0.txt'}"),
    ])
    assert done.returncode == 0, done.stderr
    _, rows = read(tmp_path / "trials")
    assert len(rows) == 6
    for row in rows:
        assert row["images_per_s"] == pytest.approx(97 / row["step_time_s"])
        assert row["images_per_s_per_device"] == pytest.approx(row["images_per_s"] / 2)
    log = (tmp_path / "result_0.txt").read_text(encoding="utf-8").splitlines()
    assert sum('"run_start"' in line for line in log) == 1
    assert sum('"eval_accuracy"' in line for line in log) == 6


def test_a_trial_may_bear_the_workload_of_the_sweep_that_it_belongs_to(fit):
    code, trial, _ = fit(*RUN, "--record.workload=digits", "--trainer.max_steps=1")
    assert (code, trial.workload) == (0, "digits")
