"""B_crit against target: each target's interval and the law over them.

The function takes an axes and finished numbers, draws, and returns nothing; `targets_picture`
makes the file's bytes. Colours are those of Okabe & Ito 2008. The axis of losses runs from easy
(left) to hard (right), as training does.
"""

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from models_of_scaling.over_targets.target_curve import TargetLaw, TargetPoint
from models_of_scaling.plots.steps_to_target import BATCH_SIZE_LABEL, BLUE, GREY, VERMILION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_of_scaling.over_targets.target_study import TargetStudy

_LABELS = {
    "train_loss": "training loss of the target",
    "validation_loss": "validation loss of the target",
    "validation_accuracy": "error (1 - accuracy) of the target",
}


def draw_critical_batch_size_against_target(
    ax: Axes,
    points: "Sequence[TargetPoint]",
    law: TargetLaw | None,
    *,
    largest_batch_size: float,
    level: float = 0.9,
) -> None:
    """Draw B_crit against the loss of the target.

    Args:
        ax: to draw on.
        points: at least one; those with an open end are open markers with an arrow at the bound.
        law: over the targets; dashed up to twice as hard a target, where it is extrapolated.
        largest_batch_size: that was measured, drawn as a line.
        level: of the intervals.
    """
    if law is not None:
        _draw_law(ax, law, level)
    _draw_points(ax, points, level)
    ax.axhline(
        largest_batch_size,
        color=GREY,
        linestyle=":",
        linewidth=1.2,
        label="largest batch size measured",
    )
    ax.set_xscale("log")
    ax.set_yscale("log", base=2)
    losses = [point.loss for point in points]
    hardest = min(losses) / (2.2 if law is not None else 1.2)
    ax.set_xlim(max(losses) * 1.2, hardest)  # reversed: training runs to the right
    ax.set_xlabel(f"{_LABELS[points[0].target.metric]} (easy to hard)")
    ax.set_ylabel(f"critical {BATCH_SIZE_LABEL}")
    ax.set_xticks(sorted(losses)[:: max(1, math.ceil(len(losses) / 6))])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.legend(frameon=False, fontsize="small")


def _draw_law(ax: Axes, law: TargetLaw, level: float) -> None:
    easy, hard = max(law.losses), min(law.losses)
    for start, end, style, name in (
        (easy, hard, "-", "B_* / L^(1/alpha), fitted"),
        (hard, hard / 2, "--", "extrapolated"),
    ):
        losses = np.geomspace(start, end, 40)
        intervals = [law.critical_batch_size(float(loss), level=level) for loss in losses]
        ax.plot(
            losses,
            [interval.estimate for interval in intervals],
            color=BLUE,
            linestyle=style,
            label=name,
        )
        ax.fill_between(
            losses,
            [interval.low for interval in intervals],
            [interval.high for interval in intervals],
            color=BLUE,
            alpha=0.15,
            linewidth=0,
            label=f"{level:.0%} interval of the law" if style == "-" else None,
        )


def _draw_points(ax: Axes, points: "Sequence[TargetPoint]", level: float) -> None:
    bounded = [point for point in points if point.is_used]
    if bounded:
        intervals = [point.critical_batch_size for point in bounded]
        ax.errorbar(
            [point.loss for point in bounded],
            [interval.estimate for interval in intervals],
            yerr=[
                [interval.estimate - interval.low for interval in intervals],
                [interval.high - interval.estimate for interval in intervals],
            ],
            linestyle="none",
            marker="o",
            markersize=4.5,
            color="black",
            capsize=2,
            linewidth=1,
            label=f"one target, {level:.0%} interval",
        )
    for number, point in enumerate(point for point in points if not point.is_used):
        interval = point.critical_batch_size
        upward = interval.low > 0
        bound = interval.low if upward else interval.high
        if not 0 < bound < math.inf:
            continue  # not known at all: nothing to place
        ax.plot(
            point.loss,
            bound,
            linestyle="none",
            marker="o",
            markerfacecolor="none",
            markeredgecolor=VERMILION,
            label="only a bound is known" if number == 0 else None,
        )
        ax.annotate(
            "",
            xy=(point.loss, bound * (1.35 if upward else 0.74)),
            xytext=(point.loss, bound),
            arrowprops={"arrowstyle": "->", "color": VERMILION},
        )


def picture_of(figure: Figure, picture_format: str) -> bytes:
    """Return a figure as a file's bytes, the same for the same figure.

    Args:
        figure: drawn.
        picture_format: "svg", "pdf" or "png".
    """
    stream = io.BytesIO()
    date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(picture_format)
    with rc_context({"svg.hashsalt": "batch-size-limit"}):  # else names inside are random
        figure.savefig(stream, format=picture_format, metadata=date, dpi=150)
    return stream.getvalue()


def targets_picture(study: "TargetStudy", *, picture_format: str) -> bytes:
    """Return the picture of a study.

    Args:
        study: with at least one target.
        picture_format: "svg", "pdf" or "png".
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    draw_critical_batch_size_against_target(
        figure.add_subplot(),
        study.points,
        study.law,
        largest_batch_size=study.largest_batch_size,
        level=study.level,
    )
    return picture_of(figure, picture_format)
