"""The rows of one fit, and what each batch size's rows say together.

Shapes: N = rows, C = batch sizes (cells), J = noise sizes.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from models_of_scaling.fitting import Bools, Integers
from models_of_scaling.group_effects import GroupEffects
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.likelihood import Observations, row_terms
from models_of_scaling.quantities import Floats
from models_of_scaling.resampling import CellSpread


@dataclass(frozen=True, kw_only=True)
class StudyRows:
    """The rows of one fit with what every law needs of them.

    Attributes:
        rows: the data, one replicate.
        x_N: log of batch size over the reference batch size.
        cell_N: number of each row's batch size, from 0 and increasing with it.
        spread: of each batch size's mean.
        groups: offsets that were taken from the rows.
        log_reference: log of the reference batch size.
        knee: what is known of B_crit beside the rows, or None.
    """

    rows: Observations
    x_N: Floats
    cell_N: Integers
    spread: CellSpread
    groups: GroupEffects
    log_reference: float = 0.0
    knee: KneeEvidence | None = None

    @property
    def num_cells(self) -> int:
        """The number of different batch sizes."""
        return int(self.cell_N.max()) + 1

    @property
    def measured_N(self) -> Bools:
        """Whether each row bounds its steps from both sides."""
        return np.asarray(self.rows.measured_RN[0])


@dataclass(frozen=True, kw_only=True)
class CellMeans:
    """What each batch size says about the curve.

    Attributes:
        x_C: log of batch size over the reference batch size.
        log_steps_C: mean log steps; where some rows are censored, what replaces their mean in
            the likelihood near the point fit. For a cell that is bounded from one side only, the
            mean of the bounds.
        information_C: share of the information that the cell would hold without censoring.
        measured_C: whether its rows bound the mean from both sides.
        met_early_C: whether every row reached the target by its first evaluation, so that the mean
            is only known to lie below. Where neither holds nothing reached: it lies above.
        spread_C: standard deviation of the mean that resampling whole trials shows.
        width_C: log width of the interval that sparse evaluation leaves.
        group_variance_C: what is left open about the offsets of the groups in the mean.
        log_reference: log of the reference batch size.
        knee: what is known of B_crit beside the rows, or None.
    """

    x_C: Floats
    log_steps_C: Floats
    information_C: Floats
    measured_C: Bools
    met_early_C: Bools
    spread_C: Floats
    width_C: Floats
    group_variance_C: Floats
    log_reference: float = 0.0
    knee: KneeEvidence | None = None

    def variance(self, noise_sizes: Floats) -> Floats:
        """Return the variance of each cell's mean for each noise size.

        The spread that resampling shows is part of the noise, not added to it. An evaluation's
        phase is uniform within its interval.
        """
        sizes = np.maximum(noise_sizes[:, None], self.spread_C)
        beside = self.width_C**2 / 12 + self.group_variance_C
        return np.asarray((sizes**2 + beside) / self.information_C)

    def take(self, cells: Bools) -> "CellMeans":
        """Return only some of the cells."""
        names = [each.name for each in fields(self) if each.name.endswith("_C")]
        return replace(self, **{name: getattr(self, name)[cells] for name in names})


def cell_means(study: StudyRows, mu_N: Floats, log_sigma: float) -> CellMeans:
    """Reduce rows to one number per batch size.

    Args:
        study: the data.
        mu_N: log steps of the point fit.
        log_sigma: of the same fit, one row's noise.

    Returns:
        The means. Rows that are bounded from one side only, beside others, enter by the first two
        derivatives of their log likelihood at the point fit.
    """
    rows, cell_N = study.rows, study.cell_N
    middle_N, weight_N = rows.log_middle_RN[0], rows.weight_RN[0]
    reached_N, early_N = np.isfinite(rows.log_high_RN[0]), np.isneginf(rows.log_low_RN[0])
    total_C = np.bincount(cell_N, weight_N)
    has_above_C = np.bincount(cell_N, weight_N * reached_N) > 0
    has_below_C = np.bincount(cell_N, weight_N * ~early_N) > 0
    measured_C = has_above_C & has_below_C
    as_measured = Observations(
        log_low_RN=np.where(early_N, -np.inf, middle_N)[None],
        log_high_RN=np.where(reached_N, middle_N, np.inf)[None],
        weight_RN=rows.weight_RN,
    )
    terms = row_terms(mu_N[None], np.array([log_sigma]), as_measured)
    variance = np.exp(2 * log_sigma)
    pull_C = np.bincount(cell_N, weight_N * variance * terms.d_mu[0]) / total_C
    information_C = np.bincount(cell_N, weight_N * variance * terms.k_mu_mu[0]) / total_C
    information_C = np.where(measured_C, information_C, 1.0)
    mean_C = np.bincount(cell_N, weight_N * middle_N) / total_C
    mu_C = np.bincount(cell_N, weight_N * mu_N) / total_C
    return CellMeans(
        x_C=np.bincount(cell_N, weight_N * study.x_N) / total_C,
        log_steps_C=np.where(measured_C, mu_C + pull_C / information_C, mean_C),
        information_C=information_C,
        measured_C=measured_C,
        met_early_C=~has_below_C,
        spread_C=study.spread.spread_C,
        width_C=study.spread.width_C,
        group_variance_C=study.groups.variance_C,
        log_reference=study.log_reference,
        knee=study.knee,
    )
