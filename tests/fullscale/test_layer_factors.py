"""Kronecker factors of layers beside an independent library's, and the labels drawn for them."""

import importlib
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fullscale.optimizers.layers import drawn_labels, layers_of, uniform_draws

# pytest's importlib mode has no path to the file beside this one.
sys.path.insert(0, str(Path(__file__).parent))
asking_network = importlib.import_module("asking_network")
sys.path.pop(0)
Trainee, batches, network_of = (
    asking_network.Trainee,
    asking_network.batches,
    asking_network.network_of,
)


def curvlinops_matrices(network, images, labels, fisher_type):
    """Each layer's curvature by an independent library; weight before bias, rows by output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports
        kfac = pytest.importorskip("curvlinops.kfac")
        found = {}
        for name, layer in layers_of(network).items():
            parameters = [network.get_parameter(name)]
            if layer.bias is not None:
                parameters.append(network.get_parameter(layer.bias))
            operator = kfac.KFACLinearOperator(
                network,
                nn.CrossEntropyLoss(),
                parameters,
                [(images, labels)],
                fisher_type=fisher_type,
                separate_weight_and_bias=False,
                check_deterministic=False,
            )
            size = sum(p.numel() for p in parameters)
            found[name] = operator @ torch.eye(size, dtype=torch.float64)
    return found


def as_matrix(factors, has_bias):
    """G (x) A, ordered as weight, then bias."""
    outputs, inputs = factors.outputs, factors.inputs
    whole = torch.kron(outputs, inputs)
    if not has_bias:
        return whole
    places = torch.arange(len(whole)).reshape(len(outputs), len(inputs))
    order = torch.cat([places[:, :-1].flatten(), places[:, -1]])
    return whole[order][:, order]


def test_the_factors_are_an_independent_librarys():
    network = network_of()
    images, labels = (each[0] for each in batches(1))
    trainee = Trainee("kfac_empirical", network)
    trainee.evaluate(images, labels)
    got = trainee.batch.factors(None)
    for name, want in curvlinops_matrices(network, images, labels, "empirical").items():
        matrix = as_matrix(got[name], layers_of(network)[name].bias is not None)
        torch.testing.assert_close(matrix, want, rtol=1e-10, atol=1e-14)


def test_drawn_labels_average_to_the_exact_fisher_of_an_independent_library():
    network = network_of()
    images, labels = (each[0] for each in batches(1))
    labels = torch.zeros_like(labels)
    repeats, steps = 100, 6
    trainee, total = Trainee("kfac", network), {}
    for step in range(steps):
        trainee.batch.expect(step, "factors")
        trainee.evaluate(images.repeat(repeats, 1, 1, 1), labels.repeat(repeats))
        found = trainee.batch.factors(None)
        for name, factors in found.items():
            total[name] = total.get(name, 0) + factors.outputs / steps
    exact = curvlinops_matrices(network, images, labels, "type-2")
    empirical = curvlinops_matrices(network, images, labels, "empirical")
    for name, mean in total.items():
        bias = layers_of(network)[name].bias is not None
        got = as_matrix(replace(found[name], outputs=mean), bias)
        # 7,200 draws: relative errors of 1.2 % where one label counts.
        assert float((got - exact[name]).norm() / exact[name].norm()) < 0.05
        # The data's labels give another matrix.
        assert float((empirical[name] - exact[name]).norm() / exact[name].norm()) > 0.2


def test_draws_are_uniform_and_change_with_place_and_step():
    draws = torch.stack([uniform_draws(torch.arange(256), step) for step in range(64)])
    assert len(draws.unique()) > 0.999 * draws.numel()
    # Kolmogorov and Smirnov: 1.95 / sqrt(n) is passed by one in a thousand of uniform samples.
    grid = (torch.arange(draws.numel()) + 0.5) / draws.numel()
    assert float((draws.flatten().sort()[0] - grid).abs().max()) < 1.95 / draws.numel() ** 0.5
    rows, columns = torch.corrcoef(draws), torch.corrcoef(draws.T)
    assert float((rows - torch.eye(64)).abs().max()) < 6 / 256**0.5
    assert float((columns - torch.eye(256)).abs().max()) < 6 / 64**0.5


def test_labels_are_drawn_by_their_probabilities():
    scores = torch.tensor([[0.0, 1.0, -1.0]]).expand(20_000, 3)
    shares = drawn_labels(scores, uniform_draws(torch.arange(20_000), 5)).mean(dim=0)
    # Three standard deviations.
    torch.testing.assert_close(shares, scores[0].softmax(0), rtol=0, atol=3 * 0.5 / 20_000**0.5)
