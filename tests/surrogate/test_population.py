"""The population: equal to training one at a time, and each member independent of the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fullscale.data.digits import digits_arrays
from fullscale.data.order import stream_indices
from fullscale.optimizers.registry import UPDATE_RULES, get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.schedules import WarmupPolynomial
from models_of_scaling.targets import Target
from surrogate.evaluation_grid import last_evaluation, next_evaluation
from surrogate.population import Population
from surrogate.training.members import Member, StopRule
from surrogate.training.sizes import population_size
from surrogate.training.task import Task
from surrogate.training.train_population import train_population

STEPS = 50
# Learning rates small enough that 50 steps amplify no rounding: 1e-10 is then algebra in float64.
RATES = [0.05, 0.01, 0.1, 0.02, 0.03]


def task(*, model="mlp", rule="momentum", batch_size=16, dtype=torch.float32, **more):
    return Task(
        data=digits_arrays(),
        model=model,
        rule=get_update_rule(rule),
        batch_size=batch_size,
        dtype=dtype,
        **more,
    )


def members_of(rule, *, count, scale=1.0):
    """Members with numbers of their own: each default moved a little towards zero."""
    defaults = {**get_update_rule(rule).defaults}
    if rule == "soap":
        # Two classes' gradients are opposite: in a direction without gradient Adam divides rounding
        # by epsilon, and 1e-17 / 1e-8 is more than what this test tells apart.
        defaults["epsilon"] = 1e-3
    return [
        Member(
            seed=7 + k % 3,
            numbers={"learning_rate": scale * RATES[k]}
            | {
                # Periods are whole numbers of steps.
                name: max(1, value - k) if name.endswith("_every") else value * (1 - 0.02 * k)
                for name, value in defaults.items()
            },
        )
        for k in range(count)
    ]


def train_alone(shared, member):
    """Ordinary autograd, torch's layers and a torch.optim optimizer; yields after each step."""
    data, batch_size = shared.data, shared.batch_size
    network = shared.network(member.seed)
    optimizer = RuleOptimizer(
        network.parameters(),
        rule=shared.rule,
        traits=list(shared.groups.traits(network).values()),
        **member.numbers,
    )
    images = torch.from_numpy(data.train_images).double()
    labels = torch.from_numpy(data.train_labels)
    for step in range(STEPS):
        chosen = torch.from_numpy(
            stream_indices(
                seed=member.seed,
                num_examples=data.num_train_examples,
                start=step * batch_size,
                stop=(step + 1) * batch_size,
            )
        )
        if member.schedule is not None:
            optimizer.param_groups[0]["lr"] = member.numbers[
                "learning_rate"
            ] * member.schedule.factor(step)
        optimizer.zero_grad()
        functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        yield {name: value.clone() for name, value in network.state_dict().items()}


def assert_equal_step_by_step(shared, members, *, leaving=frozenset()):
    population = Population(shared, members)
    alone = [train_alone(shared, member) for member in members]
    for step in range(1, STEPS + 1):
        population.advance(step)
        wanted = [next(each) for each in alone]
        for place, member in population.active():
            parameters, buffers, _ = population.at(place)
            found = parameters | buffers
            assert found.keys() == wanted[member].keys()
            for name, value in found.items():
                torch.testing.assert_close(
                    value, wanted[member][name], rtol=0, atol=1e-10, msg=f"{name}, step {step}"
                )
        if step == 20:
            population.release(set(leaving))
    assert {member for _, member in population.active()} == set(range(len(members))) - leaving
    return population


# 48 does not divide the 1,024 examples: batches run over an epoch's end.
# A CNN's members step one by one from a batch of about 40 on, in float64.
@pytest.mark.parametrize(
    ("model", "batch_size"), [("mlp", 48), ("small_cnn", 16), ("small_cnn", 48)]
)
@pytest.mark.parametrize("rule", ["momentum", "lars"])
def test_a_population_equals_training_one_at_a_time_step_by_step(rule, model, batch_size):
    shared = task(model=model, rule=rule, batch_size=batch_size, dtype=torch.float64)
    population = assert_equal_step_by_step(
        shared, members_of(rule, count=5), leaving=frozenset({0, 3})
    )
    assert len(population.places) == 3
    assert shared.stacked_network.one_by_one == (model == "small_cnn" and batch_size == 48)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [4, 12])
def test_resnet8_keeps_batch_norm_of_its_own_in_each_member_averages_included(batch_size):
    shared = task(model="resnet8", batch_size=batch_size, dtype=torch.float64)
    assert shared.stacked_network.one_by_one == (batch_size == 12)
    population = assert_equal_step_by_step(shared, members_of("momentum", count=2))
    first, second = (population.at(place)[1] for place in range(2))
    assert first["1.num_batches_tracked"] == STEPS
    assert not torch.equal(first["1.running_mean"], second["1.running_mean"])


# A network of 14 parameters for every rule of the registry, also those that will be added: on 2x2
# pixels, so that matrices of all shapes are there and steps cost little. A second each for tracing:
# the study's own are among the fast tests.
FAST_RULES = {"momentum", "nesterov", "adam", "lars", "lamb", "kfac"}


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, marks=[] if rule in FAST_RULES else [pytest.mark.slow])
        for rule in sorted(UPDATE_RULES)
    ],
)
def test_every_update_rule_steps_a_population_as_it_steps_a_network_alone(rule):
    digits = digits_arrays()
    data = replace(
        digits,
        train_images=digits.train_images[:32, :, 2:6:2, 2:6:2],
        train_labels=digits.train_labels[:32] % 2,
        num_classes=2,
    )

    def make_network(seed):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)
        )

    shared = Task(
        data=data,
        model="tiny",
        make_network=make_network,
        rule=get_update_rule(rule),
        batch_size=8,
        dtype=torch.float64,
    )
    assert_equal_step_by_step(shared, members_of(rule, count=2, scale=0.2))


def test_members_follow_schedules_of_their_own_and_a_constant_rate_beside_them():
    shared = task(batch_size=8, dtype=torch.float64)
    schedules = [
        WarmupPolynomial(warmup_steps=5, num_train_steps=30),
        None,
        WarmupPolynomial(warmup_steps=0, num_train_steps=50, decay_power=1.0),
    ]
    members = [
        replace(member, schedule=schedule)
        for member, schedule in zip(members_of("momentum", count=3), schedules, strict=True)
    ]
    assert_equal_step_by_step(shared, members)


@pytest.mark.parametrize("model", ["mlp", pytest.param("small_cnn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_a_members_float32_result_does_not_depend_bit_for_bit_on_who_trains_beside_it(
    model, batch_size
):
    rng = np.random.default_rng(3)
    members = [
        Member(seed=k % 2, numbers={"learning_rate": float(lr), "momentum": 0.5})
        for k, lr in enumerate(rng.uniform(0.01, 0.1, 24))
    ]
    shared = task(model=model, batch_size=batch_size)

    def final(chosen):
        population = Population(shared, [members[k] for k in chosen])
        population.advance(4)
        return {
            chosen[member]: (population.at(place)[0], population.evaluate(place))
            for place, member in enumerate(population.places)
            if member is not None
        }

    everyone = final(range(24))
    for chosen in ([5], [5, 20], [0, 3, 5, 9, 23], list(range(4, 20))):
        for member, (parameters, evaluation) in final(chosen).items():
            assert evaluation == everyone[member][1]
            for name, value in parameters.items():
                assert torch.equal(value, everyone[member][0][name]), (len(chosen), name)


def results(members, *, stop_rule, batch_size=64):
    found = {}
    for left in train_population(task(batch_size=batch_size), members, stop_rule):
        found |= {result.member: result for result in left}
    return found


def test_members_leave_when_they_reach_diverge_or_run_out_of_steps():
    target = Target.parse("train_loss<=0.5")
    numbers = [
        {"learning_rate": 0.3, "momentum": 0.8},
        {"learning_rate": 1e6, "momentum": 0.0},
        {"learning_rate": 1e-4, "momentum": 0.0},
    ]
    members = [Member(seed=0, numbers=each) for each in numbers]
    stop_rule = StopRule(target=target, max_steps=60, divergence_factor=30.0)
    found = results(members, stop_rule=stop_rule)
    assert [found[k].status for k in range(3)] == ["reached", "diverged", "not_reached"]
    reached, diverged, slow = (found[k].curve for k in range(3))
    assert reached.train_loss[-1] <= 0.5 < reached.train_loss[-2]
    assert diverged.steps[-1] < 60
    assert slow.steps[-1] == 60
    pairs = list(zip(slow.steps[:-2], slow.steps[1:-1], strict=True))
    assert all(later == next_evaluation(earlier) for earlier, later in pairs)
    assert all(curve.wall_time_s > 0 for curve in (reached, diverged, slow))


def test_members_slower_than_a_multiple_of_the_fastest_are_stopped_at_the_last_evaluation_before():
    target = Target.parse("train_loss<=0.5")
    members = [Member(seed=0, numbers={"learning_rate": lr, "momentum": 0.8}) for lr in (0.3, 1e-4)]
    found = results(
        members, stop_rule=StopRule(target=target, max_steps=10_000, slowest_factor=3.0)
    )
    assert found[1].status == "not_reached"
    assert found[1].curve.steps[-1] == last_evaluation(3 * found[0].curve.steps[-1])
    known = StopRule(target=target, max_steps=10_000, slowest_factor=3.0, fewest_steps=4)
    assert results(members[1:], stop_rule=known)[0].curve.steps[-1] == 12


def test_population_sizes_grow_by_at_most_a_half_and_hold_their_members():
    sizes = [population_size(members) for members in range(1, 300)]
    assert all(size >= members for members, size in enumerate(sizes, 1))
    distinct = sorted(set(sizes))
    assert all(b <= 1.5 * a for a, b in zip(distinct, distinct[1:], strict=False))


def test_the_evaluation_grid_is_dense_at_first_and_5_percent_apart_later():
    grid = [0]
    while grid[-1] < 10_000:
        grid.append(next_evaluation(grid[-1]))
    assert grid[:21] == list(range(21))
    assert all(b <= max(a + 1, 1.05 * a) for a, b in zip(grid, grid[1:], strict=False))
    assert len(grid) < 200
