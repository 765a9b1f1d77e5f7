"""Batch policies on one process and on two; post-local SGD and SWAP against plain loops."""

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, update_bn

from fullscale.data.digits import digits_arrays
from fullscale.data.order import stream_indices
from fullscale.models import build_network

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow

# 32 examples a step, then 128: with a span of 32 one statistic, shared by both processes, then
# four, two for each; with at most 16 to a device, all shared.
GROWN = (
    *("--data.global_batch_size=32", "--model.name=resnet8_width4", "--model.batch_norm_span=32"),
    *("--model.schedule=piecewise", "--data.grow_with_decay=true"),
    "--model.schedule_numbers={boundaries: [0.5], factors: [1.0, 0.25]}",
    *("--model.train_duration=12 steps", "--data.evaluate_every=1 epochs"),
    *("--model.label_smoothing=0.1", "--model.confidence_penalty=0.1", "--data.mixup_alpha=0.3"),
    *("--trainer.gradient_clip_val=1.5", "--model.zero_init_last_batch_norm=true"),
)
CLIPPED = (
    *("--data.global_batch_size=97", "--trainer.gradient_clip_val=0.5"),
    *("--model.train_duration=4 steps", "--data.evaluate_every=4 steps"),
)
AVERAGED = (
    *("--data.global_batch_size=64", "--model.name=resnet8_width4", "--model.batch_norm_span=32"),
    *("--model.train_duration=8 steps", "--data.evaluate_every=4 steps"),
    *("--average.start=3 steps", "--average.every=2 steps", "--average.batch_norm_over=3 steps"),
    *("--model.learning_rate=0.05", "--model.schedule=constant"),
)
APART = ("--model.learning_rate=0.05", "--model.schedule=constant", "--data.seed=3")
LOCAL = (
    *(*APART, "--data.global_batch_size=64", "--model.train_duration=10 steps"),
    *("--data.evaluate_every=2 steps", "--comm.hook=post_local_sgd", "--comm.start_steps=4"),
    "--comm.averaging_period_steps=2",
)
SWAP = (
    *(*APART, "--data.global_batch_size=64", "--model.train_duration=9 steps"),
    *("--model.name=resnet8_width4", "--data.evaluate_every=3 steps", "--comm.hook=swap"),
    *("--comm.start_steps=4", "--average.batch_norm_over=3 steps"),
)
STOPPED = (
    "--checkpoint.folder=CHECKPOINTS_ALONE",
    *("--trainer.callbacks+=fit_callbacks.SignalAtStep", "--trainer.callbacks.step=7"),
    f"--trainer.callbacks.number={int(signal.SIGINT)}",
)
ALONE = {
    "grown": GROWN,
    "grown_stopped": (*GROWN, *STOPPED),
    "clipped": CLIPPED,
    "averaged": AVERAGED,
}
TOGETHER = {
    "grown_ddp": (*GROWN, "--data.max_per_device_batch_size=40"),
    "grown_resumed": (*GROWN, "--checkpoint.folder=CHECKPOINTS_ALONE"),
    "grown_shared": (*GROWN, "--data.max_per_device_batch_size=16", "--trainer.strategy=fsdp2"),
    "clipped_ddp": (*CLIPPED, "--data.max_per_device_batch_size=17"),
    "clipped_fsdp2": (*CLIPPED, "--trainer.strategy=fsdp2"),
    "clipped_head": (*CLIPPED, "--trainer.strategy=fsdp2_head2"),
    "averaged_ddp": (*AVERAGED, "--data.max_per_device_batch_size=16"),
    "averaged_fsdp2": (*AVERAGED, "--trainer.strategy=fsdp2"),
    "local": LOCAL,
    "local_from_the_start": (*LOCAL, "--comm.start_steps=0", "--model.train_duration=2 steps"),
    "swap": SWAP,
    "swap_stopped": (
        *(*SWAP, "--checkpoint.folder=CHECKPOINTS"),
        *("--trainer.callbacks+=fit_callbacks.SignalAtStep", "--trainer.callbacks.step=6"),
        f"--trainer.callbacks.number={int(signal.SIGINT)}",
    ),
    "swap_resumed": (*SWAP, "--checkpoint.folder=CHECKPOINTS"),
}


def write_runs(folder, runs, *, devices):
    every = {
        name: [
            *("--trainer.accelerator=cpu", f"--trainer.devices={devices}"),
            *("--trainer.precision=64-true", "--model.target=validation_accuracy>=1"),
            *("--trainer.callbacks+=strategy_callbacks.DumpState",),
            *(f"--trainer.callbacks.path={folder / name}.pt", f"--record.folder={folder / name}"),
            *(flag.replace("CHECKPOINTS", str(folder / "checkpoints")) for flag in flags),
        ]
        for name, flags in runs.items()
    }
    path = folder / f"runs_{devices}.json"
    path.write_text(json.dumps(every))
    return str(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All runs, in one start of one process and one start of two."""
    folder = tmp_path_factory.mktemp("policies")
    launchers = ("MASTER_", "RANK", "WORLD_SIZE", "LOCAL_", "TORCHEL", "SLURM_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(launchers)}
    clean["OMP_NUM_THREADS"] = "1"
    clean["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for words, chosen, devices in (([sys.executable], ALONE, 1), (two, TOGETHER, 2)):
        done = subprocess.run(
            [*words, str(HERE / "run_many.py"), write_runs(folder, chosen, devices=devices)],
            env=clean,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        print(done.stdout, done.stderr, sep="\n")  # shown where a run failed
    codes = {path.name: path.read_text() for path in folder.glob("*.code.*")}
    want = {f"{name}.code.0": "0" for name in ALONE}
    want |= {f"{name}.code.{rank}": "0" for name in TOGETHER for rank in (0, 1)}
    want["grown_stopped.code.0"] = "130"
    want |= {f"swap_stopped.code.{rank}": "130" for rank in (0, 1)}
    assert codes == want
    return folder


def load(runs, name):
    return torch.load(runs / f"{name}.pt", weights_only=True)


def largest_difference(a, b):
    """The largest difference of any parameter or average, relative to the tensor's size."""
    assert a.keys() == b.keys()
    return max(
        float((b[name].double() - a[name].double()).abs().max() / a[name].double().abs().max())
        for name in a
    )


@pytest.mark.parametrize("name", ["grown_ddp", "grown_shared", "grown_resumed"])
def test_a_grown_batch_makes_the_same_updates_and_averages_on_two_processes(runs, name, only_trial):
    """`grown_resumed` was one process's run, up to its second phase."""
    one, two = load(runs, "grown"), load(runs, name)
    # float64: sums in another order, over nine steps and a change of phase.
    assert largest_difference(one, two) < 1e-11
    alone, together = only_trial(runs / "grown"), only_trial(runs / name)
    assert alone.settings["batch_phases"] == "0:32,6:128"
    assert (alone.steps, alone.examples) == (8, 6 * 32 + 2 * 128)
    assert together.trial_id == alone.trial_id
    np.testing.assert_allclose(
        together.curve_validation_loss, alone.curve_validation_loss, rtol=1e-11
    )
    np.testing.assert_allclose(together.curve_train_loss, alone.curve_train_loss, rtol=1e-11)


@pytest.mark.parametrize("name", ["clipped_ddp", "clipped_fsdp2", "clipped_head"])
def test_the_norm_that_clips_is_that_of_the_whole_gradient_however_it_is_cut(runs, name):
    assert largest_difference(load(runs, "clipped"), load(runs, name)) < 1e-12


@pytest.mark.parametrize("name", ["averaged_ddp", "averaged_fsdp2"])
def test_averaged_weights_are_evaluated_alike_on_two_processes_and_leave_training_alone(
    runs, name, only_trial
):
    assert largest_difference(load(runs, "averaged"), load(runs, name)) < 1e-11
    alone, together = only_trial(runs / "averaged"), only_trial(runs / name)
    assert alone.optimizer == "swa:momentum"
    np.testing.assert_allclose(
        together.curve_validation_loss, alone.curve_validation_loss, rtol=1e-11
    )


def examples(words, start, stop, *, seed=3):
    rows = stream_indices(seed=seed, num_examples=1024, start=start, stop=stop, words=words)
    arrays = digits_arrays()
    images = torch.from_numpy(arrays.train_images[rows]).double()
    return images, torch.from_numpy(arrays.train_labels[rows])


def validation_loss(network):
    arrays = digits_arrays()
    network.eval()
    with torch.no_grad():
        scores = network(torch.from_numpy(arrays.validation_images).double())
        return float(cross_entropy(scores, torch.from_numpy(arrays.validation_labels)))


def new_network(name, *, seed=3):
    return build_network(name, image_shape=(1, 8, 8), num_classes=10, seed=seed).double()


def momentum(network, *, rate=0.05):
    return torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)


def average_into(networks):
    for parameters in zip(*(each.parameters() for each in networks), strict=True):
        mean = sum(p.detach() for p in parameters) / len(parameters)
        for parameter in parameters:
            parameter.data.copy_(mean)


def train_apart(name, *, steps, exact_steps, batch_of, period=None, watch=None):
    """Two workers in one process: mean gradients first, then their own; averages by `period`."""
    workers = [new_network(name) for _ in range(2)]
    optimizers = [momentum(worker) for worker in workers]
    for step in range(steps):
        for worker, optimizer, rank in zip(workers, optimizers, (0, 1), strict=True):
            optimizer.zero_grad()
            images, labels = batch_of(step, rank)
            cross_entropy(worker.train()(images), labels).backward()
        if step < exact_steps:
            for pair in zip(*(worker.parameters() for worker in workers), strict=True):
                mean = (pair[0].grad + pair[1].grad) / 2
                for parameter in pair:
                    parameter.grad = mean.clone()
        for optimizer in optimizers:
            optimizer.step()
        if period and step >= exact_steps and (step + 1) % period == 0:
            average_into(workers)
        if watch is not None:
            watch(step + 1, copy.deepcopy(workers))
    return workers


@pytest.mark.parametrize(
    ("name", "steps", "exact_steps"), [("local", 10, 4), ("local_from_the_start", 2, 0)]
)
def test_post_local_sgd_is_lins_algorithm_with_local_momentum(runs, name, steps, exact_steps):
    def batch_of(step, rank):
        return examples((), 64 * step + 32 * rank, 64 * step + 32 * rank + 32)

    workers = train_apart("mlp", steps=steps, exact_steps=exact_steps, batch_of=batch_of, period=2)
    assert largest_difference(workers[0].state_dict(), load(runs, name)) < 1e-12


def swap_batch(step, rank):
    """Phase 1: a half of the common batch; phase 2: each worker's own order of the whole set."""
    if step < 4:
        return examples((), 64 * step + 32 * rank, 64 * step + 32 * rank + 32)
    return examples((4, rank + 1), 32 * (step - 4), 32 * (step - 4) + 32)


def swapped(workers):
    """The mean of the workers, its statistics taken by torch."""
    average_into(workers)
    # Three steps of two forwards of 32 examples.
    update_bn([examples((), first, first + 32)[0] for first in range(0, 192, 32)], workers[0])
    return workers[0]


def without_counts(state):
    return {name: value for name, value in state.items() if "num_batches" not in name}


def test_swap_is_guptas_three_phases_with_statistics_of_torchs_update_bn(runs, only_trial):
    means = {}

    def watch(steps, workers):
        if steps in {6, 9}:
            means[steps] = swapped(workers)

    train_apart("resnet8_width4", steps=9, exact_steps=4, batch_of=swap_batch, watch=watch)
    want = means[9]
    got = without_counts(load(runs, "swap"))
    assert largest_difference(without_counts(want.state_dict()), got) < 1e-11
    trial = only_trial(runs / "swap")
    assert trial.curve_steps == [3, 6, 9]
    # In between the mean is evaluated, and the workers go on from their own weights.
    losses = [validation_loss(means[steps]) for steps in (6, 9)]
    np.testing.assert_allclose(trial.curve_validation_loss[1:], losses, rtol=1e-10)
    assert trial.settings["comm_hook"] == "swap"


def test_swap_stopped_in_its_second_phase_goes_on_with_each_workers_own_weights(runs):
    one, other = load(runs, "swap"), load(runs, "swap_resumed")
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_stochastic_weight_averaging_is_evaluated_as_torchs_averaged_model(runs, only_trial):
    """Spans of 32 are ghost batches: plain batch norm over halves of each step."""
    network = new_network("resnet8_width4", seed=0)
    optimizer = momentum(network)
    mean = None
    for step in range(8):
        optimizer.zero_grad()
        for half in range(2):
            images, labels = examples((), 64 * step + 32 * half, 64 * step + 32 * half + 32, seed=0)
            (cross_entropy(network.train()(images), labels) / 2).backward()
        optimizer.step()
        done = step + 1
        if done >= 3 and (done - 3) % 2 == 0:
            if mean is None:
                mean = AveragedModel(network)
            mean.update_parameters(network)
    halves = [examples((), first, first + 32, seed=0)[0] for first in range(0, 192, 32)]
    shown = copy.deepcopy(mean.module)
    update_bn(halves, shown)
    trial = only_trial(runs / "averaged")
    assert trial.curve_steps == [4, 8]
    assert trial.curve_validation_loss[-1] == pytest.approx(validation_loss(shown), rel=1e-10)
    # Not what the trained weights would have shown.
    assert abs(validation_loss(network) - trial.curve_validation_loss[-1]) > 1e-4
