"""The largest batch sizes, predicted from the others, over what was then measured."""

import math

from matplotlib.figure import Figure

from models_of_scaling.plots.steps_to_target import GREY
from paper.figures.style import (
    COLUMN,
    interval_bar,
    new_figure,
    nice_ticks,
    numbers_on,
    optimizer_style,
)
from paper.numbers.held_out import held_out_rows
from paper.numbers.study import Study
from paper.numbers.sweep_records import short_title, workload_title


def draw(study: Study) -> Figure:
    """Return the figure: a row a batch size that was held out.

    Args:
        study: the records.
    """
    cases = [(s, e) for s, e in held_out_rows(study.sweeps) if math.isfinite(e.measured or 0.0)]
    figure = new_figure(COLUMN, 0.7 + 0.125 * len(cases))
    ax = figure.add_subplot()
    ratios = [
        tuple(end / (each.measured or 1.0) for end in (e.low, e.estimate, e.high))
        for each, e in ((each, each.steps) for _, each in cases)
    ]
    low = min(0.4, *(r[0] for r in ratios)) / 1.05
    high = max(2.5, *(r[2] for r in ratios)) * 1.05
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.axvline(1.0, color=GREY, linewidth=0.8)
    labels, workload = [], ""
    for place, ((sweep, each), ends) in enumerate(zip(cases, ratios, strict=True)):
        color, marker = optimizer_style(sweep.file.optimizer)
        interval_bar(ax, place, (ends[0], ends[1], ends[2]), color=color, marker=marker)
        labels.append(
            f"{workload_title(sweep.file.workload)}, {short_title(sweep.file.optimizer)}, "
            f"{each.batch_size:,}"
        )
        if workload and sweep.file.workload != workload:
            ax.axhline(place - 0.5, color="0.85", linewidth=0.5)
        workload = sweep.file.workload
    ax.set_yticks(range(len(cases)), labels)
    ax.set_ylim(len(cases) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    numbers_on(ax, "x", nice_ticks(low, high, most=6))
    ax.set_xlabel("predicted / measured steps")
    return figure
