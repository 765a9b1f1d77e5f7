"""Random walks in many dimensions whose law is known, not curves with noise on them.

A Brownian motion on the clock f(t)^2 has E ||w_t - w_0||^2 = f(t)^2, f rising. Beside them an
Ornstein-Uhlenbeck process, fractional Brownian motion, and Brownian motion whose step size falls.
"""

import numpy as np

from models_of_scaling.diffusion.walk import Walk


def log_spaced(last: int, per_octave: int = 5) -> np.ndarray:
    powers = np.arange(0, np.log2(last) * per_octave + 1e-9) / per_octave
    return np.unique(np.round(2.0**powers)).astype(float)


def on_clock(steps, clock, *, dimensions, rng, drops=()):
    """Brownian motion at clock times, which rise; `clock` is E d^2."""
    spread = np.sqrt(np.diff(clock, prepend=0.0) / dimensions)
    moves = rng.standard_normal((len(steps), dimensions)) * spread[:, None]
    distance = np.linalg.norm(np.cumsum(moves, axis=0), axis=1)
    return Walk(steps=steps, distance=distance, drops=drops)


def fractional(steps, hurst, *, dimensions, rng):
    """Fractional Brownian motion: E d^2 = t^(2 H), its increments correlated unless H = 1/2."""
    t, s = steps[:, None], steps[None, :]
    covariance = 0.5 * (t ** (2 * hurst) + s ** (2 * hurst) - np.abs(t - s) ** (2 * hurst))
    paths = np.linalg.cholesky(covariance) @ rng.standard_normal((len(steps), dimensions))
    return Walk(steps=steps, distance=np.linalg.norm(paths, axis=1) / np.sqrt(dimensions))


def in_basin(steps, tau, *, dimensions, rng):
    """Ornstein-Uhlenbeck from its minimum: E d^2 = 1 - exp(-2 t / tau)."""
    at = np.zeros(dimensions)
    distances = []
    for gap in np.diff(steps, prepend=0.0):
        kept = np.exp(-gap / tau)
        at = kept * at + np.sqrt(1 - kept**2) * rng.standard_normal(dimensions)
        distances.append(np.linalg.norm(at))
    return Walk(steps=steps, distance=np.array(distances) / np.sqrt(dimensions))


def with_drop(steps, drop, factor, *, dimensions, rng):
    """Brownian motion whose steps shrink by a factor after a drop of the learning rate."""
    clock = np.minimum(steps, drop) + factor**2 * np.maximum(steps - drop, 0.0)
    return on_clock(steps, clock, dimensions=dimensions, rng=rng, drops=(drop,))


def walk_of(
    law: str, rng: np.random.Generator, *, last: int = 8192, dimensions: int = 1000
) -> Walk:
    """A walk of a law, its parameters drawn from a range."""
    steps = log_spaced(last)
    options = {"dimensions": dimensions, "rng": rng}
    if law == "log":
        return on_clock(steps, (np.log(steps) + rng.uniform(0.3, 2.0)) ** 2, **options)
    if law == "power":
        return fractional(steps, rng.uniform(0.15, 0.8), **options)
    if law == "log_power":
        exponent = rng.choice([rng.uniform(0.3, 0.55), rng.uniform(1.8, 2.5)])
        return on_clock(steps, (np.log(steps) + 1.0) ** (2 * exponent), **options)
    if law == "saturating":
        return in_basin(steps, rng.uniform(50, 800), **options)
    return with_drop(steps, float(steps[rng.integers(25, 45)]), rng.uniform(0.1, 0.3), **options)
