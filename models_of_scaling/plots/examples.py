"""Examples to target and efficiency against batch size: what a larger batch wastes.

Functions take an axes and finished numbers, draw, and return nothing; steps are drawn by
`steps_to_target`, of which the examples are the same curve times the batch size.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from models_of_scaling.plots.steps_to_target import (
    BLUE,
    GREEN,
    GREY,
    VERMILION,
    MeasuredSteps,
    StepsCurve,
    batch_size_axis,
    limits_around,
    log_axis_in_numbers,
)


def draw_examples_to_target(
    ax: Axes, measured: MeasuredSteps, curve: StepsCurve, *, largest_fitted: float
) -> None:
    """Draw the examples processed until the target, B S(B).

    Args:
        ax: to draw on.
        measured: the rows; those that did not reach the target are open, with an arrow up.
        curve: steps, here multiplied by their batch sizes.
        largest_fitted: beyond it the curve is dashed.
    """
    sizes = curve.batch_size
    _band(ax, curve, sizes, largest_fitted)
    _points(ax, measured, measured.batch_size * measured.steps)
    for at in np.flatnonzero(~measured.reached):
        examples = measured.batch_size[at] * measured.steps[at]
        ax.annotate(
            "",
            xy=(measured.batch_size[at], 1.35 * examples),
            xytext=(measured.batch_size[at], examples),
            arrowprops={"arrowstyle": "->", "color": "black"},
        )
    ax.axhline(
        sizes[0] * curve.steps[0], color=GREY, linestyle=":", linewidth=1.2,
        label="as many as at the smallest batch size",
    )  # fmt: skip
    ax.set_ylabel("examples to target")
    low, high = limits_around(measured.batch_size * measured.steps, sizes * curve.steps)
    log_axis_in_numbers(ax, (low, 1.5 * high))  # room for the legend


def draw_efficiency(
    ax: Axes,
    measured: MeasuredSteps,
    curve: StepsCurve,
    *,
    reference_examples: float,
    largest_fitted: float,
) -> None:
    """Draw the share of each example's worth that is left: examples at the smallest batch over E.

    Args:
        ax: to draw on.
        measured: the rows; those that did not reach the target have at most what is drawn.
        curve: `steps` and its interval are here the efficiency.
        reference_examples: of the smallest batch size fitted.
        largest_fitted: beyond it the curve is dashed.
    """
    _band(ax, curve, 1.0, largest_fitted)
    efficiency = reference_examples / (measured.batch_size * measured.steps)
    _points(ax, measured, efficiency)
    for at in np.flatnonzero(~measured.reached):
        ax.annotate(
            "",
            xy=(measured.batch_size[at], max(efficiency[at] - 0.09, 0.0)),
            xytext=(measured.batch_size[at], efficiency[at]),
            arrowprops={"arrowstyle": "->", "color": "black"},
        )
    for value, name in ((1 / 1.2, "1.2x the examples"), (0.5, "2x")):
        ax.axhline(value, color=GREEN, linestyle="--", linewidth=0.9)
        ax.annotate(
            name, (curve.batch_size[-1], value), xytext=(0, 2), textcoords="offset points",
            ha="right", va="bottom", fontsize="small", color=GREEN,
        )  # fmt: skip
    ax.set_ylim(0, max(1.12, 1.05 * float(efficiency[measured.reached].max(initial=1.0))))
    ax.set_ylabel("efficiency")
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))


def _band(ax: Axes, curve: StepsCurve, times: object, largest_fitted: float) -> None:
    """Draw a curve with its interval, dashed where it is extrapolated."""
    sizes, factor = curve.batch_size, np.asarray(times, dtype=float)
    ax.fill_between(
        sizes, factor * curve.steps_low, factor * curve.steps_high, color=BLUE, alpha=0.18,
        linewidth=0,
    )  # fmt: skip
    middle = np.asarray(factor * curve.steps)
    inside = sizes <= largest_fitted * (1 + 1e-9)
    beyond = sizes >= largest_fitted * (1 - 1e-9)
    ax.plot(sizes[inside], middle[inside], color=BLUE, label="fitted")
    if beyond.sum() > 1:
        ax.plot(sizes[beyond], middle[beyond], color=BLUE, linestyle="--", label="extrapolated")
    batch_size_axis(ax, sizes)
    ax.set_xlim(sizes[0] / 1.1, sizes[-1] * 1.1)


def _points(ax: Axes, measured: MeasuredSteps, values: np.ndarray) -> None:
    for held_out, colour, marker in ((False, "black", "o"), (True, VERMILION, "D")):
        rows = measured.reached & (measured.held_out == held_out)
        ax.plot(
            measured.batch_size[rows], values[rows], linestyle="none", marker=marker,
            markersize=4.5, markerfacecolor=colour, markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    rows = ~measured.reached
    ax.plot(
        measured.batch_size[rows], values[rows], linestyle="none", marker="o",
        markerfacecolor="none", markeredgecolor="black",
    )  # fmt: skip
