"""Curves of steps against batch size with the quantities that each of them gives, many at once.

Shapes: R = curves (draws of one law, or a single one), M = batch sizes.

The laws with a floor answer in closed form (`quantities`). Where there is no such form (a rise at
huge batch sizes, a slope that never ends, a Gaussian process on top) the condition is looked up on
a fine grid of batch sizes, the last crossing counting: beyond it the claim never holds again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models_of_scaling.gaussian_process import Deviation
from models_of_scaling.quantities import (
    Floats,
    batch_size_where_doubling_saves,
    fall_over_floor,
    smoothly_broken_steps,
    steps_to_target,
)

# Octaves below and above a curve's own corner that are searched, and points per octave. Two secants
# between two points leave the answer off by less than 0.05 %, a hard knee's (q = 18) included.
_OCTAVES_BELOW, _OCTAVES_ABOVE = 24.0, 40.0
_POINTS_PER_OCTAVE: Final = 12


@dataclass(frozen=True, kw_only=True)
class Curves:
    """R curves of one law.

    Attributes:
        columns: natural parameters by name, (R,) each; see the law's class in `laws`.
        deviation: what a Gaussian process adds to the log steps; None for a plain law.
    """

    columns: Mapping[str, Floats]
    deviation: Deviation | None = None

    @property
    def has_floor(self) -> bool:
        """Whether there are fewest steps, and with them a critical batch size."""
        return "critical_batch_size" in self.columns

    @property
    def min_steps(self) -> Floats:
        """S_min (R,); 0 for a law without a floor."""
        return self._column("min_steps") if self.has_floor else np.zeros(len(self))

    @property
    def critical_batch_size(self) -> Floats:
        """B_crit (R,), examples, where S = 2 S_min; inf for a law without a floor."""
        return self._column("critical_batch_size") if self.has_floor else np.full(len(self), np.inf)

    def __len__(self) -> int:
        """Return R."""
        return len(next(iter(self.columns.values())))

    def _column(self, name: str, otherwise: float = 1.0) -> Floats:
        return np.asarray(self.columns.get(name, np.full(len(self), otherwise)), dtype=float)

    def knee(self) -> dict[str, Floats]:
        """Return B_crit, alpha and q (R,) each, as `quantities` names them.

        Raises:
            ValueError: for a law without a floor.
        """
        if not self.has_floor:
            raise ValueError("a law without a floor has no knee of this shape")
        return {
            "critical_batch_size": self._column("critical_batch_size"),
            "exponent": self._column("exponent"),
            "sharpness": self._column("sharpness"),
        }

    def steps(self, batch_size: npt.ArrayLike) -> Floats:
        """Return S(B).

        Args:
            batch_size: (M,) for all curves, or (R, M) for each its own.

        Returns:
            Optimizer steps, (R, M).
        """
        steps, log_factor = self._steps_and_log_factor(batch_size)
        with np.errstate(over="ignore"):  # inf: the target can't be met there
            return np.asarray(steps * np.exp(log_factor))

    def log_steps(self, batch_size: npt.ArrayLike) -> Floats:
        """Return log S(B), (R, M), finite also where S(B) is beyond every float.

        Args:
            batch_size: as for `steps`.
        """
        steps, log_factor = self._steps_and_log_factor(batch_size)
        return np.asarray(np.log(steps) + log_factor)

    def _steps_and_log_factor(self, batch_size: npt.ArrayLike) -> tuple[Floats, Floats | float]:
        """Return the falling curve, and the log of what multiplies it: a rise, a deviation."""
        sizes = np.atleast_1d(np.asarray(batch_size, dtype=float))
        columns = {name: np.asarray(each)[:, None] for name, each in self.columns.items()}
        if not self.has_floor:
            return smoothly_broken_steps(sizes, **columns), 0.0
        turning = columns.pop("turning_batch_size", None)
        steps = steps_to_target(sizes, **columns)
        rise = 0.0 if turning is None else sizes / turning
        return steps, rise if self.deviation is None else rise + self.deviation.log_factor(sizes)

    def doubling_saves(self, saving: float) -> Floats:
        """Return the largest B with S(B) / S(2B) >= saving, (R,).

        Args:
            saving: f, more than 1.

        Returns:
            Examples; 0 where no batch size saves that much, inf where all larger ones do.
        """
        if self.has_floor and "turning_batch_size" not in self.columns and self.deviation is None:
            return batch_size_where_doubling_saves(saving, **self.knee())
        return self._last_batch_size(
            lambda sizes: np.log(self.steps(sizes) / self.steps(2 * sizes)) - np.log(saving)
        )

    def with_overhead(self, overhead: float, *, reference_batch_size: float) -> Floats:
        """Return the largest B that needs at most 1 + overhead times a reference's examples, (R,).

        Zhang et al. 2024, arXiv:2410.21676, call it critical for an overhead of 0.2 over a batch
        size that still scales perfectly.

        Args:
            overhead: more than 0.
            reference_batch_size: whose examples are the measure.

        Returns:
            Examples; inf where every larger one does.
        """
        reference = self.steps(reference_batch_size) * reference_batch_size
        limit = np.log(reference) + np.log1p(overhead)
        return self._last_batch_size(lambda sizes: limit - np.log(sizes * self.steps(sizes)))

    def _last_batch_size(self, condition: Callable[[Floats], Floats]) -> Floats:
        """Return the last batch size at which a condition is not negative."""
        corner = self._column("critical_batch_size" if self.has_floor else "corner_batch_size")
        octaves = np.arange(-_OCTAVES_BELOW, _OCTAVES_ABOVE, 1 / _POINTS_PER_OCTAVE)
        log_sizes = np.log(corner)[:, None] + np.log(2.0) * octaves

        def value_at(log_sizes: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                value = condition(np.exp(log_sizes))
            return np.asarray(np.where(np.isfinite(value), value, -1e3))  # steps beyond all bounds

        value = value_at(log_sizes)
        holds = value >= 0
        last = value.shape[1] - 1 - np.argmax(holds[:, ::-1], axis=1)
        here = np.minimum(last, value.shape[1] - 2)
        rows = np.arange(len(value))
        left, right = log_sizes[rows, here], log_sizes[rows, here + 1]
        above, below = value[rows, here], value[rows, here + 1]
        between = _crossing(left, right, above, below)
        found = value_at(between[:, None])[:, 0]
        left, above = np.where(found >= 0, [between, found], [left, above])
        right, below = np.where(found >= 0, [right, below], [between, found])
        answer = np.exp(_crossing(left, right, above, below))
        answer = np.where(last == value.shape[1] - 1, np.inf, answer)
        return np.asarray(np.where(holds.any(axis=1), answer, 0.0))

    def bend(self, batch_size: float) -> Floats:
        """Return the log of S(B) over its falling part alone, (R,): what the knee adds.

        Args:
            batch_size: B, examples.
        """
        return np.asarray(np.logaddexp(0, -self._log_parts(batch_size)) / self._sharpness())

    def fall(self, batch_size: float) -> Floats:
        """Return the log of S(B) over its other part alone, the floor or the second slope, (R,).

        Args:
            batch_size: B, examples.
        """
        return np.asarray(np.logaddexp(0, self._log_parts(batch_size)) / self._sharpness())

    def _sharpness(self) -> Floats:
        return self._column("sharpness")

    def _log_parts(self, batch_size: float) -> Floats:
        """Return q times the log of the falling part over the other one, (R,)."""
        if self.has_floor:
            return np.asarray(
                self._sharpness() * np.log(fall_over_floor(batch_size, **self.knee()))
            )
        slope = self._column("exponent") - self._column("second_exponent")
        x = np.log(batch_size / self._column("corner_batch_size"))
        return np.asarray(-self._sharpness() * slope * x)


def _crossing(left: Floats, right: Floats, above: Floats, below: Floats) -> Floats:
    """Return where the straight line from (left, above) to (right, below) is 0, within them."""
    share = np.clip(above / np.maximum(above - below, 1e-300), 0.0, 1.0)
    return np.asarray(left + share * (right - left))
