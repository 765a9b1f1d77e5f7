"""A ladder of surrogate studies: what each rung measured, and in what the rungs differ.

A rung's values are log B_crit and log S_min. Their errors hang together: a curve whose knee is not
in the data leaves both open but their sum, log E_min, known. So each rung carries the whole 2x2
covariance, taken from the draws of its fit where there are any.

Shapes: J = rungs, K = covariates, 2 = log B_crit and log S_min.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.fitting import Bools
from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.measurements import Measurements
from models_of_scaling.mixture import mixed
from models_of_scaling.quantities import Floats

VALUES: Final = ("critical_batch_size", "min_steps")
_ONE_SIGMA: Final = (0.158655, 0.841345)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder:
    """Rungs in columns.

    Attributes:
        source: the file, for messages.
        rung: a name each.
        workload: the family each rung belongs to.
        covariates: by name, (J,), more than 0; their logs enter the regression.
        log_values: log B_crit and log S_min.
        covariances: of the measurement of both.
        fits: the record behind each rung; None where the table gave numbers.
        measurements: the rows behind each rung; None where the table gave none.
    """

    source: str
    rung: tuple[str, ...]
    workload: tuple[str, ...]
    covariates: Mapping[str, Floats]
    log_values: Floats
    covariances: Floats
    fits: tuple[FitRecord | None, ...]
    measurements: tuple[Measurements | None, ...]

    def __post_init__(self) -> None:
        """Check that the columns have one length, and the numbers what they stand for.

        Raises:
            ValueError: naming the field.
        """
        count = len(self.rung)
        columns = {
            "workload": self.workload, "fits": self.fits, "measurements": self.measurements,
            "log_values": self.log_values, "covariances": self.covariances,
            **self.covariates,
        }  # fmt: skip
        for name, column in columns.items():
            if len(column) != count:
                raise ValueError(f"{name} has {len(column)} entries for {count} rungs")
        if not np.isfinite(self.log_values).all():
            raise ValueError("log_values must be finite")
        if not (np.linalg.eigvalsh(self.covariances) >= -1e-12).all():
            raise ValueError("covariances must not be negative")

    def __len__(self) -> int:
        """Return the number of rungs."""
        return len(self.rung)

    @property
    def log_covariates(self) -> Floats:
        """The logs of the covariates, a column each."""
        columns = [np.log(column) for column in self.covariates.values()]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self), 0))

    def take(self, rungs: Bools) -> "Ladder":
        """Return only some of the rungs."""
        chosen = np.flatnonzero(rungs)
        return Ladder(
            source=self.source,
            rung=tuple(self.rung[j] for j in chosen),
            workload=tuple(self.workload[j] for j in chosen),
            covariates={name: column[chosen] for name, column in self.covariates.items()},
            log_values=self.log_values[chosen],
            covariances=self.covariances[chosen],
            fits=tuple(self.fits[j] for j in chosen),
            measurements=tuple(self.measurements[j] for j in chosen),
        )


def values_of_fit(fit: FitRecord) -> tuple[Floats, Floats]:
    """Return log B_crit and log S_min of a fit with their covariance.

    Args:
        fit: the record.

    Returns:
        The median draw (2,), and (2, 2): standard deviations from the draws' middle 68 %, which
        a far tail that the prior alone bounds does not stretch, and the draws' rank correlation.
    """
    draws = []
    weights = np.empty(0)
    for name in VALUES:
        values, weights = mixed(fit.laws, lambda law, of=name: np.log(law.replicates[of]))  # type: ignore[misc]
        draws.append(values)
    centre = np.array([weighted_quantile(each, weights, [0.5])[0] for each in draws])
    ends = np.array([weighted_quantile(each, weights, _ONE_SIGMA) for each in draws])
    spread = np.ptp(ends, axis=1) / 2
    ranks = np.array([_weighted_ranks(each, weights) for each in draws])
    covariance = np.cov(ranks, aweights=weights)
    scale = math.sqrt(covariance[0, 0] * covariance[1, 1])
    correlation = float(covariance[0, 1] / scale) if scale > 0 else 0.0
    off = correlation * spread[0] * spread[1]
    return centre, np.array([[spread[0] ** 2, off], [off, spread[1] ** 2]])


def _weighted_ranks(values: Floats, weights: Floats) -> Floats:
    order = np.argsort(values)
    ranks = np.empty(len(values))
    ranks[order] = np.cumsum(weights[order])
    return ranks


def distance_in_logs(ladder: Ladder, at: Mapping[str, float]) -> Floats:
    """Return how far each rung is from a place, as the root of summed squared log ratios.

    Args:
        ladder: the rungs.
        at: the ladder's covariates.

    Returns:
        (J,), 0 for a ladder without covariates.
    """
    place = np.log([at[name] for name in ladder.covariates])
    return np.asarray(np.sqrt(((ladder.log_covariates - place) ** 2).sum(axis=1)))
