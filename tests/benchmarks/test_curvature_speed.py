"""What a step of the rules that ask their batch costs: python -m pytest -s THIS_FILE.

Whole steps, forwards and backwards included, side by side in one process, in units of a step of
SGD with momentum.
"""

import functools
import statistics
import time

import pytest
import torch
from torch.nn import functional

from fullscale.models import build_network
from fullscale.optimizers.layers import layers_of
from fullscale.optimizers.network_batch import NetworkBatch
from fullscale.optimizers.parameter_groups import ParameterGroups
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer

pytestmark = [pytest.mark.slow, pytest.mark.alone]
BATCH, ROUNDS = 256, 5
KFAC_ALWAYS = {"inverse_every": 1.0}
SIDES = {
    "momentum": ("momentum", {}),
    "kfac, inverses every 20 steps": ("kfac", {}),
    "kfac, inverses at each": ("kfac", KFAC_ALWAYS),
    "kfac, factors too every 20": ("kfac", {"factors_every": 20.0}),
    "kfac_empirical": ("kfac_empirical", {}),
    "sam": ("sam", {}),
    "adascale": ("adascale", {}),
    "saddle_free": ("saddle_free", {}),
    "soap": ("soap", {}),
}


def stepper(name, numbers, model, image_shape):
    network = build_network(model, image_shape=image_shape, num_classes=10, seed=0)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, *image_shape, generator=generator)
    labels = torch.randint(10, (BATCH,), generator=generator)
    rule, batch = get_update_rule(name), None

    def loss():
        return functional.cross_entropy(network(images), labels)

    def part(rows):
        chosen = images[rows], labels[rows]
        functional.cross_entropy(network(chosen[0]), chosen[1], reduction="sum").backward()
        return torch.tensor(float(len(chosen[1])))

    if rule.gradient_rule is not None:
        batch = NetworkBatch(
            network,
            rule.gradient_rule,
            layers=layers_of(network),
            losses=lambda: [loss()],
            parts=lambda: [functools.partial(part, r) for r in torch.arange(BATCH).chunk(8)],
        )
    optimizer = RuleOptimizer(
        network.named_parameters(),
        rule=rule,
        learning_rate=1e-3,
        traits=list(ParameterGroups().traits(network).values()),
        batch=batch,
        **numbers,
    )

    def step():
        optimizer.zero_grad()
        if batch is None:
            loss().backward()
        else:
            with batch.forward():
                scores = network(images)
            batch.note(scores, labels, torch.ones(BATCH), first_place=0)
            functional.cross_entropy(scores, labels).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize(
    ("model", "image_shape"), [("mlp_wide", (1, 28, 28)), ("small_cnn", (3, 16, 16))]
)
def test_what_a_step_costs_beside_one_of_sgd(model, image_shape):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = {side: stepper(*words, model, image_shape) for side, words in SIDES.items()}
        times = {side: [] for side in steps}
        for step in steps.values():
            for _ in range(3):  # K-FAC's first inverses
                step()
        for _ in range(ROUNDS):
            for side, step in steps.items():
                started = time.process_time()
                step()
                times[side].append(time.process_time() - started)
    finally:
        torch.set_num_threads(threads)
    middle = {side: statistics.median(values) for side, values in times.items()}
    print(f"\n{model}, batch {BATCH}: momentum {1e3 * middle['momentum']:.1f} ms")
    ratios = {side: value / middle["momentum"] for side, value in middle.items()}
    for side, ratio in ratios.items():
        print(f"  {side:30s} {ratio:.2f}x")
    # Two gradients, with a little for the perturbation.
    assert 1.4 < ratios["sam"] < 3.0
    # What is done every 20 steps is not done in the median one.
    assert ratios["kfac, factors too every 20"] < ratios["kfac, inverses every 20 steps"]
    # 2.4 on the perceptron: the product of a gradient with two inverses remains.
    assert ratios["kfac, factors too every 20"] < 3.5
