"""How the exponent of diffusion moves with batch size, learning rate and optimizer.

    nu = nu_0 + b log2(B) + c log2(peak learning rate) + optimizer + error

by weighted least squares over settings, each weighted by its interval; the errors' scale is free
upwards, since settings differ by more than their intervals say (Birge 1932).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from scipy.stats import norm, t

from models_of_scaling.diffusion.walk_table import Setting
from models_of_scaling.intervals import Interval

_TOGETHER = "batch_size, the learning rate moving with it"
_SMALLEST_ERROR = 1e-3  # of an exponent: two decimals are what anyone reads


@dataclass(frozen=True, kw_only=True)
class Trend:
    """What one property of a setting does to the exponent.

    Attributes:
        of: batch_size (where the learning rate follows it by a rule, that is said),
            learning_rate, or an optimizer's name.
        change: of the exponent per doubling, or against the first optimizer.
        against: the optimizer that others are compared with; "" for numbers.
    """

    of: str
    change: Interval
    against: str = ""


def exponent_trends(exponents: Mapping[Setting, Interval], *, level: float) -> list[Trend]:
    """Regress exponents on what the settings are.

    Args:
        exponents: of the power law, by setting.
        level: of the intervals.

    Returns:
        A trend for each property that differs between settings; none where there are no more
        settings than trends and constant, or where two properties can't be told apart.
    """
    settings = list(exponents)
    columns = _columns(settings)
    design = np.column_stack([np.ones(len(settings)), *columns.values()])
    if np.linalg.matrix_rank(design) < design.shape[1] and ("learning_rate", "") in columns:
        # A learning rate that follows the batch size by a rule: the two have one trend.
        del columns["learning_rate", ""]
        columns = {
            (_TOGETHER if of == "batch_size" else of, to): x for (of, to), x in columns.items()
        }
        design = np.column_stack([np.ones(len(settings)), *columns.values()])
    unknown = len(settings) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]
    if not columns or unknown:
        return []
    quantile = float(norm.ppf(0.5 + level / 2))
    errors = [
        max((each.high - each.low) / (2 * float(norm.ppf(0.5 + each.level / 2))), _SMALLEST_ERROR)
        for each in exponents.values()
    ]
    fitted = sm.WLS(
        [each.estimate for each in exponents.values()], design, weights=np.power(errors, -2.0)
    ).fit()
    # Student's t, since the scale is estimated; no smaller than the intervals themselves say.
    half = float(t.ppf(0.5 + level / 2, len(settings) - design.shape[1]))
    own = np.sqrt(np.diag(fitted.normalized_cov_params))
    spread = np.maximum(half * np.asarray(fitted.bse), quantile * own)
    return [
        Trend(
            of=name,
            against=against,
            change=Interval(
                estimate=float(value),
                low=float(value - width),
                high=float(value + width),
                level=level,
                method="weighted least squares",
            ),
        )
        for (name, against), value, width in zip(
            columns, np.asarray(fitted.params)[1:], spread[1:], strict=True
        )
    ]


def _columns(settings: Sequence[Setting]) -> dict[tuple[str, str], list[float]]:
    """Return the properties that differ: (name, what it is compared with) to a value a setting."""
    first, *others = sorted({setting.optimizer for setting in settings})
    found: dict[tuple[str, str], list[float]] = {}
    for name in ("batch_size", "learning_rate"):
        values = [float(getattr(setting, name)) for setting in settings]
        if all(value > 0 for value in values):
            logs = np.log2(values)
            if name == "learning_rate":
                # Adam's 0.001 is not a small step: rates are compared within an optimizer.
                for optimizer in (first, *others):
                    ours = [setting.optimizer == optimizer for setting in settings]
                    logs[ours] -= logs[ours].mean()
            if np.ptp(logs) > 0:
                found[name, ""] = logs.tolist()
    for other in others:
        found[other, first] = [float(setting.optimizer == other) for setting in settings]
    return found
