"""Branching on the simulator: expected risks and noise scales against a recursion step by step."""

import csv
import json

import numpy as np
import pytest

from models_of_scaling.branch_table import checkpoint_row
from surrogate.branching.plan import BASE_FACTORS, BranchPlan
from surrogate.branching.simulated_runs import SimulatedBranches
from surrogate.noisy_quadratic import Spectrum
from surrogate.simulator.methods import METHODS

H, C, START = np.array([1.0, 0.3, 0.05]), np.array([2.0, 0.5, 4.0]), np.array([1.0, 2.0, 0.5])
SPECTRUM = Spectrum(curvature_P=H, noise_P=C, initial_P=START)
RATE, MOMENTUM = 0.2, 0.7


def plan_of(**more):
    chosen = {
        "checkpoints": (64, 128),
        "branch_examples": 128,
        "batch_sizes": (8, 16, 32),
        "rules": ("linear", "none"),
        "seeds": (),
        "numbers": {"learning_rate": RATE, "momentum": MOMENTUM},
    }
    return BranchPlan(**{**chosen, **more})


def advanced(moments, steps, *, batch_size, rate, momentum=MOMENTUM):
    """E of theta^2, theta v and v^2 of each mode, one step after the other."""
    tt, tv, vv = moments
    for _ in range(steps):
        # v <- m v + h theta + noise
        vv = momentum**2 * vv + 2 * momentum * H * tv + H**2 * tt + C / batch_size
        tv = momentum * tv + H * tt
        # theta <- theta - rate v
        tt = tt - 2 * rate * tv + rate**2 * vv
        tv = tv - rate * vv
    return tt, tv, vv


def risk(moments):
    return 0.5 * float(H @ moments[0])


@pytest.fixture(scope="module")
def found():
    return SimulatedBranches(SPECTRUM, METHODS["momentum"], plan_of(), base_batch_size=4).run()


def at_checkpoint(examples):
    zeros = np.zeros(3)
    return advanced((START, zeros, zeros), examples // 4, batch_size=4, rate=RATE)


@pytest.mark.parametrize("place", [0, 1])
def test_branches_and_the_base_run_are_the_recursion_of_moments(found, place):
    branches = found[place].branches
    here = at_checkpoint(branches.examples)
    for rule, power in (("linear", 1.0), ("none", 0.0)):
        for size, got in zip(branches.batch_sizes, branches.loss_RM[rule][0], strict=True):
            rate = RATE * (size / 4) ** power
            end = advanced(here, 128 // size, batch_size=size, rate=rate)
            np.testing.assert_allclose(got, risk(end), rtol=1e-12)
    assert tuple(branches.base_loss_RN) == BASE_FACTORS
    for factor, (losses,) in branches.base_loss_RN.items():
        for examples, got in zip(branches.base_examples_N, losses, strict=True):
            steps = int(examples) // 4
            want = risk(advanced(here, steps, batch_size=4, rate=RATE * factor))
            np.testing.assert_allclose(got, want, rtol=1e-12)
    assert 2 * 128 in branches.base_examples_N


def test_noise_scales_are_those_of_the_expected_gradient_plain_and_with_curvature(found):
    for each in found:
        squares = at_checkpoint(each.branches.examples)[0]
        (simple,) = each.noise
        np.testing.assert_allclose(simple.estimate, C.sum() / (H**2 @ squares), rtol=1e-12)
        curved = (H @ C) / (H**3 @ squares)
        np.testing.assert_allclose(each.curvature_noise.estimate, curved, rtol=1e-12)


def test_they_are_what_drawn_runs_have_on_average():
    """Noise drawn in 20,000 runs of plain SGD: nothing of the simulator's algebra is used."""
    plan = plan_of(checkpoints=(64,), numbers={"learning_rate": RATE})
    (each,) = SimulatedBranches(SPECTRUM, METHODS["sgd"], plan, base_batch_size=4).run()
    rng = np.random.default_rng(0)
    theta = np.sqrt(START) * rng.standard_normal((20_000, 3))
    for _ in range(16):
        noise = np.sqrt(C / 4) * rng.standard_normal(theta.shape)
        theta = theta - RATE * (H * theta + noise)
    norms, losses = np.square(H * theta).sum(axis=1), 0.5 * np.square(theta) @ H
    for got, drawn in (
        (each.noise[0].sq_norm, norms),
        (float(each.branches.base_loss_RN[1.0][0, 0]), losses),
    ):
        error = drawn.std(ddof=1) / np.sqrt(len(drawn))
        assert abs(got - drawn.mean()) < 4 * error < 0.05 * got


def test_an_exact_row_has_no_interval_and_a_bound_where_branches_end(found):
    row = checkpoint_row(
        found[0].branches,
        found[0].noise,
        curvature_noise=found[0].curvature_noise,
        tolerance=0.05,
    )
    assert row.noise_scale.low == row.noise_scale.estimate == row.noise_scale.high
    answers = [*row.by_rule.values(), *row.lossless.values()]
    assert any(0 < each.estimate < np.inf for each in answers)
    for each in answers:
        if each.estimate == 0:
            assert (each.low, each.high) == (0, 8)
        elif np.isinf(each.estimate):
            assert (each.low, each.high) == (32, np.inf)
        else:
            assert each.low <= each.estimate <= each.high


def test_a_rate_that_diverges_is_an_answer():
    plan = plan_of(numbers={"learning_rate": 1.5, "momentum": 0.0}, batch_sizes=(8, 64))
    method = METHODS["momentum"]
    (first, _) = SimulatedBranches(SPECTRUM, method, plan, base_batch_size=4).run()
    row = checkpoint_row(first.branches, first.noise, tolerance=0.05)
    assert first.branches.loss_RM["linear"][0, 1] > 10 * first.branches.loss_RM["none"][0, 1]
    assert row.by_rule["linear"].estimate < 64


@pytest.mark.slow
def test_the_command_branches_the_simulator_from_a_sweep_of_its_own(tmp_path, capsys):
    from surrogate.branch import main

    out = tmp_path / "branch"
    flags = ["--workload", "noisy_quadratic", "--modes", "100", "--workers", "1"]
    assert main([*flags, "--optimizer", "sgd", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "with curvature" in said
    assert "times the noise scale with curvature there" in said
    rows = list(csv.DictReader((out / "critical_batch_size.csv").read_text().splitlines()))
    assert len(rows) >= 2
    for row in rows:
        assert float(row["gradient_noise_scale_low"]) == float(row["gradient_noise_scale"])
        assert 0 < float(row["curvature_noise_scale"]) < np.inf
    assert json.loads((out / "branching.json").read_text())["plan"]["seeds"] == []
    assert "noise scale with curvature" in (out / "branching.svg").read_text()
