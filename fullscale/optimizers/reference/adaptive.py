"""Twins of the rules with a rate per weight."""

from collections.abc import Iterable, Sequence

import numpy as np

from fullscale.optimizers.reference.arrays import Array


def adagrad_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    epsilon: float,
    weight_decay: float,
) -> Array:
    """Duchi et al. 2011, Figure 1, diagonal; L2 decay in the gradient."""
    s = np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        g = gradient + weight_decay * weight
        s = s + g**2
        weight = weight - learning_rate * g / (np.sqrt(s) + epsilon)
    return weight


def rmsprop_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Tieleman & Hinton 2012, lecture 6e, with epsilon, momentum and L2 decay."""
    s, velocity = np.zeros_like(weight), np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        g = gradient + numbers["weight_decay"] * weight
        s = numbers["beta2"] * s + (1 - numbers["beta2"]) * g**2
        velocity = numbers["momentum"] * velocity + g / (np.sqrt(s) + numbers["epsilon"])
        weight = weight - learning_rate * velocity
    return weight


def adam_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1; L2 decay in the gradient."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    for t, (gradient, alpha) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        g = gradient + numbers["weight_decay"] * weight
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        weight = weight - alpha * m_hat / (np.sqrt(v_hat) + numbers["epsilon"])
    return weight


def adamw_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2.

    There alpha is the peak rate and eta_t the schedule's factor; their lambda is alpha times the
    decay here.

    Returns:
        The weight after the last step.
    """
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    alpha = max(learning_rates)
    decay = alpha * numbers["weight_decay"]
    for t, (g, rate) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        eta = rate / alpha
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        step = alpha * m_hat / (np.sqrt(v_hat) + numbers["epsilon"]) + decay * weight
        weight = weight - eta * step
    return weight


def radam_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Liu et al. 2020, arXiv:1908.03265, Algorithm 2, with epsilon and decoupled decay."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    rho_inf = 2 / (1 - beta2) - 1
    for t, (g, alpha) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        v = beta2 * v + (1 - beta2) * g**2
        m = beta1 * m + (1 - beta1) * g
        m_hat = m / (1 - beta1**t)
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        update = m_hat
        if rho > numbers["rectified_above"]:
            r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            update = r * m_hat / (np.sqrt(v / (1 - beta2**t)) + numbers["epsilon"])
        weight = weight - alpha * (update + numbers["weight_decay"] * weight)
    return weight


def adabound_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Luo et al. 2019, arXiv:1902.09843, Algorithm 2, bounds of section 4; L2 decay."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    beta1, beta2, final = numbers["beta1"], numbers["beta2"], numbers["final_learning_rate"]
    for t, (gradient, alpha) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        g = gradient + numbers["weight_decay"] * weight
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        low = final - final / ((1 - beta2) * t + 1)
        high = final + final / ((1 - beta2) * t)
        weight = weight - np.clip(alpha / np.sqrt(v), low, high) / np.sqrt(t) * m
    return weight


def adabound_authors_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """The program of the authors of AdaBound, as its variants are described."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    beta1, beta2, gamma = numbers["beta1"], numbers["beta2"], numbers["gamma"]
    for t, (gradient, alpha) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        g = gradient + numbers["weight_decay"] * weight
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        size = alpha * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        final = numbers["final_rate_factor"] * alpha
        low, high = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        weight = weight - np.clip(size / (np.sqrt(v) + numbers["epsilon"]), low, high) * m
    return weight


def yogi_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Zaheer et al. 2018, Algorithm 2; L2 decay in the gradient."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        g = gradient + numbers["weight_decay"] * weight
        m = numbers["beta1"] * m + (1 - numbers["beta1"]) * g
        v = v - (1 - numbers["beta2"]) * np.sign(v - g**2) * g**2
        weight = weight - learning_rate * m / (np.sqrt(v) + numbers["epsilon"])
    return weight


def lion_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    **numbers: float,
) -> Array:
    """Chen et al. 2023, arXiv:2302.06675, Algorithm 2."""
    m = np.zeros_like(weight)
    for g, learning_rate in zip(gradients, learning_rates, strict=True):
        c = numbers["beta1"] * m + (1 - numbers["beta1"]) * g
        weight = weight - learning_rate * (np.sign(c) + numbers["weight_decay"] * weight)
        m = numbers["beta2"] * m + (1 - numbers["beta2"]) * g
    return weight


def sm3_reference(
    weight: Array,
    gradients: Iterable[Array],
    *,
    learning_rates: Sequence[float],
    beta1: float,
    weight_decay: float,
) -> Array:
    """Anil et al. 2019, arXiv:1901.11150, Algorithm SM3-II, its loops over weights and slices."""
    mu = [np.zeros(size) for size in weight.shape]
    m = np.zeros_like(weight)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        g = gradient + weight_decay * weight
        nu = np.zeros_like(weight)
        largest = [np.zeros(size) for size in weight.shape]
        for i in np.ndindex(*weight.shape):
            slices = list(enumerate(i))
            nu[i] = min(mu[axis][place] for axis, place in slices) + g[i] ** 2
            for axis, place in slices:
                largest[axis][place] = max(largest[axis][place], nu[i])
        mu = largest
        scaled = np.divide(g, np.sqrt(nu), out=np.zeros_like(g), where=nu > 0)
        m = beta1 * m + (1 - beta1) * scaled
        weight = weight - learning_rate * m
    return weight
