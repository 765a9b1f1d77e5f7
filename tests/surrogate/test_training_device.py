"""What a process trains on: a GPU where one is named, else the CPU."""

import pytest
import torch

from models_of_scaling.errors import InputError
from surrogate.ingredients import Ingredients
from surrogate.protocol_flags import RunChoice
from surrogate.run_sweep import SweepSettings, local_workers
from surrogate.sweep import main
from surrogate.training import population_trials
from surrogate.training.training_device import device_name, training_device, visible_gpus


@pytest.fixture(autouse=True)
def _fresh():
    yield
    device_name.cache_clear()


@pytest.mark.parametrize("nothing", [None, "", "-1", "NoDevFiles"])
def test_where_no_gpu_is_named_the_cpu_trains_though_torch_sees_one(monkeypatch, nothing):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if nothing is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
    assert training_device() == "cpu" and device_name() is None


def test_a_gpu_that_is_named_trains_and_stands_in_the_record(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU's name")
    assert training_device() == "cuda" and device_name() == "a GPU's name"


def test_the_members_of_a_sweep_train_there(monkeypatch, tmp_path):
    made = {}
    monkeypatch.setattr("surrogate.training.task.Task", lambda **given: made.update(given))
    monkeypatch.setattr(population_trials, "training_device", lambda: "cuda")
    # A study of this test's own: tasks are kept. The smallest batch size takes the most steps: on a
    # CPU its step would be compiled.
    own = RunChoice(ingredients=Ingredients(label_smoothing=0.123))
    plan = SweepSettings(workload="digits", out=tmp_path, run=own).plan
    population_trials.task_of(plan, 1)
    assert made["device"] == "cuda" and not made["compiled"]


def test_a_gpu_that_torch_does_not_see_is_refused_and_not_replaced_by_the_cpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES: 7: torch .* sees no such GPU"):
        training_device()


def test_a_sweep_takes_a_process_for_each_gpu_that_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 2")
    assert visible_gpus() == ("0", "2")
    given = {"workload": "digits", "out": tmp_path}
    assert local_workers(SweepSettings(**given)) == (2, ("0", "2"))
    assert local_workers(SweepSettings(**given, gpus=("5",), workers=3)) == (3, ("5",))
    # A simulator trains nothing.
    count, gpus = local_workers(SweepSettings(workload="noisy_quadratic", out=tmp_path))
    assert count >= 1 and gpus == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_dry_run_for_a_gpu_that_is_not_there_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # set by the command, and put back afterwards
    words = f"--workload digits --out {tmp_path / 'out'} --gpus 7 --dry-run"
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "7: torch" in error
