"""The whole set in one batch: the best of so many tries in the published logs, and our own runs."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from models_of_scaling.best_of_runs import expected_best
from models_of_scaling.plots.ablation import draw_ablation
from paper.figures.style import COLUMN, new_figure, optimizer_style
from paper.numbers.full_batch import (
    EQUAL_TRIES,
    PUBLISHED,
    ablations,
    best_of,
    effect_of,
    own_rows,
    published_accuracies,
)
from paper.numbers.study import Study
from paper.numbers.sweep_records import short_title


def draw_published(ax: Axes) -> None:
    """Draw the expected best of k published runs against k, with what each log ended at.

    Args:
        ax: to draw on.
    """
    for folder, optimizer in PUBLISHED.items():
        values, (color, marker) = published_accuracies(folder), optimizer_style(optimizer)
        tries = np.unique(np.geomspace(1, len(values), 60).astype(int))
        ax.plot(tries, 100 * expected_best(values, tries.tolist()), color=color,
                label=short_title(optimizer))  # fmt: skip
        equal = best_of(values, EQUAL_TRIES)
        ax.plot([EQUAL_TRIES] * 2, [100 * equal.low, 100 * equal.high], color=color, linewidth=2.5,
                alpha=0.5)  # fmt: skip
        ax.plot([len(values)], [100 * values.max()], marker, color=color)
    ax.set_xscale("log")
    ax.set_ylim(80, 100)
    ax.set_xticks([1, 10, 100], ["1", "10", "100"])
    ax.set_xlabel("runs tried")
    ax.set_ylabel("best test accuracy, %")
    ax.set_title("published logs")
    ax.legend(loc="lower right")


def draw_own(ax: Axes, rows: list[dict[str, object]]) -> None:
    """Draw our runs: each optimizer's fresh seeds, with the mean and its interval.

    Args:
        ax: to draw on.
        rows: of `own_rows`, with the seeds' values.
    """
    for place, row in enumerate(rows):
        color, marker = optimizer_style(str(row["name"]))
        searches = row["values"]
        assert isinstance(searches, tuple)
        values = 100 * np.concatenate([np.array(each) for each in searches])
        ax.plot(values, [place] * len(values), "|", color=color, markersize=5, alpha=0.6)
        said = row["accuracy"]
        assert isinstance(said, dict)
        ax.plot([100 * said["low"], 100 * said["high"]], [place] * 2, color=color)
        ax.plot([100 * said["value"]], [place], marker, color=color)
    ax.set_yticks(range(len(rows)), [short_title(str(row["name"])) for row in rows])
    ax.invert_yaxis()
    ax.set_xlabel("held-out accuracy, %")
    ax.set_title("ours, equally tuned")


def draw(study: Study) -> Figure:
    """Return the figure; panels of ours where there are records.

    Args:
        study: the records.
    """
    own, recipes = own_rows(study.results), ablations(study.results)
    figure = new_figure(COLUMN, 1.9 + 2.1 * bool(recipes))
    # Parts of their own: the long labels of one must not squeeze the other.
    upper: FigureBase = figure
    lower: FigureBase = figure
    if recipes:
        parts = np.asarray(figure.subfigures(2, 1, height_ratios=(1.9, 2.1)))
        upper, lower = parts.tolist()
    if own:
        left, right = upper.subplots(1, 2, width_ratios=(1.15, 1))
        draw_published(left)
        left.get_legend().remove()  # the other panel names the colours
        draw_own(right, own)
    else:
        draw_published(upper.add_subplot())
    if recipes:
        table = recipes[-1]  # others stand in tables
        steps = [
            (row["label"], float("nan") if row["mean"] is None else row["mean"],
             effect_of(row["gain"])) for row in table["rows"]
        ]  # fmt: skip
        draw_ablation(lower.add_subplot(), steps, scale=table["scale"])
    return figure
