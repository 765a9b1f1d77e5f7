"""Twins of the rules that look at a tensor as a matrix."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.linalg import fractional_matrix_power

from fullscale.optimizers.reference.adaptive import adamw_reference
from fullscale.optimizers.reference.arrays import Array


def shampoo_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    beta1: float,
    epsilon: float,
    weight_decay: float,
) -> Array:
    """Gupta et al. 2018, arXiv:1802.09568, Algorithm 2, axes of length 1 dropped.

    One axis alone has the diagonal of its H.

    Returns:
        The weight after the last step.
    """
    sizes = [size for size in weight.shape if size > 1] or [1]
    order = len(sizes)
    factors = [epsilon * np.eye(size) for size in sizes]
    mean = np.zeros(sizes)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        g = (gradient + weight_decay * weight).reshape(sizes)
        mean = beta1 * mean + (1 - beta1) * g
        step = mean
        for axis in range(order):
            others = [other for other in range(order) if other != axis]
            factors[axis] = factors[axis] + np.tensordot(g, g, axes=(others, others))
            if order == 1:
                factors[axis] = np.diag(np.diag(factors[axis]))
            power = np.real(fractional_matrix_power(factors[axis], -1 / (2 * order)))
            step = np.moveaxis(np.tensordot(power, step, axes=(1, axis)), 0, axis)
        weight = weight - learning_rate * step.reshape(weight.shape)
    return weight


def muon_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Jordan et al. 2024, "Muon", Algorithm 2 with Nesterov's momentum; AdamW for one axis."""
    if weight.ndim < 2:
        rates = [numbers["adam_rate_factor"] * rate for rate in learning_rates]
        names = ("beta1", "beta2", "epsilon", "weight_decay")
        chosen = {name: numbers[name] for name in names}
        return adamw_reference(weight, gradients, learning_rates=rates, **chosen)
    buffer = np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        buffer = numbers["momentum"] * buffer + gradient
        z = (gradient + numbers["momentum"] * buffer).reshape(len(weight), -1)
        # The odd polynomial of the source acts on singular values, and on nothing else.
        u, sizes, vt = np.linalg.svd(z, full_matrices=False)
        sizes = sizes / (np.sqrt(np.sum(sizes**2)) + 1e-7)
        for _ in range(5):
            sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
        o = np.sqrt(max(1, z.shape[0] / z.shape[1])) * (u * sizes @ vt).reshape(weight.shape)
        weight = weight - learning_rate * (o + numbers["weight_decay"] * weight)
    return weight
