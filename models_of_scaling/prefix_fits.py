"""Point fits to the smallest batch sizes of a study, all in one batch, and remembered.

Rolling origin fits the k smallest batch sizes for many k, and a back-test does so for a study that
grows by one batch size at a time: fits to the same rows again and again. One batch for all k takes
little longer than a single fit. The reference batch size differs from study to study; a remembered
fit is moved to that of the one that asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from models_of_scaling.fitting import BatchedFit, Bools, Problem, fit_batched
from models_of_scaling.law_draws import family_of
from models_of_scaling.laws import LawName
from models_of_scaling.likelihood import Observations
from models_of_scaling.noise import smallest_sigma
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import StudyRows


@dataclass(frozen=True, kw_only=True)
class CellScore:
    """How one fit predicts one batch size that it did not see.

    Attributes:
        error: measured less predicted median log steps; where the steps are bounded from one side
            only, what is predicted beyond that bound.
        log_density: of what was measured, under the predictive distribution.
    """

    error: float
    log_density: float


@dataclass(frozen=True, kw_only=True)
class PrefixFit:
    """A point fit to the smallest batch sizes.

    Attributes:
        theta_P: log parameters.
        log_sigma: of one row's noise.
        objective: minus the log likelihood, with the prior.
        is_converged: whether no step could gain anything that matters.
        log_reference: log of the reference batch size.
    """

    theta_P: Floats
    log_sigma: float
    objective: float
    is_converged: bool
    log_reference: float


@dataclass(frozen=True, kw_only=True)
class SeriesMemory:
    """What fits to parts of one series have found, by the rows that it depends on.

    Attributes:
        fits: by law and rows.
        scores: by law, seed, rows that were fitted and rows of the batch size that was scored.
    """

    fits: dict[tuple[LawName, bytes], PrefixFit] = field(default_factory=dict)
    scores: dict[tuple[object, ...], CellScore] = field(default_factory=dict)


def rows_digest(study: StudyRows, cells_C: Bools) -> bytes:
    """Return a digest of all that a study says of some of its batch sizes.

    Args:
        study: the data.
        cells_C: which batch sizes.
    """
    rows_N = cells_C[study.cell_N]
    own = study.rows.only(rows_N)
    parts = (
        # Batch sizes are whole numbers; the reference differs from study to study.
        np.rint(np.exp(study.x_N[rows_N] + study.log_reference)),
        own.log_low_RN,
        own.log_high_RN,
        own.weight_RN,
        study.spread.spread_C[cells_C],
        study.spread.width_C[cells_C],
        study.groups.variance_C[cells_C],
    )
    return blake2b(b"".join(np.ascontiguousarray(each).tobytes() for each in parts)).digest()


def fits_of_prefixes(
    name: LawName, study: StudyRows, counts: Sequence[int], memory: SeriesMemory
) -> BatchedFit:
    """Fit the smallest batch sizes, as many as is said.

    Args:
        name: of the law.
        study: the data.
        counts: how many, once for each fit.
        memory: of earlier calls; what is new is added.

    Returns:
        The fits, one replicate for each count, in the study's reference.
    """
    family, numbers = family_of(name), np.arange(study.num_cells)
    keys = [(name, rows_digest(study, numbers < count)) for count in counts]
    missing = [place for place, key in enumerate(keys) if key not in memory.fits]
    if missing:
        found = fit_batched(_problem(name, study, np.array(counts)[missing]))
        for place, number in enumerate(missing):
            memory.fits[keys[number]] = PrefixFit(
                theta_P=found.theta_RP[place],
                log_sigma=float(found.log_sigma_R[place]),
                objective=float(found.objective_R[place]),
                is_converged=bool(found.converged_R[place]),
                log_reference=study.log_reference,
            )
    fits = [memory.fits[key] for key in keys]
    shifts_R = np.array([study.log_reference - fit.log_reference for fit in fits])
    return BatchedFit(
        theta_RP=family.moved(np.stack([fit.theta_P for fit in fits]), shifts_R),
        log_sigma_R=np.array([fit.log_sigma for fit in fits]),
        objective_R=np.array([fit.objective for fit in fits]),
        converged_R=np.array([fit.is_converged for fit in fits]),
    )


def _problem(
    name: LawName, study: StudyRows, counts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Problem:
    rows, cell_N, family = study.rows, study.cell_N, family_of(name)
    smallest = [
        smallest_sigma(
            rows, cell_N, num_parameters=len(family.parameter_names), num_cells=int(count)
        )
        for count in counts
    ]
    return Problem(
        family=family,
        rows=Observations(
            log_low_RN=np.repeat(rows.log_low_RN, len(counts), axis=0),
            log_high_RN=np.repeat(rows.log_high_RN, len(counts), axis=0),
            weight_RN=rows.weight_RN * (cell_N[None] < counts[:, None]),
        ),
        x_N=study.x_N,
        smallest_sigma_R=np.array(smallest),
    )
