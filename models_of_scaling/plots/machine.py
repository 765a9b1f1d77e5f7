"""Time to target on machines: against cost, against nodes, against batch size.

Each function takes an axes and finished options, draws, and returns nothing; `machine_picture`
makes the file's bytes. Colours are those of Okabe & Ito 2008. Every estimate is beside its
interval, and what lies beyond the fitted rows is open.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from models_of_scaling.machine.time_to_target import Objective, Option
from models_of_scaling.machine.words import nodes_in_words, time_in_words
from models_of_scaling.plots.steps_to_target import (
    BATCH_SIZE_LABEL,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
)
from models_of_scaling.plots.targets import picture_of

TIME_LABEL, COST_LABEL, NODES_LABEL = "time to target", "device hours to target", "nodes"
_MARKERS: dict[Objective, tuple[str, str]] = {
    "fastest": ("^", VERMILION),
    "cheapest": ("v", GREEN),
    "balanced": ("D", ORANGE),
}
_MAX_LABELS = 8


def draw_time_against_cost(
    ax: Axes, options: Sequence[Option], chosen: Mapping[Objective, Option]
) -> None:
    """Draw every option's time against its device hours, the Pareto front as a line.

    Args:
        ax: to draw on.
        options: at least one, Pareto options marked.
        chosen: the best by each objective.
    """
    rest = [each for each in options if not each.is_pareto]
    front = sorted((each for each in options if each.is_pareto), key=lambda each: each.device_hours)
    ax.plot(
        [each.device_hours for each in rest],
        [each.time_s.estimate for each in rest],
        linestyle="none", marker="o", markersize=3, color=GREY, alpha=0.6,
        label="another is faster and cheaper",
    )  # fmt: skip
    low, middle, high = (_times(front, end) for end in ("low", "estimate", "high"))
    cost = [each.device_hours for each in front]
    ax.fill_between(
        cost, low, high, color=BLUE, alpha=0.18, linewidth=0,
        label=f"{options[0].time_s.level:.0%} interval of the time",
    )  # fmt: skip
    ax.plot(cost, middle, color=BLUE, marker="o", markersize=4.5, label="Pareto front")
    for objective, option in chosen.items():
        marker, colour = _MARKERS[objective]
        ax.plot(
            [option.device_hours], [option.time_s.estimate],
            linestyle="none", marker=marker, markersize=9, markerfacecolor="none",
            markeredgecolor=colour, markeredgewidth=1.8, label=objective,
        )  # fmt: skip
    every = max(1, -(-len(front) // _MAX_LABELS))
    for each in front[::every]:
        ax.annotate(
            nodes_in_words(each.placement.nodes),
            (each.device_hours, each.time_s.estimate),
            xytext=(6, 5), textcoords="offset points", fontsize="x-small",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlabel(COST_LABEL)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    _time_axis(ax)
    ax.legend(framealpha=0.85, edgecolor="none", fontsize="small")


def draw_time_against_nodes(
    ax: Axes, options: Sequence[Option], *, useful_nodes: float | None = None
) -> None:
    """Draw the shortest time at each number of nodes, with its interval.

    Args:
        ax: to draw on.
        options: at least one.
        useful_nodes: the largest machine that still helps, drawn as a line; None for no line.
    """
    groups: dict[int, list[Option]] = {}
    for each in options:
        groups.setdefault(each.placement.nodes, []).append(each)
    best = [min(groups[nodes], key=lambda each: each.time_s.estimate) for nodes in sorted(groups)]
    nodes = np.array([float(each.placement.nodes) for each in best])
    low, middle, high = (_times(best, end) for end in ("low", "estimate", "high"))
    level = best[0].time_s.level
    ax.fill_between(
        nodes, low, high, color=BLUE, alpha=0.18, linewidth=0, label=f"{level:.0%} interval"
    )
    ax.plot(nodes, middle, color=BLUE, label="shortest time, best batch size")
    beyond = np.array([bool(each.notes) or each.extrapolation > 1 for each in best])
    for mask, face, words in (
        (~beyond, BLUE, "within the fitted rows"),
        (beyond, "white", "extrapolated"),
    ):
        if mask.any():
            ax.plot(
                nodes[mask], np.array(middle)[mask], linestyle="none", marker="o",
                markerfacecolor=face, markeredgecolor=BLUE, label=words,
            )  # fmt: skip
    ax.plot(
        nodes, middle[0] * nodes[0] / nodes, color=GREY, linestyle=":", linewidth=1.2,
        label="perfect scaling: half the time per doubling",
    )  # fmt: skip
    if useful_nodes is not None:
        ax.axvline(useful_nodes, color=GREEN, linewidth=1, label="largest that still helps")
    ax.set_xlabel(NODES_LABEL)
    _doublings(ax, nodes)
    _time_axis(ax)
    ax.legend(framealpha=0.85, edgecolor="none", fontsize="small")


def draw_time_against_batch_size(ax: Axes, options: Sequence[Option]) -> None:
    """Draw the time against batch size, one line with its interval per number of nodes.

    Args:
        ax: to draw on.
        options: at least one; of more than four numbers of nodes four are drawn, evenly spread.
    """
    numbers = sorted({each.placement.nodes for each in options})
    places = np.unique(np.linspace(0, len(numbers) - 1, min(4, len(numbers))).round().astype(int))
    styles = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (VERMILION, "D"))
    for place, (colour, marker) in zip(places, styles, strict=False):
        group = [each for each in options if each.placement.nodes == numbers[place]]
        sizes = [each.placement.batch_size for each in group]
        low, middle, high = (_times(group, end) for end in ("low", "estimate", "high"))
        ax.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(
            sizes, middle, color=colour, marker=marker, markersize=4,
            label=nodes_in_words(numbers[place]),
        )  # fmt: skip
    ax.set_xlabel(BATCH_SIZE_LABEL)
    _doublings(ax, np.array([float(each.placement.batch_size) for each in options]))
    _time_axis(ax)
    ax.legend(framealpha=0.85, edgecolor="none", fontsize="small")


def _times(options: Sequence[Option], end: str) -> list[float]:
    return [float(getattr(each.time_s, end)) for each in options]


def _doublings(ax: Axes, values: np.ndarray) -> None:
    """Make the axis across one of doublings, with at most eight labels."""
    ax.set_xscale("log", base=2)
    first, last = np.floor(np.log2([values.min(), values.max()])).astype(int)
    every = max(1, -(-(last - first + 1) // _MAX_LABELS))
    ax.set_xticks([2.0**power for power in range(first, last + 1, every)])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlim(values.min() / 1.2, values.max() * 1.2)


def _time_axis(ax: Axes) -> None:
    """Label the axis upwards in round seconds, minutes and hours."""
    ax.set_yscale("log")
    ax.set_ylabel(TIME_LABEL)
    axis: Axis = ax.yaxis
    seconds = [
        unit * count
        for unit, counts in (
            (1e-3, (1, 3, 10, 30, 100, 300)),
            (1.0, (1, 2, 5, 10, 20, 30, 60)),
            (60.0, (2, 5, 10, 20, 30, 60)),
            (3600.0, (2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)),
        )
        for count in counts
    ]
    axis.set_major_locator(FixedLocator(seconds))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: time_in_words(value)))


def machine_picture(
    options: Sequence[Option],
    chosen: Mapping[Objective, Option],
    *,
    useful_nodes: float | None,
    picture_format: str,
) -> bytes:
    """Return the three drawings side by side.

    Args:
        options: at least one.
        chosen: the best by each objective.
        useful_nodes: the largest machine that still helps, or None.
        picture_format: "svg", "pdf" or "png".
    """
    figure = Figure(figsize=(15.0, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    draw_time_against_cost(left, options, chosen)
    draw_time_against_nodes(middle, options, useful_nodes=useful_nodes)
    draw_time_against_batch_size(right, options)
    return picture_of(figure, picture_format)
