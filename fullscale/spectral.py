"""What is measured of a Hessian: top eigenvalues, trace, Lanczos quadrature, Keskar's sharpness.

The estimators are curvlinops' and scipy's; torch and no Lightning here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from curvlinops import hutchpp_trace
from curvlinops.papyan2020traces.spectrum import fast_lanczos
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import minimize
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

from fullscale.hessian import HessianOfLoss
from models_of_scaling.curvature.quadrature import Quadrature
from models_of_scaling.quantities import Floats


def top_eigenvalues(hessian: HessianOfLoss, *, count: int, tolerance: float, seed: int) -> Floats:
    """Return the largest eigenvalues, by ARPACK's restarted Lanczos.

    Args:
        hessian: of P parameters.
        count: how many, below P.
        tolerance: relative accuracy.
        seed: of the start vector, the same on all processes.

    Returns:
        Falling, shape (count,).
    """
    start = np.random.default_rng(seed).standard_normal(hessian.shape[0])
    operator = hessian.to_scipy(dtype=np.dtype(np.float64))
    found = eigsh(operator, k=count, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)
    return np.sort(np.asarray(found, dtype=np.float64))[::-1].copy()


def trace(hessian: HessianOfLoss, *, num_products: int) -> float:
    """Return the trace by Hutch++ (Meyer et al. 2021), from torch's global random numbers.

    Args:
        hessian: of P parameters.
        num_products: a multiple of 3, below P.
    """
    return float(hutchpp_trace(hessian, num_products).item())


def lanczos_quadrature(hessian: HessianOfLoss, *, num_probes: int, num_steps: int) -> Quadrature:
    """Return Lanczos quadratures from random vectors, from torch's global random numbers.

    Args:
        hessian: of P parameters.
        num_probes: vectors.
        num_steps: Lanczos steps from each, at most P.
    """
    nodes, weights = [], []
    for _ in range(num_probes):
        values, vectors = fast_lanczos(hessian, num_steps)
        nodes.append(values.double().cpu().numpy())
        weights.append(vectors[0].double().square().cpu().numpy())
    weight = np.stack(weights)
    # In single precision a row of squares sums to 1 within 1e-6.
    return Quadrature(nodes=np.stack(nodes), weights=weight / weight.sum(axis=1, keepdims=True))


def keskar_sharpness(
    hessian: HessianOfLoss,
    parameters: Sequence[nn.Parameter],
    *,
    epsilon: float,
    max_iterations: int = 10,
) -> float:
    """Return how much the loss can rise in a small box around the weights, in percent.

    Keskar et al. 2017, arXiv:1609.04836, metric 2.1 with A the identity:

        100 (max_y f(x + y) - f(x)) / (1 + f(x)),   |y_i| <= epsilon (|x_i| + 1)

    The maximum is sought by ten iterations of L-BFGS-B as there, so it is a lower bound.

    Args:
        hessian: knows the loss and its gradient.
        parameters: its own; they are as before afterwards, bit for bit.
        epsilon: half the box's width; 1e-3 and 5e-4 in the source.
        max_iterations: of L-BFGS-B.

    Returns:
        Percent; 0 or more, NaN where the loss in the box is not finite.
    """
    sizes = [each.numel() for each in parameters]
    before = [each.detach().clone() for each in parameters]
    x = nn.utils.parameters_to_vector(before).double().cpu().numpy()
    half = epsilon * (np.abs(x) + 1)

    def negative_loss(scaled: Floats) -> tuple[float, Floats]:
        moved = torch.as_tensor(x + half * scaled, dtype=hessian.dtype, device=hessian.device)
        _write(parameters, torch.split(moved, sizes))
        value, gradient = hessian.loss_and_gradient()
        flat = nn.utils.parameters_to_vector(gradient).double().cpu().numpy()
        return -float(value.item()), -half * flat

    try:
        start, slope = negative_loss(np.zeros_like(x))
        size = float(np.abs(slope).max()) or 1.0

        def scaled_loss(scaled: Floats) -> tuple[float, Floats]:
            value, gradient = negative_loss(scaled)
            return value / size, gradient / size

        found = minimize(
            scaled_loss,
            # Half way to the gradient's corner, since a minimum has no way up from the middle.
            np.where(slope > 0, -0.5, 0.5),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-1.0, 1.0)] * len(x),
            options={"maxiter": max_iterations},
        )
    finally:
        _write(parameters, before)
    loss, rise = -start, -float(found.fun) * size + start
    return 100 * max(rise, 0.0) / (1 + loss)  # in this order a rise of NaN stays


@torch.no_grad()
def _write(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    """Write in place: an optimizer or DDP may hold views of the parameters' memory."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value.view_as(parameter))


def spectral_measure(
    hessian: HessianOfLoss, vector: Tensor, *, num_steps: int
) -> tuple[Floats, Floats]:
    """Return nodes and weights of a vector's spectral measure: v^T f(H) v = sum_j w_j f(theta_j).

    Lanczos with full reorthogonalisation, so exact for polynomials up to degree 2 m - 1 also where
    eigenvalues converge on the way; it stops where the vector's space is exhausted.

    Args:
        hessian: of P parameters.
        vector: v, shape (P,), not 0.
        num_steps: m.

    Returns:
        Nodes, rising, and weights, which sum to v^T v; each of shape (at most m,).
    """
    basis = [vector / vector.norm()]
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(num_steps):
        moved = hessian @ basis[-1]
        alphas.append(float((moved @ basis[-1]).item()))
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
            moved = moved - known.T @ (known @ moved)
        betas.append(float(moved.norm().item()))
        if betas[-1] <= 1e-6 * max(abs(value) for value in alphas):
            break
        basis.append(moved / betas[-1])
    nodes, vectors = eigh_tridiagonal(np.array(alphas), np.array(betas[: len(alphas) - 1]))
    size = float(vector.double().square().sum().item())
    return np.asarray(nodes), np.asarray(size * vectors[0] ** 2)
