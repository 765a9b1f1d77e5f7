"""A random effect per group: rows that the same people tuned share what is good or bad about it.

    log steps = law(B) + u_group + noise,   u ~ N(0, tau^2)

tau and the groups' offsets come from the residuals of a first fit, by restricted maximum likelihood
(statsmodels' MixedLM). The rows then go on without their group's offset, and what is left open
about an offset widens its batch sizes' means. A prediction is for a group that nobody has seen:
tau is added to its noise. Nothing is estimated where it can't be told from the curve: at least two
groups must have rows at two batch sizes each.
Shapes: N = rows, C = batch sizes (cells).
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models_of_scaling.fitting import Bools, Integers
from models_of_scaling.quantities import Floats

_FEWEST_GROUPS: Final = 2
_FEWEST_BATCH_SIZES: Final = 2


@dataclass(frozen=True, kw_only=True)
class GroupEffects:
    """Offsets of the groups.

    Attributes:
        sd: tau, in logs; 0 where none was estimated.
        offset_N: of each row's group, in logs.
        variance_C: what is left open about the offsets in each batch size's mean.
    """

    sd: float
    offset_N: Floats
    variance_C: Floats


def no_group_effects(num_rows: int, num_cells: int) -> GroupEffects:
    """Return effects of 0.

    Args:
        num_rows: N.
        num_cells: C.
    """
    return GroupEffects(sd=0.0, offset_N=np.zeros(num_rows), variance_C=np.zeros(num_cells))


def can_tell_groups(group_N: npt.NDArray[np.str_], cell_N: Integers, reached_N: Bools) -> bool:
    """Return whether groups can be told from the curve.

    Args:
        group_N: each row's group.
        cell_N: number of each row's batch size.
        reached_N: whether it reached the target.
    """
    groups, cells = group_N[reached_N], cell_N[reached_N]
    sizes = [len(np.unique(cells[groups == group])) for group in np.unique(groups)]
    return sum(size >= _FEWEST_BATCH_SIZES for size in sizes) >= _FEWEST_GROUPS


def group_effects(
    residual_N: Floats, group_N: npt.NDArray[np.str_], cell_N: Integers, reached_N: Bools
) -> GroupEffects:
    """Estimate the groups' offsets.

    Args:
        residual_N: measured less fitted log steps; of a row that did not reach it is not used.
        group_N: each row's group.
        cell_N: number of each row's batch size.
        reached_N: whether it reached the target.

    Returns:
        The effects; all 0 where `can_tell_groups` says no or their variance is estimated as 0.
    """
    none = no_group_effects(len(group_N), int(cell_N.max()) + 1)
    if not can_tell_groups(group_N, cell_N, reached_N):
        return none
    from statsmodels.regression.mixed_linear_model import MixedLM

    model = MixedLM(residual_N[reached_N], np.ones((int(reached_N.sum()), 1)), group_N[reached_N])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of 0 is an answer, about which it warns
        try:
            fit = model.fit(reml=True)
        except np.linalg.LinAlgError:
            # The gradient's matrix is singular at a step too far (two groups of MLPerf's BERT):
            # a search without gradients does not go there.
            fit = model.fit(reml=True, method="nm")
    variance = float(np.asarray(fit.cov_re)[0, 0])
    if not variance > 0:
        return none
    offsets = {str(name): float(np.asarray(value)[0]) for name, value in fit.random_effects.items()}
    left_open = _left_open(group_N[reached_N], variance, float(fit.scale))
    offset_N = np.array([offsets.get(str(group), 0.0) for group in group_N])
    open_N = np.array([left_open.get(str(group), variance) for group in group_N])
    return GroupEffects(
        sd=float(np.sqrt(variance)),
        offset_N=offset_N,
        variance_C=_of_means(open_N, group_N, cell_N),
    )


def _left_open(group_N: npt.NDArray[np.str_], variance: float, scale: float) -> dict[str, float]:
    """Return each offset's variance after its rows: 1 / (1 / tau^2 + n / sigma^2)."""
    names, counts = np.unique(group_N, return_counts=True)
    return {
        str(name): 1 / (1 / variance + count / max(scale, 1e-12))
        for name, count in zip(names, counts, strict=True)
    }


def _of_means(open_N: Floats, group_N: npt.NDArray[np.str_], cell_N: Integers) -> Floats:
    """Return the variance of each cell's mean offset; rows of one group share theirs."""
    answer = np.zeros(int(cell_N.max()) + 1)
    for cell in range(len(answer)):
        at = cell_N == cell
        for group in np.unique(group_N[at]):
            of_group = group_N[at] == group
            answer[cell] += (of_group.mean() ** 2) * open_N[at][of_group][0]
    return answer
