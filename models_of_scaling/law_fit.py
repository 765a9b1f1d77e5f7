"""From measurements to the record of a fit: every law, its replicates, the weights, the code."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models_of_scaling.advice import advice_for, contradicted_sizes, fit_code, steps_rise
from models_of_scaling.drawn_law import DrawnLaw, fitted_law
from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord, MeasuredRows
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.group_effects import can_tell_groups, group_effects, no_group_effects
from models_of_scaling.intervals import check_level
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.law_draws import draw_law, family_of, kernel_about
from models_of_scaling.laws import AVERAGED_LAWS, LawName
from models_of_scaling.likelihood import Observations
from models_of_scaling.measurements import (
    Measurements,
    check_identifiable,
    without_too_small,
)
from models_of_scaling.mixture import critical_batch_size_interval, min_steps_interval
from models_of_scaling.noise import noise_knowledge
from models_of_scaling.prefix_fits import SeriesMemory, fits_of_prefixes
from models_of_scaling.provenance import collect_provenance
from models_of_scaling.resampling import resample
from models_of_scaling.selection import (
    LawScore,
    choose_law,
    held_out_score,
    law_evidence,
    law_weights,
    scored_origins,
)
from models_of_scaling.study_rows import StudyRows, cell_means


@dataclass(frozen=True, kw_only=True)
class FitChoice:
    """How to fit.

    Attributes:
        laws: which laws; with several, predictions average over them; empty for `laws_for`.
        replicates: posterior draws of each law, and resamples of the trials for their spread.
        level: of the intervals.
        holdout_above: batch sizes above it are kept out of the fit; None to fit all.
        seed: of the replicates.
        knee: what is known of B_crit beside the rows, or None.
        scored: whether the laws are weighed by rolling origin; else by their marginal likelihood,
            which makes no difference to a law that is asked alone and takes half the time.
    """

    laws: tuple[LawName, ...] = ()
    replicates: int = 1000
    level: float = 0.9
    holdout_above: int | None = None
    seed: int = 0
    knee: KneeEvidence | None = None
    scored: bool = True

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


def fit_laws(
    measurements: Measurements, choice: FitChoice, memory: SeriesMemory | None = None
) -> FitRecord:
    """Fit the laws to measurements.

    Args:
        measurements: all rows, those to hold out included.
        choice: how.
        memory: of rolling-origin scores that fits to more or fewer of these rows have found.

    Returns:
        The record; deterministic for a seed, but for its provenance. Holding out so much that
        too little is left to fit is refused as wrong input.
    """
    limit = choice.holdout_above
    inside = measurements.batch_size <= (np.inf if limit is None else limit)
    fitted, held_out = measurements.take(inside), measurements.take(~inside)
    if limit is not None:
        check_identifiable(fitted, where=f"{measurements.source.path}, --holdout-above {limit}")
    on_curve = without_too_small(fitted)
    sizes, cell_N = np.unique(on_curve.batch_size, return_inverse=True)
    reference = float(np.exp(np.log(sizes).mean()))
    study = StudyRows(
        rows=on_curve.observations(),
        x_N=np.log(on_curve.batch_size / reference),
        cell_N=cell_N,
        spread=resample(on_curve, choice.replicates, np.random.default_rng(choice.seed)).spread,
        groups=no_group_effects(len(on_curve), len(sizes)),
        log_reference=float(np.log(reference)),
        knee=choice.knee,
    )
    study = without_group_offsets(study, on_curve.group)
    names = choice.laws or laws_for(fitted)
    counts = [study.num_cells]
    if choice.scored or memory is not None:
        # In one batch with the fits that scores, or fits to fewer of these rows, will ask for.
        counts += scored_origins(study)
    remembered = SeriesMemory() if memory is None else memory
    for name in names:
        fits_of_prefixes(name, study, counts, remembered)
    drawn = [_draw(name, study, choice, remembered) for name in names]
    evidence = law_evidence([law.score for law in drawn])
    laws = tuple(
        fitted_law(law, weight, study, reference=reference, level=choice.level)
        for law, weight in zip(drawn, law_weights(evidence), strict=True)
    )
    best = laws[choose_law(evidence, [len(law.point) for law in laws])]
    return _record(measurements, (fitted, held_out), laws, best, choice, study.groups.sd)


def laws_for(fitted: Measurements) -> tuple[LawName, ...]:
    """Return the laws that an answer averages over, for these rows.

    Args:
        fitted: the rows.

    Returns:
        `AVERAGED_LAWS`, and the knee with upturn where no run reached the target at the largest
        batch sizes: laws whose steps only fall can't say that a batch size is too large.
    """
    reached = fitted.batch_size[fitted.reached]
    if fitted.batch_size.max() > reached.max():
        return (*AVERAGED_LAWS, "knee_with_upturn")
    return AVERAGED_LAWS


def without_group_offsets(study: StudyRows, group_N: npt.NDArray[np.str_]) -> StudyRows:
    """Return the rows less their groups' offsets, by the residuals of a first fit.

    Args:
        study: the rows as measured.
        group_N: each row's group.
    """
    if not can_tell_groups(group_N, study.cell_N, study.measured_N):
        return study
    # The law that bends as the rows say, so that no misfit of a stiffer one passes for a group.
    fit = fits_of_prefixes("p_norm_knee", study, [study.num_cells], SeriesMemory())
    mu_N = family_of("p_norm_knee").log_steps(fit.theta_RP, study.x_N)[0][0]
    residual_N = study.rows.log_middle_RN[0] - mu_N
    groups = group_effects(residual_N, group_N, study.cell_N, study.measured_N)
    rows = Observations(
        log_low_RN=study.rows.log_low_RN - groups.offset_N,
        log_high_RN=study.rows.log_high_RN - groups.offset_N,
        weight_RN=study.rows.weight_RN,
    )
    return dataclasses.replace(study, rows=rows, groups=groups)


def _draw(name: LawName, study: StudyRows, choice: FitChoice, memory: SeriesMemory) -> DrawnLaw:
    """Fit one law to the data, draw its parameters as often as asked, and score it."""
    family = family_of(name)
    fit = fits_of_prefixes(name, study, [study.num_cells], memory)
    mu_RN, _ = family.log_steps(fit.theta_RP, study.x_N)
    means = cell_means(study, mu_RN[0], float(fit.log_sigma_R[0]))
    noise = noise_knowledge(study.rows, study.cell_N)
    draws = draw_law(
        name,
        means,
        noise,
        fit.theta_RP[0],
        choice.replicates,
        # Every law gets the same random numbers, so that laws differ by their fit alone.
        np.random.default_rng([choice.seed, 1]),
    )
    score = LawScore(
        held_out=held_out_score(name, study, choice.seed, memory) if choice.scored else None,
        log_evidence=draws.log_evidence,
    )
    at = means.measured_C
    residuals = means.log_steps_C[at] - family.log_steps(fit.theta_RP, means.x_C[at])[0][0]
    kernel = None
    if draws.deviation is not None:
        kernel = kernel_about(family, means, noise, fit.theta_RP[0])
    return DrawnLaw(
        name=name, fit=fit, draws=draws, score=score, point_residuals=residuals, kernel=kernel
    )


def _record(
    measurements: Measurements,
    parts: tuple[Measurements, Measurements],
    laws: tuple[FittedLaw, ...],
    best: FittedLaw,
    choice: FitChoice,
    group_sd: float,
) -> FitRecord:
    """Put the record together."""
    fitted, held_out = parts
    on_curve = without_too_small(fitted)
    ends = (int(on_curve.batch_size.min()), int(fitted.batch_size.max()))
    critical = critical_batch_size_interval(laws, ends=ends, level=choice.level)
    contradicted = contradicted_sizes(laws, on_curve)
    rising = steps_rise(on_curve)
    code = fit_code(best, critical, contradicted, rising=rising)
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
        advice=advice_for(code, critical, fitted, contradicted, rising=rising),
        group_sd=group_sd,
        level=choice.level,
        num_replicates=choice.replicates,
        seed=choice.seed,
        critical_batch_size=critical,
        min_steps=min_steps_interval(laws, ends=ends, level=choice.level),
        measured=_rows(fitted),
        held_out=_rows(held_out),
        holdout_above=choice.holdout_above,
        provenance=provenance,
        knee=choice.knee,
        smallest_fitted=int(on_curve.batch_size.min()),
    )


def _rows(measurements: Measurements) -> MeasuredRows:
    return MeasuredRows(
        batch_size=tuple(measurements.batch_size.tolist()),
        steps=tuple(measurements.steps.tolist()),
        steps_low=tuple(measurements.steps_low.tolist()),
        steps_high=tuple(measurements.steps_high.tolist()),
        reached=tuple(measurements.reached.tolist()),
    )
