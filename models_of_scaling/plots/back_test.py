"""A back-test as a picture: each forecaster's errors, coverage and width by distance.

Functions take axes and finished numbers, draw, and return nothing; `back_test_picture` makes the
file's bytes. A forecaster is a row and is named at its left, so that no reader matches eight
colours; the three distances differ by colour (Okabe & Ito 2008) and by marker.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from models_of_scaling.backtest.cases import DESIGNS, FACTORS
from models_of_scaling.backtest.forecasters import AVERAGED, TODAYS_PRACTICE
from models_of_scaling.backtest.scores import Outcome, Score, scores
from models_of_scaling.interval_scores import Estimated
from models_of_scaling.plots.steps_to_target import BLUE, GREY, ORANGE, VERMILION
from models_of_scaling.plots.targets import picture_of
from models_of_scaling.published.series import SERIES_PARTS
from models_of_scaling.wording import law_title

_STYLES: Final = dict(zip(FACTORS, ((ORANGE, "o"), (VERMILION, "s"), (BLUE, "D")), strict=True))
_NAMES: Final = {AVERAGED: "averaged laws", TODAYS_PRACTICE: "today's practice"}
_PARTS: Final = {
    "workload": "one series of each workload",
    "resnet50_cut": "ResNet-50 again, series that share runs",
    "own_table": "the table",
}
_DESIGNS: Final = {
    "rolling": "fitted below, predicted beyond",
    "largest": "the largest batch size, predicted from small ones",
    "one_more": "8x beyond, where a few runs at about 4x are known too",
}
# Errors and widths stand on log axes between these; what lies beyond is drawn at the edge.
_ERRORS: Final = (0.005, 2.0)
_WIDTHS: Final = (1.0, 20.0)


def draw_errors(ax: Axes, chosen: Sequence[Score], outcomes: Sequence[Outcome]) -> None:
    """Draw each forecaster's median absolute relative error, with every case's as a faint dot.

    Args:
        ax: to draw on.
        chosen: scores of one part and design.
        outcomes: of the same.
    """
    for outcome in outcomes:
        if outcome.error is not None:
            height = _height(chosen, outcome.forecaster, outcome.case.factor)
            at = min(max(abs(outcome.error), _ERRORS[0]), _ERRORS[1])
            ax.plot([at], [height], marker=".", markersize=3, color=GREY, alpha=0.45)
    for score in chosen:
        _draw_estimated(ax, score, chosen, score.median_error, _ERRORS)
    ax.set_xscale("log")
    ax.set_xlim(_ERRORS[0] / 1.1, _ERRORS[1] * 1.1)
    ax.set_xticks([0.01, 0.03, 0.1, 0.3, 1.0], labels=["1 %", "3 %", "10 %", "30 %", "100 %"])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("error of the estimate\n(marker: median over cases)")
    _rows(ax, chosen)


def draw_coverage(ax: Axes, chosen: Sequence[Score], *, level: float) -> None:
    """Draw the share of each forecaster's intervals that held what was measured.

    Args:
        ax: to draw on.
        chosen: scores of one part and design; a forecaster without intervals stays empty.
        level: that the intervals claim, drawn as a line.
    """
    ax.axvline(level, color="black", linewidth=1, linestyle="--", label=f"claimed: {level:.0%}")
    for score in chosen:
        if score.coverage is not None:
            _draw_estimated(ax, score, chosen, score.coverage, (0.0, 1.0))
    ax.set_xlim(-0.03, 1.05)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1.0], labels=["0 %", "25 %", "50 %", "75 %", "100 %"])
    ax.set_xlabel(f"coverage of {level:.0%} intervals\n(dashed: as claimed)")
    _name_those_without(ax, chosen)
    _rows(ax, chosen)


def draw_widths(ax: Axes, chosen: Sequence[Score]) -> None:
    """Draw the median width of each forecaster's intervals, high over low.

    Args:
        ax: to draw on.
        chosen: scores of one part and design; a forecaster without intervals stays empty.
    """
    for score in chosen:
        if score.median_width is not None:
            colour, marker = _STYLES[score.factor]
            at = min(score.median_width, _WIDTHS[1])
            height = _height(chosen, score.forecaster, score.factor)
            ax.plot([at], [height], marker=marker, markersize=5.5, color=colour)
            if score.median_width > _WIDTHS[1]:
                ax.plot([at * 1.12], [height], marker=">", markersize=4, color=colour)
    ax.set_xscale("log")
    ax.set_xlim(_WIDTHS[0] / 1.06, _WIDTHS[1] * 1.25)
    ax.set_xticks([1, 1.5, 2, 3, 5, 10, 20])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    ax.set_xlabel("width of the intervals\n(high over low, median)")
    _name_those_without(ax, chosen)
    _rows(ax, chosen)


def _forecasters(chosen: Sequence[Score]) -> list[str]:
    """Return the forecasters from top to bottom: the two to compare first, then the laws."""
    names = list(dict.fromkeys(score.forecaster for score in chosen))
    first = [name for name in (AVERAGED, TODAYS_PRACTICE) if name in names]
    return first + [name for name in names if name not in first]


def _height(chosen: Sequence[Score], forecaster: str, factor: int) -> float:
    """Return where a forecaster's distance is drawn: rows from the top, nearest distance first."""
    row = _forecasters(chosen).index(forecaster)
    return row + 0.24 * (FACTORS.index(factor) - 1)


def _draw_estimated(
    ax: Axes,
    score: Score,
    chosen: Sequence[Score],
    value: Estimated,
    limits: tuple[float, float],
) -> None:
    """Draw a summary with its interval, cut at the axis."""
    colour, marker = _STYLES[score.factor]
    height = _height(chosen, score.forecaster, score.factor)
    low, middle, high = np.clip([value.low, value.value, value.high], *limits)
    ax.plot([low, high], [height, height], color=colour, linewidth=1.3, alpha=0.8)
    ax.plot(
        [middle], [height], marker=marker, markersize=5.5, color=colour, linestyle="none",
        label=f"{score.factor}x",
    )  # fmt: skip


def _name_those_without(ax: Axes, chosen: Sequence[Score]) -> None:
    """Say in its row that a forecaster gives no interval, so that empty is not taken for lost."""
    for row, name in enumerate(_forecasters(chosen)):
        if all(score.coverage is None for score in chosen if score.forecaster == name):
            ax.annotate(
                "gives no interval", (0.5, row), xycoords=("axes fraction", "data"),
                ha="center", va="center", fontsize="small", color=GREY,
            )  # fmt: skip


def _rows(ax: Axes, chosen: Sequence[Score]) -> None:
    names = _forecasters(chosen)
    ax.set_yticks(range(len(names)), labels=[_NAMES.get(name, law_title(name)) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    for edge in range(len(names) - 1):
        ax.axhline(edge + 0.5, color=GREY, linewidth=0.4, alpha=0.5)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize="small")


def draw_back_test(
    figure: Figure, all_scores: Sequence[Score], outcomes: Sequence[Outcome], *, level: float
) -> None:
    """Draw one row of panels for each part of the series and each design that has scores.

    Args:
        figure: empty; its height is set to what is drawn.
        all_scores: of `scores.scores`, at least one.
        outcomes: that they summarise.
        level: of the intervals.
    """
    blocks = [
        (f"{_PARTS[part]}: {_DESIGNS[design]}", chosen, rows)
        for part in SERIES_PARTS
        for design in DESIGNS
        if (chosen := [each for each in all_scores if (each.part, each.design) == (part, design)])
        and (rows := [each for each in outcomes if (each.part, each.case.design) == (part, design)])
    ]
    heights = [0.36 * len(_forecasters(chosen)) + 1.1 for _, chosen, _ in blocks]
    figure.set_size_inches(10.0, sum(heights) + 0.4)
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)
    for part, (title, chosen, rows) in zip(parts[:, 0], blocks, strict=True):
        part.suptitle(title[0].upper() + title[1:], fontsize="medium", x=0.01, ha="left")
        errors, coverage, widths = part.subplots(1, 3, sharey=True)
        draw_errors(errors, chosen, rows)
        draw_coverage(coverage, chosen, level=level)
        draw_widths(widths, chosen)
        _name_distances(widths, sorted({score.factor for score in chosen}))


def _name_distances(ax: Axes, factors: Sequence[int]) -> None:
    """Put the distances' markers over the panel at the right."""
    for factor in factors:
        colour, marker = _STYLES[factor]
        ax.plot([], [], linestyle="none", marker=marker, color=colour, label=f"{factor}x away")
    ax.legend(
        frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1, columnspacing=1.0, handletextpad=0.2, ncols=len(factors),
    )  # fmt: skip


def back_test_picture(outcomes: Sequence[Outcome], *, level: float, picture_format: str) -> bytes:
    """Return the picture of a back-test.

    Args:
        outcomes: of `back_test`; at least one with a measured value.
        level: of the intervals.
        picture_format: "svg", "pdf" or "png".
    """
    figure = Figure(layout="constrained")
    draw_back_test(figure, scores(outcomes), outcomes, level=level)
    return picture_of(figure, picture_format)
