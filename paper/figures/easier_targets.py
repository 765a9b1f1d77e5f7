"""Critical batch size against the loss that is asked for, of every sweep whose trials are kept."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.over_targets.target_curve import loss_of
from paper.figures.style import COLUMN, PAGE, new_figure, nice_ticks, numbers_on, optimizer_style
from paper.numbers.quoted import LEVEL
from paper.numbers.study import Study
from paper.numbers.sweep_records import Sweep, short_title, workload_title


def draw_sweep(ax: Axes, sweep: Sweep, shift: float) -> list[float]:
    """Draw one sweep's critical batch sizes with intervals, and the law where there is one.

    Args:
        ax: to draw on.
        sweep: with its targets.
        shift: factor by which its losses are moved aside.

    Returns:
        The estimates that were drawn.
    """
    assert sweep.targets is not None
    color, marker = optimizer_style(sweep.file.optimizer)
    drawn = []
    for point in sweep.targets.points:
        if not point.is_used:
            continue
        loss, each = loss_of(point.target) * shift, point.critical_batch_size
        ax.plot([loss, loss], [each.low, each.high], color=color, linewidth=0.8, alpha=0.55)
        ax.plot([loss], [each.estimate], marker, color=color, markersize=2.8)
        drawn.append(each.estimate)
    law = sweep.targets.law
    if law is not None:
        losses = np.geomspace(law.losses[0], law.losses[-1], 20)
        middle = [law.critical_batch_size(float(loss), level=LEVEL).estimate for loss in losses]
        ax.plot(losses, middle, color=color, linewidth=0.9)
    ax.plot([], [], marker=marker, color=color, label=short_title(sweep.file.optimizer))
    return drawn


def draw(study: Study) -> Figure:
    """Return the figure: a panel a workload.

    Args:
        study: the records.
    """
    known = [
        each for each in study.sweeps if each.targets is not None and each.targets.law is not None
    ]
    workloads = list(dict.fromkeys(each.file.workload for each in known))
    figure = new_figure(COLUMN if len(workloads) < 2 else PAGE, 2.0)
    axes = figure.subplots(1, max(len(workloads), 1), squeeze=False)[0]
    labels: dict[str, Artist] = {}
    for ax, workload in zip(axes, workloads, strict=False):
        ours = [each for each in known if each.file.workload == workload]
        drawn: list[float] = []
        for number, sweep in enumerate(ours):
            drawn += draw_sweep(ax, sweep, 1.03 ** (number - (len(ours) - 1) / 2))
        losses = [loss_of(p.target) for s in ours if s.targets for p in s.targets.points]
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(max(losses) * 1.15, min(losses) / 1.15)
        numbers_on(ax, "x", nice_ticks(min(losses) / 1.1, max(losses) * 1.1, most=5))
        limits = min(drawn) / 2, max(drawn) * 2
        ax.set_ylim(*limits)
        numbers_on(ax, "y", nice_ticks(*limits, most=6))
        ax.set_xlabel("training loss asked for")
        ax.set_title(workload_title(workload))
        handles, names = ax.get_legend_handles_labels()
        labels |= dict(zip(names, handles, strict=True))
    axes[0].set_ylabel("critical batch size (examples)")
    figure.legend(
        list(labels.values()), list(labels), loc="outside lower center", ncols=max(len(labels), 1),
        columnspacing=1.0, handlelength=1.5,
    )  # fmt: skip
    return figure
