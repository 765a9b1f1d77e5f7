"""Critical batch size and fewest steps of every optimizer, with intervals, on one axis each."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.intervals import Interval
from models_of_scaling.limit import judge
from paper.figures.style import (
    COLUMN,
    interval_bar,
    new_figure,
    nice_ticks,
    numbers_on,
    optimizer_style,
)
from paper.numbers.study import Study
from paper.numbers.sweep_records import Sweep, short_title, workload_title


def places_of(sweeps: list[Sweep]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return where each sweep stands from the top, with a gap and a heading for each workload.

    Args:
        sweeps: in the order of the pages.

    Returns:
        Places of the sweeps; places of the headings with their words.
    """
    places: list[float] = []
    headings: list[tuple[float, str]] = []
    at, workload = 0.0, ""
    for sweep in sweeps:
        if sweep.file.workload != workload:
            workload = sweep.file.workload
            headings.append((at, workload_title(workload)))
            at += 1.0
        places.append(at)
        at += 1.0
    return places, headings


def draw_intervals(ax: Axes, sweeps: list[Sweep], found: list[Interval], title: str) -> None:
    """Draw one quantity of all sweeps.

    Args:
        ax: to draw on.
        sweeps: in the order of the pages.
        found: the quantity of each.
        title: of the panel, with its unit.
    """
    known = [v for each in found for v in (each.low, each.estimate, each.high)]
    known = [value for value in known if 0 < value < math.inf]
    low, high = min(known) / 1.3, max(known) * 1.3
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    places, _ = places_of(sweeps)
    for place, sweep, each in zip(places, sweeps, found, strict=True):
        color, marker = optimizer_style(sweep.file.optimizer)
        ends = each.low, each.estimate, each.high
        interval_bar(ax, place, ends, color=color, marker=marker)
    numbers_on(ax, "x", nice_ticks(low, high, most=3))
    ax.set_title(title)
    ax.grid(visible=True, axis="x", color="0.9", linewidth=0.5)
    ax.set_axisbelow(True)


def draw(study: Study) -> Figure:
    """Return the figure.

    Args:
        study: the records.
    """
    sweeps = study.sweeps
    places, headings = places_of(sweeps)
    figure = new_figure(COLUMN, 0.75 + 0.155 * (places[-1] + 1))
    left, right = figure.subplots(1, 2, sharey=True)
    verdicts = [judge(each.fit) for each in sweeps]
    critical = [each.critical_batch_size.batch_size for each in verdicts]
    draw_intervals(left, sweeps, critical, "critical batch size (examples)")
    draw_intervals(right, sweeps, [each.min_steps for each in verdicts], "fewest steps")
    left.set_ylim(places[-1] + 0.7, -0.6)
    left.set_yticks(
        [*places, *(at for at, _ in headings)],
        [*(short_title(each.file.optimizer) for each in sweeps), *(w for _, w in headings)],
    )
    for label, _ in zip(left.get_yticklabels()[len(places) :], headings, strict=True):
        label.set_fontweight("bold")
    for ax in (left, right):
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return figure
