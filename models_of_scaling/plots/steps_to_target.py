"""The pictures: each function takes an axes and finished numbers, draws, and returns nothing.

Batch size stands on a log2 axis; a model's curve is always beside its data and its interval; runs
that never reached the target are open markers with an arrow up. Colours are those of Okabe & Ito
2008, which colour-blind readers tell apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, NullLocator

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
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
    """

    batch_size: Floats
    steps: Floats
    steps_low: Floats
    steps_high: Floats


@dataclass(frozen=True, kw_only=True)
class SearchPoints:
    """The trials of a search; every field has shape (N,).

    Attributes:
        batch_size: examples per step.
        learning_rate: the effective one, learning rate / (1 - momentum).
        steps: steps to target; inf where it was not reached.
    """

    batch_size: Floats
    learning_rate: Floats
    steps: Floats


def _batch_size_axis(ax: Axes, batch_sizes: Floats) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xlabel(BATCH_SIZE_LABEL)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    doublings = np.log2(batch_sizes.max() / batch_sizes.min())
    # At most eight labels, or they run into one another.
    every = max(1, int(np.ceil((doublings + 1) / 8)))
    first = int(np.ceil(np.log2(batch_sizes.min()) - 1e-9))
    last = int(np.floor(np.log2(batch_sizes.max()) + 1e-9))
    ax.set_xticks([2.0**power for power in range(first, last + 1, every)])


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
        curve: the law, over the range to be shown.
        largest_fitted: largest batch size the fit saw; beyond it the law is dashed.
        critical_batch_size: estimate, low and high, drawn as a band where it is inside the range.
        level: of the intervals.
    """
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
    ax.plot(curve.batch_size[inside], curve.steps[inside], color=BLUE, label="law, fitted")
    if beyond.sum() > 1:
        ax.plot(
            curve.batch_size[beyond],
            curve.steps[beyond],
            color=BLUE,
            linestyle="--",
            label="law, extrapolated",
        )
    _draw_perfect_scaling(ax, curve)
    _draw_rows(ax, measured)
    low_x, high_x = curve.batch_size[0], curve.batch_size[-1]
    if critical_batch_size is not None and low_x <= critical_batch_size[0] <= high_x:
        estimate, low, high = critical_batch_size
        ax.axvline(estimate, color=GREEN, linewidth=1, label="critical batch size")
        ax.axvspan(max(low, low_x), min(high, high_x), color=GREEN, alpha=0.10, linewidth=0)
    _batch_size_axis(ax, curve.batch_size)
    ax.set_xlim(low_x / 1.1, high_x * 1.1)
    ax.set_yscale("log")
    ax.set_ylabel("steps to target (optimizer steps)")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    seen = measured.steps
    ax.set_ylim(0.6 * min(seen.min(), curve.steps.min()), 1.6 * max(seen.max(), curve.steps.max()))
    ax.legend(frameon=False, fontsize="small")


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
    _batch_size_axis(ax, curve.batch_size)
    ax.set_xlim(curve.batch_size[0] / 1.1, curve.batch_size[-1] * 1.1)
    ax.set_ylim(0.95, max(2.1, float(np.nanmax(curve.steps_high)) * 1.02))
    ax.set_ylabel("steps at B / steps at 2B")
    ax.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize="small", loc="lower left")


def draw_learning_rates(ax: Axes, points: SearchPoints, *, num_bins: int = 14) -> None:
    """Draw a heat map of what each learning rate cost at each batch size.

    A cell's colour is the fewest steps found in it over the fewest at that batch size; cells where
    no trial reached the target are grey, cells without a trial white. The best trial of each batch
    size is ringed, and two lines show linear and square-root scaling from the middle batch size.

    Args:
        ax: to draw on.
        points: the trials; at least one must have reached the target.
        num_bins: learning-rate bins, equal on a log scale.
    """
    sizes = np.unique(points.batch_size)
    edges = np.geomspace(
        points.learning_rate.min() * 0.999, points.learning_rate.max() * 1.001, num_bins + 1
    )
    column = np.searchsorted(sizes, points.batch_size)
    row = np.clip(np.searchsorted(edges, points.learning_rate) - 1, 0, num_bins - 1)
    fewest = np.full((num_bins, len(sizes)), np.inf)
    np.minimum.at(fewest, (row, column), points.steps)
    tried = np.zeros_like(fewest, dtype=bool)
    tried[row, column] = True
    best = fewest.min(axis=0)
    with np.errstate(invalid="ignore"):  # no trial reached: inf / inf is painted grey below
        ratio = np.where(np.isfinite(fewest), fewest / best, np.nan)
    x_edges = np.arange(len(sizes) + 1) - 0.5
    ax.pcolormesh(
        x_edges,
        edges,
        np.ma.masked_where(~(tried & ~np.isfinite(ratio)), np.ones_like(ratio)),
        cmap="Greys",
        vmin=0,
        vmax=4,
    )
    norm = LogNorm(vmin=1, vmax=16, clip=True)
    ax.pcolormesh(x_edges, edges, np.ma.masked_invalid(ratio), cmap="viridis_r", norm=norm)
    colour_bar = ax.figure.colorbar(
        ScalarMappable(norm=norm, cmap="viridis_r"),
        ax=ax,
        label="steps / fewest at this batch size",
    )
    colour_bar.set_ticks([1, 2, 4, 8, 16], labels=["1", "2", "4", "8", "16 or more"])
    _draw_best_learning_rates(ax, points, sizes)
    ax.set_yscale("log")
    ax.set_ylim(edges[0], edges[-1])
    every = max(1, int(np.ceil(len(sizes) / 8)))
    ax.set_xticks(
        np.arange(len(sizes))[::every], labels=[f"{size:,.0f}" for size in sizes[::every]]
    )
    ax.set_xlabel(BATCH_SIZE_LABEL)
    ax.set_ylabel("learning rate / (1 - momentum)")


def _draw_best_learning_rates(ax: Axes, points: SearchPoints, sizes: Floats) -> None:
    at, best_rate = [], []
    for index, size in enumerate(sizes):
        rows = np.flatnonzero((points.batch_size == size) & np.isfinite(points.steps))
        if len(rows):
            at.append(index)
            best_rate.append(points.learning_rate[rows[np.argmin(points.steps[rows])]])
    if not at:
        return
    ax.plot(
        at, best_rate, linestyle="none", marker="o", markerfacecolor="none",
        markeredgecolor=VERMILION, markeredgewidth=1.6, label="best trial",
    )  # fmt: skip
    middle = at[len(at) // 2]
    anchor = best_rate[len(at) // 2]
    for power, style, name in ((1.0, "-", "linear"), (0.5, "--", "square root")):
        ax.plot(
            at,
            [anchor * (sizes[index] / sizes[middle]) ** power for index in at],
            color="black",
            linestyle=style,
            linewidth=1,
            label=f"{name} scaling",
        )
    ax.legend(frameon=True, framealpha=0.8, fontsize="small", loc="upper left")
