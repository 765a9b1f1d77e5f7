"""Slow exact twins of the update rules: float64 numpy, one layer, line by line after the paper.

For tests only: nothing else may import this file.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def momentum_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    momentum: float,
    weight_decay: float,
) -> Array:
    """Goyal et al. 2017, arXiv:1706.02677, eq. (9), with L2 decay in the gradient.

    Args:
        weight: the layer's start.
        gradients: one per step, of the weight's shape.
        learning_rates: one per step.
        momentum: m.
        weight_decay: lambda.

    Returns:
        The weight after the last step.
    """
    velocity = np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        velocity = momentum * velocity + (gradient + weight_decay * weight)
        weight = weight - learning_rate * velocity
    return weight


def lars_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
) -> Array:
    """You et al. 2017, arXiv:1708.03888, Algorithm 1, one layer of non-zero norm.

    Args:
        weight: the layer's start.
        gradients: one per step, of the weight's shape.
        learning_rates: one per step, gamma_t.
        momentum: m.
        weight_decay: beta.
        trust_coefficient: eta.

    Returns:
        The weight after the last step.
    """
    velocity = np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        norm_w = np.linalg.norm(weight)
        local_rate = trust_coefficient * norm_w / (np.linalg.norm(gradient) + weight_decay * norm_w)
        velocity = momentum * velocity + learning_rate * local_rate * (
            gradient + weight_decay * weight
        )
        weight = weight - velocity
    return weight
