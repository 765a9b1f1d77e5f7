"""What an ingredient gains: the difference of two rungs, with the luck of their searches in it.

A rung is a configuration that was tuned by several searches, each on its own points and seeds, and
re-run on fresh seeds. The unit is the search: seeds of one winner differ by less than the winners
of two searches do, and an interval from seeds alone would call the luck of a search a gain. So each
search gives one mean, and two rungs are compared by Welch's t interval (Welch 1947) over searches.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models_of_scaling.quantities import Floats

Scale = Literal["accuracy", "steps"]


@dataclass(frozen=True, kw_only=True)
class RungRuns:
    """The fresh-seed runs of one rung.

    Attributes:
        label: of the rung.
        values: by search: of each fresh seed, accuracies in 0 .. 1, or steps to target with
            infinity where a run did not reach it. A search that found nothing has no seeds.
    """

    label: str
    values: tuple[tuple[float, ...], ...]

    @property
    def num_runs(self) -> int:
        """Fresh seeds over all searches."""
        return sum(map(len, self.values))

    @property
    def all_answered(self) -> bool:
        """Whether every search found something and every run has a finite value."""
        return all(each and np.isfinite(each).all() for each in self.values)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A difference between two rungs.

    Attributes:
        gain: accuracy points (0 .. 100), or the factor by which steps fall; above 0, or 1, is
            better. NaN where a run has no value.
        low: lower end of its interval; -inf (of a factor 0) where no spread can be told.
        high: upper end.
        level: of the interval.
        over: what the spread is of: "searches", or "seeds" of the only search.
    """

    gain: float
    low: float
    high: float
    level: float
    over: Literal["searches", "seeds"]

    def is_told(self, scale: Scale) -> bool:
        """Return whether the interval leaves out no gain at all."""
        nothing = 0.0 if scale == "accuracy" else 1.0
        return not self.low <= nothing <= self.high


def rung_mean(rung: RungRuns, scale: Scale) -> float:
    """Return the mean over searches of the mean over seeds; of steps the geometric one.

    Args:
        rung: its runs.
        scale: of the values.

    Returns:
        Accuracy in points, or steps; infinity where a run did not reach, NaN without runs.
    """
    means = [np.mean(_scaled(each, scale)) for each in rung.values if each]
    if not means:
        return math.nan
    mean = float(np.mean(means))
    return mean if scale == "accuracy" else math.exp(mean)


def effect(after: RungRuns, before: RungRuns, scale: Scale, *, level: float = 0.9) -> Effect:
    """Compare two rungs.

    Args:
        after: with the ingredient.
        before: without it.
        scale: of the values.
        level: of the interval.

    Returns:
        The gain from `before` to `after`. With one search each the unit is the seed, and the
        interval leaves the luck of the search out; `Effect.over` says so.
    """
    searches = min(len(after.values), len(before.values))
    over: Literal["searches", "seeds"] = "searches" if searches > 1 else "seeds"
    if not (after.all_answered and before.all_answered):
        return Effect(gain=math.nan, low=-math.inf, high=math.inf, level=level, over=over)
    sign = 1.0 if scale == "accuracy" else -1.0
    pair = [sign * _units(rung, scale, over) for rung in (after, before)]
    gain, low, high = _welch(*pair, level=level)
    if scale == "steps":
        gain, low, high = (math.exp(min(value, 700.0)) for value in (gain, low, high))
    return Effect(gain=gain, low=low, high=high, level=level, over=over)


def _scaled(values: Sequence[float], scale: Scale) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return 100 * array if scale == "accuracy" else np.log(array)


def _units(rung: RungRuns, scale: Scale, over: str) -> Floats:
    if over == "seeds":
        return _scaled(rung.values[0], scale)
    return np.array([np.mean(_scaled(each, scale)) for each in rung.values])


def _welch(after: Floats, before: Floats, *, level: float) -> tuple[float, float, float]:
    """Return the difference of means and its interval; one value on a side tells no spread."""
    difference = float(after.mean() - before.mean())
    if min(len(after), len(before)) < 2:
        return difference, -math.inf, math.inf
    if after.std() == 0 and before.std() == 0:  # accuracies are counts: all may be equal
        return difference, difference, difference
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    compared = CompareMeans(DescrStatsW(after), DescrStatsW(before))
    low, high = compared.tconfint_diff(alpha=1 - level, usevar="unequal")
    return difference, float(low), float(high)
