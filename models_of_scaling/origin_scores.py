"""Rolling-origin scores of one law: fits to the smallest batch sizes, scored on the next ones.

A back-test fits the same rows again and again with one batch size more, and each of those fits is
scored by rolling origin: the scores of an origin depend on the rows up to it and on the batch
size that is scored, not on what lies beyond, so they are remembered.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.special import logsumexp

from models_of_scaling.law_draws import draw_law, family_of
from models_of_scaling.laws import LawName
from models_of_scaling.noise import (
    log_deviation_density,
    log_probability_below,
    misfit_beyond,
    noise_knowledge,
)
from models_of_scaling.prefix_fits import CellScore, SeriesMemory, fits_of_prefixes, rows_digest
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import StudyRows, cell_means

HORIZON: Final = 3
_DRAWS: Final = 200  # of each fit that is scored: a log score's own error is then about 0.1


def score_origins(
    name: LawName, study: StudyRows, origins: Sequence[int], seed: int, memory: SeriesMemory
) -> dict[tuple[int, int], CellScore]:
    """Score a law at each origin on the next batch sizes.

    Args:
        name: of the law.
        study: the data.
        origins: how many of the smallest batch sizes are fitted.
        seed: of the draws; each origin has random numbers of its own.
        memory: of earlier calls; what is new is added.

    Returns:
        By origin and by number of the batch size that is scored, at most `HORIZON` of each.
    """
    numbers = np.arange(study.num_cells)
    seen = {origin: rows_digest(study, numbers < origin) for origin in origins}
    own = [rows_digest(study, numbers == cell) for cell in numbers]
    wanted = {
        (origin, cell): (name, seed, study.knee, seen[origin], own[cell])
        for origin in origins
        for cell in range(origin, min(origin + HORIZON, study.num_cells))
    }
    missing = sorted({origin for (origin, _), key in wanted.items() if key not in memory.scores})
    if missing:
        fit = fits_of_prefixes(name, study, missing, memory)
        for origin, theta_P, log_sigma in zip(missing, fit.theta_RP, fit.log_sigma_R, strict=True):
            rng = np.random.default_rng([seed, 2, origin])
            scores = _score_origin(name, study, (theta_P, float(log_sigma)), origin, rng)
            for cell, score in enumerate(scores, start=origin):
                memory.scores[wanted[origin, cell]] = score
    return {place: memory.scores[key] for place, key in wanted.items()}


def _score_origin(
    name: LawName,
    study: StudyRows,
    fitted: tuple[Floats, float],
    origin: int,
    rng: np.random.Generator,
) -> list[CellScore]:
    """Score the batch sizes next to those that were fitted.

    Args:
        name: of the law.
        study: all rows.
        fitted: log parameters (P,) and log sigma of the fit to the smallest batch sizes.
        origin: how many of them were fitted.
        rng: source of randomness.

    Returns:
        One score each.
    """
    theta_P, log_sigma = fitted
    mu_N = family_of(name).log_steps(theta_P[None], study.x_N)[0][0]
    seen_N = study.cell_N < origin
    cells = cell_means(study, mu_N, log_sigma)
    seen = cells.take(np.arange(study.num_cells) < origin)
    noise = noise_knowledge(study.rows.only(seen_N), study.cell_N[seen_N])
    draws = draw_law(name, seen, noise, theta_P, _DRAWS, rng)
    variance = cells.variance(draws.noise_R)
    found = []
    x_last = float(seen.x_C[seen.measured_C].max())
    for cell in range(origin, min(origin + HORIZON, study.num_cells)):
        spread_R = variance[:, cell] + misfit_beyond(float(cells.x_C[cell]) - x_last) ** 2
        off_R = cells.log_steps_C[cell] - draws.log_steps(float(cells.x_C[cell]))
        deviation_R = off_R / np.sqrt(spread_R)
        error = float(np.median(off_R))
        if cells.measured_C[cell]:
            log_density_R = log_deviation_density(deviation_R) - 0.5 * np.log(spread_R)
        elif cells.met_early_C[cell]:  # the mean lies below the first evaluation
            log_density_R, error = log_probability_below(deviation_R), min(error, 0.0)
        else:
            log_density_R, error = log_probability_below(-deviation_R), max(error, 0.0)
        log_density = float(logsumexp(log_density_R) - np.log(_DRAWS))
        found.append(CellScore(error=error, log_density=log_density))
    return found
