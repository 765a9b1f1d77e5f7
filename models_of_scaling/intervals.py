"""Intervals from weighted replicates; the replicates of several laws mix by the laws' weights.

Central intervals: equal shares of the weight lie below and above. An end may be
infinite: "not known to be less than any bound". Quantiles never interpolate, so that an infinite
replicate stays infinite and never becomes NaN.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models_of_scaling.errors import InputError
from models_of_scaling.quantities import Floats


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with an interval.

    Attributes:
        estimate: the value of the best law's point fit; inf where it has no upper bound.
        low: lower end.
        high: upper end; inf where the data give none.
        level: share of cases that such intervals are meant to hold, for example 0.9.
        method: how it was made, for example "posterior draws".
    """

    estimate: float
    low: float
    high: float
    level: float
    method: str

    def __post_init__(self) -> None:
        """Check that the ends enclose the estimate."""
        if not self.low <= self.estimate <= self.high:
            raise ValueError(f"low {self.low} <= estimate {self.estimate} <= high {self.high}")

    def holds(self, value: float) -> bool:
        """Return whether a value lies inside, ends included."""
        return self.low <= value <= self.high

    @property
    def is_bounded(self) -> bool:
        """Whether both ends say something: the low one above 0, the high one finite."""
        return self.low > 0 and math.isfinite(self.high)


def check_level(level: float) -> float:
    """Return the level, or refuse it.

    Raises:
        InputError: outside 0.5 .. 0.99; a thousand replicates say nothing about farther tails.
    """
    if not 0.5 <= level <= 0.99:
        raise InputError(f"--level {level} must lie in 0.5 .. 0.99 (0.9 is 90 %)")
    return level


def weighted_quantile(
    values: npt.ArrayLike, weights: npt.ArrayLike, shares: Sequence[float]
) -> Floats:
    """Return the smallest values at or below which the given shares of the weight lie.

    Args:
        values: any shape; inf allowed, NaN not.
        weights: not negative, of the same shape, any sum above 0.
        shares: in [0, 1].

    Returns:
        One of `values` per share.
    """
    flat = np.asarray(values, dtype=float).ravel()
    order = np.argsort(flat)
    running = np.cumsum(np.asarray(weights, dtype=float).ravel()[order])
    # A rounding error in the running sum must not step over the last value.
    wanted = np.asarray(shares) * running[-1] * (1 - 1e-12)
    return np.asarray(flat[order][np.searchsorted(running, wanted, side="left")])


def interval_of(
    estimate: float, values: npt.ArrayLike, weights: npt.ArrayLike, *, level: float, method: str
) -> Interval:
    """Return the central interval of weighted replicates around an estimate.

    Args:
        estimate: of the point fit. Where it lies outside the replicates' interval, a sign of
            bias, the interval is widened to hold it rather than the estimate moved.
        values: replicates.
        weights: of the same shape.
        level: share of the weight between the ends.
        method: for the record.

    Returns:
        The interval.
    """
    low, high = weighted_quantile(values, weights, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=float(estimate),
        low=min(float(low), float(estimate)),
        high=max(float(high), float(estimate)),
        level=level,
        method=method,
    )
