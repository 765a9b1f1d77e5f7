"""The trainer as several processes, and as one that is killed: commands of their own."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ENDLESS = (
    "--data.global_batch_size=256",
    "--model.train_duration=1000000 epochs",
    "--model.target=validation_accuracy>=1",
    "--data.evaluate_every=100 steps",
    "--trainer.accelerator=cpu",
)
UNEVEN = ("--data.global_batch_size=97", "--data.max_per_device_batch_size=20")
FEWER_EXAMPLES_THAN_FORWARDS = (
    "--data.global_batch_size=3",
    "--data.max_per_device_batch_size=1",
)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run_flags(folder: Path, name: str, *more: str) -> list[str]:
    return [
        "--trainer.accelerator=cpu",
        "--trainer.precision=64-true",
        "--model.train_duration=12 steps",
        "--data.evaluate_every=5 steps",
        "--trainer.callbacks+=fit_callbacks.DumpWeights",
        f"--trainer.callbacks.path={folder / name}.pt",
        f"--record.folder={folder / name}",
        *more,
    ]


def torchrun_two_nodes(flags: list[str], environment: dict[str, str]) -> list[tuple[int, str, str]]:
    """Two agents of one process each on this machine: (code, output, errors) of each node."""
    port = free_port()
    nodes = [
        subprocess.Popen(
            [
                *TORCHRUN,
                *("--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}"),
                *("--master-addr=127.0.0.1", f"--master-port={port}", "-m", "fullscale.fit"),
                *("--trainer.num_nodes=2", "--trainer.devices=1", *flags),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    ended = [node.communicate(timeout=120) for node in nodes]
    return [(node.returncode, *streams) for node, streams in zip(nodes, ended, strict=True)]


def assert_same_run(folder: Path, only_trial) -> None:
    """The runs `one` and `two` have the same weights and evaluations, in float64 to 1e-12."""
    one, two = (torch.load(folder / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12, atol=1e-14)
    alone, together = only_trial(folder / "one"), only_trial(folder / "two")
    assert together.curve_steps == alone.curve_steps == [5, 10, 12]
    assert together.curve_validation_accuracy == alone.curve_validation_accuracy
    for column in ("curve_train_loss", "curve_validation_loss"):
        np.testing.assert_allclose(getattr(together, column), getattr(alone, column), rtol=1e-12)
    # Hardware is no part of the experiment's name.
    assert together.trial_id == alone.trial_id


def test_two_processes_by_lightnings_launcher_give_the_update_of_one(
    tmp_path, fit, finish, command, only_trial
):
    """97 examples as 49 + 48, in 3 forwards each, against one forward of 97."""
    code, _, err = fit(*run_flags(tmp_path, "one", UNEVEN[0]))
    assert code == 0, err
    done = finish([*command, *run_flags(tmp_path, "two", *UNEVEN, "--trainer.devices=2")])
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_run(tmp_path, only_trial)
    # Rank zero alone prints.
    assert done.stdout.count("17 per device x 2 devices x 3 accumulation") == 1
    assert done.stdout.count("not_reached: 12 steps") == 1


def test_two_nodes_by_torchrun_give_the_update_of_one_and_write_one_trial(
    tmp_path, fit, environment, only_trial
):
    """3 examples as 2 + 1 in two forwards each: the second node's second forward is a filler."""
    code, _, err = fit(*run_flags(tmp_path, "one", FEWER_EXAMPLES_THAN_FORWARDS[0]))
    assert code == 0, err
    flags = run_flags(tmp_path, "two", *FEWER_EXAMPLES_THAN_FORWARDS)
    (code, out, err), (other_code, other_out, _) = torchrun_two_nodes(flags, environment)
    assert (code, other_code) == (0, 0), err
    assert "not_reached: 12 steps" in out
    assert not other_out
    assert_same_run(tmp_path, only_trial)
    assert "2 nodes x 1 processes" in only_trial(tmp_path / "two").device


def interrupt(words: list[str], environment: dict[str, str], number: int) -> tuple[int, str, str]:
    """Start a run, send a signal to its first process after some evaluations, wait for its end."""
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step    200"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "devices"), [(signal.SIGTERM, 2), (signal.SIGINT, 1)])
def test_a_signal_ends_the_run_after_the_step_with_one_trial(
    tmp_path, command, environment, only_trial, number, devices
):
    flags = [*ENDLESS, f"--trainer.devices={devices}", f"--record.folder={tmp_path / 'trials'}"]
    code, out, err = interrupt([*command, *flags], environment, number)
    assert code == 128 + number
    assert err.splitlines() == [
        f"{signal.Signals(number).name}: ends after this step; once more ends at once"
    ]
    trial = only_trial(tmp_path / "trials")
    assert trial.status == "interrupted"
    assert trial.steps >= trial.curve_steps[-1] >= 200
    assert f"interrupted: {trial.steps} steps" in out


def test_peers_that_do_not_come_are_counted_in_one_line(tmp_path, finish, command):
    start = time.perf_counter()
    done = finish(
        [
            *command,
            *("--trainer.num_nodes=2", "--trainer.devices=1", "--join_timeout_s=5"),
            *(*ENDLESS, f"--record.folder={tmp_path / 'trials'}"),
        ],
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=free_port(),
        NODE_RANK="0",
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "error: 1 of 2 processes joined" in done.stderr
    assert time.perf_counter() - start < 60
    assert not list((tmp_path / "trials").iterdir())


def test_a_node_whose_first_node_is_not_there_says_so_in_one_line(finish, command, tmp_path):
    port = free_port()
    done = finish(
        [
            *command,
            *("--trainer.num_nodes=2", "--trainer.devices=1", "--join_timeout_s=1"),
            *(*ENDLESS, f"--record.folder={tmp_path / 'trials'}"),
        ],
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
        NODE_RANK="1",
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"rank 1 of 2: rank 0 does not answer at 127.0.0.1:{port} within 1 s" in done.stderr
