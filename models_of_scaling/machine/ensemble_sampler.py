"""Draws from a density known up to a factor, by walkers that move along each other's differences.

The stretch move of Goodman & Weare 2010, Comm. App. Math. Comp. Sci. 5:65: walker x is proposed at
y + z (x - y), y a walker of the other half, z with density 1/sqrt(z) on [1/2, 2], and moves with
probability min(1, z^(D-1) p(proposal) / p(x)). It needs no step size and is as good for stretched
and tilted densities as for round ones; half of the walkers move at once, as one array.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from models_of_scaling.quantities import Floats

_STRETCH: Final = 2.0


def sample_by_stretch_moves(
    log_density: Callable[[Floats], Floats],
    start_WD: Floats,  # noqa: N803 - W walkers, D coordinates
    *,
    moves: int,
    burn_in: int,
    keep: int,
    rng: np.random.Generator,
) -> Floats:
    """Return draws.

    Args:
        log_density: of points (W, D), up to a constant; -inf where there is none.
        start_WD: W walkers, an even number above 2 D, all at points of finite density.
        moves: of every walker.
        burn_in: moves that are forgotten.
        keep: draws to return, spread evenly over the moves that are not.
        rng: source of randomness.

    Returns:
        Shape (keep, D).

    Raises:
        ValueError: for too few walkers or a start outside the density.
    """
    walkers = np.array(start_WD, dtype=float)
    count, size = walkers.shape
    if count % 2 or count <= 2 * size:
        raise ValueError(f"{count} walkers must be an even number above {2 * size}")
    logs = log_density(walkers)
    if not np.isfinite(logs).all():
        raise ValueError("a walker starts where the density is 0")
    half = count // 2
    halves = (np.arange(half), np.arange(half, count))
    chain = np.empty((moves - burn_in, count, size))
    for move in range(moves):
        for moving, still in (halves, halves[::-1]):
            z = (1 + (_STRETCH - 1) * rng.random(half)) ** 2 / _STRETCH
            anchors = walkers[rng.choice(still, half)]
            proposal = anchors + z[:, None] * (walkers[moving] - anchors)
            proposed = log_density(proposal)
            gain = (size - 1) * np.log(z) + proposed - logs[moving]
            accepted = np.log(rng.random(half)) < gain
            walkers[moving[accepted]] = proposal[accepted]
            logs[moving[accepted]] = proposed[accepted]
        if move >= burn_in:
            chain[move - burn_in] = walkers
    flat = chain.reshape(-1, size)
    return np.asarray(flat[np.linspace(0, len(flat) - 1, keep).astype(int)])
