"""The compiled step: the traced step's numbers, independent of the population's size."""

import logging
import shutil
import warnings

import numpy as np
import pytest
import torch

from fullscale.data.digits import digits_arrays
from fullscale.optimizers.registry import get_update_rule
from surrogate.budget import Budget
from surrogate.population import Population
from surrogate.protocol import Plan, Protocol
from surrogate.training.members import Member
from surrogate.training.population_trials import compilation_pays
from surrogate.training.task import Task
from surrogate.workloads import get_workload

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")


def task(*, compiled, batch_size=8, dtype=torch.float32):
    return Task(
        data=digits_arrays(),
        model="mlp",
        rule=get_update_rule("momentum"),
        batch_size=batch_size,
        dtype=dtype,
        compiled=compiled,
    )


def members(count):
    rng = np.random.default_rng(3)
    return [
        Member(seed=k % 2, numbers={"learning_rate": float(rate), "momentum": 0.5})
        for k, rate in enumerate(rng.uniform(0.01, 0.1, count))
    ]


def trained(shared, chosen, *, steps):
    everyone = members(24)
    population = Population(shared, [everyone[k] for k in chosen])
    population.advance(steps)
    return {
        chosen[member]: (*population.at(place), population.evaluate(place))
        for place, member in population.active()
    }


@needs_compiler
@pytest.mark.slow
def test_a_compiled_step_is_the_traced_step_up_to_rounding():
    states = [
        trained(task(compiled=compiled, dtype=torch.float64), [0, 1, 2], steps=50)
        for compiled in (False, True)
    ]
    for member, (parameters, _, velocities, evaluation) in states[0].items():
        for name, value in parameters.items():
            # Algebra in float64, 50 steps: the order of sums differs.
            torch.testing.assert_close(states[1][member][0][name], value, rtol=0, atol=1e-10)
            torch.testing.assert_close(
                states[1][member][2][name], velocities[name], rtol=0, atol=1e-10
            )
        np.testing.assert_allclose(states[1][member][3], evaluation, rtol=0, atol=1e-10)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 12])
def test_a_members_compiled_float32_result_does_not_depend_bit_for_bit_on_who_trains_beside_it(
    batch_size,
):
    shared = task(compiled=True, batch_size=batch_size)
    everyone = trained(shared, list(range(24)), steps=12)
    assert shared.programs[0, None] is not None  # K left open, no phases
    for chosen in ([5], [5, 20, 3], [0, 3, 5, 9, 23], list(range(4, 20))):
        for member, (parameters, _, _, evaluation) in trained(shared, chosen, steps=12).items():
            assert evaluation == everyone[member][3]
            for name, value in parameters.items():
                assert torch.equal(value, everyone[member][0][name]), (len(chosen), name)


@pytest.mark.slow
def test_without_a_compiler_the_step_is_traced_and_a_warning_says_so(monkeypatch, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch, in its own files
        from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    with caplog.at_level(logging.WARNING, logger="surrogate.training.mapped_step"):
        found = trained(task(compiled=True), [0, 1], steps=2)
    (record,) = (each for each in caplog.records if each.name == "surrogate.training.mapped_step")
    assert "the step is traced, not compiled" in record.getMessage()
    traced = trained(task(compiled=False), [0, 1], steps=2)
    for member in (0, 1):
        assert found[member][3] == traced[member][3]
        for name, value in traced[member][0].items():
            assert torch.equal(found[member][0][name], value)


def test_compilation_pays_for_many_steps_of_a_perceptron_only():
    def pays(workload, batch_size, trials):
        spec = get_workload(workload)
        plan = Plan(
            workload=workload,
            optimizer="momentum",
            target=spec.target,
            space=spec.space("momentum"),
            protocol=Protocol(trials=trials),
            budget=Budget(floor_steps=spec.floor_steps, budget_examples=spec.budget_examples),
        )
        return compilation_pays(spec, plan, batch_size)

    assert pays("digits", 1, 1_000)
    assert not pays("digits", 64, 64)
    assert not pays("digits_cnn", 1, 1_000)
