"""Draws of several laws as one distribution, each law by its weight, and what the rows can't bound.

A prior keeps every draw finite, but a bound that only the prior gives is no finding. Where the
curve bends at the largest batch size by less than one study's noise, the rows tell no floor (and no
second slope): the knee may be anywhere beyond, S_min anywhere below. Such draws open the far end of
an interval (inf, or 0); the near end, which the rows do give, counts them as they were drawn.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from models_of_scaling.curves import Curves
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.fitting import Bools
from models_of_scaling.intervals import Interval, weighted_quantile
from models_of_scaling.quantities import Floats

METHOD = "posterior draws, averaged over laws"


def not_told_apart(
    curves: Curves, noise: npt.ArrayLike, ends: tuple[float, float]
) -> tuple[Bools, Bools]:
    """Return where the rows tell no knee, and where they tell no falling part before it.

    Args:
        curves: R of one law.
        noise: of one batch size's estimate, in logs, one for all or (R,).
        ends: smallest and largest batch size that were fitted.

    Returns:
        Whether the floor, or the second slope, adds less than the noise to the log steps at the
        largest batch size; whether the falling part does at the smallest; (R,) each.
    """
    smallest, largest = ends
    scale = np.asarray(noise, dtype=float)
    return np.asarray(curves.bend(largest) < scale), np.asarray(curves.fall(smallest) < scale)


def mixed(
    laws: Sequence[FittedLaw], of_law: Callable[[FittedLaw], Floats]
) -> tuple[Floats, Floats]:
    """Return the values of all laws' draws with their weights.

    Args:
        laws: with weights that sum to 1.
        of_law: values of one law, any shape.

    Returns:
        Values and weights, one-dimensional; the weights sum to 1.
    """
    values = [np.ravel(of_law(law)) for law in laws]
    weights = [
        np.full(len(each), law.weight / len(each)) for law, each in zip(laws, values, strict=True)
    ]
    return np.concatenate(values), np.concatenate(weights)


def batch_size_interval(
    laws: Sequence[FittedLaw],
    of_curves: Callable[[Curves], Floats],
    *,
    ends: tuple[float, float],
    level: float,
) -> Interval:
    """Return a batch size that moves with the knee, with its interval over all laws.

    Args:
        laws: with weights that sum to 1, or one law of any weight.
        of_curves: the batch size of each curve; 0 for "at no batch size".
        ends: smallest and largest batch size that were fitted.
        level: of the interval.

    Returns:
        Examples; `high` is inf where the rows give no upper bound, `low` 0 where no lower one.
    """

    def opened(curves: Curves, noise: npt.ArrayLike) -> tuple[Floats, Floats]:
        values = of_curves(curves)
        no_floor, no_fall = not_told_apart(curves, noise, ends)
        return np.where(no_fall, 0.0, values), np.where(no_floor & (values > 0), np.inf, values)

    return _opened_interval(laws, opened, level=level)


def min_steps_interval(
    laws: Sequence[FittedLaw], *, ends: tuple[float, float], level: float
) -> Interval:
    """Return S_min with its interval over all laws that have a floor.

    Args:
        laws: with weights that sum to 1, or one law of any weight.
        ends: smallest and largest batch size that were fitted.
        level: of the interval.

    Returns:
        Steps; `low` is 0 where the rows can't tell the floor from none.
    """

    def opened(curves: Curves, noise: npt.ArrayLike) -> tuple[Floats, Floats]:
        no_floor, _ = not_told_apart(curves, noise, ends)
        return np.where(no_floor, 0.0, curves.min_steps), curves.min_steps

    return _opened_interval(with_a_floor(laws), opened, level=level)


def critical_batch_size_interval(
    laws: Sequence[FittedLaw], *, ends: tuple[float, float], level: float
) -> Interval:
    """Return B_crit with its interval over all laws that have a floor.

    Args:
        laws: with weights that sum to 1, or one law of any weight.
        ends: smallest and largest batch size that were fitted.
        level: of the interval.

    Returns:
        Examples; an end may be open, as `batch_size_interval` says.
    """
    return batch_size_interval(with_a_floor(laws), critical_batch_sizes, ends=ends, level=level)


def critical_batch_sizes(curves: Curves) -> Floats:
    """Return B_crit of each curve, examples."""
    return curves.critical_batch_size


def with_a_floor(laws: Sequence[FittedLaw]) -> tuple[FittedLaw, ...]:
    """Return the laws that have a floor.

    Args:
        laws: of one fit.

    Returns:
        What B_crit and S_min are said of: "given that there is a floor". All laws where none has.
    """
    return tuple(law for law in laws if law.curves.has_floor) or tuple(laws)


def _opened_interval(
    laws: Sequence[FittedLaw],
    opened: Callable[[Curves, npt.ArrayLike], tuple[Floats, Floats]],
    *,
    level: float,
) -> Interval:
    """Return the interval whose low and high end come from different views of the draws."""
    tail = (1 - level) / 2
    views = {law.name: opened(law.curves, law.noise_of_draws) for law in laws}
    lows, weights = mixed(laws, lambda law: views[law.name][0])
    highs, _ = mixed(laws, lambda law: views[law.name][1])
    low, low_middle = weighted_quantile(lows, weights, [tail, 0.5])
    high_middle, high = weighted_quantile(highs, weights, [0.5, 1 - tail])
    # Where most draws tell no knee there is no finite estimate; where most tell no fall it is 0.
    estimate = float(high_middle if np.isinf(high_middle) else low_middle)
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level, method=METHOD)
