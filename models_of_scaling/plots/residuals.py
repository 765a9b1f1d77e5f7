"""How far each measured batch size lies from the averaged curve; what is badly tuned stands out.

The function takes an axes and finished numbers, draws, and returns nothing.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from models_of_scaling.plots.steps_to_target import GREY, VERMILION, batch_size_axis, legend_above
from models_of_scaling.residuals import OUTLIER, BatchSizeResidual


def draw_residuals(ax: Axes, residuals: Sequence[BatchSizeResidual]) -> None:
    """Draw each batch size's residual in units of the noise; outliers are named.

    Args:
        ax: to draw on.
        residuals: one per batch size, at least one. Where nothing reached the target the marker
            is open and an arrow says that the truth lies higher.
    """
    sizes = np.array([float(each.batch_size) for each in residuals])
    values = np.array([each.in_noise for each in residuals])
    reached = np.array([each.reached for each in residuals])
    told = values[reached | (values > 0)]  # a run stopped far below the curve tells nothing
    lowest = min(1.25 * float(told.min(initial=0.0)), -OUTLIER - 1.2)
    highest = max(1.25 * float(told.max(initial=0.0)), OUTLIER + 1.2)
    values = np.maximum(values, 0.95 * lowest)
    outlier = np.array([each.is_outlier for each in residuals])
    ax.axhspan(-1, 1, color=GREY, alpha=0.18, linewidth=0, label="one noise")
    ax.axhline(0.0, color="black", linewidth=0.8)
    for value in (-OUTLIER, OUTLIER):
        ax.axhline(
            value, color=VERMILION, linestyle="--", linewidth=1,
            label=f"{OUTLIER:g} times the noise" if value > 0 else None,
        )  # fmt: skip
    for chosen, face, edge, marker, name in (
        (reached & ~outlier, "black", "white", "o", "as the curve says"),
        (reached & outlier, VERMILION, "white", "X", "outlier"),
        (~reached, "none", "black", "o", "not reached: the truth is higher"),
    ):
        if chosen.any():
            ax.plot(
                sizes[chosen], values[chosen], linestyle="none", marker=marker,
                markersize=10 if marker == "X" else 6, markerfacecolor=face, markeredgecolor=edge,
                markeredgewidth=0.7, label=name,
            )  # fmt: skip
    for each, value in zip(residuals, values, strict=True):
        if not each.reached:
            ax.annotate(
                "",
                xy=(each.batch_size, value + 0.08 * (highest - lowest)),
                xytext=(each.batch_size, value),
                arrowprops={"arrowstyle": "->", "color": "black"},
            )
        if each.is_outlier:
            ax.annotate(
                f"{each.batch_size:,}: {100 * np.expm1(each.log_ratio):+.0f} % steps",
                (each.batch_size, each.in_noise),
                xytext=(9, 0) if each.batch_size < np.median(sizes) else (-9, 0),
                textcoords="offset points",
                ha="left" if each.batch_size < np.median(sizes) else "right",
                va="center",
                fontsize="small",
            )
    batch_size_axis(ax, sizes)
    ax.set_xlim(sizes.min() / 1.4, sizes.max() * 1.4)
    ax.set_ylim(lowest, highest)
    ax.set_ylabel("measured over curve,\nin units of noise")
    legend_above(ax)
