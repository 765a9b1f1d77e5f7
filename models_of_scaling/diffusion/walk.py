"""A recorded walk: distances from the start at some steps, and when the learning rate fell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models_of_scaling.quantities import Floats

# A fall of the learning rate below this share of what it was counts as a drop: step schedules
# divide by 2 to 10. A smooth one may fall so much between two recorded steps, but falls before and
# after, too.
_DROP, _LEVEL = 0.6, 0.9
# With more drops than this the learning rate falls smoothly, or in so many steps that each regime
# would have a handful of points.
MOST_DROPS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """One run's distances from its start.

    Attributes:
        steps: optimizer steps, or another clock, rising from above 0; shape (N,).
        distance: ||w_t - w_0|| there, positive; shape (N,).
        drops: steps after which the learning rate was much lower, rising; none where it did not
            fall, or fell smoothly.
    """

    steps: Floats
    distance: Floats
    drops: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check.

        Raises:
            ValueError: where steps do not rise from above 0, or a distance is not positive.
        """
        if self.steps.shape != self.distance.shape or self.steps.ndim != 1:
            raise ValueError("steps and distance must be two rows of one length")
        if not (np.diff(self.steps) > 0).all() or not self.steps[0] > 0:
            raise ValueError("steps must rise, from above 0")
        if not ((self.distance > 0) & np.isfinite(self.distance)).all():
            raise ValueError("distance must be positive and finite")

    def between(self, first: float, last: float) -> "Walk":
        """Return the part of the walk with first <= steps <= last."""
        inside = (self.steps >= first) & (self.steps <= last)
        return Walk(
            steps=self.steps[inside],
            distance=self.distance[inside],
            drops=tuple(step for step in self.drops if first < step < last),
        )

    def thinned(self, most: int) -> "Walk":
        """Return the walk at no more than so many points, evenly spread over log steps.

        Args:
            most: at least 2.

        Returns:
            The walk itself where it has no more.
        """
        if len(self.steps) <= most:
            return self
        x = np.log(self.steps)
        places = np.unique(np.searchsorted(x, np.linspace(x[0], x[-1], most)))
        return Walk(steps=self.steps[places], distance=self.distance[places], drops=self.drops)


def learning_rate_drops(steps: Floats, learning_rate: Floats) -> tuple[float, ...]:
    """Return the recorded steps after which the learning rate was much lower.

    Args:
        steps: recorded steps, rising; shape (N,).
        learning_rate: of each of those steps; shape (N,).

    Returns:
        Each the last recorded step before a fall to less than 0.6 of what it was, between levels.
        Empty where there are more than three: each regime would have too few points.

    >>> learning_rate_drops(np.array([1.0, 10.0, 20.0]), np.array([0.1, 0.1, 0.01]))
    (10.0,)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = learning_rate[1:] / learning_rate[:-1]
    level = np.concatenate([[True], ratio > _LEVEL, [True]])
    falls = np.flatnonzero((ratio < _DROP) & level[:-2] & level[2:])
    return tuple(float(steps[place]) for place in falls) if len(falls) <= MOST_DROPS else ()


def common_drops(walks: Sequence[Walk]) -> tuple[float, ...]:
    """Return the drops of walks with one schedule: those of the first.

    Args:
        walks: runs that differ in their seed alone.
    """
    return walks[0].drops
