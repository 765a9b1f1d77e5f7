"""The winners' learning rates against the batch size, and the power by which they grow."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.plots.steps_to_target import GREY
from paper.figures.style import (
    COLUMN,
    batch_axis,
    interval_bar,
    new_figure,
    optimizer_style,
)
from paper.numbers.rates import effective_rates, parts_of
from paper.numbers.study import Study
from paper.numbers.sweep_records import Sweep, short_title


def draw_rates(ax: Axes, sweeps: list[Sweep]) -> None:
    """Draw each sweep's winning rates over that of its smallest batch size.

    Args:
        ax: to draw on.
        sweeps: with trials.
    """
    everywhere = []
    for sweep in sweeps:
        sizes, rates = effective_rates(sweep)
        if not len(sizes):
            continue
        color, marker = optimizer_style(sweep.file.optimizer)
        knee = sweep.fit.critical_batch_size.estimate
        relative, below = sizes / knee, sizes <= knee
        at_knee = np.exp(np.interp(0.0, np.log(relative), np.log(rates)))
        ax.plot(relative[below], (rates / at_knee)[below], marker, color=color, markersize=2.6)
        ax.plot(relative[~below], (rates / at_knee)[~below], marker, color=color, markersize=2.6,
                markerfacecolor="none", markeredgewidth=0.6)  # fmt: skip
        everywhere.append(relative)
    ends = np.concatenate(everywhere) if everywhere else np.array([0.25, 4.0])
    grid = np.array([ends.min(), 1.0])
    for power, dashes, name in ((1.0, "-", "linear"), (0.5, "--", "square root")):
        ax.plot(grid, grid**power, dashes, color="black", linewidth=0.8, label=name, zorder=0)
    batch_axis(ax, ends, most=5)
    ax.xaxis.set_major_formatter(lambda value, _: f"1/{1 / value:.0f}" if value < 1 else
                                 f"{value:.0f}")  # fmt: skip
    ax.set_yscale("log", base=2)
    ax.set_xlabel("batch size / critical one")
    ax.set_ylabel("tuned rate / rate there")
    ax.legend(loc="lower right", handlelength=1.6)


def draw_powers(ax: Axes, sweeps: list[Sweep]) -> None:
    """Draw the power below the critical batch size, with the rules as lines.

    Args:
        ax: to draw on.
        sweeps: with trials.
    """
    found = [(each, parts_of(each)["below"]) for each in sweeps]
    known = [(sweep, power) for sweep, power in found if power is not None]
    ends = [1.0, *(value for _, p in known for value in (p.low, p.high))]
    ax.set_xlim(min(-0.1, *ends) - 0.05, max(1.3, min(2.0, *[max(ends)])) + 0.05)
    for power, dashes in ((1.0, "-"), (0.5, "--"), (0.0, ":")):
        ax.axvline(power, color="black" if power else GREY, linestyle=dashes, linewidth=0.8)
    optimizers = list(dict.fromkeys(sweep.file.optimizer for sweep, _ in known))
    workloads = list(dict.fromkeys(sweep.file.workload for sweep, _ in known))
    for sweep, each in known:
        color, marker = optimizer_style(sweep.file.optimizer)
        shift = 0.24 * (workloads.index(sweep.file.workload) - (len(workloads) - 1) / 2)
        place = optimizers.index(sweep.file.optimizer) + shift
        interval_bar(ax, place, (each.low, each.estimate, each.high), color=color, marker=marker)
    ax.set_yticks(range(len(optimizers)), [short_title(name) for name in optimizers])
    ax.set_ylim(len(optimizers) - 0.4, -0.6)
    ax.set_xticks([0.0, 0.5, 1.0], ["0", "1/2", "1"])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("power of batch size")


def draw(study: Study) -> Figure:
    """Return the figure.

    Args:
        study: the records.
    """
    sweeps = [each for each in study.sweeps if each.file.has_trials]
    figure = new_figure(COLUMN, 2.0)
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 0.9))
    draw_rates(left, sweeps)
    draw_powers(right, sweeps)
    return figure
