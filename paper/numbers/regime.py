"""Section "Ultra-slow diffusion": Hoffer's regime adaptation, from walks with and without it.

Adapted, the rate grows with the square root of the batch size and the number of steps stays
(Hoffer et al. 2017, arXiv:1705.08741, section 4); the smallest batch size is the one adapted from.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t

from models_of_scaling.diffusion.study import DiffusionStudy
from models_of_scaling.diffusion.walk import Walk
from models_of_scaling.intervals import Interval
from paper.numbers.quoted import LEVEL, Quoted, direction, quoted
from paper.numbers.walks import slowest_momentum


def regime_numbers(study: DiffusionStudy, adapted: DiffusionStudy) -> dict[str, Any]:
    """Return the numbers of the paragraph.

    Args:
        study: of the walks at constant rates, the same for all batch sizes.
        adapted: of those with the rate adapted from the smallest batch size of `study`.
    """
    slowest = {each.setting.batch_size: each for each in slowest_momentum(study.settings)}
    smallest = min(slowest)
    longest = max(adapted.settings, key=lambda each: each.setting.batch_size)
    largest = longest.setting.batch_size
    base = slowest[smallest].walks
    farther = {"with": _ratio(longest.walks, base), "without": _ratio(slowest[largest].walks, base)}
    words = ("farther than", "less far than", "not told from")
    exponents = [each.exponent for each in adapted.settings]
    return {
        "from_batch": f"{smallest:,}",
        "to_batch": f"{largest:,}",
        "steps": f"{base[0].steps[-1]:,.0f}",
        **{name: each.as_json() for name, each in farther.items()},
        **{f"{name}_verdict": direction(each, 1.0, words) for name, each in farther.items()},
        "settings": len(adapted.settings),
        "not_log": sum(each.comparison.is_log == "no" for each in adapted.settings),
        "exponent_low": f"{min(each.low for each in exponents):.2f}",
        "exponent_high": f"{max(each.high for each in exponents):.2f}",
    }


def _ratio(walks: Sequence[Walk], base: Sequence[Walk]) -> Quoted:
    """Return the last distance over that of other walks; Student's interval, variances pooled."""
    ours, others = ([math.log(each.distance[-1]) for each in group] for group in (walks, base))
    degrees = len(ours) + len(others) - 2
    pooled = sum(float(np.var(group)) * len(group) for group in (ours, others)) / degrees
    half = float(t.ppf(0.5 + LEVEL / 2, degrees)) * math.sqrt(
        pooled * (1 / len(ours) + 1 / len(others))
    )
    middle = float(np.mean(ours) - np.mean(others))
    interval = Interval(
        estimate=math.exp(middle),
        low=math.exp(middle - half),
        high=math.exp(middle + half),
        level=LEVEL,
        method="normal",
    )
    return quoted(interval, len(ours) + len(others))
