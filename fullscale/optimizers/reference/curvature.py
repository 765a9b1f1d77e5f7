"""Twins of the rules that ask a step's batch for more than its gradient."""

from collections.abc import Callable, Sequence

import numpy as np

from fullscale.optimizers.reference.arrays import Array

# One layer in one step: the gradient of [W b], and both Kronecker factors of the batch.
LayerStep = tuple[Array, Array, Array]


def factors_reference(inputs: Array, gradients: Array, *, has_bias: bool) -> tuple[Array, Array]:
    """Grosse & Martens 2016, arXiv:1602.01573, section 3, its sums over examples and places.

    Args:
        inputs: patches or vectors, shape (B, T, I).
        gradients: of each example's loss by the outputs, shape (B, T, O).
        has_bias: append the homogeneous coordinate.

    Returns:
        A and G.
    """
    examples, places, size = inputs.shape
    a = np.zeros((size + has_bias, size + has_bias))
    g = np.zeros((gradients.shape[2], gradients.shape[2]))
    for n in range(examples):
        for t in range(places):
            row = np.append(inputs[n, t], [1.0] * has_bias)
            a += np.outer(row, row)
            g += np.outer(gradients[n, t], gradients[n, t]) / places
    return a / examples, g / examples


def kfac_reference(
    weights: Sequence[Array],
    steps: Sequence[Sequence[LayerStep]],
    *,
    learning_rates: Sequence[float],
    decays: Sequence[Array],
    **numbers: float,
) -> list[Array]:
    """Martens & Grosse 2015, arXiv:1503.05671, sections 4.2, 5, 6.3 and 6.6.

    Rate and momentum are given; the bound on the step is that of Ba, Grosse & Martens 2017.

    Args:
        weights: [W b] of each layer.
        steps: of each step, each layer's gradient and factors.
        learning_rates: one a step.
        decays: of each layer's [W b], the weight decay of every entry.
        **numbers: of the rule.

    Returns:
        [W b] of each layer after the last step.
    """
    weights = [weight.copy() for weight in weights]
    count = len(weights)
    velocities = [np.zeros_like(weight) for weight in weights]
    a_bar: list[Array] = [np.zeros(0)] * count
    g_bar: list[Array] = [np.zeros(0)] * count
    inverses: list[tuple[Array, Array]] = [(np.zeros(0), np.zeros(0))] * count
    updates = 0
    for k, (layers, rate) in enumerate(zip(steps, learning_rates, strict=True), 1):
        if (k - 1) % int(numbers["factors_every"]) == 0:
            updates += 1
            epsilon = min(1 - 1 / updates, numbers["factor_decay"])
            for i, (_, a, g) in enumerate(layers):
                a_bar[i] = a if updates == 1 else epsilon * a_bar[i] + (1 - epsilon) * a
                g_bar[i] = g if updates == 1 else epsilon * g_bar[i] + (1 - epsilon) * g
        if k <= 3 or (k - 1) % int(numbers["inverse_every"]) == 0:
            for i in range(count):
                root = np.sqrt(numbers["damping"] + decays[i][0, 0])
                mean_a, mean_g = (
                    np.trace(a_bar[i]) / len(a_bar[i]),
                    np.trace(g_bar[i]) / len(g_bar[i]),
                )
                pi = np.sqrt(mean_a / mean_g)
                inverses[i] = (
                    np.linalg.inv(a_bar[i] + pi * root * np.eye(len(a_bar[i]))),
                    np.linalg.inv(g_bar[i] + root / pi * np.eye(len(g_bar[i]))),
                )
        directions, divergence = [], 0.0
        for i, (gradient, _, _) in enumerate(layers):
            d = gradient + decays[i] * weights[i]
            u = inverses[i][1] @ d @ inverses[i][0]
            divergence += rate**2 * float(np.sum(u * d))
            directions.append(u)
        scale = 1.0
        if numbers["kl_clip"] > 0 and divergence > numbers["kl_clip"]:
            scale = float(np.sqrt(numbers["kl_clip"] / divergence))
        for i in range(count):
            velocities[i] = numbers["momentum"] * velocities[i] + scale * directions[i]
            weights[i] = weights[i] - rate * velocities[i]
    return weights


def adascale_reference(
    weight: Array,
    parts: Sequence[Array],
    *,
    learning_rates: Sequence[float],
    adascale_scale: float,
    momentum: float,
) -> tuple[Array, float]:
    """Johnson et al. 2020, arXiv:2007.05105, Algorithm 1, around SGD with momentum.

    Args:
        weight: all weights as one vector.
        parts: of each step, the mean gradients of equal parts of the batch: S in the source; of
            others the variance is that of S by its inverse proportion to a part's examples.
        learning_rates: one a step.
        adascale_scale: S.
        momentum: of the rule inside.

    Returns:
        The weight after the last step, and tau.
    """
    velocity, tau, averages = np.zeros_like(weight), 0.0, np.zeros(2)
    theta = max(1 - adascale_scale / 1000, 0.0)
    for t, (gradients, rate) in enumerate(zip(parts, learning_rates, strict=True)):
        count = len(gradients)
        mean = gradients.mean(axis=0)
        sigma2 = (np.sum(gradients**2) - count * np.sum(mean**2)) / (count - 1)
        mu2 = np.sum(mean**2) - sigma2 / count
        found = np.maximum([sigma2 * adascale_scale / count, mu2], 0.0)
        averages = found if t == 0 else theta * averages + (1 - theta) * found
        gain = averages.sum() / (averages[0] / adascale_scale + averages[1])
        velocity = momentum * velocity + mean
        weight = weight - gain * rate * velocity
        tau += gain
    return weight, float(tau)


def saddle_free_reference(
    weight: Array,
    steps: Sequence[tuple[Array, Array]],
    *,
    learning_rates: Sequence[float],
    damping: float,
    vectors: int,
) -> Array:
    """Dauphin et al. 2014, arXiv:1406.2572, Algorithm 1, one step in each space, damping given.

    The space of Lanczos' iteration is that of g, H g, ..., H^(k-1) g, here by QR of those.

    Args:
        weight: all weights as one vector.
        steps: of each, the gradient and the whole Hessian.
        learning_rates: one a step.
        damping: lambda.
        vectors: k.

    Returns:
        The weight after the last step.
    """
    for (gradient, hessian), rate in zip(steps, learning_rates, strict=True):
        powers = [gradient / np.linalg.norm(gradient)]
        for _ in range(vectors - 1):
            following = hessian @ powers[-1]
            for other in powers:
                following = following - (other @ following) * other
            powers.append(following / np.linalg.norm(following))
        space = np.linalg.qr(np.stack(powers, axis=1))[0]
        values, turn = np.linalg.eigh(space.T @ hessian @ space)
        inverse = turn @ np.diag(1 / (np.abs(values) + damping)) @ turn.T
        weight = weight - rate * space @ inverse @ space.T @ gradient
    return weight


def sam_reference(
    weight: Array,
    gradient_at: Callable[[int, Array], Array],
    *,
    learning_rates: Sequence[float],
    sam_radius: float,
    momentum: float,
    weight_decay: float,
) -> Array:
    """Foret et al. 2020, arXiv:2010.01412, Algorithm 1, around SGD with momentum and L2 decay.

    Args:
        weight: all weights as one vector.
        gradient_at: (step, weight) -> the gradient of that step's batch.
        learning_rates: one a step.
        sam_radius: rho.
        momentum: of the rule inside.
        weight_decay: likewise.

    Returns:
        The weight after the last step.
    """
    velocity = np.zeros_like(weight)
    for t, rate in enumerate(learning_rates):
        g = gradient_at(t, weight)
        e = sam_radius * g / np.sqrt(np.sum(g**2))
        velocity = momentum * velocity + gradient_at(t, weight + e) + weight_decay * weight
        weight = weight - rate * velocity
    return weight
