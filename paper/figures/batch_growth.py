"""A growing batch beside the decaying rate that it stands for: accuracy against steps."""

import numpy as np
from matplotlib.figure import Figure

from models_of_scaling.plots.steps_to_target import BLUE, GREEN, ORANGE
from paper.figures.style import COLUMN, new_figure
from paper.numbers.growth import ARMS, growth_runs
from paper.numbers.quoted import mean_of
from paper.numbers.study import Study


def draw(study: Study) -> Figure:
    """Return the figure: each seed a stroke, each arm its mean with an interval.

    Args:
        study: the records.
    """
    runs = growth_runs(study.results)
    figure = new_figure(COLUMN, 1.35)
    ax = figure.add_subplot()
    labels = []
    for place, ((arm, title), color, marker) in enumerate(
        zip(ARMS.items(), (ORANGE, BLUE, GREEN), "osD", strict=True)
    ):
        values = [100 * each["validation_accuracy"] for each in runs[arm].values()]
        steps = np.median([each["steps"] for each in runs[arm].values()])
        mean = mean_of(values)
        ax.plot(values, [place] * len(values), "|", color=color, markersize=6, alpha=0.6)
        ax.plot([mean.low, mean.high], [place] * 2, color=color, linewidth=2)
        ax.plot([mean.estimate], [place], marker, color=color, markersize=4.5)
        labels.append(f"{title},\n{steps:,.0f} steps")
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("validation accuracy, %")
    return figure
