"""What each learning rate cost at each batch size: the search's landscape as a heat map.

The function takes an axes and finished numbers, draws, and returns nothing.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from models_of_scaling.plots.steps_to_target import BATCH_SIZE_LABEL, VERMILION, Floats


@dataclass(frozen=True, kw_only=True)
class SearchPoints:
    """The trials of a search; every field has shape (N,).

    Attributes:
        batch_size: examples per step.
        learning_rate: the effective one, learning rate / (1 - momentum).
        steps: steps to target; inf where it was not reached.
    """

    batch_size: Floats
    learning_rate: Floats
    steps: Floats


def draw_learning_rates(ax: Axes, points: SearchPoints, *, num_bins: int = 14) -> None:
    """Draw a heat map of what each learning rate cost at each batch size.

    A cell's colour is the fewest steps found in it over the fewest at that batch size; cells where
    no trial reached the target are grey, cells without a trial white. The best trial of each batch
    size is ringed, and two lines show linear and square-root scaling from the middle batch size.

    Args:
        ax: to draw on.
        points: the trials; at least one must have reached the target.
        num_bins: learning-rate bins, equal on a log scale.
    """
    sizes = np.unique(points.batch_size)
    edges = np.geomspace(
        points.learning_rate.min() * 0.999, points.learning_rate.max() * 1.001, num_bins + 1
    )
    column = np.searchsorted(sizes, points.batch_size)
    row = np.clip(np.searchsorted(edges, points.learning_rate) - 1, 0, num_bins - 1)
    fewest = np.full((num_bins, len(sizes)), np.inf)
    np.minimum.at(fewest, (row, column), points.steps)
    tried = np.zeros_like(fewest, dtype=bool)
    tried[row, column] = True
    best = fewest.min(axis=0)
    with np.errstate(invalid="ignore"):  # no trial reached: inf / inf is painted grey below
        ratio = np.where(np.isfinite(fewest), fewest / best, np.nan)
    x_edges = np.arange(len(sizes) + 1) - 0.5
    ax.pcolormesh(
        x_edges,
        edges,
        np.ma.masked_where(~(tried & ~np.isfinite(ratio)), np.ones_like(ratio)),
        cmap="Greys",
        vmin=0,
        vmax=4,
    )
    norm = LogNorm(vmin=1, vmax=16, clip=True)
    ax.pcolormesh(x_edges, edges, np.ma.masked_invalid(ratio), cmap="viridis_r", norm=norm)
    colour_bar = ax.figure.colorbar(
        ScalarMappable(norm=norm, cmap="viridis_r"),
        ax=ax,
        label="steps / fewest at this batch size",
    )
    colour_bar.set_ticks([1, 2, 4, 8, 16], labels=["1", "2", "4", "8", "16 or more"])
    _draw_best_learning_rates(ax, points, sizes)
    ax.set_yscale("log")
    ax.set_ylim(edges[0], edges[-1])
    every = max(1, int(np.ceil(len(sizes) / 8)))
    ax.set_xticks(
        np.arange(len(sizes))[::every], labels=[f"{size:,.0f}" for size in sizes[::every]]
    )
    ax.set_xlabel(BATCH_SIZE_LABEL)
    ax.set_ylabel("learning rate / (1 - momentum)")


def _draw_best_learning_rates(ax: Axes, points: SearchPoints, sizes: Floats) -> None:
    at, best_rate = [], []
    for index, size in enumerate(sizes):
        rows = np.flatnonzero((points.batch_size == size) & np.isfinite(points.steps))
        if len(rows):
            at.append(index)
            best_rate.append(points.learning_rate[rows[np.argmin(points.steps[rows])]])
    if not at:
        return
    ax.plot(
        at, best_rate, linestyle="none", marker="o", markerfacecolor="none",
        markeredgecolor=VERMILION, markeredgewidth=1.6, label="best trial",
    )  # fmt: skip
    middle = at[len(at) // 2]
    anchor = best_rate[len(at) // 2]
    for power, style, name in ((1.0, "-", "linear"), (0.5, "--", "square root")):
        ax.plot(
            at,
            [anchor * (sizes[index] / sizes[middle]) ** power for index in at],
            color="black",
            linestyle=style,
            linewidth=1,
            label=f"{name} scaling",
        )
    ax.legend(frameon=True, framealpha=0.8, fontsize="small", loc="upper left")
