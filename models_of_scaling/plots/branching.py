"""Critical batch size over training: by branching, beside the noise scale and steps to target.

The function takes an axes and finished numbers, draws, and returns nothing; `branching_picture`
makes the file's bytes.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from models_of_scaling.branch_table import CheckpointRow
from models_of_scaling.branching import BranchAnswer
from models_of_scaling.intervals import Interval
from models_of_scaling.plots.steps_to_target import (
    BATCH_SIZE_LABEL,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    legend_above,
)
from models_of_scaling.wording import number_in_words

_LONG = 100_000
_FARTHEST = 8.0  # an end farther from everything known is an arrow


def draw_critical_batch_sizes(
    ax: Axes, rows: Sequence[CheckpointRow], steps_to_target: Interval, *, largest_branch: int
) -> None:
    """Draw each checkpoint's critical batch size and noise scale against the examples processed.

    Args:
        ax: to draw on.
        rows: at least one.
        steps_to_target: the critical batch size of the law over steps to target, a band.
        largest_branch: batch size that branches went to, a line.
    """
    series = [
        (0.97, [row.critical for row in rows], ("o", BLUE, "by branching")),
        (1.03, [row.noise_scale for row in rows], ("s", ORANGE, "gradient noise scale")),
    ]
    curved = [each for row in rows if (each := row.curvature_noise_scale) is not None]
    if curved:
        series.append((1.0, curved, ("D", GREEN, "noise scale with curvature")))
    known = [
        value
        for _, answers, _ in series
        for each in answers
        for value in (each.estimate, each.low)
        if 0 < value < math.inf
    ]
    known += [v for v in (steps_to_target.low, steps_to_target.estimate) if 0 < v < math.inf]
    bottom, top = min([*known, largest_branch]) / 2, max([*known, largest_branch]) * _FARTHEST
    if 0 < steps_to_target.estimate < math.inf:
        ax.axhspan(
            max(steps_to_target.low, bottom), min(steps_to_target.high, top),
            color=GREY, alpha=0.18, linewidth=0,
        )  # fmt: skip
        ax.axhline(steps_to_target.estimate, color=GREY, label="by steps to target")
    ax.axhline(largest_branch, color=GREY, linestyle=":", label="largest branch")
    for shift, answers, style in series:
        places = np.array([row.examples * shift for row in rows])
        _draw_answers(ax, places, answers, (bottom, top), style)
    ax.set_xscale("log")
    ax.set_yscale("log", base=2)
    ax.set_ylim(bottom, top)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number_in_words(value)))
    # Long numbers would run into each other.
    unit, words = (1e3, " (thousands)") if rows[-1].examples >= _LONG else (1.0, "")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number_in_words(value / unit)))
    ax.set_xticks([row.examples for row in rows])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(f"examples processed at the checkpoint{words}")
    ax.set_ylabel(BATCH_SIZE_LABEL)
    legend_above(ax, columns=3 if curved else 5)


def _draw_answers(
    ax: Axes,
    places: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    answers: Sequence[BranchAnswer],
    limits: tuple[float, float],
    style: tuple[str, str, str],
) -> None:
    """Draw points with bars; an answer that is a bound only is an open marker at it."""
    marker, color, name = style
    bottom, top = limits
    label: str | None = name
    for place, answer in zip(places, answers, strict=True):
        low, high = max(answer.low, bottom), min(answer.high, top)
        ax.plot([place, place], [low, high], color=color, linewidth=1.4)
        known = 0 < answer.estimate < math.inf
        at = answer.estimate if known else (low if answer.low > 0 else high)
        ax.plot(
            [place], [at], marker, color=color, label=label,
            markerfacecolor=color if known else "white", linestyle="none",
        )  # fmt: skip
        label = None
        if answer.high > top:
            ax.plot([place], [top * 0.93], "^", color=color, markersize=5)


def branching_picture(
    rows: Sequence[CheckpointRow],
    steps_to_target: Interval,
    *,
    largest_branch: int,
    title: str,
    file_format: str = "svg",
) -> bytes:
    """Return the picture as a file's bytes.

    Args:
        rows: one a checkpoint.
        steps_to_target: as in `draw_critical_batch_sizes`.
        largest_branch: likewise.
        title: of the picture.
        file_format: svg, pdf or png.
    """
    with rc_context({"svg.hashsalt": "branching"}):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        ax = figure.add_subplot()
        draw_critical_batch_sizes(ax, rows, steps_to_target, largest_branch=largest_branch)
        figure.suptitle(title, fontsize=10)
        stream = io.BytesIO()
        metadata = {"Date": None} if file_format == "svg" else {}
        figure.savefig(stream, format=file_format, metadata=metadata)
    return stream.getvalue()
