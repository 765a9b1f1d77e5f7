"""Draws of several laws as one distribution, each law by its weight, and what the rows can't bound.

A prior keeps every draw finite, but a bound that only the prior gives is no finding. Where the
curve bends at the largest batch size by less than one study's noise, the rows tell no floor: the
knee may be anywhere beyond, S_min anywhere below. Such draws open the far end of an interval
(inf, or 0); the near end, which the rows do give, counts them as they were drawn.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from models_of_scaling.curves import Curves
from models_of_scaling.fit_record import FittedLaw
from models_of_scaling.fitting import Bools
from models_of_scaling.intervals import Interval, interval_of, weighted_quantile
from models_of_scaling.quantities import Floats

METHOD = "posterior draws, averaged over laws"


def not_told_apart(
    curves: Curves, noise: npt.ArrayLike, ends: tuple[float, float]
) -> tuple[Bools, Bools]:
    """Return where the rows tell no floor, and where they tell no falling part.

    Args:
        curves: R of one law.
        noise: of one batch size's estimate, in logs, one for all or (R,).
        ends: smallest and largest batch size that were fitted.

    Returns:
        Whether the floor adds less than the noise to the log steps at the largest batch size;
        whether the falling part does at the smallest; (R,) each. False for a law without a floor,
        which claims none.
    """
    if not curves.has_floor:
        nowhere = np.zeros(len(curves), dtype=bool)
        return nowhere, nowhere
    q = curves.knee()["sharpness"]
    smallest, largest = (curves.log_fall_over_floor(end) for end in ends)
    no_floor = np.logaddexp(0, -largest) / q < np.asarray(noise, dtype=float)
    no_fall = np.logaddexp(0, smallest) / q < np.asarray(noise, dtype=float)
    return np.asarray(no_floor), np.asarray(no_fall)


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


def mixed_interval(
    laws: Sequence[FittedLaw],
    estimate: float,
    of_law: Callable[[FittedLaw], Floats],
    *,
    level: float,
    method: str = METHOD,
) -> Interval:
    """Return the interval of a quantity over all laws' draws, none of them opened.

    Args:
        laws: with weights that sum to 1.
        estimate: of the point fit.
        of_law: the quantity's draws.
        level: of the interval.
        method: for the record.
    """
    values, weights = mixed(laws, of_law)
    return interval_of(estimate, values, weights, level=level, method=method)


def batch_size_interval(
    laws: Sequence[FittedLaw],
    best: FittedLaw,
    of_curves: Callable[[Curves], Floats],
    *,
    ends: tuple[float, float],
    level: float,
) -> Interval:
    """Return a batch size that moves with the knee, with its interval over all laws.

    Args:
        laws: with weights that sum to 1, or one law of any weight.
        best: the law whose point fit is the estimate.
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

    return _opened_interval(laws, best, opened, level=level)


def min_steps_interval(
    laws: Sequence[FittedLaw], best: FittedLaw, *, ends: tuple[float, float], level: float
) -> Interval:
    """Return S_min with its interval over all laws that have a floor.

    Args:
        laws: with weights that sum to 1, or one law of any weight.
        best: the law whose point fit is the estimate.
        ends: smallest and largest batch size that were fitted.
        level: of the interval.

    Returns:
        Steps; `low` is 0 where the rows can't tell the floor from none.
    """

    def opened(curves: Curves, noise: npt.ArrayLike) -> tuple[Floats, Floats]:
        no_floor, _ = not_told_apart(curves, noise, ends)
        return np.where(no_floor, 0.0, curves.min_steps), curves.min_steps

    return _opened_interval(*with_a_floor(laws, best), opened, level=level)


def critical_batch_size_interval(
    laws: Sequence[FittedLaw], best: FittedLaw, *, ends: tuple[float, float], level: float
) -> Interval:
    """Return B_crit with its interval over all laws that have a floor.

    Args:
        laws: with weights that sum to 1, or one law of any weight.
        best: the law whose point fit is the estimate.
        ends: smallest and largest batch size that were fitted.
        level: of the interval.

    Returns:
        Examples; an end may be open, as `batch_size_interval` says.
    """
    laws, best = with_a_floor(laws, best)
    return batch_size_interval(laws, best, critical_batch_sizes, ends=ends, level=level)


def critical_batch_sizes(curves: Curves) -> Floats:
    """Return B_crit of each curve, examples."""
    return curves.critical_batch_size


def with_a_floor(
    laws: Sequence[FittedLaw], best: FittedLaw
) -> tuple[tuple[FittedLaw, ...], FittedLaw]:
    """Return the laws that have a floor, and the best of them.

    Args:
        laws: of one fit.
        best: of all laws.

    Returns:
        What B_crit and S_min are said of: "given that there is a floor". All laws where none has.
    """
    floored = tuple(law for law in laws if law.curves.has_floor)
    if not floored:
        return tuple(laws), best
    return floored, best if best.curves.has_floor else max(floored, key=lambda law: law.weight)


def _opened_interval(
    laws: Sequence[FittedLaw],
    best: FittedLaw,
    opened: Callable[[Curves, npt.ArrayLike], tuple[Floats, Floats]],
    *,
    level: float,
) -> Interval:
    """Return the interval whose low and high end come from different views of the draws."""
    tail = (1 - level) / 2
    views = {law.name: opened(law.curves, law.noise_of_draws) for law in laws}
    lows, weights = mixed(laws, lambda law: views[law.name][0])
    highs, _ = mixed(laws, lambda law: views[law.name][1])
    ends = [
        float(weighted_quantile(values, weights, [share])[0])
        for values, share in ((lows, tail), (highs, 1 - tail))
    ]
    # A point fit that tells no floor has no finite estimate; one that tells no fall has 0.
    low, high = (float(value[0]) for value in opened(best.point_curve, best.noise))
    estimate = high if np.isinf(high) else low
    return Interval(
        estimate=estimate,
        low=min(ends[0], estimate),
        high=max(ends[1], estimate),
        level=level,
        method=METHOD,
    )
