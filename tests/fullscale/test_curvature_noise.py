"""The noise scale that curvature weighs, against a quadratic whose every number is known."""

import numpy as np
import pytest
import torch

from fullscale.gradient_noise.curvature import curvature_noise_scale, hessian_product
from models_of_scaling.errors import InputError

SIZE, GROUPS, MICROBATCHES, COUNT = 12, 400, 4, 6


def quadratic(seed=0):
    """Loss of example x: (w - x)' A (w - x) / 2, so H = A, g = A (w - x), Sigma = A Cov(x) A."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(SIZE, SIZE))
    matrix = torch.tensor(root @ root.T / SIZE)
    spread = torch.tensor(np.linspace(0.2, 2, SIZE))
    weight = torch.tensor(rng.normal(size=SIZE), requires_grad=True)

    def loss(batch):
        difference = weight[0:SIZE] - batch
        return 0.5 * torch.einsum("bi,ij,bj->b", difference, matrix, difference).mean()

    return loss, weight, matrix, spread, rng


def test_on_a_quadratic_the_interval_holds_the_exact_quotient_and_the_parts_are_unbiased():
    loss, weight, matrix, spread, rng = quadratic()
    groups = [
        [torch.tensor(rng.normal(size=(COUNT, SIZE))) * spread for _ in range(MICROBATCHES)]
        for _ in range(GROUPS)
    ]
    found = curvature_noise_scale(
        loss,
        [weight],
        groups,
        sizes=[[COUNT] * MICROBATCHES] * GROUPS,
        curvature_batches=[torch.zeros(1, SIZE, dtype=torch.float64)],
    )
    sigma = matrix @ torch.diag(spread**2) @ matrix
    gradient = (matrix @ weight).detach()
    trace, slope = float(torch.trace(matrix @ sigma)), float(gradient @ matrix @ gradient)
    assert found.low < trace / slope < found.high < 1.2 * found.low
    # Standard errors at 400 groups are 2 % of each; a factor left out would be 2 or more.
    np.testing.assert_allclose((found.trace, found.sq_norm), (trace, slope), rtol=0.08)
    assert found.valid


def test_with_the_identity_as_hessian_it_is_the_simple_noise_scale():
    _, weight, _, spread, rng = quadratic()
    batches = [torch.tensor(rng.normal(size=(COUNT, SIZE))) * spread for _ in range(16)]

    def loss(batch):
        return 0.5 * (weight - batch).square().sum(dim=1).mean()

    groups = [batches[i : i + 2] for i in range(0, 16, 2)]
    found = curvature_noise_scale(
        loss, [weight], groups, sizes=[[COUNT] * 2] * 8, curvature_batches=[batches[0]]
    )
    means = [(weight.detach() - batch.mean(dim=0)).numpy() for batch in batches]
    pooled = [
        COUNT * np.square(a - b).sum() / 2 for a, b in zip(means[::2], means[1::2], strict=True)
    ]
    np.testing.assert_allclose(found.trace, np.mean(pooled), rtol=1e-12)


def test_products_are_those_of_the_whole_hessian_of_a_small_network():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    network.double()
    parameters = list(network.parameters())
    inputs, labels = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 2

    def value(*given):
        names = [name for name, _ in network.named_parameters()]
        scores = torch.func.functional_call(network, dict(zip(names, given, strict=True)), inputs)
        return torch.nn.functional.cross_entropy(scores, labels)

    whole = torch.autograd.functional.hessian(value, tuple(parameters))
    vectors = [torch.randn_like(p) for p in parameters]
    want = [
        sum(torch.tensordot(block, v, dims=v.ndim) for block, v in zip(row, vectors, strict=True))
        for row in whole
    ]
    for got, exact in zip(
        hessian_product(value(*parameters), parameters)(vectors), want, strict=True
    ):
        np.testing.assert_allclose(got.numpy(), exact.numpy(), rtol=1e-12, atol=1e-14)


def test_groups_of_one_microbatch_and_a_hessian_without_examples_are_refused():
    loss, weight, *_ = quadratic()
    batch = torch.zeros(2, SIZE, dtype=torch.float64)
    with pytest.raises(InputError, match="at least 2 microbatches"):
        curvature_noise_scale(loss, [weight], [[batch]], sizes=[[2]], curvature_batches=[batch])
    with pytest.raises(InputError, match="curvature_batches is empty"):
        curvature_noise_scale(loss, [weight], [[batch] * 2], sizes=[[2, 2]], curvature_batches=[])
