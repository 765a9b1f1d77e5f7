import csv
from dataclasses import replace

import numpy as np
import pytest

from fullscale.data.raw_images import RawImages
from models_of_scaling.targets import Target
from surrogate import final_test, image_data
from surrogate.data_root import VARIABLE
from surrogate.engines import run_stage
from surrogate.protocol_flags import RunChoice
from surrogate.run_sweep import SweepSettings
from surrogate.search import next_stage
from surrogate.study_record import write_study_record
from surrogate.trial_parts import trials_folder, write_part


def pixels(labels, seed, flip):
    """One bright stripe a class, in noise; flipped, the stripe is another class's."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (len(labels), 1, 10, 10), dtype=np.uint8)
    images[np.arange(len(labels)), 0, (labels + flip) % 10] += 100
    return images


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """Stand in for MNIST; a test image shows the stripe of the class after its own."""
    train, test = np.arange(400) % 10, np.arange(60) % 10
    raw = RawImages(
        name="mnist",
        train_images=pixels(train, 0, 0),
        train_labels=train,
        test_images=pixels(test, 1, 1),
        test_labels=test,
        num_classes=10,
    )
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(image_data, "_read", lambda dataset, root, making: raw)


def sweep(folder, **choice):
    """Sweep here: another process would not know of the tiny set. An epoch is 59,900 of it."""
    settings = SweepSettings(
        workload="mnist_holdout100", out=folder, trials=4, repeats=2, batch_sizes=(50,), **choice
    )
    folder.mkdir()
    write_study_record(settings)
    trials = []
    while stage := next_stage(settings.plan, 50, trials):
        for finished in run_stage(settings.plan, 50, stage):
            trials += finished
    write_part(trials_folder(folder), settings.plan, 50, trials)
    return trials


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_tuned_repeats_are_trained_again_and_told_by_the_test_split(tiny_mnist, tmp_path):
    trials = sweep(tmp_path / "sweep", run=RunChoice(epochs=0.05))

    final_test.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "test.csv")])

    rows = rows_of(tmp_path / "test.csv")
    recorded = {t.seed: t.curve_validation_accuracy[-1] for t in trials if t.phase == "repeat"}
    assert {int(row["seed"]) for row in rows} <= set(recorded) and len(rows) == 2
    for row in rows:
        assert float(row["validation_accuracy"]) == pytest.approx(recorded[int(row["seed"])])
        # Had validation images been evaluated again, this would be as high as above.
        assert float(row["validation_accuracy"]) > 0.8 and float(row["test_accuracy"]) < 0.2
        assert row["num_test_examples"] == "60"


def test_runs_to_a_target_end_where_they_ended(tiny_mnist, tmp_path):
    trials = sweep(tmp_path / "sweep", target=Target.parse("validation_accuracy>=0.7"))

    final_test.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "test.csv")])

    steps = {t.seed: t.steps for t in trials if t.phase == "repeat"}
    for row in rows_of(tmp_path / "test.csv"):
        assert int(row["steps"]) == steps[int(row["seed"])]


def test_a_record_that_the_same_run_does_not_give_again_is_refused(tiny_mnist, tmp_path, capsys):
    trials = sweep(tmp_path / "sweep", run=RunChoice(epochs=0.05))
    for path in trials_folder(tmp_path / "sweep").iterdir():
        path.unlink()
    forged = [
        replace(t, curve_train_loss=[*t.curve_train_loss[:-1], 2 * t.curve_train_loss[-1]])
        if t.phase == "repeat"
        else t
        for t in trials
    ]
    settings = SweepSettings(
        workload="mnist_holdout100",
        out=tmp_path / "sweep",
        trials=4,
        repeats=2,
        run=RunChoice(epochs=0.05),
    )
    write_part(trials_folder(tmp_path / "sweep"), settings.plan, 50, forged)

    with pytest.raises(SystemExit) as end:
        final_test.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "test.csv")])

    error = capsys.readouterr().err
    assert end.value.code == 2 and len(error.splitlines()) == 1 and "not the same run" in error
    assert not (tmp_path / "test.csv").exists()


def test_a_folder_without_a_test_split_kept_apart_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        final_test.main([str(tmp_path), "--out", str(tmp_path / "test.csv")])

    assert end.value.code == 2
    assert capsys.readouterr().err.count("no study of a sweep is recorded here") == 1
