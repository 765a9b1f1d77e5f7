"""Scores of predictions against what was measured, summarised over cases.

Relative error of the estimate; share of intervals that hold the measured value; width as high over
low; and Winkler's interval score in logs (Winkler 1972; Gneiting & Raftery 2007, eq. 43), which is
smallest on average for the true quantiles: it punishes both misses and width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from scipy.special import ndtri

from models_of_scaling.backtest.cases import DESIGNS, FACTORS, Case, Design
from models_of_scaling.backtest.forecasters import FORECASTERS, Forecast
from models_of_scaling.published.series import SERIES_PARTS, SeriesPart
from models_of_scaling.quantities import Floats

# Resampled sets of series behind the interval of each summary.
_RESAMPLES: Final = 500
_SUMMARY_LEVEL: Final = 0.9


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case, predicted and compared.

    Attributes:
        series: its name.
        part: of the published series that it belongs to.
        forecaster: who predicted.
        case: what was predicted from what.
        forecast: the prediction.
        measured: steps; inf where no held-out run reached the target.
        measured_at_least: the most steps of a held-out run that did not; 0 where all did.
        level: of the interval.
    """

    series: str
    part: SeriesPart
    forecaster: str
    case: Case
    forecast: Forecast
    measured: float
    measured_at_least: float
    level: float

    @property
    def error(self) -> float | None:
        """Estimate over measured value, less 1; None where the target was not reached."""
        return None if math.isinf(self.measured) else self.forecast.steps / self.measured - 1.0

    @property
    def is_covered(self) -> bool | None:
        """Whether the interval holds the measured value; None without an interval.

        Runs that did not reach the target contradict it only by going on beyond its upper end.
        """
        low, high = self.forecast.low, self.forecast.high
        if low is None or high is None:
            return None
        if math.isinf(self.measured):
            return self.measured_at_least <= high
        return low <= self.measured <= high

    @property
    def log_width(self) -> float | None:
        """Log of high over low; inf for an interval that is open, None without one."""
        low, high = self.forecast.low, self.forecast.high
        if low is None or high is None:
            return None
        return math.log(high / low) if low > 0 else math.inf

    @property
    def interval_score(self) -> float | None:
        """Winkler's score in logs; None without an interval or a measured value."""
        low, high = self.forecast.low, self.forecast.high
        if low is None or high is None or math.isinf(self.measured):
            return None
        return winkler_log_score(low, high, self.measured, level=self.level)


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


@dataclass(frozen=True, kw_only=True)
class Score:
    """How one forecaster did on one part of the series in one design at one factor.

    Attributes:
        part: of the published series.
        design: "rolling", "largest" or "one_more".
        factor: 2, 4 or 8.
        forecaster: its name.
        num_cases: predictions.
        num_series: that they are from.
        num_not_reached: of the cases, where no held-out run reached the target.
        median_ratio: of predicted to largest fitted batch size.
        median_error: median absolute relative error, a share.
        high_error: its 90th percentile.
        coverage: share of intervals that held the measured value; None without intervals.
        median_width: high over low; None without intervals.
        interval_score: mean of Winkler's score in logs; None without intervals.
    """

    part: SeriesPart
    design: Design
    factor: int
    forecaster: str
    num_cases: int
    num_series: int
    num_not_reached: int
    median_ratio: float
    median_error: Estimated
    high_error: float
    coverage: Estimated | None
    median_width: float | None
    interval_score: float | None


def scores(outcomes: Sequence[Outcome]) -> list[Score]:
    """Summarise outcomes by part, design, factor and forecaster.

    Args:
        outcomes: of `back_test`.

    Returns:
        One score for each combination that has a case with a measured value.
    """
    answer = []
    for key in product(SERIES_PARTS, DESIGNS, FACTORS, FORECASTERS):
        chosen = [each for each in outcomes if _key(each) == key]
        if any(outcome.error is not None for outcome in chosen):
            answer.append(_score(chosen))
    return answer


def _key(outcome: Outcome) -> tuple[SeriesPart, Design, int, str]:
    return outcome.part, outcome.case.design, outcome.case.factor, outcome.forecaster


def _score(outcomes: Sequence[Outcome]) -> Score:
    """Summarise the outcomes of one key; one at least is measured."""
    first = outcomes[0]
    known = [outcome for outcome in outcomes if outcome.error is not None]
    errors = np.array([abs(outcome.error or 0.0) for outcome in known])
    covered = np.array([float(outcome.is_covered or 0.0) for outcome in outcomes])
    widths = [outcome.log_width for outcome in outcomes if outcome.log_width is not None]
    penalties = [each.interval_score for each in known if each.interval_score is not None]
    return Score(
        part=first.part,
        design=first.case.design,
        factor=first.case.factor,
        forecaster=first.forecaster,
        num_cases=len(outcomes),
        num_series=len({outcome.series for outcome in outcomes}),
        num_not_reached=len(outcomes) - len(known),
        median_ratio=float(np.median([outcome.case.ratio for outcome in outcomes])),
        median_error=over_series(errors, [outcome.series for outcome in known], np.median),
        high_error=float(np.quantile(errors, 0.9)),
        coverage=share_over_series(covered, [outcome.series for outcome in outcomes])
        if widths
        else None,
        median_width=float(np.exp(np.median(widths))) if widths else None,
        interval_score=float(np.mean(penalties)) if penalties else None,
    )


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
