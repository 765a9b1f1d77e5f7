"""Rules that make their own gradient, on networks that train in part."""

import numpy as np
import pytest
import torch
from asking_network import Trainee, batches, network_of
from torch import nn

from fullscale.optimizers.registry import BATCH_RULES


@pytest.mark.parametrize("frozen", ["weight", "bias", "both"])
@pytest.mark.parametrize("name", BATCH_RULES)
def test_what_is_frozen_stands_still_and_the_rest_trains(name, frozen):
    network = network_of()
    for word in ("weight", "bias"):
        getattr(network[0], word).requires_grad_(frozen not in {word, "both"})
    before = {key: p.detach().clone() for key, p in network.named_parameters()}
    Trainee(name, network).train(*batches(3))
    moved = {key: not torch.equal(p, before[key]) for key, p in network.named_parameters()}
    assert moved == {key: p.requires_grad for key, p in network.named_parameters()}


def test_a_layer_with_a_frozen_bias_has_the_curvature_of_one_without():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 4)).double()
    network[1].bias.requires_grad_(False)
    start = network[1].weight.detach().numpy().copy()
    images, labels = batches(1)
    trainee = Trainee("kfac_empirical", network, momentum=0.0, kl_clip=0.0, damping=0.01)
    scores = network(images[0]).detach().numpy()
    trainee.train(images, labels)
    rows = images[0].flatten(1).numpy()
    slopes = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) - np.eye(4)[labels[0]]
    a, g = rows.T @ rows / len(rows), slopes.T @ slopes / len(rows)
    pi = np.sqrt((np.trace(a) / 32) / (np.trace(g) / 4))
    step = (
        np.linalg.inv(g + 0.1 / pi * np.eye(4))
        @ (slopes.T @ rows / len(rows))
        @ np.linalg.inv(a + 0.1 * pi * np.eye(32))
    )
    np.testing.assert_allclose(network[1].weight.detach(), start - 0.1 * step, rtol=1e-10)
