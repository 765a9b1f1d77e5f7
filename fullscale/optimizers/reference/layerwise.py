"""Twins of the rules with a length per layer; norms are not zero."""

from collections.abc import Iterable, Sequence

import numpy as np

from fullscale.optimizers.reference.arrays import Array


def lars_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    epsilon: float = 0.0,
    **numbers: float,
) -> Array:
    """You et al. 2017, arXiv:1708.03888, Algorithm 1; with epsilon MLPerf's reference for TF 2."""
    velocity = np.zeros_like(weight)
    decay = numbers["weight_decay"]
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        norm_w = np.linalg.norm(weight)
        denominator = np.linalg.norm(gradient) + decay * norm_w + epsilon
        local_rate = numbers["trust_coefficient"] * norm_w / denominator
        step = learning_rate * local_rate * (gradient + decay * weight)
        velocity = numbers["momentum"] * velocity + step
        weight = weight - velocity
    return weight


def lars_scaled_momentum_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
) -> Array:
    """Kumar et al. 2019, arXiv:1909.09756, scaled momentum."""
    velocity = np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        norm_w = np.linalg.norm(weight)
        local_rate = trust_coefficient * norm_w / (np.linalg.norm(gradient) + weight_decay * norm_w)
        velocity = momentum * velocity + (gradient + weight_decay * weight)
        weight = weight - learning_rate * local_rate * velocity
    return weight


def lamb_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """You et al. 2020, arXiv:1904.00962, Algorithm 2, with phi(z) = z."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    for t, (g, learning_rate) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        r = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + numbers["epsilon"])
        update = r + numbers["weight_decay"] * weight
        weight = weight - learning_rate * np.linalg.norm(weight) / np.linalg.norm(update) * update
    return weight


def novograd_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Ginsburg et al. 2019, arXiv:1905.11286, Algorithm 1."""
    v = 0.0
    m = np.zeros_like(weight)
    for t, (g, learning_rate) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        square = float(np.sum(g * g))
        v = square if t == 1 else numbers["beta2"] * v + (1 - numbers["beta2"]) * square
        normalized = g / (np.sqrt(v) + numbers["epsilon"])
        m = numbers["beta1"] * m + (normalized + numbers["weight_decay"] * weight)
        weight = weight - learning_rate * m
    return weight
