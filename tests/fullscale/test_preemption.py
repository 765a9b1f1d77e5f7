"""Runs that are killed or pre-empted, as processes of their own, and what they leave."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fullscale.checkpoints.files import list_checkpoints, read_checkpoint
from fullscale.launch.requeue import RequeueError, requeue_job, wants_requeue
from models_of_scaling.trials import read_trials, table_to_trials

HERE = Path(__file__).parent
JOB = "4711"
STEPS = 24
RUN = (
    "--trainer.accelerator=cpu",
    "--data.global_batch_size=97",
    f"--model.train_duration={STEPS} steps",
    "--model.target=validation_accuracy>=1",
    "--data.evaluate_every=4 steps",
    "--checkpoint.every=3 steps",
)
TWO = ("--trainer.devices=2", "--data.max_per_device_batch_size=20")
FSDP2 = ("--trainer.strategy=fsdp2",)


@pytest.fixture(autouse=True)
def _one_thread():
    """Like the processes: sums in the same order to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def flags(folder: Path, *more: str) -> list[str]:
    return [
        *RUN,
        f"--record.folder={folder / 'trials'}",
        f"--checkpoint.folder={folder / 'checkpoints'}",
        *more,
    ]


def signal_after(step: int, number: int, *, rank: int = 0) -> tuple[str, ...]:
    return (
        "--trainer.callbacks+=fit_callbacks.SignalAtStep",
        f"--trainer.callbacks.step={step}",
        f"--trainer.callbacks.number={int(number)}",
        f"--trainer.callbacks.rank={rank}",
    )


def run_here(*words: str) -> int:
    from fullscale.fit import main

    try:
        return main(list(words))
    except SystemExit as left:
        return int(left.code or 0)


def only_trial(folder: Path):
    """Return the only trial file's row."""
    (file,) = (folder / "trials").glob("*.parquet")
    (trial,) = table_to_trials(read_trials(file))
    return trial


def outcome(folder: Path):
    """Return the trial, and the final network and optimizer as one list of named tensors."""
    final = read_checkpoint(folder / "checkpoints" / f"step-{STEPS:09d}.ckpt").state
    tensors = {**final["model"]}
    for name, state in final["optimizer"]["state"].items():
        tensors |= {f"{name}.{key}": value for key, value in state.items()}
    assert len(tensors) == 8
    return only_trial(folder), tensors


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit: weights and curve."""
    (trial, weights), (other_trial, other_weights) = outcome(one), outcome(other)
    assert weights.keys() == other_weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, other_weights[name]), name
    for column in ("trial_id", "status", "steps", "curve_steps"):
        assert getattr(other_trial, column) == getattr(trial, column), column
    for column in ("train_loss", "validation_loss", "validation_accuracy"):
        assert getattr(trial, f"curve_{column}") == getattr(other_trial, f"curve_{column}")


def assert_close(one: Path, other: Path) -> None:
    """Equal to 1e-6, some roundings of float32: sums of a step come in another order.

    An example repeated or left out moves the weights by 1e-3 and more.
    """
    (trial, weights), (other_trial, other_weights) = outcome(one), outcome(other)
    for name, tensor in weights.items():
        a, b = tensor, other_weights[name]
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    assert trial.curve_steps == other_trial.curve_steps == list(range(4, STEPS + 1, 4))
    np.testing.assert_allclose(trial.curve_train_loss, other_trial.curve_train_loss, rtol=1e-6)


@pytest.fixture
def one_process(tmp_path):
    """An undisturbed run in one process."""
    folder = tmp_path / "undisturbed"
    assert run_here(*flags(folder)) == 0
    return folder


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_equal_to_an_undisturbed_one(
    tmp_path, one_process, finish, command
):
    step = random.Random(5).randrange(4, STEPS)
    folder = tmp_path / "killed"
    done = finish([*command, *flags(folder, *signal_after(step, signal.SIGKILL))])
    assert done.returncode == -signal.SIGKILL
    saved = read_checkpoint(list_checkpoints(folder / "checkpoints")[0])
    assert saved.header.steps == (step - 1) // 3 * 3
    assert not list((folder / "trials").glob("*.parquet"))
    assert run_here(*flags(folder)) == 0
    assert_same(one_process, folder)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Runs of two processes, in two starts: until one process is killed, and after.

    `stopped` was told to stop under FSDP2; copies of what the runs left go on in other ways.
    """
    base = tmp_path_factory.mktemp("pairs")
    step = random.Random(6).randrange(4, STEPS)
    stop = signal_after(10, signal.SIGINT, rank=1)
    together(
        base,
        {
            "ddp": (),
            "fsdp2": FSDP2,
            "stopped": (*FSDP2, *stop),
            "killed": signal_after(step, signal.SIGKILL, rank=1),
        },
    )
    assert (base / "stopped.code.1").read_text() == "130"
    assert not (base / "killed.code.1").exists()
    for name, ways in {"killed": ("alone",), "stopped": ("under_ddp", "stopped_alone")}.items():
        for way in ways:
            shutil.copytree(base / name, base / way)
    together(base, {"killed": (), "stopped": FSDP2, "under_ddp": ()})
    return base


def together(base: Path, runs: dict[str, tuple[str, ...]]) -> None:
    """Run on two processes by torchrun, one run after the other."""
    every = {name: flags(base / name, *TWO, *more) for name, more in runs.items()}
    (base / "runs.json").write_text(json.dumps(every))
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    subprocess.run(
        [sys.executable, *launch, str(HERE / "run_many.py"), str(base / "runs.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)},
        capture_output=True,
        timeout=150,
        check=False,
    )


@pytest.mark.slow
def test_two_processes_of_which_one_was_killed_go_on_bit_equal(pairs):
    assert (pairs / "killed.code.0").read_text() == "0"
    assert_same(pairs / "ddp", pairs / "killed")


@pytest.mark.slow
def test_a_sharded_run_goes_on_bit_equal(pairs):
    assert_same(pairs / "fsdp2", pairs / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["alone", "stopped_alone", "under_ddp"])
def test_what_two_processes_left_goes_on_on_one_and_what_was_sharded_unsharded(
    pairs, one_process, way
):
    if way != "under_ddp":
        assert run_here(*flags(pairs / way)) == 0
    assert_close(one_process, pairs / way)


def fake_scontrol(folder: Path, *, code: int = 0) -> Path:
    """Write a `scontrol` that notes its arguments and the checkpoints there are at that moment."""
    folder.mkdir()
    tool = folder / "scontrol"
    tool.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\nls {folder.parent}/*/checkpoints'
        f" >> {folder}/seen\necho no such job >&2\nexit {code}\n"
    )
    tool.chmod(0o755)
    return folder


def calls(tool: Path) -> list[str]:
    log = tool / "calls"
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.slow
def test_a_preempted_job_of_two_processes_saves_and_requeues_and_goes_on_on_one(
    tmp_path, one_process, environment, command
):
    """SIGTERM from outside at some moment, to the first process only; started from one process."""
    folder, tool = tmp_path / "preempted", fake_scontrol(tmp_path / "bin")
    assert run_here(*flags(folder, *signal_after(3, signal.SIGINT))) == 130
    slow_enough = ("--trainer.callbacks+=fit_callbacks.Dawdle", "--trainer.callbacks.seconds=0.1")
    process = subprocess.Popen(
        [*command, *flags(folder, *TWO, *slow_enough)],
        env=environment | {"SLURM_JOB_ID": JOB, "PATH": f"{tool}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("step      8"):
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.splitlines() == ["SIGTERM: ends after this step; once more ends at once"]
    assert calls(tool) == [f"requeue {JOB}"]
    assert f"job {JOB} is back in the queue" in out
    trial = only_trial(folder)
    assert trial.status == "interrupted"
    assert 8 <= trial.steps < STEPS
    assert read_checkpoint(list_checkpoints(folder / "checkpoints")[0]).header.steps == trial.steps
    assert run_here(*flags(folder)) == 0
    assert_close(one_process, folder)


@pytest.fixture
def under_slurm(tmp_path, monkeypatch):
    """Return a function: run with a signal in mid-step under SLURM; (code, folder, tool)."""

    def run(number: int, *more: str, code: int = 0):
        tool = fake_scontrol(tmp_path / "bin", code=code)
        # What makes Lightning believe in SLURM too, and want to requeue by itself.
        for name, value in {
            **{"JOB_ID": JOB, "JOB_NAME": "fit", "NTASKS": "1", "NTASKS_PER_NODE": "1"},
            **{"NNODES": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "NODELIST": "here"},
        }.items():
            monkeypatch.setenv(f"SLURM_{name}", value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PATH", f"{tool}:{os.environ['PATH']}")
        folder = tmp_path / "run"
        ended = run_here(
            *flags(folder, *more),
            "--data.max_per_device_batch_size=40",
            "--trainer.callbacks+=fit_callbacks.SignalInStep",
            "--trainer.callbacks.step=7",
            f"--trainer.callbacks.number={int(number)}",
        )
        return ended, folder, tool

    return run


def test_sigusr1_in_mid_step_saves_at_the_next_step_boundary_and_then_requeues(under_slurm, capfd):
    code, folder, tool = under_slurm(signal.SIGUSR1)
    assert code == 128 + signal.SIGUSR1
    newest = list_checkpoints(folder / "checkpoints")[0]
    saved = read_checkpoint(newest)
    # Step 8 is an evaluation step: it is put off, a time limit is near.
    assert (saved.header.steps, saved.header.evaluation_due) == (8, True)
    assert only_trial(folder).curve_steps == [4]
    assert calls(tool) == [f"requeue {JOB}"]
    # Not before the checkpoint was there.
    assert newest.name in (tool / "seen").read_text()
    out, err = capfd.readouterr()
    assert err.splitlines() == ["SIGUSR1: ends after this step"]
    assert f"saved in {newest}" in out


def test_a_sigusr1_before_the_first_step_waits_for_it(under_slurm, tmp_path):
    start = ("--trainer.callbacks+=fit_callbacks.SignalAtStart", "--trainer.callbacks.number=10")
    code, folder, tool = under_slurm(signal.SIGTERM, *start)
    assert code == 128 + signal.SIGUSR1
    assert only_trial(folder).steps == 1
    assert calls(tool) == [f"requeue {JOB}"]
    # Lightning's own checkpoint of a pre-empted job would be found by the next one.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "run"]


@pytest.mark.parametrize(
    ("number", "more"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ("--checkpoint.requeue=usr1",)),
        (signal.SIGUSR1, ("--checkpoint.requeue=never",)),
        (signal.SIGUSR1, ("--checkpoint.folder=null",)),
    ],
)
def test_ctrl_c_a_choice_and_a_run_without_checkpoints_do_not_requeue(under_slurm, number, more):
    code, _, tool = under_slurm(number, *more)
    assert code == 128 + number
    assert calls(tool) == []


def test_a_job_that_cannot_be_requeued_is_a_warning_and_the_checkpoint_is_there(under_slurm, capfd):
    code, folder, _ = under_slurm(signal.SIGUSR1, code=1)
    assert code == 128 + signal.SIGUSR1
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"warning: the job is not back in the queue: scontrol requeue {JOB} ended with code 1: "
        "no such job"
    )
    assert list_checkpoints(folder / "checkpoints")


def test_only_a_slurm_job_is_requeued_and_a_missing_scontrol_is_said(monkeypatch, tmp_path):
    assert wants_requeue(signal.SIGUSR1, choice="usr1", environ={"SLURM_JOB_ID": JOB})
    assert not wants_requeue(signal.SIGUSR1, choice="usr1", environ={})
    assert not wants_requeue(0, choice="usr1_or_term", environ={"SLURM_JOB_ID": JOB})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequeueError, match="scontrol"):
        requeue_job({"SLURM_JOB_ID": JOB})
