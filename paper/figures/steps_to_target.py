"""Steps to target against batch size: a panel a workload, every optimizer with its law."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.plots.steps_to_target import GREY
from models_of_scaling.prediction import estimated_steps, predictive_interval
from paper.figures.style import (
    PAGE,
    batch_axis,
    new_figure,
    nice_ticks,
    numbers_on,
    optimizer_style,
)
from paper.numbers.quoted import LEVEL
from paper.numbers.study import Study
from paper.numbers.sweep_records import Sweep, short_title, workload_title

_POINTS = 48


def draw_sweep(ax: Axes, sweep: Sweep) -> None:
    """Draw one optimizer's runs, its law and what a new study would measure.

    Args:
        ax: to draw on.
        sweep: with its fit.
    """
    color, marker = optimizer_style(sweep.file.optimizer)
    grid = np.geomspace(sweep.fit.smallest_batch_size, sweep.fit.largest_batch_size, _POINTS)
    bands = [predictive_interval(sweep.fit, size, level=LEVEL) for size in grid]
    ax.fill_between(
        grid, [b.low for b in bands], [b.high for b in bands], color=color, alpha=0.13, linewidth=0
    )
    ax.plot(grid, [estimated_steps(sweep.fit, size) for size in grid], color=color)
    reached = np.isfinite(sweep.steps)
    ax.plot(
        sweep.batch_sizes[reached], sweep.steps[reached], marker, color=color, linestyle="none",
        markeredgecolor="white", markeredgewidth=0.4,
    )  # fmt: skip
    for size in sweep.batch_sizes[~reached]:
        done = sweep.measured.steps[sweep.measured.batch_size == size].max()
        ax.plot([size], [done], marker, color=color, markerfacecolor="none", clip_on=False)
        ax.annotate(
            "", xy=(size, done * 1.8), xytext=(size, done),
            arrowprops={"arrowstyle": "->", "color": color, "lw": 0.7},
        )  # fmt: skip
    ax.plot([], [], marker=marker, color=color, label=short_title(sweep.file.optimizer))


def draw_workload(ax: Axes, sweeps: list[Sweep], *, ticks: int = 4) -> None:
    """Draw all optimizers of one workload.

    Args:
        ax: to draw on.
        sweeps: of that workload.
        ticks: on the axis of batch sizes, at most.
    """
    for sweep in sweeps:
        draw_sweep(ax, sweep)
    sizes = np.concatenate([sweep.batch_sizes for sweep in sweeps])
    base = sweeps[0]
    first = estimated_steps(base.fit, base.fit.smallest_batch_size)
    ends = np.array([sizes.min(), sizes.max()])
    ax.plot(
        ends, first * base.fit.smallest_batch_size / ends, ":", color=GREY, linewidth=0.9,
        label="perfect scaling", zorder=0,
    )  # fmt: skip
    steps = np.concatenate([sweep.measured.steps for sweep in sweeps])
    low, high = steps.min() / 2.2, max(steps.max() * 3, 1.0)
    batch_axis(ax, sizes, most=ticks)
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    numbers_on(ax, "y", nice_ticks(low, high, most=7))
    words = base.fit.target.replace("train_loss<=", "training loss ") or "training loss 0.5"
    title = workload_title(base.file.workload)
    ax.set_title(f"{title}\nto {words}")


def draw(study: Study) -> Figure:
    """Return the figure.

    Args:
        study: the records.
    """
    workloads = list(dict.fromkeys(each.file.workload for each in study.sweeps))
    figure = new_figure(PAGE, 2.75)
    axes = figure.subplots(1, len(workloads), squeeze=False)[0]
    for ax, workload in zip(axes, workloads, strict=True):
        of_it = [each for each in study.sweeps if each.file.workload == workload]
        draw_workload(ax, of_it, ticks=4 if len(workloads) < 5 else 3)
    axes[0].set_ylabel("steps to target (optimizer steps)")
    labels: dict[str, Artist] = {}
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        labels |= dict(zip(names, handles, strict=True))
    perfect = labels.pop("perfect scaling")
    labels["perfect scaling"] = perfect
    figure.legend(
        list(labels.values()), list(labels), loc="outside lower center", ncols=len(labels),
        columnspacing=1.4, handlelength=1.8,
    )  # fmt: skip
    return figure
