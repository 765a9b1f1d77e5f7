"""Accuracy at a fixed number of epochs against batch size: the laws averaged, and what they say.

Each law's posterior is `accuracy_posterior`'s. The laws are averaged by their evidence, which is
the product of the one-step-ahead predictive densities over the rows (Dawid 1984, prequential): a
held-out score that spends no row.

Binomial noise, error (1 - error) / tested, is for rows that say how many examples they were tested
on, and is independent between rows. Where all rows share one test set it is common to them, so
leave that column out: the noise is then estimated from the rows.

Errors are in points: percentage points, 0 .. 100.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models_of_scaling.errors import InputError
from models_of_scaling.fixed_epochs.accuracy_laws import ACCURACY_LAWS, AccuracyLaw
from models_of_scaling.fixed_epochs.accuracy_posterior import AccuracyDraws, fit_accuracy_law
from models_of_scaling.fixed_epochs.accuracy_table import AccuracyRows, cells_of
from models_of_scaling.intervals import Interval, check_level, weighted_quantile
from models_of_scaling.quantities import Floats

METHOD: Final = "posterior draws, averaged over laws"
FEWEST_BATCH_SIZES: Final = 3


@dataclass(frozen=True, kw_only=True)
class FittedAccuracyLaw:
    """One law's fit.

    Attributes:
        law: its formula.
        log_evidence: up to a constant that all laws share.
        weight: its share in the average; the weights sum to 1.
        draws: of its posterior.
    """

    law: AccuracyLaw
    log_evidence: float
    weight: float
    draws: AccuracyDraws

    def errors(self, log_ratio: npt.ArrayLike) -> Floats:
        """Return the law's error of each draw, points, at x = log(B / B_ref): (R,)."""
        return self.draws.level + self.draws.amplitude * self.law.rise(log_ratio, self.draws.shape)


@dataclass(frozen=True, kw_only=True)
class AccuracyForecast:
    """What a batch size would give, in shares.

    Attributes:
        batch_size: examples per step.
        accuracy: of the law, averaged; its interval says where the law lies.
        accuracy_of_run: the same with the interval for one more measured run.
        extrapolation: over the largest batch size fitted; 1 or less is inside.
    """

    batch_size: int
    accuracy: Interval
    accuracy_of_run: Interval
    extrapolation: float


@dataclass(frozen=True, kw_only=True)
class FixedEpochsFit:
    """The average of all laws.

    Attributes:
        rows: what was fitted.
        laws: with weights.
    """

    rows: AccuracyRows
    laws: tuple[FittedAccuracyLaw, ...]

    @property
    def smallest_batch_size(self) -> int:
        """The smallest that was fitted."""
        return int(self.rows.batch_size.min())

    @property
    def largest_batch_size(self) -> int:
        """The largest that was fitted; B_ref of the laws."""
        return int(self.rows.batch_size.max())

    def _x(self, batch_size: float) -> float:
        return float(np.log(batch_size / self.largest_batch_size))

    @property
    def _weights(self) -> Floats:
        return np.concatenate([
            np.full(len(law.draws.level), law.weight / len(law.draws.level)) for law in self.laws
        ])

    def errors(self, batch_size: float) -> Floats:
        """Return the error in points of every draw of every law, one-dimensional."""
        return np.concatenate([law.errors(self._x(batch_size)) for law in self.laws])

    def forecast(
        self, batch_size: int, rng: np.random.Generator, *, level: float = 0.9
    ) -> AccuracyForecast:
        """Return the accuracy at a batch size.

        Args:
            batch_size: examples per step, at least 1.
            rng: source of the measured run's noise.
            level: of the intervals.

        Returns:
            Law and run; a share below 0 or above 1 is no accuracy, so ends stop there.

        Raises:
            InputError: for a batch size below 1 or a level out of range.
        """
        if batch_size < 1:
            raise InputError(f"--batch-size {batch_size} must be at least 1")
        errors, noise = self.errors(batch_size), self._noise
        measured = errors + noise * rng.standard_normal(len(noise))
        return AccuracyForecast(
            batch_size=batch_size,
            accuracy=_accuracy_interval(errors, self._weights, level),
            accuracy_of_run=_accuracy_interval(measured, self._weights, level),
            extrapolation=batch_size / self.largest_batch_size,
        )

    @property
    def _noise(self) -> Floats:
        return np.concatenate([law.draws.noise for law in self.laws])

    def drop_batch_size(self, points: float, *, level: float = 0.9) -> Interval:
        """Return the batch size at which accuracy is so much lower than at small batches.

        Args:
            points: percentage points below the law's accuracy at the smallest batch size fitted.
            level: of the interval.

        Returns:
            Examples. Draws whose accuracy falls by less than one run's noise up to the largest
            batch size fitted give no upper bound: only their prior would. They open the high end
            (inf) and count as drawn for the low one.

        Raises:
            InputError: for a drop that is not more than 0, or a level out of range.
        """
        if not 0 < points < 100:
            raise InputError(f"--drop {points} must be more than 0 and less than 100 points")
        check_level(level)
        first = self._x(self.smallest_batch_size)
        lows, highs = [], []
        for fitted in self.laws:
            draws, law = fitted.draws, fitted.law
            rise_first = law.rise(first, draws.shape)
            with np.errstate(divide="ignore", over="ignore"):  # no amplitude, no such batch size
                wanted = rise_first + points / draws.amplitude
                batch = self.largest_batch_size * np.exp(law.log_batch_size_at(wanted, draws.shape))
            seen = draws.amplitude * (law.rise(0.0, draws.shape) - rise_first)
            lows.append(batch)
            highs.append(np.where(seen < draws.noise, np.inf, batch))
        low, high = np.concatenate(lows), np.concatenate(highs)
        tail = (1 - level) / 2
        estimate = float(weighted_quantile(high, self._weights, [0.5])[0])
        return Interval(
            estimate=estimate,
            low=min(float(weighted_quantile(low, self._weights, [tail])[0]), estimate),
            high=float(weighted_quantile(high, self._weights, [1 - tail])[0]),
            level=level,
            method=METHOD,
        )

    def noise(self, *, level: float = 0.9) -> Interval:
        """Return the noise of one run, points."""
        return _interval(self._noise, self._weights, level)


def _interval(values: Floats, weights: Floats, level: float) -> Interval:
    check_level(level)
    tail = (1 - level) / 2
    low, middle, high = weighted_quantile(values, weights, [tail, 0.5, 1 - tail])
    return Interval(
        estimate=float(middle), low=float(low), high=float(high), level=level, method=METHOD
    )


def _accuracy_interval(error_points: Floats, weights: Floats, level: float) -> Interval:
    return _interval(np.clip(1.0 - error_points / 100.0, 0.0, 1.0), weights, level)


def fit_fixed_epochs(
    rows: AccuracyRows,
    rng: np.random.Generator,
    *,
    laws: Sequence[AccuracyLaw] = ACCURACY_LAWS,
    draws: int = 2000,
) -> FixedEpochsFit:
    """Fit every law and average them.

    Args:
        rows: of one number of epochs.
        rng: source of the draws.
        laws: to average over.
        draws: of each law.

    Returns:
        The fit.

    Raises:
        InputError: where fewer than 3 batch sizes are there.
    """
    cells = cells_of(rows)
    sizes = len(np.unique(cells.batch_size))
    if sizes < FEWEST_BATCH_SIZES:
        raise InputError(
            f"{rows.path}: column batch_size: {sizes} different batch sizes; a law of accuracy "
            f"needs at least {FEWEST_BATCH_SIZES}"
        )
    found = [fit_accuracy_law(law, cells, rng, draws) for law in laws]
    evidence = np.array([log_evidence for log_evidence, _ in found])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    return FixedEpochsFit(
        rows=rows,
        laws=tuple(
            FittedAccuracyLaw(
                law=law, log_evidence=float(log_evidence), weight=float(weight), draws=drawn
            )
            for law, weight, (log_evidence, drawn) in zip(laws, weights, found, strict=True)
        ),
    )
