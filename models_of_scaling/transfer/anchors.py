"""Anchors: the few small-batch measurements at full scale that place a surrogate's curve.

Shapes: C = batch sizes.
"""

import math
from dataclasses import dataclass

import numpy as np

from models_of_scaling.fitting import Bools
from models_of_scaling.measurements import Measurements
from models_of_scaling.quantities import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchors:
    """Full-scale measurements, one entry per batch size, in logs, (C,) each.

    Attributes:
        log_batch_size: of B.
        log_steps: mean over the rows that reached the target; where none did, the most steps done.
        variance: of the mean, by repeats and sparse evaluation, without the noise of tuning.
        reached: whether any row did.
    """

    log_batch_size: Floats
    log_steps: Floats
    variance: Floats
    reached: Bools

    @property
    def smallest_batch_size(self) -> int:
        """Examples per step; efficiencies are relative to it."""
        return round(math.exp(self.log_batch_size.min()))

    @property
    def largest_batch_size(self) -> int:
        """Examples per step; beyond it everything is extrapolated."""
        return round(math.exp(self.log_batch_size.max()))


def anchors_of(rows: Measurements) -> Anchors:
    """Reduce rows to one entry per batch size.

    Args:
        rows: of the full scale, at least one that reached the target.

    Returns:
        Sizes in increasing order.
    """
    found = []
    for size in np.unique(rows.batch_size):
        at = rows.batch_size == size
        reached = at & rows.reached
        if not reached.any():
            found.append((math.log(size), math.log(rows.steps[at].max()), 0.0, False))
            continue
        low = np.maximum(rows.steps_low[reached], 1e-3 * rows.steps[reached])
        ends = np.log(np.stack([low, rows.steps_high[reached]]))
        middle, width = ends.mean(axis=0), float(np.ptp(ends, axis=0).mean())
        spread = float(middle.var(ddof=1)) / len(middle) if len(middle) > 1 else 0.0
        # An evaluation's phase is alike for all repeats: it does not average out.
        found.append((math.log(size), float(middle.mean()), spread + width**2 / 12, True))
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return Anchors(
        log_batch_size=columns[0],
        log_steps=columns[1],
        variance=columns[2],
        reached=columns[3].astype(bool),
    )
