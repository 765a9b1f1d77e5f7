"""The rows of R fits, reduced: measured rows at one batch size count only by their sums.

Shapes: R = replicates, N = rows, C = batch sizes (cells) of measured rows, M = other rows.

For rows of one batch size with weights w and log steps y the Gaussian likelihood needs the sum of
w, the weighted mean of y and the sum of squares about that mean; the law is evaluated once per
batch size instead of once per row. Rows that are censored in any replicate stay as they are.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models_of_scaling.likelihood import Observations
from models_of_scaling.quantities import Floats


@dataclass(frozen=True, kw_only=True)
class RowSums:
    """What the likelihood needs of the rows.

    Attributes:
        x: log of batch size over the reference batch size, (C + M,): cells, then other rows.
        root_weight_RC: root of the summed weight of each cell; None where all are 1.
        mean_RC: weighted mean log steps of each cell; 0 where it has no weight.
        within_R: weighted squares about the cells' means.
        total_R: summed weight of all measured rows.
        others: rows that are censored in some replicate, (R, M); those that are alike as one.
    """

    x: Floats
    root_weight_RC: Floats | None
    mean_RC: Floats
    within_R: Floats
    total_R: Floats
    others: Observations

    def take(self, index: npt.NDArray[np.int64]) -> "RowSums":
        """Return the replicates with these numbers."""
        return RowSums(
            x=self.x,
            root_weight_RC=None if self.root_weight_RC is None else self.root_weight_RC[index],
            mean_RC=self.mean_RC[index],
            within_R=self.within_R[index],
            total_R=self.total_R[index],
            others=self.others.take(index),
        )


def row_sums(rows: Observations, x_N: Floats) -> RowSums:
    """Reduce rows to what the likelihood needs of them.

    Args:
        rows: (R, N).
        x_N: log of batch size over the reference batch size.

    Returns:
        The sums; nothing is lost, they give the same likelihood for every parameter.
    """
    low, high, weight = rows.log_low_RN, rows.log_high_RN, rows.weight_RN
    # An infinite value of a row without weight would make NaN of the sums: it stays a row.
    measured_N = ((low == high) & np.isfinite(low)).all(axis=0)
    others, x_other = _alike_together(rows.only(~measured_N), x_N[~measured_N])
    x_C, cell_N = np.unique(x_N[measured_N], return_inverse=True)
    log_steps, weight = low[:, measured_N], weight[:, measured_N]
    within_R = np.zeros(len(weight))
    if len(x_C) < len(cell_N):
        order = np.argsort(cell_N, kind="stable")
        starts = np.searchsorted(cell_N[order], np.arange(len(x_C)))
        log_steps, weight_RN = log_steps[:, order], weight[:, order]
        weight = np.add.reduceat(weight_RN, starts, axis=1)
        safe = np.where(weight > 0, weight, 1.0)
        mean = np.add.reduceat(weight_RN * log_steps, starts, axis=1) / safe
        off = log_steps - mean[:, cell_N[order]]
        within_R = np.einsum("rn,rn,rn->r", weight_RN, off, off)
        log_steps = mean
    else:
        x_C = x_N[measured_N]
    return RowSums(
        x=np.concatenate([x_C, x_other]),
        root_weight_RC=None if (weight == 1).all() else np.sqrt(weight),
        mean_RC=log_steps,
        within_R=within_R,
        total_R=weight.sum(axis=1),
        others=others,
    )


def _alike_together(rows: Observations, x_M: Floats) -> tuple[Observations, Floats]:
    """Return rows and their x with those that are alike in every replicate as one, of their weight.

    Whole epochs leave few different intervals: MLPerf's 130 runs of ResNet-50 have 36.
    """
    ends = np.stack([rows.log_low_RN, rows.log_high_RN])
    keys = [(float(x), ends[:, :, place].tobytes()) for place, x in enumerate(x_M)]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    places = sorted(first.values())
    if len(places) == len(keys):
        return rows, x_M
    number = {place: kept for kept, place in enumerate(places)}
    weight = np.zeros((len(rows.weight_RN), len(places)))
    for key, column in zip(keys, rows.weight_RN.T, strict=True):
        weight[:, number[first[key]]] += column
    chosen = Observations(
        log_low_RN=rows.log_low_RN[:, places],
        log_high_RN=rows.log_high_RN[:, places],
        weight_RN=weight,
    )
    return chosen, x_M[places]
