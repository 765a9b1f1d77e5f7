"""The population against a plain PyTorch loop, side by side in one run, one thread each."""

import time

import pytest
import torch
from torch.nn import functional

from fullscale.data.digits import digits_arrays
from fullscale.data.order import stream_indices
from fullscale.models import build_network
from fullscale.optimizers.registry import get_update_rule
from surrogate.population import Population
from surrogate.training.members import Member
from surrogate.training.task import Task

NUMBERS = {"learning_rate": 0.05, "momentum": 0.9}
ROUNDS = 5


def loop_rate(*, batch_size, steps):
    """Model-steps per second of a plain loop: torch's own SGD, data in memory."""
    data = digits_arrays()
    network = build_network("mlp", image_shape=data.image_shape, num_classes=10, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    chosen = torch.from_numpy(
        stream_indices(seed=0, num_examples=1024, start=0, stop=steps * batch_size)
    ).view(steps, batch_size)
    started = time.perf_counter()
    for indices in chosen:
        optimizer.zero_grad()
        functional.cross_entropy(network(images[indices]), labels[indices]).backward()
        optimizer.step()
    return steps / (time.perf_counter() - started)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 64])
def test_a_population_takes_at_least_3_times_the_steps_of_a_plain_loop(batch_size, capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        task = Task(
            data=digits_arrays(),
            model="mlp",
            rule=get_update_rule("momentum"),
            batch_size=batch_size,
        )
        members, steps = 32, 150
        population = Population(task, [Member(seed=0, numbers=NUMBERS)] * members)
        population.advance(2)  # traces the step
        loop_rate(batch_size=batch_size, steps=50)
        rates = []
        for _ in range(ROUNDS):  # in turn, so that a busy machine slows both
            plain = loop_rate(batch_size=batch_size, steps=500)
            started = time.perf_counter()
            population.advance(population.steps + steps)
            rates.append((plain, members * steps / (time.perf_counter() - started)))
    finally:
        torch.set_num_threads(threads)
    plain, stacked = (sorted(column)[ROUNDS // 2] for column in zip(*rates, strict=True))
    with capsys.disabled():
        print(
            f"\nMLP, batch {batch_size}: plain loop {plain:,.0f}, population of {members} "
            f"{stacked:,.0f} model-steps/s, {stacked / plain:.1f} times"
        )
    assert stacked > 3 * plain
