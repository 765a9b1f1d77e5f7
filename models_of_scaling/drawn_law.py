"""From one law's point fit and draws to its part of the record."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.fitted_law import FittedDeviation, FittedLaw
from models_of_scaling.fitting import BatchedFit
from models_of_scaling.gaussian_process import Kernel
from models_of_scaling.intervals import Interval, interval_of
from models_of_scaling.law_draws import LawDraws
from models_of_scaling.laws import LawName
from models_of_scaling.mixture import critical_batch_size_interval, min_steps_interval
from models_of_scaling.quantities import Floats
from models_of_scaling.selection import LawScore
from models_of_scaling.study_rows import StudyRows

KEPT_REPLICATES: Final = 400
_METHOD: Final = "posterior draws"


@dataclass(frozen=True, kw_only=True)
class DrawnLaw:
    """One law with what was found of it.

    Attributes:
        name: of the law.
        fit: its point fit.
        draws: from its posterior.
        score: what speaks for it.
        point_residuals: log steps of each batch size less the point fit's.
        kernel: of a Gaussian process's point fit; None for every other law.
    """

    name: LawName
    fit: BatchedFit
    draws: LawDraws
    score: LawScore
    point_residuals: Floats
    kernel: Kernel | None


def fitted_law(
    drawn: DrawnLaw, weight: float, study: StudyRows, *, reference: float, level: float
) -> FittedLaw:
    """Turn one law's draws into its part of the record.

    Args:
        drawn: the law.
        weight: its share in predictions.
        study: the rows that were fitted.
        reference: batch size at which x is 0.
        level: of the intervals.

    Returns:
        Natural parameters with intervals by this law alone; at most `KEPT_REPLICATES` draws.
    """
    family, draws, held_out = drawn.draws.family, drawn.draws, drawn.score.held_out
    names = family.parameter_names
    point_values = family.natural(drawn.fit.theta_RP[:1], reference)[0]
    values_RP = family.natural(draws.theta_RP, reference)
    law = FittedLaw(
        name=drawn.name,
        weight=weight,
        parameters={},
        point=dict(zip(names, point_values.tolist(), strict=True)),
        noise=float(np.median(draws.noise_R)),
        converged=bool(drawn.fit.converged_R[0]),
        held_out_error=None if held_out is None else held_out.error,
        num_held_out=0 if held_out is None else held_out.num_held_out,
        log_evidence=draws.log_evidence,
        replicates={
            **dict(zip(names, _kept(values_RP.T), strict=True)),
            "noise": _kept(draws.noise_R[None])[0],
        },
        deviation=_fitted_deviation(drawn, reference),
    )
    ends = (reference * float(np.exp(study.x_N.min())), reference * float(np.exp(study.x_N.max())))
    return dataclasses.replace(law, parameters=_parameter_intervals(law, ends, level))


def _fitted_deviation(drawn: DrawnLaw, reference: float) -> FittedDeviation | None:
    """Return a Gaussian process's part, in batch sizes instead of ratios to the reference."""
    deviation, kernel = drawn.draws.deviation, drawn.kernel
    if deviation is None or kernel is None:
        return None
    kept = slice(KEPT_REPLICATES)
    return FittedDeviation(
        log_batch_sizes=tuple((deviation.x_C + np.log(reference)).tolist()),
        kernel=kernel,
        residuals=tuple(drawn.point_residuals.tolist()),
        amplitudes=tuple(deviation.amplitude_R[kept].tolist()),
        lengths=tuple(deviation.length_R[kept].tolist()),
        weights=_rounded(deviation.weights_RC[kept]),
        shifts=tuple(deviation.shift_R[kept].tolist()),
        heights=_rounded(deviation.heights[kept]),
    )


def _rounded(values: Floats) -> tuple[tuple[float, ...], ...]:
    """Return rows of six digits: a path moves by less than 1e-4 of its noise, a record shrinks."""
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in values.tolist())


def _kept(columns: Floats) -> list[tuple[float, ...]]:
    return [tuple(column[:KEPT_REPLICATES].tolist()) for column in columns]


def _parameter_intervals(
    law: FittedLaw, ends: tuple[float, float], level: float
) -> dict[str, Interval]:
    """Return each natural parameter's interval by this law alone."""
    alone = (law,)
    intervals = {
        "min_steps": min_steps_interval(alone, ends=ends, level=level),
        "critical_batch_size": critical_batch_size_interval(alone, ends=ends, level=level),
    }
    for name in law.point.keys() - intervals.keys():
        column = np.array(law.replicates[name])
        intervals[name] = interval_of(
            float(np.median(column)), column, np.ones_like(column), level=level, method=_METHOD
        )
    return intervals
