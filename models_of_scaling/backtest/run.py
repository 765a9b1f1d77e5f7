"""Back-test on published series: predict batch sizes that the fit did not see.

A forecaster is given the rows up to an origin and nothing else; what it predicts is compared with
the geometric mean over the held-out runs that reached the target (`backtest.scores`).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from models_of_scaling.backtest.cases import cases_of
from models_of_scaling.backtest.forecasters import (
    AVERAGED,
    FORECASTERS,
    KnownRows,
    laws_needed,
    mean_log_steps,
)
from models_of_scaling.backtest.scores import Outcome
from models_of_scaling.errors import InputError
from models_of_scaling.law_fit import FitChoice
from models_of_scaling.measurements import Measurements
from models_of_scaling.prefix_fits import SeriesMemory
from models_of_scaling.published.series import PublishedSeries

_HANDFUL: Final = 5  # runs at one larger batch size, as someone would try before buying


def check_forecasters(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the forecasters to run, in their own order.

    Args:
        names: from the command line; None for all.

    Returns:
        Each once.

    Raises:
        InputError: naming the flag and the word that is no forecaster.
    """
    for name in names or ():
        if name not in FORECASTERS:
            raise InputError(f"--law {name!r} is not one of: {', '.join(FORECASTERS)}")
    return tuple(name for name in FORECASTERS if names is None or name in names)


def back_test(
    series: Iterable[PublishedSeries],
    *,
    forecasters: Sequence[str],
    replicates: int = 300,
    level: float = 0.9,
) -> list[Outcome]:
    """Predict every case of every series.

    Args:
        series: of steps to target.
        forecasters: names in `forecasters.FORECASTERS`.
        replicates: draws of each law's posterior at each origin.
        level: of the intervals.

    Returns:
        One outcome per case and forecaster; deterministic.
    """
    choice = FitChoice(laws=laws_needed(forecasters), replicates=replicates, level=level)
    return [outcome for each in series for outcome in _outcomes(each, forecasters, choice)]


def _outcomes(
    series: PublishedSeries, forecasters: Sequence[str], choice: FitChoice
) -> list[Outcome]:
    measurements = series.rows
    cases = cases_of(measurements)
    outcomes = []
    fitted = {(case.largest_fitted, case.also_fitted or 0) for case in cases}
    memory = SeriesMemory()
    # The largest origin first: its rolling-origin scores hold those of all smaller ones.
    for origin, also in sorted(fitted, reverse=True):
        known = KnownRows(
            measurements=_known(measurements, origin, also),
            choice=choice,
            memory=memory,
            is_averaged=AVERAGED in forecasters,
        )
        asked = [
            case for case in cases if (case.largest_fitted, case.also_fitted or 0) == (origin, also)
        ]
        sizes = sorted({case.batch_size for case in asked})
        for forecaster in forecasters:
            answers = dict(zip(sizes, FORECASTERS[forecaster](known, sizes), strict=True))
            for case in asked:
                measured, at_least = _measured(measurements, case.batch_size)
                outcomes.append(
                    Outcome(
                        series=series.name,
                        part=series.part,
                        forecaster=forecaster,
                        case=case,
                        forecast=answers[case.batch_size],
                        measured=measured,
                        measured_at_least=at_least,
                        level=choice.level,
                    )
                )
    order = {case: place for place, case in enumerate(cases)}
    return sorted(outcomes, key=lambda outcome: order[outcome.case])


def _known(measurements: Measurements, origin: int, also: int) -> Measurements:
    """Return the rows up to the origin, and a handful at one more batch size."""
    at = np.flatnonzero(measurements.batch_size == also)[:_HANDFUL]
    chosen = measurements.batch_size <= origin
    chosen[at] = True
    return measurements.take(chosen)


def _measured(measurements: Measurements, batch_size: int) -> tuple[float, float]:
    """Return the geometric mean of what reached the target, and the most steps of what did not."""
    rows = measurements.take(measurements.batch_size == batch_size)
    _, log_steps = mean_log_steps(rows)
    value = float(np.exp(log_steps[0])) if len(log_steps) else math.inf
    return value, float(rows.steps[~rows.reached].max(initial=0.0))
