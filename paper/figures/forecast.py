"""The forecast for ResNet-50 on ImageNet: from all reference points, and from the small ones."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.plots.steps_to_target import BLUE, ORANGE, VERMILION
from models_of_scaling.published.loader import steps_series
from paper.figures.style import COLUMN, batch_axis, new_figure, nice_ticks, numbers_on
from paper.numbers.forecast import EVIDENCE, STEPS, Row, forecast_rows, largest_fitted
from paper.numbers.study import Study


def draw_forecast(ax: Axes, rows: list[Row], *, color: str, marker: str, label: str) -> None:
    """Draw a forecast's estimates with their intervals.

    Args:
        ax: to draw on.
        rows: of the record.
        color: of both.
        marker: of the estimates.
        label: for the legend.
    """
    shift = 0.96 if marker == "s" else 1.04
    sizes = np.array([float(row["batch_size"]) for row in rows]) * shift
    for size, row in zip(sizes, rows, strict=True):
        ax.plot([size] * 2, [float(row["low"]), float(row["high"])], color=color)
    estimates = [float(row["estimate"]) for row in rows]
    ax.plot(sizes, estimates, marker, color=color, label=label)


def draw(study: Study) -> Figure:
    """Return the figure.

    Args:
        study: the records.
    """
    (series,) = [each for each in steps_series() if each.name == "mlperf_reference"]
    measured = series.measurements
    sizes = np.unique(measured.batch_size)
    means = [
        float(np.exp(np.log(measured.steps[measured.batch_size == size]).mean())) for size in sizes
    ]
    figure = new_figure(COLUMN, 2.1)
    ax = figure.add_subplot()
    ax.plot(sizes, means, "o", color="black", markersize=3, label="measured (reference points)")
    small, whole = (forecast_rows(study.results, STEPS, name) for name in ("small", "all"))
    draw_forecast(
        ax, small, color=ORANGE, marker="s",
        label=f"from those up to {largest_fitted(small[0]):,.0f}",
    )  # fmt: skip
    draw_forecast(ax, whole, color=BLUE, marker="D", label=f"from {EVIDENCE['all']}")
    ax.axvline(largest_fitted(whole[0]), color=VERMILION, linewidth=0.6, linestyle=":")
    ends = np.array([sizes.min(), max(float(row["batch_size"]) for row in whole)])
    batch_axis(ax, ends, most=7)
    ax.set_yscale("log")
    low = 0.8 * min(float(row["low"]) for row in [*small, *whole])
    numbers_on(ax, "y", nice_ticks(low, 1.2 * max(means), most=6))
    ax.set_ylim(low, 1.2 * max(means))
    ax.set_ylabel("steps to top-1 accuracy 75.9 %")
    ax.legend(loc="upper right")
    return figure
