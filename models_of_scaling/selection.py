"""Which law: fit the smaller batch sizes, score the larger ones that the fit did not see.

Rolling origin: with C batch sizes, fit on the k smallest for every k from 4 to C - 1 and score
each fit on the next one to three. The selection sees only what the user has. A law's evidence is
the density that its predictive distribution, drawn as for any prediction, gives to what was
measured there (log score; Good 1952): it counts misses and width alike. Logs are averaged over
the origins of a held-out batch size and summed over half of the H held-out batch sizes. With fewer
than 5 batch sizes the marginal likelihood of the rows takes its place (Kass & Raftery 1995,
JASA 90:773), which is what the log scores of all origins from none on would sum to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import logsumexp

from models_of_scaling.fitting import Problem, fit_batched
from models_of_scaling.law_draws import draw_law, family_of
from models_of_scaling.laws import LawName
from models_of_scaling.likelihood import Observations
from models_of_scaling.noise import (
    log_deviation_density,
    log_probability_below,
    misfit_beyond,
    noise_knowledge,
    smallest_sigma,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.study_rows import StudyRows, cell_means

_SMALLEST_TRAINING_SET: Final = 4
_HORIZON: Final = 3
# Errors at neighbouring batch sizes share their fits, so H of them tell as much as about H / 2
# independent ones. Counting all H was measured to be too sure (by squared errors in place of log
# scores): with S_min (1 + (256 / B)^0.8), 8 batch sizes, no repeats and 6 % noise, 90 % intervals
# of B_crit held it 79 times in 100.
_SHARE_INDEPENDENT: Final = 0.5


_DRAWS: Final = 200  # of each fit that is scored: a log score's own error is then about 0.1


@dataclass(frozen=True, kw_only=True)
class HeldOutScore:
    """How a law predicts batch sizes that its fit did not see.

    Attributes:
        error: root mean squared log error of the predicted medians, so 0.1 is about 10 %.
        log_score: log density of what was measured, summed over the held-out batch sizes.
        num_held_out: different batch sizes that were held out.
    """

    error: float
    log_score: float
    num_held_out: int


@dataclass(frozen=True, kw_only=True)
class LawScore:
    """What speaks for a law.

    Attributes:
        held_out: None with fewer than 5 batch sizes.
        log_evidence: log marginal likelihood of all batch sizes.
    """

    held_out: HeldOutScore | None
    log_evidence: float


def held_out_score(
    name: LawName, study: StudyRows, rng: np.random.Generator
) -> HeldOutScore | None:
    """Score a law by rolling origin.

    Args:
        name: of the law.
        study: the data.
        rng: source of randomness, for the draws of each predictive distribution.

    Returns:
        The score, or None with fewer than 5 batch sizes. A held-out batch size where no row
        reached the target has an error only if it is predicted below the steps that were done.
    """
    rows, cell_N, count = study.rows, study.cell_N, study.num_cells
    origins = np.array(
        [
            k
            for k in range(_SMALLEST_TRAINING_SET, count)
            if len(np.unique(cell_N[study.reached_N & (cell_N < k)])) >= 2
        ],
        dtype=np.int64,
    )
    if not origins.size:
        return None
    family = family_of(name)
    parameters = len(family.parameter_names)
    fit = fit_batched(
        Problem(
            family=family,
            rows=Observations(
                log_low_RN=np.repeat(rows.log_low_RN, len(origins), axis=0),
                log_high_RN=np.repeat(rows.log_high_RN, len(origins), axis=0),
                weight_RN=rows.weight_RN * (cell_N[None] < origins[:, None]),
            ),
            x_N=study.x_N,
            smallest_sigma_R=np.array([
                smallest_sigma(rows, cell_N, num_parameters=parameters, num_cells=int(k))
                for k in origins
            ]),
        )
    )
    errors: list[float] = []
    scores = np.full((len(origins), count), np.nan)
    for place, origin in enumerate(origins):
        found = _score_origin(
            name, study, (fit.theta_RP[place], float(fit.log_sigma_R[place])), int(origin), rng
        )
        for cell, (error, log_density) in enumerate(found, start=int(origin)):
            errors.append(error)
            scores[place, cell] = log_density
    return HeldOutScore(
        error=float(np.sqrt(np.mean(np.square(errors)))),
        log_score=float(np.nanmean(scores[:, origins[0] :], axis=0).sum()),
        num_held_out=count - int(origins[0]),
    )


def _score_origin(
    name: LawName,
    study: StudyRows,
    fitted: tuple[Floats, float],
    origin: int,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    """Return error and log density of the batch sizes next to those that were fitted.

    Args:
        name: of the law.
        study: all rows.
        fitted: log parameters (P,) and log sigma of the fit to the smallest batch sizes.
        origin: how many of them were fitted.
        rng: source of randomness.
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
    x_last = float(seen.x_C[seen.reached_C].max())
    for cell in range(origin, min(origin + _HORIZON, study.num_cells)):
        spread_R = variance[:, cell] + misfit_beyond(float(cells.x_C[cell]) - x_last) ** 2
        off_R = cells.log_steps_C[cell] - draws.log_steps(float(cells.x_C[cell]))
        deviation_R = off_R / np.sqrt(spread_R)
        error = float(np.median(off_R))
        if cells.reached_C[cell]:
            log_density_R = log_deviation_density(deviation_R) - 0.5 * np.log(spread_R)
        else:
            log_density_R, error = log_probability_below(-deviation_R), max(error, 0.0)
        found.append((error, float(logsumexp(log_density_R) - np.log(_DRAWS))))
    return found


def law_evidence(scores: Sequence[LawScore]) -> list[float]:
    """Return what the rows say for each law, relative to the best, which has 1.

    Args:
        scores: of the laws.

    Returns:
        In (0, 1].
    """
    held_out = [score.held_out for score in scores if score.held_out is not None]
    if len(held_out) == len(scores):
        logs = [_SHARE_INDEPENDENT * score.log_score for score in held_out]
    else:
        logs = [score.log_evidence for score in scores]
    return [math.exp(log - max(logs)) for log in logs]


def law_weights(evidence: Sequence[float]) -> list[float]:
    """Return each law's weight, proportional to its evidence; they sum to 1.

    Args:
        evidence: of `law_evidence`.
    """
    return [each / sum(evidence) for each in evidence]


def choose_law(evidence: Sequence[float], num_parameters: Sequence[int]) -> int:
    """Return the place of the law to name: the best, the simpler one in a tie.

    Args:
        evidence: of `law_evidence`.
        num_parameters: of the laws, in the same order.
    """
    # A law with one parameter more has to be clearly better: twice as likely.
    return max(
        range(len(evidence)), key=lambda place: evidence[place] * 0.5 ** num_parameters[place]
    )
