"""Back-tests: the error of predictions beside today's practice's, and how often intervals held."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.plots.steps_to_target import BLUE, GREEN, GREY, ORANGE
from paper.figures.style import COLUMN, new_figure
from paper.numbers.back_test import FACTORS, TITLES, find, quoted_score, read_scores
from paper.numbers.quoted import LEVEL
from paper.numbers.study import Study

_FORECASTERS = {
    "averaged": ("average", BLUE, "o"),
    "with_evidence": ("average, knee known", GREEN, "D"),
    "todays_practice": ("today's practice", ORANGE, "s"),
}
_SHORT = {
    ("published", "workload"): "MLPerf workloads",
    ("published", "resnet50_cut"): "ResNet-50 cuts",
    ("digits", "own_table"): "digits ladder",
    ("noisy_quadratic", "own_table"): "quadratic ladder",
    ("sweeps", "own_table"): "our first sweeps",
}


def draw_scores(ax: Axes, scores: list[dict[str, str]], name: str) -> None:
    """Draw one score of all tables and factors, a row each.

    Args:
        ax: to draw on.
        scores: the recorded ones.
        name: of the score.
    """
    place = 0.0
    ticks, labels = [], []
    for table, part in TITLES:
        for factor in FACTORS:
            where = {"table": table, "part": part, "design": "rolling", "factor": factor}
            for number, (forecaster, (_, color, marker)) in enumerate(_FORECASTERS.items()):
                row = find(scores, **where, forecaster=forecaster)
                if row is None or not row[name]:
                    continue
                said = quoted_score(row, name)
                at = place + 0.24 * (number - 1)
                scale = 100.0 if name == "median_error" else 1.0
                ax.plot([scale * said.low, scale * said.high], [at, at], color=color)
                ax.plot([scale * said.estimate], [at], marker, color=color, markersize=3)
            ticks.append(place)
            labels.append(f"{_SHORT[table, part]}, {factor}x")
            place += 1.0
        place += 0.4
    ax.set_yticks(ticks, labels)
    ax.set_ylim(place - 0.8, -0.7)
    ax.tick_params(axis="y", length=0)


def draw(study: Study) -> Figure:
    """Return the figure.

    Args:
        study: the records.
    """
    scores = read_scores(study.results)
    figure = new_figure(COLUMN, 3.7)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.3, 1))
    draw_scores(left, scores, "median_error")
    left.set_xlim(0, 80)
    left.set_xlabel("median error, %")
    draw_scores(right, scores, "coverage")
    right.axvline(LEVEL, color=GREY, linewidth=0.8, linestyle="--")
    right.set_xlim(0.4, 1.02)
    right.set_xlabel(f"share of {100 * LEVEL:.0f} % intervals\nthat held")
    for title, color, marker in _FORECASTERS.values():
        left.plot([], [], marker=marker, color=color, label=title)
    handles, names = left.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=3, columnspacing=1.0, handlelength=1.4
    )
    return figure
