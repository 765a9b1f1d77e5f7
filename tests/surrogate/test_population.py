"""The population: equal to training one at a time, and each member independent of the others."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fullscale.data.digits import digits_arrays
from fullscale.data.order import stream_indices
from fullscale.models import build_network
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from models_of_scaling.targets import Target
from surrogate.evaluation_grid import last_evaluation, next_evaluation
from surrogate.member_step import Task
from surrogate.members import Member, StopRule
from surrogate.population import Population
from surrogate.sizes import population_size
from surrogate.train_population import train_population

STEPS = 50
NUMBERS = {
    "momentum": [
        {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
        {"learning_rate": 0.03, "momentum": 0.0, "weight_decay": 0.0},
        {"learning_rate": 0.2, "momentum": 0.5, "weight_decay": 0.01},
        {"learning_rate": 0.01, "momentum": 0.95, "weight_decay": 0.0},
        {"learning_rate": 0.05, "momentum": 0.8, "weight_decay": 0.0},
    ],
    "lars": [
        {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "trust_coefficient": 0.05},
        {"learning_rate": 0.03, "momentum": 0.0, "weight_decay": 0.0, "trust_coefficient": 0.1},
        {"learning_rate": 0.2, "momentum": 0.5, "weight_decay": 0.01, "trust_coefficient": 0.02},
        {"learning_rate": 0.01, "momentum": 0.95, "weight_decay": 0.0, "trust_coefficient": 0.1},
        {"learning_rate": 0.05, "momentum": 0.8, "weight_decay": 0.0, "trust_coefficient": 0.05},
    ],
}


def task(*, model="mlp", rule="momentum", batch_size=16, dtype=torch.float32):
    return Task(
        data=digits_arrays(),
        model=model,
        rule=get_update_rule(rule),
        batch_size=batch_size,
        dtype=dtype,
    )


def train_alone(*, model, rule, batch_size, seed, numbers):
    """Ordinary autograd and torch.optim, float64; yields the parameters after each step."""
    data = digits_arrays()
    network = build_network(model, image_shape=data.image_shape, num_classes=10, seed=seed).double()
    optimizer = RuleOptimizer(network.parameters(), rule=get_update_rule(rule), **numbers)
    images, labels = (
        torch.from_numpy(data.train_images).double(),
        torch.from_numpy(data.train_labels),
    )
    for step in range(STEPS):
        chosen = torch.from_numpy(
            stream_indices(
                seed=seed,
                num_examples=data.num_train_examples,
                start=step * batch_size,
                stop=(step + 1) * batch_size,
            )
        )
        optimizer.zero_grad()
        functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        yield {name: value.detach().clone() for name, value in network.named_parameters()}


# 48 does not divide the 1,024 examples: batches run over an epoch's end.
@pytest.mark.parametrize(("model", "batch_size"), [("mlp", 48), ("small_cnn", 16)])
@pytest.mark.parametrize("rule", ["momentum", "lars"])
def test_a_population_equals_training_one_at_a_time_step_by_step(rule, model, batch_size):
    members = [Member(seed=7 + k % 3, numbers=n) for k, n in enumerate(NUMBERS[rule])]
    shared = task(model=model, rule=rule, batch_size=batch_size, dtype=torch.float64)
    population = Population(shared, members)
    alone = [
        train_alone(model=model, rule=rule, batch_size=batch_size, seed=m.seed, numbers=m.numbers)
        for m in members
    ]
    for step in range(1, STEPS + 1):
        population.advance(step)
        wanted = [next(each) for each in alone]
        for place, member in enumerate(population.places):
            if member is not None:
                for name, value in population.at(place)[0].items():
                    # Algebra in float64, 50 steps: the order of sums differs.
                    torch.testing.assert_close(value, wanted[member][name], rtol=0, atol=1e-10)
        if step == 20:
            population.release({0, 3})
            assert len(population.places) == 3
    assert sorted(m for m in population.places if m is not None) == [1, 2, 4]


@pytest.mark.parametrize("model", ["mlp", "small_cnn"])
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
