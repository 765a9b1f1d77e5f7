"""Branching on digits: the same examples, exact continuation, and the command from end to end."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fullscale.optimizers.registry import get_update_rule
from models_of_scaling.errors import InputError
from surrogate.branching.plan import BASE_FACTORS, BranchPlan, choose_base, plan_branches
from surrogate.branching.runs import run_branches
from surrogate.training.members import Member, StopRule
from surrogate.training.task import Task
from surrogate.training.train_population import train_population
from surrogate.workloads import get_workload

NUMBERS = {"learning_rate": 0.02, "momentum": 0.9}


def task_of(batch_size, dtype=torch.float64):
    workload = get_workload("digits_subset256")
    return Task(
        data=workload.load(),
        model=workload.model,
        rule=get_update_rule("momentum"),
        batch_size=batch_size,
        dtype=dtype,
    )


def plan_of(**more):
    chosen = {
        "checkpoints": (64, 128),
        "branch_examples": 128,
        "batch_sizes": (16, 32),
        "rules": ("linear", "none"),
        "seeds": (0, 1, 2),
        "numbers": NUMBERS,
    }
    return BranchPlan(**{**chosen, **more})


@pytest.fixture(scope="module")
def found():
    torch.set_num_threads(1)
    return run_branches(task_of(8), plan_of())


def losses_of_population(seeds, steps):
    members = [Member(seed=seed, numbers=NUMBERS) for seed in seeds]
    rule = StopRule(target=None, max_steps=steps)
    left = [r for group in train_population(task_of(8), members, rule) for r in group]
    left.sort(key=lambda result: result.member)
    return [result.curve.train_loss[result.curve.steps.index(steps)] for result in left]


def test_the_base_run_is_the_sweeps_own_run_through_checkpoints_and_on(found):
    first, second = (each.branches for each in found)
    assert (first.examples, second.examples) == (64, 128)
    # The second checkpoint, and the base run along the first one's branches.
    for got, steps in (
        (first.base_loss_RN[1.0][:, 0], 8),
        (second.base_loss_RN[1.0][:, 0], 16),
        (first.base_loss_RN[1.0][:, list(first.base_examples_N).index(128)], 24),
    ):
        np.testing.assert_allclose(got, losses_of_population((0, 1, 2), steps), rtol=1e-12)
    assert tuple(first.base_loss_RN) == BASE_FACTORS


def test_a_branch_takes_the_base_runs_next_examples_with_its_velocity_and_scaled_rate(found):
    """One seed's branch by hand, in plain numpy order: gradients, velocity, four steps of 32."""
    from torch.func import functional_call

    from fullscale.data.order import stream_indices

    task = task_of(8)
    network = task.network(1)
    names = [name for name, _ in network.named_parameters()]
    weights = [p.detach().clone() for p in network.parameters()]
    velocity = [torch.zeros_like(w) for w in weights]
    labels = torch.from_numpy(task.data.train_labels)

    def step(first, size, rate):
        chosen = torch.from_numpy(stream_indices(seed=1, num_examples=256, start=first,
                                                 stop=first + size))  # fmt: skip
        leaves = [w.clone().requires_grad_() for w in weights]
        scores = functional_call(
            network, dict(zip(names, leaves, strict=True)), task.to_numbers(task.images[chosen])
        )
        loss = torch.nn.functional.cross_entropy(scores, labels[chosen])
        for w, v, g in zip(weights, velocity, torch.autograd.grad(loss, leaves), strict=True):
            v.mul_(0.9).add_(g)
            w.sub_(rate * v)

    for first in range(0, 64, 8):
        step(first, 8, 0.02)
    for first in range(64, 192, 32):
        step(first, 32, 0.02 * 4)
    scores = functional_call(
        network, dict(zip(names, weights, strict=True)), task.to_numbers(task.images)
    )
    want = float(torch.nn.functional.cross_entropy(scores, labels))
    got = found[0].branches.loss_RM["linear"][1, 1]
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_the_noise_scale_at_a_checkpoint_is_that_of_all_single_examples(found):
    """All 256 single gradients of a new network, against microbatches drawn from them."""
    from torch.func import functional_call, grad, vmap

    task = task_of(8)
    network = task.network(0)
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    short = plan_of(checkpoints=(0,), branch_examples=16, batch_sizes=(16,), rules=("none",))
    start = run_branches(task, short)[0]

    def loss(weights, image, label):
        scores = functional_call(network, weights, image[None])
        return torch.nn.functional.cross_entropy(scores, label[None])

    labels = torch.from_numpy(task.data.train_labels)
    single = vmap(grad(loss), in_dims=(None, 0, 0))(
        parameters, task.to_numbers(task.images), labels
    )
    rows = torch.cat([g.flatten(1) for g in single.values()], dim=1)
    mean = rows.mean(dim=0)
    truth = float((rows - mean).square().sum(dim=1).mean() / mean.square().sum())
    # Its interval is 5 % to either side, so 12 % is four standard errors.
    assert start.noise[0].estimate == pytest.approx(truth, rel=0.12)
    assert start.noise[0].high < 1.2 * start.noise[0].low


@pytest.mark.slow
def test_the_command_goes_from_trials_to_table_picture_and_record(tmp_path, capsys):
    from surrogate.branch import main
    from surrogate.sweep import main as sweep

    trials = tmp_path / "sweep" / "trials"
    flags = ["--workload", "digits", "--subset", "256"]
    small = ["--batch-sizes", "8,32,128", "--trials", "6", "--repeats", "1", "--workers", "1"]
    assert sweep([*flags, *small, "--out", str(trials.parent)]) == 0
    out = tmp_path / "branch"
    more = ["--trials", str(trials), "--batch-size", "8", "--checkpoints", "2", "--seeds", "3"]
    assert main([*flags, *more, "--out", str(out), "--rules", "sqrt,none"]) == 0
    said = capsys.readouterr().out
    assert "digits_subset256, momentum, branches from batch size 8" in said
    assert "B_crit by steps to target" in said
    rows = list(csv.DictReader((out / "critical_batch_size.csv").read_text().splitlines()))
    assert len(rows) == 2
    assert float(rows[0]["gradient_noise_scale_low"]) > 0
    assert "critical_batch_size_sqrt" in rows[0]
    record = json.loads((out / "branching.json").read_text())
    sizes = record["plan"]["batch_sizes"]
    losses = list(csv.DictReader((out / "branches.csv").read_text().splitlines()))
    # Two checkpoints, three seeds: the base run, and each rule at each batch size.
    assert len(losses) == 2 * 3 * (1 + 2 * len(sizes))
    assert (out / "branching.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workload", "noisy_quadratic", "--seeds", "3"], "expected losses, which have no seeds"),
        (
            ["--workload", "digits", "--max-batch-size", "1"],
            "--max-batch-size 1 must be at least 2",
        ),
        (["--workload", "digits", "--tolerance", "0"], "--tolerance 0 must be positive"),
        (["--workload", "digits", "--seeds", "-1"], "--seeds -1 must be at least 3"),
        (["--workload", "digits", "--seeds", "0"], "--seeds 0 must be at least 3"),
        (
            ["--workload", "digits", "--max-batch-size", "2048"],
            "--max-batch-size 2048 must be at most 1024 (digits)",
        ),
        (["--workload", "digits", "--workers", "-1"], "--workers -1 must be at least 1"),
        (["--workload", "digits", "--rules", "sqrt,sqrt"], "--rules: sqrt is there twice"),
        (["--workload", "digits", "--rules", "cubic"], "--rules: 'cubic' is not one of"),
        (["--workload", "digits", "--checkpoints", "0"], "--checkpoints 0 must be at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(tmp_path, capsys, flags, words):
    from surrogate.branch import main

    with pytest.raises(SystemExit) as left:
        main([*flags, "--out", str(tmp_path / "none")])
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_a_place_for_the_table_that_is_no_folder_is_refused_before_the_runs(tmp_path, capsys):
    from surrogate.branch import main

    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "in it"):
        with pytest.raises(SystemExit) as left:
            main(["--workload", "digits", "--out", str(out)])
        assert left.value.code == 2
        assert f"--out {out}: {tmp_path / 'file'} is no folder" in capsys.readouterr().err


def tuned_at(batch_size, schedule_name=""):
    return SimpleNamespace(batch_size=batch_size, schedule_name=schedule_name, numbers=NUMBERS)


FIT = SimpleNamespace(
    target="train_loss<=0.05",
    critical_batch_size=SimpleNamespace(estimate=120.0),
    measured=SimpleNamespace(
        batch_size=(4, 4, 16), steps=(600.0, 700.0, 200.0), reached=(True, True, True)
    ),
)


def test_the_base_run_has_the_largest_batch_size_below_an_eighth_of_the_critical_one():
    tuned = [tuned_at(4), tuned_at(8), tuned_at(16)]
    assert choose_base(tuned, FIT, None).batch_size == 8
    assert choose_base(tuned[2:], FIT, None).batch_size == 16  # the smallest, where none is
    assert choose_base(tuned, FIT, 4).batch_size == 4
    with pytest.raises(InputError, match="--batch-size 5 is not one of the tuned ones: 4, 8, 16"):
        choose_base(tuned, FIT, 5)
    with pytest.raises(InputError, match="needs a constant rate"):
        choose_base([tuned_at(4, "cosine")], FIT, None)


def test_all_lengths_are_multiples_of_the_largest_branch_whose_steps_are_enough():
    choice = {"max_batch_size": 1024, "checkpoints": 4, "rules": ("none",), "seeds": 3}
    plan = plan_branches(tuned_at(4), FIT, **choice)
    assert plan.batch_sizes == (8, 16, 32, 64, 128, 256, 512)  # 2,600 examples, 4 steps or more
    assert plan.branch_examples == 2560
    assert plan.checkpoints == (512, 1024, 2560)
    assert plan_branches(tuned_at(4), FIT, **{**choice, "max_batch_size": 64}).batch_sizes[-1] == 64
    for change, words in (
        ({"seeds": 2}, "--seeds 2 must be at least 3"),
        ({"rules": ("cubic",)}, "--rules: 'cubic' is not one of linear, sqrt, none"),
        ({"checkpoints": 0}, "--checkpoints 0 must be at least 1"),
        ({"rules": ("none", "none")}, "--rules: none is there twice"),
        ({"max_batch_size": 7}, "begin at twice the base run's batch size, 8: .* allow 7"),
    ):
        with pytest.raises(InputError, match=words):
            plan_branches(tuned_at(4), FIT, **{**choice, **change})
    short = SimpleNamespace(**{**vars(FIT), "measured": SimpleNamespace(
        batch_size=(4,), steps=(7.0,), reached=(True,))})  # fmt: skip
    with pytest.raises(InputError, match="28 examples; .* fewer than 4 steps"):
        plan_branches(tuned_at(4), short, **choice)
    with pytest.raises(InputError, match="no run at batch size 8 reached"):
        plan_branches(tuned_at(8), FIT, **choice)
