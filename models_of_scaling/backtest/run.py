"""Back-test on published series: predict batch sizes that the fit did not see.

A forecaster is given the rows up to an origin and nothing else; what it predicts is compared with
the geometric mean over the held-out runs that reached the target (`backtest.scores`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from models_of_scaling.backtest.cases import cases_of
from models_of_scaling.backtest.forecasters import (
    AVERAGED,
    FORECASTERS,
    WITH_EVIDENCE,
    WITHOUT_MORE,
    KnownRows,
    laws_needed,
    mean_log_steps,
    with_evidence,
)
from models_of_scaling.backtest.scores import Outcome
from models_of_scaling.errors import InputError
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.law_fit import FitChoice
from models_of_scaling.measurements import Measurements
from models_of_scaling.prefix_fits import SeriesMemory
from models_of_scaling.published.series import PublishedSeries

HANDFUL: Final = 5  # runs at one larger batch size, as someone would try before buying


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


@dataclass(frozen=True, kw_only=True)
class BeyondRows:
    """What is known beside the rows up to an origin.

    Attributes:
        more_runs: at most so many runs are known of the one more batch size.
        knee: B_crit by another way, by the names of series.
    """

    more_runs: int = HANDFUL
    knee: Mapping[str, KneeEvidence] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the number of runs.

        Raises:
            InputError: naming the flag and the rule.
        """
        if self.more_runs < 1:
            raise InputError(f"--more-runs {self.more_runs} must be at least 1")


def back_test(
    series: Iterable[PublishedSeries],
    *,
    forecasters: Sequence[str],
    replicates: int = 300,
    level: float = 0.9,
    beyond: BeyondRows | None = None,
) -> list[Outcome]:
    """Predict every case of every series.

    Args:
        series: of steps to target.
        forecasters: names in `forecasters.FORECASTERS`.
        replicates: draws of each law's posterior at each origin.
        level: of the intervals.
        beyond: what is known beside the rows up to an origin; None for five runs at one more batch
            size and no evidence of B_crit.

    Returns:
        One outcome per case and forecaster; deterministic. Where the average is asked for, also
        what it says of the one-more cases without those runs, and with the evidence of B_crit.
    """
    choice = FitChoice(laws=laws_needed(forecasters), replicates=replicates, level=level)
    more = beyond or BeyondRows()
    return [outcome for each in series for outcome in _outcomes(each, forecasters, choice, more)]


def _outcomes(
    series: PublishedSeries, forecasters: Sequence[str], choice: FitChoice, beyond: BeyondRows
) -> list[Outcome]:
    measurements = series.rows
    cases = cases_of(measurements)
    outcomes: list[Outcome] = []
    fitted = {(case.largest_fitted, case.also_fitted or 0) for case in cases}
    memory, knee = SeriesMemory(), beyond.knee.get(series.name)
    asked_for = {name: FORECASTERS[name] for name in forecasters}
    if knee is not None and AVERAGED in forecasters:
        asked_for[WITH_EVIDENCE] = with_evidence
    # The largest origin first: its rolling-origin scores hold those of all smaller ones.
    for origin, also in sorted(fitted, reverse=True):
        known = KnownRows(
            measurements=_known(measurements, origin, also, beyond.more_runs),
            choice=choice,
            memory=memory,
            is_averaged=AVERAGED in forecasters,
            knee=knee,
        )
        asked = [
            case for case in cases if (case.largest_fitted, case.also_fitted or 0) == (origin, also)
        ]
        sizes = sorted({case.batch_size for case in asked})
        for name, forecaster in asked_for.items():
            answers = dict(zip(sizes, forecaster(known, sizes), strict=True))
            for case in asked:
                measured, at_least = _measured(measurements, case.batch_size)
                outcomes.append(
                    Outcome(
                        series=series.name,
                        part=series.part,
                        forecaster=name,
                        case=case,
                        forecast=answers[case.batch_size],
                        measured=measured,
                        measured_at_least=at_least,
                        level=choice.level,
                    )
                )
    outcomes += _without_more(outcomes)
    order = {case: place for place, case in enumerate(cases)}
    return sorted(outcomes, key=lambda outcome: order[outcome.case])


def _without_more(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the average's answers to the one-more cases without the runs at one more size."""
    averaged = [outcome for outcome in outcomes if outcome.forecaster == AVERAGED]
    plain = {outcome.case: outcome for outcome in averaged if outcome.case.design == "rolling"}
    found = []
    for outcome in averaged:
        if outcome.case.design == "one_more":
            same = replace(outcome.case, design="rolling", also_fitted=None)
            found.append(replace(plain[same], forecaster=WITHOUT_MORE, case=outcome.case))
    return found


def _known(measurements: Measurements, origin: int, also: int, more_runs: int) -> Measurements:
    """Return the rows up to the origin, and a handful at one more batch size."""
    at = np.flatnonzero(measurements.batch_size == also)[:more_runs]
    chosen = measurements.batch_size <= origin
    chosen[at] = True
    return measurements.take(chosen)


def _measured(measurements: Measurements, batch_size: int) -> tuple[float, float]:
    """Return the geometric mean of what reached the target, and the most steps of what did not."""
    rows = measurements.take(measurements.batch_size == batch_size)
    _, log_steps = mean_log_steps(rows)
    value = float(np.exp(log_steps[0])) if len(log_steps) else math.inf
    return value, float(rows.steps[~rows.reached].max(initial=0.0))
