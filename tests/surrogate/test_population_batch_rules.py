"""Rules that ask a step's batch: a population trains as one member alone does."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from fullscale.data.digits import digits_arrays
from fullscale.data.order import stream_indices
from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.network_batch import NetworkBatch
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from surrogate.population import Population
from surrogate.training.members import Member
from surrogate.training.task import Task

STEPS = 8
pytestmark = pytest.mark.slow  # tracing members' steps takes seconds


def perceptron(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))


def convolutions(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 2, 3, stride=2),
        nn.Flatten(),
        nn.Linear(2, 3),
    )


def task(rule, make_network):
    digits = digits_arrays()
    data = replace(
        digits,
        train_images=digits.train_images[:64, :, 2:6, 2:6],
        train_labels=digits.train_labels[:64] % 3,
        num_classes=3,
    )
    return Task(
        data=data,
        model="tiny",
        make_network=make_network,
        rule=get_update_rule(rule),
        batch_size=12,
        dtype=torch.float64,
    )


def alone(shared, member):
    """Yield the weights after each step of one network, by autograd and `RuleOptimizer`."""
    network = shared.network(member.seed)
    images = torch.from_numpy(shared.data.train_images).double()
    labels = torch.from_numpy(shared.data.train_labels)
    kept = []

    def losses():
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        yield functional.cross_entropy(network(kept[0]), kept[1])
        network.load_state_dict(buffers, strict=False)

    def parts():
        def run(images, labels):
            buffers = {name: value.clone() for name, value in network.named_buffers()}
            functional.cross_entropy(network(images), labels, reduction="sum").backward()
            network.load_state_dict(buffers, strict=False)
            return torch.tensor(float(len(images)))

        for pair in zip(*(each.chunk(6) for each in kept), strict=True):
            yield functools.partial(run, *pair)

    batch = NetworkBatch(
        network,
        shared.rule.gradient_rule,
        layers=layers_of(network),
        losses=losses,
        parts=parts,
    )
    optimizer = RuleOptimizer(
        network.named_parameters(),
        rule=shared.rule,
        traits=list(shared.groups.traits(network).values()),
        batch=batch,
        **member.numbers,
    )
    size = shared.batch_size
    for step in range(STEPS):
        chosen = torch.from_numpy(
            stream_indices(
                seed=member.seed,
                num_examples=shared.data.num_train_examples,
                start=step * size,
                stop=(step + 1) * size,
            )
        )
        kept[:] = images[chosen], labels[chosen]
        optimizer.zero_grad()
        with batch.forward():
            scores = network(kept[0])
        batch.note(scores, kept[1], torch.ones(size), first_place=0)
        functional.cross_entropy(scores, kept[1]).backward()
        optimizer.step()
        yield {name: value.clone() for name, value in network.state_dict().items()}


KFAC = {"kl_clip": 0.01, "damping": 0.03, "weight_decay": 0.01}


@pytest.mark.parametrize(
    ("rule", "make_network", "numbers"),
    [
        # One phase for all, then phases of their own.
        ("kfac", convolutions, [{**KFAC, "inverse_every": 4.0}] * 2),
        ("kfac", perceptron, [{**KFAC, "inverse_every": 4.0}, {**KFAC, "factors_every": 2.0}]),
        ("kfac_empirical", perceptron, [KFAC, {**KFAC, "kl_clip": 0.0}]),
        ("adascale", convolutions, [{"adascale_scale": 4.0}, {"weight_decay": 0.1}]),
        ("saddle_free", perceptron, [{}, {"damping": 1.0}]),
        ("ema:sam:adam", convolutions, [{"weight_decay": 0.1}, {"sam_radius": 0.2}]),
    ],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
def test_members_of_a_population_train_as_one_alone(rule, numbers, make_network):
    shared = task(rule, make_network)
    members = [
        Member(seed=3 + k, numbers={"learning_rate": 0.05, **each})
        for k, each in enumerate(numbers)
    ]
    population = Population(shared, members)
    runs = [alone(shared, member) for member in members]
    start = population.at(0)[0]
    # Its ten products with the Hessian take most of this file's time.
    for step in range(1, 4 if rule == "saddle_free" else STEPS + 1):
        population.advance(step)
        wanted = [next(run) for run in runs]
        for place in range(2):
            parameters, buffers, _ = population.at(place)
            for name, value in (parameters | buffers).items():
                torch.testing.assert_close(
                    value, wanted[place][name], rtol=0, atol=1e-11, msg=f"{name}, step {step}"
                )
    moved = max(
        float((population.at(0)[0][name] - value).abs().max()) for name, value in start.items()
    )
    assert moved > 1e-3
