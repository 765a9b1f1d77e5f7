"""What a new study would measure at a batch size, from the record of a fit.

The interval is predictive: it is for the steps to target (geometric mean over as many repeats as
the fitted batch sizes typically have) that a new study, tuned with the same effort at that batch
size, would measure. It holds the uncertainty of each law's parameters, of which law, and the
noise of that study, and beyond the data it is as wide as back-tests found it has to be
(`noise.stretch_beyond`). The estimate is that of `estimated_steps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.intervals import Interval, check_level, interval_of, weighted_quantile
from models_of_scaling.mixture import mixed
from models_of_scaling.noise import misfit_beyond, new_study_noise, stretch_beyond
from models_of_scaling.quantities import Floats

PREDICTIVE: Final = "posterior draws, averaged over laws, with the noise of a new study"
# Beyond this no published series says how a law goes on: three octaves past the 8x to which
# intervals were checked.
SILLY_EXTRAPOLATION: Final = 64.0


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One batch size's prediction.

    Attributes:
        batch_size: examples per step.
        steps: what a new study would measure, with a predictive interval.
        examples: batch_size times the estimated steps.
        efficiency: examples needed at the smallest fitted batch size over those needed here.
        extrapolation: batch size over the largest fitted one; 1 or less is within the data.
        measured: geometric mean of the held-out rows at this batch size; inf where there are some
            and none reached; None where there are none.
        measured_at_least: of rows that did not reach, the most steps that were done; else None.
    """

    batch_size: int
    steps: Interval
    examples: float
    efficiency: float
    extrapolation: float
    measured: float | None = None
    measured_at_least: float | None = None

    @property
    def is_inside(self) -> bool | None:
        """Whether the held-out measurement lies in the interval; None without one.

        A measurement that did not reach the target contradicts the interval only where it ran
        longer than its upper end.
        """
        if self.measured is None:
            return None
        if np.isinf(self.measured):
            return (self.measured_at_least or 0.0) <= self.steps.high
        return self.steps.holds(self.measured)


def predict(
    fit: FitRecord, batch_sizes: Sequence[int], *, level: float | None = None
) -> list[Prediction]:
    """Predict steps to target.

    Args:
        fit: the record.
        batch_sizes: examples per step, each at least 1.
        level: of the intervals; that of the fit when None.

    Returns:
        One prediction per batch size, in the order asked. A batch size too far from the rows is
        refused (`check_distance`), and a level that is none (`intervals.check_level`).
    """
    chosen = check_level(fit.level if level is None else level)
    for batch_size in batch_sizes:
        check_distance(batch_size, (fit.smallest_batch_size, fit.largest_batch_size))
    reference_examples = fit.smallest_batch_size * estimated_steps(fit, fit.smallest_batch_size)
    answers = []
    for batch_size in batch_sizes:
        steps = predictive_interval(fit, batch_size, level=chosen)
        examples = batch_size * steps.estimate
        measured, at_least = held_out_steps(fit, batch_size)
        answers.append(
            Prediction(
                batch_size=batch_size,
                steps=steps,
                examples=examples,
                efficiency=reference_examples / examples,
                extrapolation=batch_size / fit.largest_batch_size,
                measured=measured,
                measured_at_least=at_least,
            )
        )
    return answers


def check_distance(
    batch_size: int, measured: tuple[float, float], *, what: str = "fitted one"
) -> None:
    """Refuse a batch size of which nobody could say anything.

    Args:
        batch_size: that was asked for.
        measured: the smallest and the largest that somebody measured.
        what: these are, for the message.

    Raises:
        InputError: below 1, or farther from them than `SILLY_EXTRAPOLATION`.
    """
    smallest, largest = measured
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size} must be at least 1")
    far = f"{SILLY_EXTRAPOLATION:g}x"
    if batch_size > SILLY_EXTRAPOLATION * largest:
        raise InputError(
            f"--batch-size {batch_size} is more than {far} the largest {what} ({largest:,.0f}); no "
            f"honest answer exists beyond {far}: measure a larger batch size first"
        )
    if batch_size < smallest / SILLY_EXTRAPOLATION:
        raise InputError(
            f"--batch-size {batch_size} is less than 1/{SILLY_EXTRAPOLATION:g} of the smallest "
            f"{what} ({smallest:,.0f}); no honest answer exists that far below"
        )


def estimated_steps(fit: FitRecord, batch_size: float) -> float:
    """Return the median of S(B) over the draws of all laws, each law by its weight.

    Where the rows tell the knee it lies at the point fits; where they do not, the draws are skewed
    and the most likely knee is nearer than most of them.

    Args:
        fit: the record.
        batch_size: examples per step.

    Returns:
        Steps.
    """
    values, weights = mixed(fit.laws, lambda law: law.replicate_steps(batch_size))
    return float(weighted_quantile(values, weights, [0.5])[0])


def predictive_interval(fit: FitRecord, batch_size: float, *, level: float) -> Interval:
    """Return what a new study would measure at B, with its interval.

    Args:
        fit: the record.
        batch_size: examples per step.
        level: of the interval.

    Returns:
        Steps.
    """
    values, weights = predictive_draws(fit, batch_size)
    return interval_of(
        estimated_steps(fit, batch_size), values, weights, level=level, method=PREDICTIVE
    )


def predictive_draws(fit: FitRecord, batch_size: float) -> tuple[Floats, Floats]:
    """Return draws of what a new study would measure at B, and their weights.

    Args:
        fit: the record.
        batch_size: examples per step.

    Returns:
        Steps and weights, one-dimensional; in one order for all batch sizes.
    """
    log_distance = float(np.log(batch_size / fit.largest_batch_size))
    misfit = misfit_beyond(log_distance)
    reached = [
        size
        for size, is_met in zip(fit.measured.batch_size, fit.measured.reached, strict=True)
        if is_met
    ]
    stretch, centre = stretch_beyond(reached, log_distance), estimated_steps(fit, batch_size)

    def of_law(law: FittedLaw) -> Floats:
        steps_R = law.replicate_steps(batch_size)
        off = new_study_noise(law.noise_of_draws, float(np.hypot(misfit, fit.group_sd)))
        return np.asarray(centre * (steps_R[:, None] / centre * np.exp(off)) ** stretch)

    return mixed(fit.laws, of_law)


def held_out_steps(fit: FitRecord, batch_size: int) -> tuple[float | None, float | None]:
    """Return what was measured at a batch size that the fit did not see.

    Args:
        fit: the record.
        batch_size: examples per step.

    Returns:
        The geometric mean over rows that reached (inf where none did, None where there is no
        row), and the most steps done by a row that did not reach, or None.
    """
    rows = fit.held_out
    at = np.array(rows.batch_size) == batch_size
    if not at.any():
        return None, None
    steps, reached = np.array(rows.steps), np.array(rows.reached, dtype=bool)
    undone = steps[at & ~reached]
    at_least = float(undone.max()) if undone.size else None
    if not reached[at].any():
        return np.inf, at_least
    low, high = (np.array(ends)[at & reached] for ends in (rows.steps_low, rows.steps_high))
    low = np.where(low > 0, low, high)  # met by the first evaluation: what that says, at most
    return float(np.exp(0.5 * (np.log(low) + np.log(high)).mean())), at_least
