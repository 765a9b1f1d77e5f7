"""Winkler's score of an interval, and summaries over cases of which several share their runs.

Winkler's interval score in logs (Winkler 1972; Gneiting & Raftery 2007, eq. 43) is smallest on
average for the true quantiles: it punishes both misses and width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import ndtri

from models_of_scaling.quantities import Floats

# Resampled sets of series behind the interval of each summary.
_RESAMPLES: Final = 500
_SUMMARY_LEVEL: Final = 0.9


def winkler_log_score(low: float, high: float, measured: float, *, level: float) -> float:
    """Return the log width of an interval plus 2 / (1 - level) times the log distance of a miss.

    >>> winkler_log_score(1.0, math.e, 2.0, level=0.9)
    1.0
    >>> round(winkler_log_score(1.0, math.e, math.e**1.5, level=0.9), 9)  # 1 + 20 * 0.5
    11.0

    Args:
        low: lower end, at least 0.
        high: upper end; may be inf.
        measured: finite and more than 0.
        level: that the interval claims.

    Returns:
        Smaller is better; inf for an interval without an end.
    """
    if low <= 0 or math.isinf(high):
        return math.inf
    miss = max(math.log(low / measured), math.log(measured / high), 0.0)
    return math.log(high / low) + 2.0 / (1.0 - level) * miss


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """A summary over cases, with a 90 % interval; cases of one series share their runs.

    Attributes:
        value: over all cases.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def over_series(
    values: Floats, series: Sequence[str], summary: Callable[[Any], Any], *, seed: int = 0
) -> Estimated:
    """Return a summary of values with an interval from resampling whole series.

    Args:
        values: one per case, (N,).
        series: of each case; all cases of a series come or go together.
        summary: such as `numpy.median`.
        seed: of the resampling.

    Returns:
        The summary over all values, with a percentile interval.
    """
    _, of_case = np.unique(np.array(series), return_inverse=True)
    blocks = [values[of_case == number] for number in range(int(of_case.max()) + 1)]
    rng = np.random.default_rng(seed)
    drawn = [
        float(summary(np.concatenate([blocks[place] for place in places])))
        for places in rng.integers(len(blocks), size=(_RESAMPLES, len(blocks)))
    ]
    low, high = np.quantile(drawn, [(1 - _SUMMARY_LEVEL) / 2, (1 + _SUMMARY_LEVEL) / 2])
    return Estimated(value=float(summary(values)), low=float(low), high=float(high))


def share_over_series(values: Floats, series: Sequence[str]) -> Estimated:
    """Return a share with Wilson's interval, as if each series were one case.

    Resampling would call a share of 1 certain. Wilson's interval (Wilson 1927) doesn't; taking the
    number of series as the sample size is on the careful side.

    Args:
        values: 1 or 0 per case, (N,).
        series: of each case.

    Returns:
        The share over all cases.
    """
    share, count = float(values.mean()), len(set(series))
    z2 = float(ndtri(0.5 + _SUMMARY_LEVEL / 2)) ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return Estimated(value=share, low=max(middle - half, 0.0), high=min(middle + half, 1.0))
