"""Twins of what wraps another rule: here around Adam, whose twin is run piecewise."""

from collections.abc import Callable, Sequence

import numpy as np

from fullscale.optimizers.reference.arrays import Array

# One step of an inner rule: (weight, gradient, learning rate) -> weight; it keeps its own state.
InnerStep = Callable[[Array, Array, float], Array]


def lookahead_reference(
    weight: Array,
    gradients: Sequence[Array],
    *,
    learning_rates: Sequence[float],
    inner: InnerStep,
    lookahead_steps: int,
    slow_step_size: float,
) -> tuple[Array, Array]:
    """Zhang et al. 2019, arXiv:1907.08610, Algorithm 1, its two loops.

    Returns:
        The fast and the slow weights at the end.
    """
    phi = theta = weight
    for start in range(0, len(gradients), lookahead_steps):
        theta = phi
        inner_loop = range(start, min(start + lookahead_steps, len(gradients)))
        for i in inner_loop:
            theta = inner(theta, gradients[i], learning_rates[i])
        if len(inner_loop) == lookahead_steps:
            phi = theta = phi + slow_step_size * (theta - phi)
    return theta, phi


def weight_average_reference(
    weight: Array,
    gradients: Sequence[Array],
    *,
    learning_rates: Sequence[float],
    inner: InnerStep,
    average_decay: float,
) -> tuple[Array, Array]:
    """Return the weights, and their average as an explicit sum over all of them."""
    path = [weight]
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        path.append(inner(path[-1], gradient, learning_rate))
    steps = len(path) - 1
    shares = [average_decay**steps] + [
        (1 - average_decay) * average_decay ** (steps - t) for t in range(1, steps + 1)
    ]
    return path[-1], np.tensordot(shares, np.stack(path), axes=1)


def stochastic_weight_average_reference(
    weight: Array,
    gradients: Sequence[Array],
    *,
    learning_rates: Sequence[float],
    inner: InnerStep,
    average_start_steps: int,
    average_period_steps: int,
) -> tuple[Array, Array]:
    """Izmailov et al. 2018, arXiv:1803.05407, Algorithm 1: n_models = i / c counts the first too.

    Returns:
        The weights, and the mean w_SWA; before its start the weights.
    """
    w, rest = weight, list(zip(gradients, learning_rates, strict=True))
    for gradient, learning_rate in rest[:average_start_steps]:
        w = inner(w, gradient, learning_rate)
    w_swa = w
    for i, (gradient, learning_rate) in enumerate(rest[average_start_steps:], start=1):
        w = inner(w, gradient, learning_rate)
        if i % average_period_steps == 0:
            n_models = i // average_period_steps
            w_swa = (w_swa * n_models + w) / (n_models + 1)
    return w, w_swa
