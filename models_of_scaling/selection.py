"""Which law: fit the smaller batch sizes, score the larger ones that the fit did not see.

Rolling origin: with C batch sizes, fit on the k smallest for every k from 4 to C - 1 and score
each fit on the next one to three. The selection sees only what the user has. A law's evidence is
the density that its predictive distribution, drawn as for any prediction, gives to what was
measured there (log score; Good 1952): it counts misses and width alike. Logs are averaged over
the origins of a held-out batch size and summed over half of the H held-out batch sizes. A law's
weight is its evidence times its prior odds (`families.LAW_ODDS`). With fewer than 5 batch sizes
AICc takes its place (Hurvich & Tsai 1989), and where that is not defined for a law (too few batch
sizes for its parameters) nothing is held against it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import log_ndtr, logsumexp

from models_of_scaling.families import LawFamily
from models_of_scaling.fitting import Problem, fit_batched
from models_of_scaling.likelihood import Observations
from models_of_scaling.noise import smallest_sigma, study_noise
from models_of_scaling.posterior import draw_posterior
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
        aicc: Akaike's criterion with the small-sample term; None where not defined.
        log_likelihood: at the maximum, all batch sizes, with the prior.
    """

    held_out: HeldOutScore | None
    aicc: float | None
    log_likelihood: float


def held_out_score(
    family: LawFamily, study: StudyRows, rng: np.random.Generator
) -> HeldOutScore | None:
    """Score a law by rolling origin.

    Args:
        family: the law.
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
            family, study, (fit.theta_RP[place], float(fit.log_sigma_R[place])), int(origin), rng
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
    family: LawFamily,
    study: StudyRows,
    fitted: tuple[Floats, float],
    origin: int,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    """Return error and log density of the batch sizes next to those that were fitted.

    Args:
        family: the law.
        study: all rows.
        fitted: log parameters (P,) and log sigma of the fit to the smallest batch sizes.
        origin: how many of them were fitted.
        rng: source of randomness.
    """
    theta_P, log_sigma = fitted
    mu_N = family.log_steps(theta_P[None], study.x_N)[0][0]
    seen_N = study.cell_N < origin
    noise = study_noise(
        mu_N[seen_N],
        log_sigma,
        study.rows.only(seen_N),
        study.cell_N[seen_N],
        num_parameters=len(theta_P),
    )
    cells = cell_means(study, mu_N, log_sigma)
    seen = cells.take(np.arange(study.num_cells) < origin)
    draws = draw_posterior(family, seen, noise, theta_P, _DRAWS, rng)
    variance = cells.variance(draws.noise_R)
    found = []
    for cell in range(origin, min(origin + _HORIZON, study.num_cells)):
        mu_R = family.log_steps(draws.theta_RP, cells.x_C[cell : cell + 1])[0][:, 0]
        off_R = cells.log_steps_C[cell] - mu_R
        deviation_R = off_R / np.sqrt(variance[:, cell])
        error = float(np.median(off_R))
        if cells.reached_C[cell]:
            log_density_R = -0.5 * (deviation_R**2 + np.log(2 * np.pi * variance[:, cell]))
        else:
            log_density_R, error = log_ndtr(-deviation_R), max(error, 0.0)
        found.append((error, float(logsumexp(log_density_R) - np.log(_DRAWS))))
    return found


def corrected_akaike(log_likelihood: float, *, num_parameters: int, num_cells: int) -> float | None:
    """Return AICc (smaller is better), or None where it is not defined.

    Args:
        log_likelihood: at the maximum.
        num_parameters: of the law; the noise size is counted here as one more.
        num_cells: batch sizes, taken as the sample size because repeats share their tuning.
    """
    k = num_parameters + 1
    if num_cells - k - 1 <= 0:
        return None
    return 2 * k - 2 * log_likelihood + 2 * k * (k + 1) / (num_cells - k - 1)


def law_evidence(scores: Sequence[LawScore]) -> list[float]:
    """Return what the rows say for each law, relative to the best, which has 1.

    Args:
        scores: of the laws.

    Returns:
        In (0, 1]. All 1 where nothing tells the laws apart.
    """
    held_out = [score.held_out for score in scores if score.held_out is not None]
    if len(held_out) == len(scores):
        logs = [_SHARE_INDEPENDENT * score.log_score for score in held_out]
    else:
        known = [score.aicc for score in scores if score.aicc is not None]
        best = min(known, default=0.0)
        logs = [-0.5 * (best if score.aicc is None else score.aicc) for score in scores]
    return [math.exp(log - max(logs)) for log in logs]


def law_weights(evidence: Sequence[float], odds: Sequence[float]) -> list[float]:
    """Return each law's weight, evidence times prior odds; they sum to 1.

    Args:
        evidence: of `law_evidence`.
        odds: prior odds of the laws, any sum.
    """
    products = [each * odd for each, odd in zip(evidence, odds, strict=True)]
    return [product / sum(products) for product in products]


def choose_law(evidence: Sequence[float], num_parameters: Sequence[int]) -> int:
    """Return the place of the law to name: the best, the simpler one in a tie.

    Args:
        evidence: of `law_evidence`; prior odds name no law.
        num_parameters: of the laws, in the same order.
    """
    # A law with one parameter more has to be clearly better: twice as likely.
    return max(
        range(len(evidence)), key=lambda place: evidence[place] * 0.5 ** num_parameters[place]
    )
