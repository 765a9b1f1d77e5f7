"""What a run's sharpness says: is it at the edge of stability, does the index follow the loss?"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from models_of_scaling.curvature.sharpness_table import SharpnessCurve
from models_of_scaling.wording import number_in_words

# Cohen et al. 2021 see full-batch sharpness hover within some percent of the limit; a third off is
# what a reader calls "at" it on their plots.
_AT_THE_EDGE = (0.67, 1.5)
_FEWEST_POINTS = 5
# Bounds of a share farther apart than this say nothing of an order.
_KNOWN_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class SharpnessVerdict:
    """One mode's curve in numbers.

    Attributes:
        mode: of batch norm.
        last_sharpness: largest eigenvalue at the last point.
        last_over_limit: it over the edge of stability; NaN where the edge is not known.
        largest_over_limit: the largest such ratio of all points after the start.
        index_rank_correlation: Kendall's tau of the share of negative eigenvalues with the loss;
            NaN for fewer than five points.
        index_p_value: of no relation.
        index_is_bounded: the bounds of that share are close enough to be compared.
        keskar_sharpness: at the last point, percent.
    """

    mode: str
    last_sharpness: float
    last_over_limit: float
    largest_over_limit: float
    index_rank_correlation: float
    index_p_value: float
    index_is_bounded: bool
    keskar_sharpness: float


def judge_sharpness(curve: SharpnessCurve) -> SharpnessVerdict:
    """Return what a curve says.

    Args:
        curve: of one run and mode.
    """
    over = curve["eigenvalue_1"] / curve["stability_limit"]
    after_start = over[curve["steps"] > 0]
    known = after_start[np.isfinite(after_start)]
    correlation, p_value = math.nan, math.nan
    if len(over) >= _FEWEST_POINTS and np.ptp(curve["negative_share"]) > 0:
        test = kendalltau(curve["negative_share"], curve["loss"])
        correlation, p_value = float(test.statistic), float(test.pvalue)
    widths = curve["negative_share_high"] - curve["negative_share_low"]
    return SharpnessVerdict(
        mode=curve.mode,
        last_sharpness=float(curve["eigenvalue_1"][-1]),
        last_over_limit=float(over[-1]),
        largest_over_limit=float(known.max()) if len(known) else math.nan,
        index_rank_correlation=correlation,
        index_p_value=p_value,
        index_is_bounded=bool(np.median(widths) < _KNOWN_SHARE),
        keskar_sharpness=float(curve["keskar_sharpness"][-1]),
    )


def sharpness_in_words(verdict: SharpnessVerdict) -> list[str]:
    """Return the verdict as lines.

    Args:
        verdict: of one mode.
    """
    lines = [f"In {verdict.mode} mode:", *_edge_in_words(verdict)]
    if math.isnan(verdict.index_rank_correlation):
        lines.append("  Index against loss: five points with different shares are needed.")
    elif not verdict.index_is_bounded:
        lines.append(
            "  Index against loss: the shares' bounds are too wide to be ordered; more Lanczos "
            "steps narrow them."
        )
    else:
        sure = verdict.index_p_value < 0.05
        word = "falls" if verdict.index_rank_correlation > 0 else "grows"
        lines.append(
            f"  The share of negative eigenvalues {word if sure else 'does not clearly move'} as "
            f"the loss falls (Kendall's tau {verdict.index_rank_correlation:.2f}, "
            f"p = {verdict.index_p_value:.2g})."
        )
    if not math.isnan(verdict.keskar_sharpness):
        lines.append(f"  Keskar's sharpness at the end: {verdict.keskar_sharpness:.3g} %.")
    return lines


def _edge_in_words(verdict: SharpnessVerdict) -> list[str]:
    sharpness = f"  Largest eigenvalue at the end: {number_in_words(verdict.last_sharpness)}"
    if math.isnan(verdict.last_over_limit):
        return [f"{sharpness}; the edge of stability of this optimizer is not known."]
    low, high = _AT_THE_EDGE
    ratio = verdict.last_over_limit
    place = "below" if ratio < low else "above" if ratio > high else "at"
    return [
        f"{sharpness}, {ratio:.2g} of the edge of stability: {place} it "
        f"(at most {verdict.largest_over_limit:.2g} on the way)."
    ]
