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


def soap_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Vyas et al. 2024, arXiv:2409.11321, Algorithm 3, with the details of the authors' program.

    Axes of length 1 are dropped; the first step only finds the bases, whose empty directions are
    split by the order of the axes.

    Returns:
        The weight after the last step.
    """
    sizes = [size for size in weight.shape if size > 1] or [1]
    axes = range(len(sizes)) if len(sizes) > 1 else range(0)
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    m, v = np.zeros(sizes), np.zeros(sizes)
    statistics = [np.zeros((size, size)) for size in sizes]
    bases: list[Array] = []
    for t, (gradient, learning_rate) in enumerate(zip(gradients, learning_rates, strict=True)):
        g = gradient.reshape(sizes)
        if t > 0:
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * _turned(g, [q.T for q in bases]) ** 2
            corrected = np.sqrt(1 - beta2**t) / (1 - beta1**t) * _turned(m, [q.T for q in bases])
            n = _turned(corrected / (np.sqrt(v) + numbers["epsilon"]), bases)
            weight = weight - learning_rate * n.reshape(weight.shape)
            weight = (1 - learning_rate * numbers["weight_decay"]) * weight
        for axis in axes:
            rows = np.moveaxis(g, axis, 0).reshape(sizes[axis], -1)
            statistics[axis] = beta2 * statistics[axis] + (1 - beta2) * rows @ rows.T
        if t == 0:
            bases = [_eigenvectors(statistics[axis]) for axis in axes]
        elif t % int(numbers["renew_every"]) == 0:
            for axis in axes:
                estimates = np.diag(bases[axis].T @ statistics[axis] @ bases[axis])
                order = np.argsort(-estimates, kind="stable")
                v = np.take(v, order, axis=axis)
                bases[axis] = np.linalg.qr(statistics[axis] @ bases[axis][:, order])[0]
    return weight


def _turned(tensor: Array, matrices: Sequence[Array]) -> Array:
    """Multiply each axis by its matrix."""
    for axis, matrix in enumerate(matrices):
        tensor = np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)
    return tensor


def _eigenvectors(matrix: Array) -> Array:
    """Return eigenvectors by falling eigenvalue; those of 0 are those of diag(n, ..., 1) there."""
    values, vectors = np.linalg.eigh(matrix)
    rank = int(np.sum(values > 1e-13 * max(values[-1], 1e-300)))
    filled = vectors[:, len(values) - rank :][:, ::-1]
    null = vectors[:, : len(values) - rank]
    ramp = np.diag(np.arange(len(values), 0, -1) / len(values))
    inner = np.linalg.eigh(null.T @ ramp @ null)[1][:, ::-1]
    return np.concatenate([filled, null @ inner], axis=1)


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
