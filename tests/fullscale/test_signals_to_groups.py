"""Signals as schedulers send them: to every process of a task, and to tasks that end at once."""

import os
import signal
import subprocess

import pytest

from fullscale.checkpoints.files import list_checkpoints, read_checkpoint

pytestmark = pytest.mark.slow

ENDLESS = (
    "--trainer.accelerator=cpu",
    "--data.global_batch_size=64",
    "--model.train_duration=10000 epochs",
    "--model.target=validation_accuracy>=1",
    "--data.evaluate_every=10 steps",
    "--trainer.callbacks+=fit_callbacks.Dawdle",
    "--trainer.callbacks.seconds=0.02",
)


def start(words, folder, environment):
    """Start a run in a group of its own; return once it trains."""
    places = [f"--record.folder={folder / 'trials'}", f"--checkpoint.folder={folder / 'saved'}"]
    process = subprocess.Popen(
        [*words, *ENDLESS, *places],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if line.startswith("step     20"):
            break
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_every_process_of_a_task_leaves_its_workers_to_finish_the_step(
    tmp_path, command, environment, only_trial, number
):
    process = start([*command, "--data.num_workers=2"], tmp_path, environment)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    more = "" if number == signal.SIGUSR1 else "; once more ends at once"
    assert err.splitlines() == [f"{signal.Signals(number).name}: ends after this step{more}"]
    trial = only_trial(tmp_path / "trials")
    assert trial.status == "interrupted"
    newest = list_checkpoints(tmp_path / "saved")[0]
    assert read_checkpoint(newest).header.steps == trial.steps


def test_a_second_signal_ends_a_run_and_its_workers_at_once(tmp_path, command, environment):
    process = start([*command, "--data.num_workers=2"], tmp_path, environment)
    # A stopped process holds signals back: both kinds meet it in the same step.
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        os.killpg(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_no_process_ends_before_rank_zero_has_put_the_job_back(tmp_path, command, environment):
    """A launcher would end rank zero when another has ended with a code, before it has asked."""
    tool, pids = tmp_path / "bin" / "scontrol", tmp_path / "pids"
    tool.parent.mkdir()
    pids.mkdir()
    tool.write_text(
        # Time enough for another process to end, were it to.
        "#!/bin/sh\nsleep 4\n"
        f"for pid in $(ls {pids}); do grep State /proc/$pid/status >> {tmp_path}/states; done\n"
    )
    tool.chmod(0o755)
    note = ("--trainer.callbacks+=fit_callbacks.NotePid", f"--trainer.callbacks.folder={pids}")
    process = start(
        [*command, *note, "--trainer.devices=2"],
        tmp_path,
        environment | {"SLURM_JOB_ID": "4711", "PATH": f"{tool.parent}:{os.environ['PATH']}"},
    )
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "job 4711 is back in the queue" in out
    states = (tmp_path / "states").read_text().splitlines()
    assert len(states) == 2
    assert not [state for state in states if "zombie" in state], states
