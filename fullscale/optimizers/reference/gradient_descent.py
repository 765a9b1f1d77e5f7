"""Twins of gradient descent with and without momentum."""

from collections.abc import Iterable, Sequence

import numpy as np

from fullscale.optimizers.reference.arrays import Array


def sgd_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    weight_decay: float,
) -> Array:
    """Robbins & Monro 1951, eq. (7), with L2 decay in the gradient."""
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        weight = weight - learning_rate * (gradient + weight_decay * weight)
    return weight


def momentum_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    momentum: float,
    weight_decay: float,
) -> Array:
    """Goyal et al. 2017, arXiv:1706.02677, eq. (9), with L2 decay in the gradient."""
    velocity = np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        velocity = momentum * velocity + (gradient + weight_decay * weight)
        weight = weight - learning_rate * velocity
    return weight


def nesterov_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    momentum: float,
    weight_decay: float,
) -> Array:
    """Sutskever et al. 2013, eqs. (3)-(4), at its own points.

    theta is the paper's weight; the rule's is ahead of it, where both take the gradient. The
    paper's velocity is divided by the rate, as in Goyal et al. 2017, eq. (9).

    Returns:
        The weight at which the next gradient would be taken.
    """
    theta, velocity = weight, np.zeros_like(weight)
    last_rate = 0.0
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        ahead = theta - last_rate * momentum * velocity
        velocity = momentum * velocity + (gradient + weight_decay * ahead)
        # What was looked ahead at the last rate was spent there; the step is the rest of it.
        theta = ahead - learning_rate * (gradient + weight_decay * ahead)
        last_rate = learning_rate
    return theta - last_rate * momentum * velocity


def akiba_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Akiba et al. 2017, arXiv:1711.04325, section 3, epochs counted in steps."""
    mean_square, delta = np.zeros_like(weight), np.zeros_like(weight)
    center, period = numbers["transition_center_steps"], numbers["transition_period_steps"]
    for step, (gradient, eta) in enumerate(zip(gradients, learning_rates, strict=True)):
        g = gradient + numbers["weight_decay"] * weight
        if step < center:
            alpha_sgd = 0.5 * np.exp(2 * (step - center) / period)
        elif step < center + period / 2:
            alpha_sgd = 0.5 + (step - center) / period
        else:
            alpha_sgd = 1.0
        alpha_rms = (1 - alpha_sgd) * numbers["rmsprop_rate"]
        mean_square = numbers["beta2"] * mean_square + (1 - numbers["beta2"]) * g**2
        rate = alpha_sgd + alpha_rms / (np.sqrt(mean_square) + numbers["epsilon"])
        delta = numbers["momentum"] * delta - rate * g
        weight = weight + eta * delta
    return weight
