"""From measurements to the record of a fit: every law, its replicates, the weights, the code."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.advice import advice_for, fit_code
from models_of_scaling.errors import InputError
from models_of_scaling.families import FAMILIES, LawFamily
from models_of_scaling.fit_record import FitRecord, FittedLaw, MeasuredRows
from models_of_scaling.fitting import BatchedFit, Integers, Problem, fit_batched
from models_of_scaling.intervals import check_level, interval_of
from models_of_scaling.laws import LawName
from models_of_scaling.likelihood import Observations
from models_of_scaling.measurements import Measurements, check_identifiable
from models_of_scaling.mixture import critical_batch_size_interval, min_steps_interval, told_apart
from models_of_scaling.noise import smallest_sigma, study_noise
from models_of_scaling.provenance import collect_provenance
from models_of_scaling.quantities import Floats
from models_of_scaling.resampling import Resampled, resample, with_noise
from models_of_scaling.selection import (
    LawScore,
    choose_law,
    corrected_akaike,
    held_out_error,
    law_weights,
)

KEPT_REPLICATES: Final = 400
_METHOD: Final = "bootstrap over whole trials"


@dataclass(frozen=True, kw_only=True)
class FitChoice:
    """How to fit.

    Attributes:
        laws: which laws; with several, predictions average over them.
        replicates: bootstrap refits of each law.
        level: of the intervals.
        holdout_above: batch sizes above it are kept out of the fit; None to fit all.
        seed: of the replicates.
    """

    laws: tuple[LawName, ...] = ("hyperbola", "power_with_floor")
    replicates: int = 1000
    level: float = 0.9
    holdout_above: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the flag, its value and the rule.
        """
        check_level(self.level)
        if not 50 <= self.replicates <= 100_000:
            raise InputError(f"--replicates {self.replicates} must lie in 50 .. 100000")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} must be at least 0")


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The rows of one fit with what every law needs of them."""

    rows: Observations
    batch_size_N: Floats
    cell_N: Integers
    reference: float

    @property
    def x_N(self) -> Floats:
        return np.asarray(np.log(self.batch_size_N / self.reference))


@dataclass(frozen=True, kw_only=True)
class _PointFit:
    family: LawFamily
    fit: BatchedFit
    smallest_sigma: float
    score: LawScore


def fit_laws(measurements: Measurements, choice: FitChoice) -> FitRecord:
    """Fit the laws to measurements.

    Args:
        measurements: all rows, those to hold out included.
        choice: how.

    Returns:
        The record; deterministic for a seed, but for its provenance. Holding out so much that
        too little is left to fit is refused as wrong input.
    """
    limit = choice.holdout_above
    inside = measurements.batch_size <= (np.inf if limit is None else limit)
    fitted, held_out = measurements.take(inside), measurements.take(~inside)
    if limit is not None:
        check_identifiable(fitted, where=f"{measurements.source.path}, --holdout-above {limit}")
    rng = np.random.default_rng(choice.seed)
    sizes, cell_N = np.unique(fitted.batch_size, return_inverse=True)
    data = _Data(
        rows=fitted.observations(),
        batch_size_N=fitted.batch_size.astype(float),
        cell_N=cell_N,
        reference=float(np.exp(np.log(sizes).mean())),
    )
    points = [_fit_point(FAMILIES[name], data) for name in choice.laws]
    weights = law_weights([point.score for point in points])
    resampled = resample(fitted, choice.replicates, rng)
    laws = tuple(
        _fitted_law(point, weight, data, resampled, choice)
        for point, weight in zip(points, weights, strict=True)
    )
    return _record(measurements, fitted, held_out, laws, choice)


def _fit_point(family: LawFamily, data: _Data) -> _PointFit:
    """Fit one law to the data, and score it."""
    count, cells = len(family.parameter_names), int(data.cell_N.max()) + 1
    smallest = smallest_sigma(data.rows, data.cell_N, num_parameters=count, num_cells=cells)
    fit = fit_batched(
        Problem(
            family=family,
            rows=data.rows,
            x_N=data.x_N,
            prior_mean_RP=np.zeros((1, count)),
            smallest_sigma_R=np.array([smallest]),
        )
    )
    log_likelihood = -float(fit.objective_R[0])
    error, held_out = held_out_error(family, data.rows, data.x_N, data.cell_N)
    score = LawScore(
        held_out_error=error,
        num_held_out=held_out,
        aicc=corrected_akaike(log_likelihood, num_parameters=count, num_cells=cells),
        log_likelihood=log_likelihood,
    )
    return _PointFit(family=family, fit=fit, smallest_sigma=smallest, score=score)


def _fitted_law(
    point: _PointFit, weight: float, data: _Data, resampled: Resampled, choice: FitChoice
) -> FittedLaw:
    """Refit one law to every replicate."""
    family, theta_P = point.family, point.fit.theta_RP[0]
    # Every law gets the same random numbers, so that laws differ by their fit alone.
    rng = np.random.default_rng([choice.seed, 1])
    mu_RN, _ = family.log_steps(point.fit.theta_RP, data.x_N)
    count = len(family.parameter_names)
    noise = study_noise(
        mu_RN[0], float(point.fit.log_sigma_R[0]), data.rows, data.cell_N, num_parameters=count
    )
    rows, noise_R = with_noise(resampled, noise, rng)
    # The prior is evidence too: drawing its centre anew gives a direction that only the prior
    # knows the prior's spread (randomise then optimise, Bardsley et al. 2014).
    sd_P = np.where(np.isfinite(family.prior_sd_P), family.prior_sd_P, 0.0)
    fits = fit_batched(
        Problem(
            family=family,
            rows=rows,
            x_N=np.log(resampled.batch_size_N / data.reference),
            prior_mean_RP=rng.standard_normal((choice.replicates, count)) * sd_P,
            smallest_sigma_R=np.full(choice.replicates, point.smallest_sigma),
        ),
        extra_start_P=theta_P,
    )
    natural_P = family.natural(point.fit.theta_RP, data.reference)[0]
    natural_RP = family.natural(fits.theta_RP, data.reference)
    told_RP, told_P = natural_RP.copy(), natural_P.copy()
    ends = (float(data.batch_size_N.min()), float(data.batch_size_N.max()))
    told_RP[:, 1] = told_apart(natural_RP[:, 1], *ends)
    told_P[1] = told_apart(natural_P[1], *ends)
    intervals = {
        name: interval_of(
            told_P[place], told_RP[:, place], np.ones(len(told_RP)),
            level=choice.level, method=_METHOD,
        )
        for place, name in enumerate(family.parameter_names)
    }  # fmt: skip
    columns = {
        name: tuple(natural_RP[:KEPT_REPLICATES, place].tolist())
        for place, name in enumerate(family.parameter_names)
    }
    return FittedLaw(
        name=family.name,
        weight=weight,
        parameters=intervals,
        point=dict(zip(family.parameter_names, natural_P.tolist(), strict=True)),
        noise=noise.size,
        converged=bool(point.fit.converged_R[0]),
        share_converged=float(fits.converged_R.mean()),
        held_out_error=point.score.held_out_error,
        num_held_out=point.score.num_held_out,
        aicc=point.score.aicc,
        log_likelihood=point.score.log_likelihood,
        replicates={**columns, "noise": tuple(noise_R[:KEPT_REPLICATES].tolist())},
    )


def _record(
    measurements: Measurements,
    fitted: Measurements,
    held_out: Measurements,
    laws: tuple[FittedLaw, ...],
    choice: FitChoice,
) -> FitRecord:
    """Put the record together."""
    best = laws[choose_law([law.weight for law in laws])]
    ends = (int(fitted.batch_size.min()), int(fitted.batch_size.max()))
    critical = critical_batch_size_interval(laws, best, ends=ends, level=choice.level)
    code = fit_code(best, critical)
    provenance = dataclasses.asdict(collect_provenance())
    provenance["start_time"] = provenance["start_time"].isoformat()
    source = dataclasses.asdict(fitted.source)
    return FitRecord(
        source={**source, "from_search": list(source["from_search"])},
        workload=measurements.workload,
        optimizer=measurements.optimizer,
        target=measurements.target,
        num_train_examples=measurements.num_train_examples,
        law=best.name,
        laws=laws,
        code=code,
        advice=advice_for(code, critical, fitted),
        level=choice.level,
        num_replicates=choice.replicates,
        seed=choice.seed,
        critical_batch_size=critical,
        min_steps=min_steps_interval(laws, best, ends=ends, level=choice.level),
        measured=_rows(fitted),
        held_out=_rows(held_out),
        holdout_above=choice.holdout_above,
        provenance=provenance,
    )


def _rows(measurements: Measurements) -> MeasuredRows:
    return MeasuredRows(
        batch_size=tuple(measurements.batch_size.tolist()),
        steps=tuple(measurements.steps.tolist()),
        steps_low=tuple(measurements.steps_low.tolist()),
        steps_high=tuple(measurements.steps_high.tolist()),
        reached=tuple(measurements.reached.tolist()),
    )
