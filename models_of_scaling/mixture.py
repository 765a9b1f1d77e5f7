"""Replicates of several laws as one distribution, each law by its weight."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models_of_scaling.families import NEGLIGIBLE_SHARE
from models_of_scaling.fit_record import FittedLaw
from models_of_scaling.intervals import Interval, interval_of
from models_of_scaling.quantities import Floats

METHOD = "bootstrap over whole trials, averaged over laws"


def told_apart(critical: npt.ArrayLike, smallest: float, largest: float) -> Floats:
    """Return B_crit with values that the rows can't tell from infinity (or 0) made so.

    Args:
        critical: B_crit or another batch size in proportion to it.
        smallest: batch size that was fitted.
        largest: batch size that was fitted. Where B_crit is a thousand times larger the floor is
            a thousandth of the steps there, which no noise of ours resolves.

    Returns:
        The same shape.
    """
    values = np.asarray(critical, dtype=float)
    values = np.where(values > largest / NEGLIGIBLE_SHARE, np.inf, values)
    return np.where(values < smallest * NEGLIGIBLE_SHARE, 0.0, values)


def mixed(
    laws: Sequence[FittedLaw], of_law: Callable[[FittedLaw], Floats]
) -> tuple[Floats, Floats]:
    """Return the values of all laws' replicates with their weights.

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
    """Return the interval of a quantity over all laws' replicates.

    Args:
        laws: with weights that sum to 1.
        estimate: of the point fit.
        of_law: the quantity's replicates.
        level: of the interval.
        method: for the record.
    """
    values, weights = mixed(laws, of_law)
    return interval_of(estimate, values, weights, level=level, method=method)


def min_steps_interval(
    laws: Sequence[FittedLaw], best: FittedLaw, *, ends: tuple[int, int], level: float
) -> Interval:
    """Return S_min with its interval over all laws.

    Args:
        laws: with weights that sum to 1.
        best: the law whose point fit is the estimate.
        ends: smallest and largest batch size that were fitted.
        level: of the interval.

    Returns:
        Steps; 0 where the rows can't tell the floor from none.
    """

    def told_from_none(columns: Mapping[str, npt.ArrayLike]) -> Floats:
        is_open = np.isinf(told_apart(columns["critical_batch_size"], *ends))
        return np.where(is_open, 0.0, np.asarray(columns["min_steps"], dtype=float))

    return mixed_interval(
        laws,
        float(told_from_none(best.point)),
        lambda law: told_from_none(law.replicates),
        level=level,
    )


def critical_batch_size_interval(
    laws: Sequence[FittedLaw], best: FittedLaw, *, ends: tuple[int, int], level: float
) -> Interval:
    """Return B_crit with its interval over all laws.

    Args:
        laws: with weights that sum to 1.
        best: the law whose point fit is the estimate.
        ends: smallest and largest batch size that were fitted.
        level: of the interval.

    Returns:
        Examples; `high` is inf where the rows give no upper bound, `low` 0 where no lower one.
    """
    return mixed_interval(
        laws,
        float(told_apart(best.point["critical_batch_size"], *ends)),
        lambda law: told_apart(law.replicates["critical_batch_size"], *ends),
        level=level,
    )
