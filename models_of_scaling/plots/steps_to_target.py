"""The pictures: each function takes an axes and finished numbers, draws, and returns nothing.

Batch size stands on a log2 axis; a model's curve is always beside its data and its interval; runs
that never reached the target are open markers with an arrow up. Colours are those of Okabe & Ito
2008, which colour-blind readers tell apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from models_of_scaling.wording import number_in_words

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
SKY, PURPLE = "#56B4E9", "#CC79A7"
# Colour and dashes of each law's own curve: told apart in grey too.
_LAW_STYLES: Final = (
    (ORANGE, (0, (6, 2))), (PURPLE, (0, (2, 1))), (SKY, (0, (6, 1, 1, 1))),
    (GREEN, (0, (1, 1))), (VERMILION, (0, (8, 3))), ("black", (0, (3, 1, 1, 1, 1, 1))),
)  # fmt: skip
# A curve is shown so many times above and below what was measured.
_FARTHEST: Final = 30.0
BATCH_SIZE_LABEL = "batch size (examples)"


@dataclass(frozen=True, kw_only=True)
class MeasuredSteps:
    """Measured steps to target, one row a run or a study; every field has shape (N,).

    Attributes:
        batch_size: examples per step.
        steps: steps to target, or for a run that never got there the steps it was given.
        reached: whether it got there.
        held_out: whether the fit did not see the row.
    """

    batch_size: Floats
    steps: Floats
    reached: Flags
    held_out: Flags


@dataclass(frozen=True, kw_only=True)
class StepsCurve:
    """A law's curve with its interval; every field has shape (M,), batch sizes increasing.

    Attributes:
        batch_size: examples per step.
        steps: predicted steps to target.
        steps_low: lower end of the interval.
        steps_high: upper end.
        laws: each law's own steps by the name to show, where the curve is their average.
    """

    batch_size: Floats
    steps: Floats
    steps_low: Floats
    steps_high: Floats
    laws: Mapping[str, Floats] = field(default_factory=dict)


def batch_size_axis(ax: Axes, batch_sizes: Floats) -> None:
    """Make x a log2 axis of batch sizes with at most eight labels, or they run into one another.

    Args:
        ax: whose x axis it is.
        batch_sizes: the range to show.
    """
    ax.set_xscale("log", base=2)
    ax.set_xlabel(BATCH_SIZE_LABEL)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    doublings = np.log2(batch_sizes.max() / batch_sizes.min())
    every = max(1, int(np.ceil((doublings + 1) / 8)))
    first = int(np.ceil(np.log2(batch_sizes.min()) - 1e-9))
    last = int(np.floor(np.log2(batch_sizes.max()) + 1e-9))
    ax.set_xticks([2.0**power for power in range(first, last + 1, every)])


def log_axis_in_numbers(ax: Axes, limits: tuple[float, float]) -> None:
    """Make y a log axis whose ticks are plain numbers, at least two of them.

    Args:
        ax: whose y axis it is.
        limits: of the axis.
    """
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    decades = np.log10(limits[1] / limits[0])
    # The fewer decades, the more ticks within each, or the axis has no number to read.
    within = (1,) if decades > 4 else (1, 3) if decades > 2.5 else (1, 2, 5)
    ax.yaxis.set_major_locator(LogLocator(subs=within))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number_in_words(value)))


def limits_around(measured: Floats, curve: Floats) -> tuple[float, float]:
    """Return the limits of a log axis that shows all rows and the curve, if it is near enough.

    Args:
        measured: the rows' values.
        curve: the law's; a law with an upturn goes beyond all numbers, and is cut off.
    """
    low, high = float(measured.min()), float(measured.max())
    return (
        0.6 * max(min(low, float(curve.min())), low / _FARTHEST),
        1.6 * min(max(high, float(curve.max())), high * _FARTHEST),
    )


def draw_steps_to_target(
    ax: Axes,
    measured: MeasuredSteps,
    curve: StepsCurve,
    *,
    largest_fitted: float,
    critical_batch_size: tuple[float, float, float] | None = None,
    level: float = 0.9,
) -> None:
    """Draw steps to target against batch size: data, law, interval, perfect scaling.

    Args:
        ax: to draw on.
        measured: the rows; those held out from the fit are drawn as diamonds.
        curve: the law, over the range to be shown; with several laws the legend stands below.
        largest_fitted: largest batch size the fit saw; beyond it the law is dashed.
        critical_batch_size: estimate, low and high, drawn as a band where it is inside the range.
        level: of the intervals.
    """
    what = "laws' average" if curve.laws else "law"
    inside = curve.batch_size <= largest_fitted * (1 + 1e-9)
    beyond = curve.batch_size >= largest_fitted * (1 - 1e-9)
    ax.fill_between(
        curve.batch_size,
        curve.steps_low,
        curve.steps_high,
        color=BLUE,
        alpha=0.18,
        linewidth=0,
        label=f"{level:.0%} interval",
    )
    ax.plot(curve.batch_size[inside], curve.steps[inside], color=BLUE, label=f"{what}, fitted")
    if beyond.sum() > 1:
        ax.plot(
            curve.batch_size[beyond],
            curve.steps[beyond],
            color=BLUE,
            linestyle="--",
            label=f"{what}, extrapolated",
        )
    for (name, steps), (colour, dashes) in zip(curve.laws.items(), _LAW_STYLES, strict=False):
        ax.plot(curve.batch_size, steps, color=colour, linestyle=dashes, linewidth=1.2, label=name)
    _draw_perfect_scaling(ax, curve)
    _draw_rows(ax, measured)
    low_x, high_x = curve.batch_size[0], curve.batch_size[-1]
    if critical_batch_size is not None and low_x <= critical_batch_size[0] <= high_x:
        estimate, low, high = critical_batch_size
        ax.axvline(estimate, color=GREEN, linewidth=1, label="critical batch size")
        ax.axvspan(max(low, low_x), min(high, high_x), color=GREEN, alpha=0.10, linewidth=0)
    batch_size_axis(ax, curve.batch_size)
    ax.set_xlim(low_x / 1.1, high_x * 1.1)
    ax.set_ylabel("steps to target (optimizer steps)")
    log_axis_in_numbers(ax, limits_around(measured.steps, curve.steps))
    if curve.laws:
        legend_below(ax)
    else:
        ax.legend(frameon=False, fontsize="small")


def legend_below(ax: Axes, *, columns: int = 2) -> None:
    """Put the legend under the axes, where no curve runs through it.

    Args:
        ax: with labelled artists.
        columns: of the legend.
    """
    ax.legend(
        frameon=False,
        fontsize="small",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=columns,
    )


def legend_above(ax: Axes, *, columns: int = 5) -> None:
    """Put the legend over the axes, to the right.

    Args:
        ax: with labelled artists.
        columns: of the legend.
    """
    ax.legend(
        frameon=False,
        fontsize="small",
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
        columnspacing=1.4,
        ncols=columns,
    )


def _draw_perfect_scaling(ax: Axes, curve: StepsCurve) -> None:
    """Draw S(B) = S(B_0) B_0 / B from the law's smallest batch size."""
    perfect = curve.steps[0] * curve.batch_size[0] / curve.batch_size
    ax.plot(
        curve.batch_size,
        perfect,
        color=GREY,
        linestyle=":",
        linewidth=1.2,
        label="perfect scaling: half the steps per doubling",
    )


def _draw_rows(ax: Axes, measured: MeasuredSteps) -> None:
    for held_out, colour, marker, name in (
        (False, "black", "o", "measured, fitted"),
        (True, VERMILION, "D", "measured, held out from the fit"),
    ):
        rows = measured.reached & (measured.held_out == held_out)
        if rows.any():
            ax.plot(
                measured.batch_size[rows],
                measured.steps[rows],
                linestyle="none",
                marker=marker,
                markersize=4.5,
                markerfacecolor=colour,
                markeredgecolor="white",
                markeredgewidth=0.5,
                label=name,
            )
    censored = ~measured.reached
    if censored.any():
        ax.plot(
            measured.batch_size[censored],
            measured.steps[censored],
            linestyle="none",
            marker="o",
            markerfacecolor="none",
            markeredgecolor="black",
            label="not reached by then (needs more)",
        )
        for batch_size, steps in zip(
            measured.batch_size[censored], measured.steps[censored], strict=True
        ):
            ax.annotate(
                "",
                xy=(batch_size, steps * 1.35),
                xytext=(batch_size, steps),
                arrowprops={"arrowstyle": "->", "color": "black"},
            )


def draw_saving_per_doubling(
    ax: Axes,
    curve: StepsCurve,
    *,
    largest_measured: float,
    thresholds: Sequence[tuple[float, str]],
) -> None:
    """Draw S(B) / S(2B): what doubling the batch divides the steps by.

    Args:
        ax: to draw on.
        curve: here `steps` and its interval are the savings at each batch size.
        largest_measured: a line is drawn there; right of half of it the saving is extrapolated.
        thresholds: value and name of each stated limit, drawn as horizontal lines.
    """
    ax.fill_between(
        curve.batch_size, curve.steps_low, curve.steps_high, color=BLUE, alpha=0.18, linewidth=0
    )
    ax.plot(curve.batch_size, curve.steps, color=BLUE, label="by the law")
    ax.axhline(2.0, color=GREY, linestyle=":", linewidth=1.2, label="perfect scaling")
    for (value, name), colour in zip(thresholds, (ORANGE, VERMILION, GREEN), strict=False):
        ax.axhline(value, color=colour, linewidth=1, linestyle="--", label=name)
    ax.axvline(largest_measured, color="black", linewidth=0.8, label="largest batch in the fit")
    batch_size_axis(ax, curve.batch_size)
    ax.set_xlim(curve.batch_size[0] / 1.1, curve.batch_size[-1] * 1.1)
    ax.set_ylim(0.95, max(2.1, float(np.nanmax(curve.steps_high)) * 1.02))
    ax.set_ylabel("steps at B / steps at 2B")
    legend_above(ax)
