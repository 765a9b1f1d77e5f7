"""What an active design is asked: a batch size by one of the limit's definitions, or steps at one.

`critical_batch_size`, `doubling@1.6` (the batch size up to which a doubling divides the steps by
that much), `overhead` (the 20 %-overhead batch size), `steps@65536`: each is a number of every
posterior draw of the laws, and an interval of the fit as `models_of_scaling limit` would print it.

Shapes: R = draws of all laws together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.intervals import Interval, interval_of
from models_of_scaling.limit_claims import (
    OVERHEAD,
    critical_claim,
    doubling_claim,
    overhead_claim,
)
from models_of_scaling.mixture import METHOD, mixed, with_a_floor
from models_of_scaling.noise import misfit_beyond, new_study_noise
from models_of_scaling.prediction import SILLY_EXTRAPOLATION, estimated_steps
from models_of_scaling.quantities import Floats

QUESTIONS: Final = "critical_batch_size, doubling@1.6, overhead or steps@4096"
# A draw whose batch size has no bound counts as this far beyond the data, in either direction.
_FARTHEST: Final = 1024.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """One quantity of the laws.

    Attributes:
        name: `critical_batch_size`, `doubling`, `overhead` or `steps`.
        number: the batch size of `steps`, or what a doubling divides the steps by; 0 without.
    """

    name: str
    number: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Question":
        """Return the question that a word names.

        >>> Question.parse("steps@4096")
        Question(name='steps', number=4096.0)

        Args:
            text: as on the command line.

        Raises:
            InputError: where it is none of them, or its number is outside its range.
        """
        name, at, tail = text.partition("@")
        try:
            number = float(tail) if at else 0.0
        except ValueError:
            number = math.nan
        ranges = {"steps": (1.0, 2.0**53), "doubling": (math.nextafter(1, 2), math.nextafter(2, 1))}
        inside = name in ranges and ranges[name][0] <= number <= ranges[name][1]
        if inside and (name == "doubling" or number == int(number)):
            return cls(name=name, number=number)
        if name in {"critical_batch_size", "overhead"} and not at:
            return cls(name=name)
        raise InputError(f"--ask {text!r} is not {QUESTIONS}")

    def __str__(self) -> str:
        """Return the word that `parse` reads."""
        return f"{self.name}@{self.number:.10g}" if self.number else self.name

    def laws(self, fit: FitRecord) -> tuple[FittedLaw, ...]:
        """Return the laws that answer: for the critical batch size only those with a floor."""
        return with_a_floor(fit.laws) if self.name == "critical_batch_size" else fit.laws

    def interval(self, fit: FitRecord) -> Interval:
        """Return the answer of a fit, with the interval that a precision is asked of.

        Args:
            fit: the record.

        Returns:
            Examples per step, or steps; an end is open where the rows give no bound. The interval
            of `steps` is that of the curve: it holds what a law may be wrong by beyond the data
            and not the noise of one more study, which no measurement would take away.
        """
        if self.name == "critical_batch_size":
            return critical_claim(fit, level=fit.level).batch_size
        if self.name == "overhead":
            return overhead_claim(fit, level=fit.level).batch_size
        if self.name == "doubling":
            claim = doubling_claim(fit, saving=self.number, last=True, level=fit.level)
            return claim.batch_size
        if self.number > SILLY_EXTRAPOLATION * fit.largest_batch_size:
            return Interval(estimate=math.inf, low=0, high=math.inf, level=fit.level, method=METHOD)
        misfit = self.misfit(fit.largest_batch_size)

        def of_law(law: FittedLaw) -> Floats:
            steps_R = law.replicate_steps(self.number)
            off = new_study_noise(np.zeros_like(steps_R), misfit)
            return np.asarray(steps_R[:, None] * np.exp(off))

        values, weights = mixed(fit.laws, of_law)
        return interval_of(
            estimated_steps(fit, self.number), values, weights, level=fit.level, method=METHOD
        )

    def log_values(self, fit: FitRecord) -> tuple[Floats, Floats]:
        """Return the quantity of every draw and the draws' weights.

        Args:
            fit: the record.

        Returns:
            Log of examples per step, or of steps, and weights that sum to 1, (R,) each. Finite: a
            prior bounds what the rows do not, so that what would narrow it can be compared.
        """
        values, weights = mixed(self.laws(fit), self._of_law(fit))
        nearest = fit.smallest_batch_size / _FARTHEST
        if self.name != "steps":
            values = np.clip(values, nearest, fit.largest_batch_size * _FARTHEST)
        return np.log(values), weights / weights.sum()

    def _of_law(self, fit: FitRecord) -> Callable[[FittedLaw], Floats]:
        smallest = fit.smallest_batch_size
        of_name: dict[str, Callable[[FittedLaw], Floats]] = {
            "critical_batch_size": lambda law: law.curves.critical_batch_size,
            "doubling": lambda law: law.curves.doubling_saves(self.number),
            "overhead": lambda law: law.curves.with_overhead(
                OVERHEAD, reference_batch_size=smallest
            ),
            "steps": lambda law: law.replicate_steps(self.number),
        }
        return of_name[self.name]

    def misfit(self, largest_batch_size: float) -> float:
        """Return by how much the laws may be wrong about the answer, as a standard deviation.

        Args:
            largest_batch_size: measured; beyond it the laws' misfit grows with every octave.

        Returns:
            Of the log steps; 0 for a batch size of the limit, whose draws hold it.
        """
        if self.name != "steps":
            return 0.0
        return misfit_beyond(math.log(self.number / largest_batch_size))
