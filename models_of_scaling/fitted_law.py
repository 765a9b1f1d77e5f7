"""One law's part of the record of a fit: its point fit, its draws, and a process's deviation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from models_of_scaling.curves import Curves
from models_of_scaling.gaussian_process import Deviation, Kernel, mean_deviation
from models_of_scaling.intervals import Interval
from models_of_scaling.laws import LAW_NAMES, LawName
from models_of_scaling.quantities import Floats

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class FittedDeviation:
    """What the Gaussian process adds to its mean law; see `gaussian_process.Deviation`.

    Attributes:
        log_batch_sizes: of the measured batch sizes.
        kernel: of the point fit.
        residuals: of the point fit, measured log steps less the law's.
        amplitudes: of each draw.
        lengths: of each draw.
        weights: of each draw, one per measured batch size.
        shifts: of each draw.
        heights: of each draw's waves.
    """

    log_batch_sizes: tuple[float, ...]
    kernel: Kernel
    residuals: tuple[float, ...]
    amplitudes: tuple[float, ...]
    lengths: tuple[float, ...]
    weights: Rows
    shifts: tuple[float, ...]
    heights: Rows

    @cached_property
    def of_draws(self) -> Deviation:
        """The draws' paths."""
        return Deviation(
            x_C=np.array(self.log_batch_sizes),
            amplitude_R=np.array(self.amplitudes),
            length_R=np.array(self.lengths),
            weights_RC=np.array(self.weights),
            shift_R=np.array(self.shifts),
            heights=np.array(self.heights),
        )

    @cached_property
    def of_point(self) -> Deviation:
        """The point fit's deviation, its mean."""
        return mean_deviation(self.kernel, np.array(self.log_batch_sizes), np.array(self.residuals))


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """One law's fit.

    Attributes:
        name: of the law.
        weight: its share in predictions; the laws' weights sum to 1.
        parameters: natural parameters with intervals of this law alone; see `mixture`.
        point: natural parameters of the point fit, always finite, to compute with.
        noise: of one study's estimate at one batch size, in logs (0.05 is about 5 %).
        converged: whether the point fit did.
        held_out_error: root mean squared log error at held-out larger batch sizes, or None.
        num_held_out: batch sizes held out for it.
        log_evidence: log marginal likelihood of the rows, comparable between laws.
        replicates: natural parameters of each draw, and its "noise"; columns of one length.
        deviation: what a Gaussian process adds; None for every other law.
    """

    name: LawName
    weight: float
    parameters: dict[str, Interval]
    point: dict[str, float]
    noise: float
    converged: bool
    held_out_error: float | None
    num_held_out: int
    log_evidence: float
    replicates: dict[str, tuple[float, ...]]
    deviation: FittedDeviation | None = None

    @cached_property
    def point_curve(self) -> Curves:
        """The point fit, the only one of its curves."""
        return Curves(
            columns={name: np.array([value]) for name, value in self.point.items()},
            deviation=None if self.deviation is None else self.deviation.of_point,
        )

    @cached_property
    def curves(self) -> Curves:
        """The draws, one curve each."""
        columns = {
            name: np.array(column) for name, column in self.replicates.items() if name != "noise"
        }
        return Curves(
            columns=columns, deviation=None if self.deviation is None else self.deviation.of_draws
        )

    @property
    def noise_of_draws(self) -> Floats:
        """The noise size of each draw."""
        return np.array(self.replicates["noise"])

    def steps(self, batch_size: float) -> float:
        """Return the point fit's S(B), steps."""
        return float(self.point_curve.steps(batch_size)[0, 0])

    def replicate_steps(self, batch_size: float) -> Floats:
        """Return S(B) of each replicate, steps, without the noise of a measurement."""
        return np.asarray(self.curves.steps(batch_size)[:, 0])


def decode_law(content: Mapping[str, Any]) -> FittedLaw:
    """Return a law from its part of a record.

    Args:
        content: as `dataclasses.asdict` and JSON left it.

    Raises:
        ValueError: where the law's name is unknown.
    """
    if content["name"] not in LAW_NAMES:
        raise ValueError(f"law {content['name']!r} is not one of {LAW_NAMES}")
    values = dict(content)
    values["parameters"] = {
        name: decode_interval(interval) for name, interval in content["parameters"].items()
    }
    values["replicates"] = {
        name: tuple(float(value) for value in column)
        for name, column in content["replicates"].items()
    }
    if values["deviation"] is not None:
        values["deviation"] = _decode_deviation(values["deviation"])
    return FittedLaw(**values)


def decode_interval(content: Mapping[str, Any]) -> Interval:
    """Return an interval from its part of a record; null stands for an infinite end.

    Args:
        content: as `dataclasses.asdict` and JSON left it.
    """
    ends = {
        name: math.inf if content[name] is None else float(content[name])
        for name in ("estimate", "low", "high")
    }
    return Interval(**ends, level=float(content["level"]), method=str(content["method"]))


def _decode_deviation(content: Mapping[str, Any]) -> FittedDeviation:
    return FittedDeviation(
        kernel=Kernel(**{name: float(value) for name, value in content["kernel"].items()}),
        weights=_rows(content["weights"]),
        heights=_rows(content["heights"]),
        **{
            name: tuple(float(value) for value in content[name])
            for name in ("log_batch_sizes", "residuals", "amplitudes", "lengths", "shifts")
        },
    )


def _rows(content: list[list[float]]) -> Rows:
    return tuple(tuple(float(value) for value in row) for row in content)
