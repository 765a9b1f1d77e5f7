"""Whether single steps' noise has tails too heavy for an error bar on its mean.

Source: Hill 1975, Annals of Statistics 3(5), of the tail index.

Shapes: N steps.
"""

import math

import numpy as np

from models_of_scaling.noise_scale import Problem
from models_of_scaling.quotient_of_means import Floats

# Below tail index 2 a variance is not finite, so no error bar on a mean can be trusted.
_FINITE_VARIANCE = 2.0
_MIN_TAIL_STEPS = 64
# Of a step among 64 or more; where it carries more, the interval is a statement about that step.
_LARGEST_SHARE = 0.25


def tail_index(values_N: Floats) -> tuple[float, float]:
    """Return Hill's tail index of positive values and its upper 95 % limit.

    Source: Hill 1975, Annals of Statistics 3(5), with k = sqrt(N) rounded up; the limit is
    index (1 + 1.645 / sqrt(k)). Below 2 the values have no finite variance.

    Args:
        values_N: the largest are looked at; at least 2 of them positive.

    Returns:
        The index, infinite where the largest are equal; its upper limit.
    """
    k = math.ceil(math.sqrt(len(values_N)))
    top = np.sort(values_N)[-k - 1 :]
    if top[0] <= 0:
        return math.inf, math.inf
    spacing = float(np.mean(np.log(top[1:] / top[0])))
    index = 1 / spacing if spacing > 0 else math.inf
    return index, index * (1 + 1.645 / math.sqrt(k))


def heavy_tails(trace_N: Floats) -> Problem | None:
    """Return what is wrong with the tails of single steps' estimates of tr(Sigma), if anything.

    Each is taken relative to the median of its neighbours: a trace that falls over the run is no
    heavy tail.

    Args:
        trace_N: one a step, in order.
    """
    if len(trace_N) < _MIN_TAIL_STEPS:
        return None
    parts = np.array_split(np.abs(trace_N), len(trace_N) // (_MIN_TAIL_STEPS // 2))
    medians = [float(np.median(part)) for part in parts]
    if min(medians) <= 0:
        return None
    relative_N = np.concatenate([part / m for part, m in zip(parts, medians, strict=True)])
    index, limit = tail_index(relative_N)
    largest = float(relative_N.max() / relative_N.sum())
    if limit < _FINITE_VARIANCE:
        return Problem(
            code="heavy_tails",
            words=f"heavy tails: single steps' estimates of tr(Sigma) have tail index {index:.2g}, "
            "below 2, so their variance is not finite and the interval can't be trusted",
        )
    if largest > _LARGEST_SHARE:
        return Problem(
            code="heavy_tails",
            words=f"heavy tails: one step of {len(trace_N)} carries {100 * largest:.0f} % of "
            "tr(Sigma)",
        )
    return None
