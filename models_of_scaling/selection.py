"""Which law: rolling origin on the rows that a user has, and the marginal likelihood of them all.

Rolling origin: with C batch sizes, fit on the k smallest for every k from 4 to C - 1 and score
each fit on the next one to three. The selection sees only what the user has. A law's log score is
the density that its predictive distribution, drawn as for any prediction, gives to what was
measured there (Good 1952): it counts misses and width alike. Logs are averaged over the origins of
a held-out batch size and summed over half of the H held-out batch sizes.

By itself it is blind to a hard knee with few batch sizes behind it: of the origins most lie before
the knee, where every law's prediction of what lies behind is a miss, and which miss is the smallest
says how wide a law's prior is, not whether it bends so. The marginal likelihood of all rows (Kass &
Raftery 1995, JASA 90:773) knows that only a law that bends fits both sides, and says nothing of how
a law goes on. So the evidence is the geometric mean of both: on development series as good as the
better one, and no worse on any kind of validation series (docs/back_tests.md). With fewer than
5 batch sizes there is only the marginal likelihood.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.laws import LawName
from models_of_scaling.origin_scores import score_origins
from models_of_scaling.prefix_fits import SeriesMemory
from models_of_scaling.study_rows import StudyRows

_SMALLEST_TRAINING_SET: Final = 4
# Errors at neighbouring batch sizes share their fits, so H of them tell as much as about H / 2
# independent ones. Counting all H was measured to be too sure (by squared errors in place of log
# scores): with S_min (1 + (256 / B)^0.8), 8 batch sizes, no repeats and 6 % noise, 90 % intervals
# of B_crit held it 79 times in 100.
_SHARE_INDEPENDENT: Final = 0.5


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


def scored_origins(study: StudyRows) -> list[int]:
    """Return the origins of rolling origin: how many of the smallest batch sizes are fitted.

    Args:
        study: the data.
    """
    return [
        k
        for k in range(_SMALLEST_TRAINING_SET, study.num_cells)
        if len(np.unique(study.cell_N[study.measured_N & (study.cell_N < k)])) >= 2
    ]


def held_out_score(
    name: LawName, study: StudyRows, seed: int, memory: SeriesMemory | None = None
) -> HeldOutScore | None:
    """Score a law by rolling origin.

    Args:
        name: of the law.
        study: the data.
        seed: of the draws of each predictive distribution.
        memory: of other fits to the same series; None for none.

    Returns:
        The score, or None with fewer than 5 batch sizes. A held-out batch size where no row
        reached the target has an error only if it is predicted below the steps that were done.
    """
    origins, count = scored_origins(study), study.num_cells
    if not origins:
        return None
    found = score_origins(name, study, origins, seed, memory or SeriesMemory())
    by_cell: dict[int, list[float]] = {cell: [] for cell in range(origins[0], count)}
    for (_, cell), score in found.items():
        by_cell[cell].append(score.log_density)
    errors = [score.error for score in found.values()]
    return HeldOutScore(
        error=float(np.sqrt(np.mean(np.square(errors)))),
        log_score=float(sum(np.mean(logs) for logs in by_cell.values())),
        num_held_out=count - origins[0],
    )


def law_evidence(scores: Sequence[LawScore]) -> list[float]:
    """Return what the rows say for each law, relative to the best, which has 1.

    Args:
        scores: of the laws.

    Returns:
        In (0, 1].
    """
    held_out = [score.held_out for score in scores if score.held_out is not None]
    if len(held_out) == len(scores):
        logs = [
            0.5 * (_SHARE_INDEPENDENT * each.log_score + score.log_evidence)
            for each, score in zip(held_out, scores, strict=True)
        ]
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
