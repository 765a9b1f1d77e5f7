"""The gradient noise scale in `fullscale.fit`: its columns, its record, one process and two."""

import csv
import json

import numpy as np
import pytest

CALLBACK = "--trainer.callbacks+=fullscale.callbacks.gradient_noise.GradientNoiseScale"
FLAGS = (
    "--data.global_batch_size=97",
    "--data.max_per_device_batch_size=17",
    "--model.train_duration=32 steps",
    "--data.evaluate_every=8 steps",
    "--trainer.precision=64-true",
    CALLBACK,
    "--trainer.callbacks.window_steps=32",
    "--trainer.callbacks.blocks=16",
)
NAME = "gradient_noise_scale"


def test_a_run_writes_its_noise_scale_into_metrics_csv_and_the_trial(tmp_path, fit):
    code, trial, err = fit(*FLAGS)
    assert (code, err) == (0, "")
    (path,) = (tmp_path / "trials").glob("*.metrics.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["steps"] for row in rows] == ["8", "16", "24", "32"]
    # Eight blocks of two steps are whole from step 16 on.
    assert [float(row[f"{NAME}_valid"]) for row in rows] == [0, 1, 1, 1]
    last = {name: float(rows[-1][name]) for name in rows[-1] if name.startswith(NAME)}
    assert trial.measurements == last
    assert 0 < last[f"{NAME}_low"] < last[NAME] < last[f"{NAME}_high"]
    # Digits after an epoch: tens of examples, by all that was ever measured of it.
    assert 10 < last[NAME] < 1000


def test_a_run_without_it_has_no_such_columns(tmp_path, fit):
    code, trial, err = fit("--data.global_batch_size=256", "--trainer.max_steps=2")
    assert (code, err) == (0, "")
    assert trial.measurements == {}
    (path,) = (tmp_path / "trials").glob("*.metrics.csv")
    assert NAME not in path.read_text()


def test_a_step_of_one_forward_is_refused_with_the_flag_that_mends_it(fit):
    code, trial, err = fit("--data.global_batch_size=256", CALLBACK)
    assert (code, trial) == (2, None)
    assert "give --data.max_per_device_batch_size half the batch or less" in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "method"),
    [("ddp", "lars"), ("fsdp2", "lars"), ("fsdp2", "adam"), ("fsdp2_head2", "adam")],
)
def test_two_processes_say_of_each_tensor_what_one_says(
    tmp_path, fit, finish, command, strategy, method
):
    """97 examples as 49 + 48 in 3 forwards each, against 6 forwards of one process."""

    def flags(name):
        return [
            *FLAGS,
            f"--trainer.callbacks.preconditioner={method}",
            "--trainer.callbacks+=noise_callbacks.DumpNoise",
            f"--trainer.callbacks.path={tmp_path / name}.json",
            f"--model.optimizer={method}",
        ]

    code, _, err = fit(*flags("one"))
    assert (code, err) == (0, "")
    two = ["--trainer.devices=2", f"--trainer.strategy={strategy}", "--trainer.accelerator=cpu"]
    done = finish([*command, *flags("two"), *two, f"--record.folder={tmp_path / 'records'}"])
    assert done.returncode == 0, done.stderr
    one, both = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert list(one) == list(both)
    assert len(one) == 6
    for name, moments in one.items():
        # 32 steps in float64, their sums taken in another order.
        np.testing.assert_allclose(both[name], moments, rtol=1e-10, err_msg=name)
