"""How the errors of B_crit at several targets of the same trials go together.

A batch size that was tuned well, or a lucky seed, is early at every target it passes; and log
B_crit depends on each batch size's log steps by a weight that moves with the knee. Their product,
element by element, is the correlation that `target_curve` joins its draws by.

Shapes: K = targets, C = batch sizes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.measurements import Measurements
from models_of_scaling.quantities import Floats

# Of the residuals' degrees of freedom: what a law of the usual three parameters takes.
_LAW_PARAMETERS: Final = 3


@dataclass(frozen=True, kw_only=True)
class TargetNoise:
    """How one target's rows scatter, per batch size; keyed by batch size, reached rows only.

    Attributes:
        residual: mean log steps less those of the law.
        deviations: of each repeat from that mean.
    """

    residual: dict[int, float]
    deviations: dict[int, tuple[float, ...]]


def target_noise(fit: FitRecord, measured: Measurements) -> TargetNoise:
    """Return the scatter about the best law of one fit.

    Args:
        fit: of the rows below.
        measured: the rows. Batch sizes with a row that did not reach are left out.
    """
    middles = measured.observations().log_middle_RN[0]
    best = max(fit.laws, key=lambda law: law.weight)
    residual, deviations = {}, {}
    for size in np.unique(measured.batch_size).tolist():
        at = measured.batch_size == size
        if measured.reached[at].all():
            mean = float(middles[at].mean())
            residual[size] = mean - math.log(best.steps(size))
            deviations[size] = tuple((middles[at] - mean).tolist())
    return TargetNoise(residual=residual, deviations=deviations)


def noise_correlation(noises: Sequence[TargetNoise]) -> Floats:
    """Return the correlation of the noise between targets, (K, K).

    Args:
        noises: of each target, of the same trials.

    Returns:
        Residuals and repeats, each scaled to unit variance per target, pooled by their degrees of
        freedom over the batch sizes that every target has. The unit matrix where there are fewer
        degrees than targets: then the slope's interval is, if anything, too wide.
    """
    count = len(noises)
    shared = sorted(set.intersection(*[set(noise.residual) for noise in noises]))
    shared = [
        size for size in shared if len({len(noise.deviations[size]) for noise in noises}) == 1
    ]
    residual = np.array([[noise.residual[size] for size in shared] for noise in noises])
    repeats = np.array([
        [value for size in shared for value in noise.deviations[size]] for noise in noises
    ])
    residual_degrees = max(len(shared) - _LAW_PARAMETERS, 0)
    repeat_degrees = sum(len(noises[0].deviations[size]) - 1 for size in shared)
    total, degrees = np.zeros((count, count)), 0
    for block, own in ((residual, residual_degrees), (repeats, repeat_degrees)):
        if own and (np.abs(block).max(axis=1) > 0).all():
            scaled = block / np.sqrt((block**2).sum(axis=1, keepdims=True))
            total, degrees = total + own * (scaled @ scaled.T), degrees + own
    return total / degrees if degrees >= count else np.eye(count)


def knee_weights(batch_sizes: Floats, critical_batch_size: float) -> Floats:
    """Return how log B_crit of a hyperbola moves with each batch size's log steps, (C,).

    Args:
        batch_sizes: (C,), examples.
        critical_batch_size: B_crit, examples.

    Returns:
        A row of the pseudo-inverse of d log S / d (log S_min, log E_min), of length 1.
    """
    floor = batch_sizes / (batch_sizes + critical_batch_size)
    inverse = np.linalg.pinv(np.stack([floor, 1 - floor], axis=1))
    weights = inverse[1] - inverse[0]
    return np.asarray(weights / np.linalg.norm(weights))
