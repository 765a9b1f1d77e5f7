"""Who predicts in a back-test: each law, their average, and today's practice to compare with.

A forecaster is given the rows that a user would have, never the held-out ones. A law that is added
to `laws.LAW_NAMES` is one more forecaster without a change here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.law_fit import FitChoice, fit_laws, laws_for
from models_of_scaling.laws import AVERAGED_LAWS, LAW_NAMES, LawName
from models_of_scaling.measurements import Measurements
from models_of_scaling.prediction import predict
from models_of_scaling.prefix_fits import SeriesMemory
from models_of_scaling.quantities import Floats

AVERAGED: Final = "averaged"
TODAYS_PRACTICE: Final = "todays_practice"
# Not asked for by name: the answer with evidence of B_crit beside the rows, and what the average
# says of the same case without the runs at one more batch size.
WITH_EVIDENCE: Final = "with_evidence"
WITHOUT_MORE: Final = "averaged_without"
# Residuals beyond about 10 % count linearly instead of squared; between 0.05 and 1 the choice
# moves the errors on MLPerf's reference points by about one per cent.
_ROBUST_SCALE: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A prediction of steps to target.

    Attributes:
        steps: the estimate.
        low: of its interval; None where the forecaster gives none.
        high: of its interval; None where the forecaster gives none.
    """

    steps: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class KnownRows:
    """What a user has before the prediction, and the fits of it that forecasters share.

    Attributes:
        measurements: rows up to the origin.
        choice: how to fit.
        memory: of what other origins of the series have found.
        is_averaged: whether the average is asked for too; the laws in it are then fitted once.
        knee: what is known of B_crit beside the rows, for the forecaster that uses it; or None.
    """

    measurements: Measurements
    choice: FitChoice
    memory: SeriesMemory = field(default_factory=SeriesMemory)
    is_averaged: bool = True
    knee: KneeEvidence | None = None

    @cached_property
    def averaged(self) -> FitRecord:
        """The fit of the laws that an answer averages over, weighed by rolling origin."""
        names = laws_for(self.measurements)
        return fit_laws(self.measurements, replace(self.choice, laws=names), self.memory)

    @cached_property
    def _not_averaged(self) -> FitRecord:
        """The fit of the choice's other laws, not weighed: each is asked alone."""
        others = tuple(name for name in self.choice.laws if not self._is_in_average(name))
        return fit_laws(
            self.measurements, replace(self.choice, laws=others, scored=False), self.memory
        )

    def _is_in_average(self, name: LawName) -> bool:
        return self.is_averaged and name in laws_for(self.measurements)

    def alone(self, name: LawName) -> FitRecord:
        """Return the fit of one law of the choice, or of the average.

        Args:
            name: of the law.
        """
        record = self.averaged if self._is_in_average(name) else self._not_averaged
        law = next(law for law in record.laws if law.name == name)
        return replace(record, law=name, laws=(replace(law, weight=1.0),))


Forecaster = Callable[[KnownRows, Sequence[int]], list[Forecast]]


def averaged(known: KnownRows, batch_sizes: Sequence[int]) -> list[Forecast]:
    """Return what `fit` and `predict` answer: the averaged laws, by weight."""
    return _forecasts(known.averaged, batch_sizes)


def with_evidence(known: KnownRows, batch_sizes: Sequence[int]) -> list[Forecast]:
    """Return what `fit` with evidence of B_crit beside the rows, and `predict`, answer."""
    names = laws_for(known.measurements)
    choice = replace(known.choice, laws=names, knee=known.knee)
    return _forecasts(fit_laws(known.measurements, choice, known.memory), batch_sizes)


def of_law(name: LawName) -> Forecaster:
    """Return the forecaster that knows one law only.

    Args:
        name: of the law.

    Returns:
        It answers as `fit --law NAME` and `predict` do: the laws are fitted apart from each other
        with the same random numbers, so the shared fit holds the same replicates.
    """

    def forecast(known: KnownRows, batch_sizes: Sequence[int]) -> list[Forecast]:
        return _forecasts(known.alone(name), batch_sizes)

    return forecast


def _forecasts(record: FitRecord, batch_sizes: Sequence[int]) -> list[Forecast]:
    return [
        Forecast(steps=each.steps.estimate, low=each.steps.low, high=each.steps.high)
        for each in predict(record, batch_sizes)
    ]


def todays_practice(known: KnownRows, batch_sizes: Sequence[int]) -> list[Forecast]:
    """Predict by the two-parameter curve S_min + c / B, without an interval.

    The curve of McCandlish et al. 2018, arXiv:1812.06162, eq. 2.7, fitted by robust least squares
    (soft L1) to the log of each batch size's mean steps. Runs that did not reach the target are
    left out, as they are in practice.

    Args:
        known: rows with at least 2 batch sizes that reached their target.
        batch_sizes: to predict.

    Returns:
        One estimate each.
    """
    sizes, log_steps = mean_log_steps(known.measurements)

    def residuals(theta: Floats) -> Floats:
        return np.asarray(np.logaddexp(theta[0], theta[1] - np.log(sizes)) - log_steps)

    # Half of the fewest steps as the floor, half of the first batch size's as the falling part.
    start = np.array([log_steps.min(), log_steps[0] + np.log(sizes[0])]) - np.log(2.0)
    floor, fall = least_squares(residuals, start, loss="soft_l1", f_scale=_ROBUST_SCALE).x
    return [
        Forecast(steps=float(np.exp(np.logaddexp(floor, fall - np.log(size)))))
        for size in batch_sizes
    ]


def mean_log_steps(measurements: Measurements) -> tuple[Floats, Floats]:
    """Return each batch size and the mean log steps of its rows that reached the target.

    Args:
        measurements: any rows; the middle of an interval stands for it, in logs.

    Returns:
        Ascending batch sizes with at least one such row, and log steps, of one length.
    """
    reached = measurements.take(measurements.reached)
    sizes, cell_N = np.unique(reached.batch_size, return_inverse=True)
    # As `prediction.held_out_steps`: an interval from 0 has no logarithm.
    low_N = np.maximum(reached.steps_low, 1e-3 * reached.steps)
    middle_N = 0.5 * (np.log(low_N) + np.log(reached.steps_high))
    means = np.bincount(cell_N, weights=middle_N) / np.bincount(cell_N)
    return sizes.astype(float), np.asarray(means)


FORECASTERS: Final[dict[str, Forecaster]] = {
    **{name: of_law(name) for name in LAW_NAMES},
    AVERAGED: averaged,
    TODAYS_PRACTICE: todays_practice,
}
# In the order in which they are printed.
ANSWERS: Final = (*FORECASTERS, WITHOUT_MORE, WITH_EVIDENCE)


def laws_needed(forecasters: Sequence[str]) -> tuple[LawName, ...]:
    """Return the laws to fit for some forecasters."""
    averaged_too = AVERAGED_LAWS if AVERAGED in forecasters else ()
    return tuple(name for name in LAW_NAMES if name in forecasters or name in averaged_too)
