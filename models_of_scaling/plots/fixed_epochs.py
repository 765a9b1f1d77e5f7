"""Accuracy at fixed epochs against batch size: rows, laws, interval, and where it has fallen.

The function takes an axes and finished numbers, draws, and returns nothing;
`fixed_epochs_picture` makes the file's bytes. Colours are those of Okabe & Ito 2008.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from models_of_scaling.intervals import Interval
from models_of_scaling.plots.steps_to_target import (
    BATCH_SIZE_LABEL,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    Floats,
)
from models_of_scaling.plots.targets import picture_of

if TYPE_CHECKING:
    from models_of_scaling.fixed_epochs.averaged import FixedEpochsFit

_PURPLE = "#CC79A7"
_STYLES = ((GREEN, "--"), (ORANGE, "-."), (_PURPLE, ":"))


@dataclass(frozen=True, kw_only=True)
class AccuracyCurves:
    """Curves over M batch sizes, in percent.

    Attributes:
        batch_size: increasing, (M,).
        accuracy: averaged laws, (M,).
        low: of the interval for one run, (M,).
        high: of it, (M,).
        laws: each law's own curve by its name and weight, (M,).
    """

    batch_size: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    laws: Mapping[str, Floats]


def draw_accuracy(
    ax: Axes,
    rows: tuple[Floats, Floats],
    curves: AccuracyCurves,
    drops: Mapping[float, Interval],
    *,
    level: float = 0.9,
) -> None:
    """Draw accuracy against batch size.

    Args:
        ax: to draw on.
        rows: batch size and accuracy in percent of each row.
        curves: of the fit, over the range to be shown.
        drops: points lost to the batch size where they are; an open end runs off the picture.
        level: of the intervals.
    """
    sizes, accuracies = rows
    largest, left, right = float(sizes.max()), curves.batch_size[0], curves.batch_size[-1]
    ax.fill_between(
        curves.batch_size,
        curves.low,
        curves.high,
        color=BLUE,
        alpha=0.15,
        linewidth=0,
        label=f"{level:.0%} interval for one run",
    )
    for (name, curve), (colour, style) in zip(curves.laws.items(), _STYLES, strict=False):
        ax.plot(curves.batch_size, curve, color=colour, linestyle=style, linewidth=1, label=name)
    ax.plot(curves.batch_size, curves.accuracy, color=BLUE, linewidth=1.8, label="laws, averaged")
    ax.plot(
        sizes, accuracies, linestyle="none", marker="o", markersize=4.5, color="black",
        label="measured",
    )  # fmt: skip
    ax.axvline(largest, color=GREY, linestyle=":", linewidth=1.2, label="largest batch size fitted")
    _mark_drops(ax, drops, (left, right))
    ax.set_xscale("log", base=2)
    ax.set_xlabel(BATCH_SIZE_LABEL)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    first, last = int(np.ceil(np.log2(left) - 1e-9)), int(np.floor(np.log2(right) + 1e-9))
    every = max(1, int(np.ceil((last - first + 1) / 8)))
    ax.set_xticks([2.0**power for power in range(first, last + 1, every)])
    ax.set_xlim(left / 1.1, right * 1.1)
    # What the laws say far beyond the data would squeeze the rows into a line.
    top, bottom = float(accuracies.max()), float(accuracies.min())
    span = max(top - bottom, 0.5)
    ax.set_ylim(bottom - 1.2 * span, min(top + 0.3 * span, 100.2))
    ax.set_ylabel("accuracy (percent)")
    ax.legend(
        frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2
    )


def _mark_drops(ax: Axes, drops: Mapping[float, Interval], ends: tuple[float, float]) -> None:
    """Draw each drop as a bar over its interval, a tick at its estimate, at the picture's foot."""
    left, right = ends
    across = ax.get_xaxis_transform()  # batch size across, share of the picture's height up
    for number, (points, batch) in enumerate(drops.items()):
        height = 0.05 + 0.1 * number
        low, high = max(batch.low, left), min(batch.high, right)
        if low < high:
            ax.plot([low, high], [height] * 2, color=VERMILION, linewidth=2, transform=across)
        for at, marker in ((batch.estimate, "|"), (batch.high, ">")):
            outside = marker == ">"
            if (at > right) == outside and at >= left:
                ax.plot(
                    [min(at, right)], [height], marker=marker, markersize=5 if outside else 10,
                    color=VERMILION, transform=across,
                )  # fmt: skip
        ax.annotate(
            f"{points:g} point{'' if points == 1 else 's'} lost",
            (min(max(low, left), right), height),
            xycoords=across,
            xytext=(-4, 0),
            textcoords="offset points",
            color=VERMILION,
            fontsize="small",
            ha="right",
            va="center",
        )


def curves_of(fit: "FixedEpochsFit", *, level: float = 0.9, beyond: float = 2.0) -> AccuracyCurves:
    """Return the curves of a fit from its smallest batch size to so many times its largest.

    Args:
        fit: the average of all laws.
        level: of the interval.
        beyond: factor over the largest batch size fitted.
    """
    sizes = np.unique(
        np.geomspace(fit.smallest_batch_size, beyond * fit.largest_batch_size, 60).round()
    )
    # One seed for all: the interval's ends move smoothly from batch size to batch size.
    runs = [
        fit.forecast(int(size), np.random.default_rng(0), level=level).accuracy_of_run
        for size in sizes
    ]
    x = np.log(sizes / fit.largest_batch_size)
    return AccuracyCurves(
        batch_size=sizes,
        accuracy=100 * np.array([run.estimate for run in runs]),
        low=100 * np.array([run.low for run in runs]),
        high=100 * np.array([run.high for run in runs]),
        laws={
            f"{law.law.name.replace('_', ' ')} (weight {law.weight:.2f})": np.array([
                100 - np.median(law.errors(at)) for at in x
            ])
            for law in fit.laws
        },
    )


def fixed_epochs_picture(
    fit: "FixedEpochsFit", drops: Mapping[float, Interval], *, level: float, picture_format: str
) -> bytes:
    """Return the picture of a fit.

    Args:
        fit: the average of all laws.
        drops: points lost to batch size.
        level: of the intervals.
        picture_format: "svg", "pdf" or "png".
    """
    figure = Figure(figsize=(6.8, 5.2), layout="constrained")
    rows = (fit.rows.batch_size.astype(float), 100 * fit.rows.accuracy)
    draw_accuracy(figure.add_subplot(), rows, curves_of(fit, level=level), drops, level=level)
    return picture_of(figure, picture_format)
