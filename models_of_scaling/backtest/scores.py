"""Scores of predictions against what was measured, summarised over cases.

Relative error of the estimate; share of intervals that hold the measured value; width as high over
low; and Winkler's interval score (`interval_scores`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from models_of_scaling.backtest.cases import DESIGNS, FACTORS, Case, Design
from models_of_scaling.backtest.forecasters import ANSWERS, Forecast
from models_of_scaling.interval_scores import (
    Estimated,
    over_series,
    share_over_series,
    winkler_log_score,
)
from models_of_scaling.published.series import SERIES_PARTS, SeriesPart


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
    for key in product(SERIES_PARTS, DESIGNS, FACTORS, ANSWERS):
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
