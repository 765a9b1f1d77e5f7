"""The definitions of the limit side by side, each a point with its interval, one under another.

The function takes an axes and finished numbers, draws, and returns nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from models_of_scaling.intervals import Interval
from models_of_scaling.plots.steps_to_target import BLUE, GREY, batch_size_axis, legend_above
from models_of_scaling.wording import number_in_words

# The axis reaches at most so many times beyond what was measured; farther ends are arrows.
_FARTHEST = 64.0


def draw_definitions(
    ax: Axes, claims: Sequence[tuple[str, Interval]], *, measured: tuple[float, float]
) -> None:
    """Draw each definition's batch size with its interval; an end without bound is an arrow.

    Args:
        ax: to draw on.
        claims: name and batch size, drawn from top to bottom.
        measured: smallest and largest batch size that were fitted, shaded.
    """
    left, right = _range(claims, measured)
    ax.axvspan(*measured, color=GREY, alpha=0.13, linewidth=0, label="batch sizes fitted")
    for place, (_, interval) in enumerate(claims):
        _draw_one(ax, place, interval, (left, right))
    ax.set_yticks(range(len(claims)), labels=[name for name, _ in claims])
    ax.set_ylim(len(claims) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    batch_size_axis(ax, np.array([left, right]))
    ax.set_xlim(left, right)
    legend_above(ax)


def _range(
    claims: Sequence[tuple[str, Interval]], measured: tuple[float, float]
) -> tuple[float, float]:
    """Return a range that holds the measured batch sizes and all ends that are not too far."""
    ends = [
        value
        for _, interval in claims
        for value in (interval.low, interval.estimate, interval.high)
        if 0 < value < math.inf
    ]
    low, high = measured
    left = max(min([low, *ends]), low / _FARTHEST)
    right = min(max([high, *ends]), high * _FARTHEST)
    return left / 1.6, right * 2.2


def _draw_one(ax: Axes, place: int, interval: Interval, limits: tuple[float, float]) -> None:
    """Draw one interval: a bar between its ends, an arrow where one is beyond the axis."""
    left, right = limits
    start = min(max(interval.low, left * 1.08), right)
    end = max(min(interval.high, right / 1.08), left)
    ax.plot([start, end], [place, place], color=BLUE, linewidth=2.4, solid_capstyle="butt")
    if interval.low < left:
        ax.plot([start], [place], marker="<", color=BLUE, markersize=6, label="_no bound")
    if interval.high > right:
        ax.plot([end], [place], marker=">", color=BLUE, markersize=6, label="_no bound")
    shown = left <= interval.estimate <= right
    if shown:
        ax.plot([interval.estimate], [place], marker="o", color=BLUE, markersize=6.5)
    ax.annotate(
        _in_short(interval),
        (interval.estimate if shown else math.sqrt(start * end), place),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize="small",
    )


def _in_short(interval: Interval) -> str:
    if interval.is_bounded:
        return number_in_words(interval.estimate)
    if math.isinf(interval.low):
        return "infinite"
    if interval.low > 0:
        return f"more than {number_in_words(interval.low)}"
    if 0 < interval.high < math.inf:
        return f"less than {number_in_words(interval.high)}"
    return "at none" if interval.high == 0 else "not known"
