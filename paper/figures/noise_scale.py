"""The noise scale and branching along a run, beside the critical batch size of steps to target."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from models_of_scaling.branching import BranchAnswer
from models_of_scaling.plots.steps_to_target import BLUE, GREY, ORANGE
from paper.figures.style import COLUMN, new_figure, numbers_on
from paper.numbers.noise import WORKLOADS, checkpoints, largest_branch, momentum_knee
from paper.numbers.study import Study
from paper.numbers.sweep_records import workload_title


def draw_workload(ax: Axes, study: Study, workload: str) -> None:
    """Draw one workload's checkpoints.

    Args:
        ax: to draw on.
        study: the records.
        workload: which.
    """
    rows, knee = checkpoints(study.results, workload), momentum_knee(study.sweeps, workload)
    limits = 16.0, 2.2 * largest_branch(study.results, workload)
    if knee is not None:
        ax.axhspan(max(knee.low, limits[0]), min(knee.high, limits[1]), color=GREY, alpha=0.2,
                   linewidth=0)  # fmt: skip
        ax.axhline(knee.estimate, color=GREY, linewidth=0.9, label="steps to target")
    ax.axhline(largest_branch(study.results, workload), color=GREY, linestyle=":", linewidth=0.9,
               label="largest branch")  # fmt: skip
    for name, color, marker, shift in (
        ("critical", BLUE, "o", 0.96), ("noise_scale", ORANGE, "s", 1.04),
    ):  # fmt: skip
        label: str | None = "branching" if name == "critical" else "noise scale"
        for row in rows:
            answer: BranchAnswer = getattr(row, name)
            at = row.examples * shift
            ax.plot([at, at], [max(answer.low, limits[0]), min(answer.high, limits[1])],
                    color=color)  # fmt: skip
            if 0 < answer.estimate < math.inf:
                ax.plot([at], [answer.estimate], marker, color=color, label=label)
                label = None
    ax.set_xscale("log")
    ax.set_yscale("log", base=2)
    ax.set_ylim(*limits)
    numbers_on(ax, "y", [2.0**p for p in range(4, 12) if limits[0] <= 2.0**p <= limits[1]])
    ax.set_xticks([row.examples for row in rows],
                  [f"{row.examples:,}" for row in rows])  # fmt: skip
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(rows[0].examples / 1.5, rows[-1].examples * 1.5)
    ax.set_xlabel("examples processed")
    ax.set_title(workload_title(workload))


def draw(study: Study) -> Figure:
    """Return the figure.

    Args:
        study: the records.
    """
    figure = new_figure(COLUMN, 2.1)
    axes = figure.subplots(1, len(WORKLOADS))
    for ax, workload in zip(axes, WORKLOADS, strict=True):
        draw_workload(ax, study, workload)
        ax.tick_params(axis="x", rotation=45)
    axes[0].set_ylabel("batch size (examples)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, columnspacing=1.0,
                  handlelength=1.4)  # fmt: skip
    return figure
