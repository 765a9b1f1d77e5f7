"""The one look of all figures: sizes of the page's columns, type, colours; a file without a date.

Colours are those of Okabe & Ito 2008; an optimizer has its colour and marker everywhere, so that
curves are told apart in grey too. Text is drawn as paths: the page needs no font of this machine.
"""

import io
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from models_of_scaling.plots.steps_to_target import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.wording import number_in_words

COLUMN: Final = 3.35  # inches, of one of the page's two columns
PAGE: Final = 6.95
OPTIMIZER_STYLES: Final = {
    "momentum": (BLUE, "o"), "lars": (ORANGE, "s"), "lamb": (VERMILION, "D"),
    "adam": (GREEN, "^"), "kfac": (PURPLE, "v"),
}  # fmt: skip
_OTHERS: Final = ((SKY, "P"), (GREY, "X"), ("black", "*"))
_LOOK: Final[Any] = {
    "font.family": "DejaVu Sans", "font.size": 7.0, "axes.titlesize": 7.5, "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 6.5, "axes.linewidth": 0.6,
    "lines.linewidth": 1.1, "lines.markersize": 3.2, "axes.spines.top": False,
    "axes.spines.right": False, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "legend.frameon": False,
    "svg.hashsalt": "paper", "svg.fonttype": "path", "figure.constrained_layout.use": True,
}  # fmt: skip


def optimizer_style(name: str) -> tuple[str, str]:
    """Return an optimizer's colour and marker."""
    if name in OPTIMIZER_STYLES:
        return OPTIMIZER_STYLES[name]
    return _OTHERS[sum(map(ord, name)) % len(_OTHERS)]


@contextmanager
def look() -> Generator[None]:
    """Draw within: every figure of the paper looks alike."""
    with rc_context(_LOOK):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches."""
    return Figure(figsize=(width, height))


def svg_of(figure: Figure) -> bytes:
    """Return the figure's file, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def batch_axis(ax: Axes, sizes: Floats, *, most: int = 6) -> None:
    """Make x a log2 axis of batch sizes in examples, with few labels, for a narrow panel.

    Args:
        ax: whose x axis it is.
        sizes: the range to show.
        most: labels.
    """
    ax.set_xscale("log", base=2)
    low, high = np.log2(sizes.min()), np.log2(sizes.max())
    every = max(1, int(np.ceil((high - low + 1) / most)))
    powers = np.arange(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1, every)
    ax.xaxis.set_major_locator(FixedLocator((2.0**powers).tolist()))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(sizes.min() / 1.3, sizes.max() * 1.3)
    ax.set_xlabel("batch size (examples)")


def numbers_on(ax: Axes, which: str, values: list[float]) -> None:
    """Put plain numbers on a log axis.

    Args:
        ax: whose axis it is.
        which: "x" or "y".
        values: of the ticks.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(values))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else number_in_words(value))
    )


def nice_ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Return ticks of a log axis within its limits: 1, 2, 5, or fewer of each decade.

    Args:
        low: lower limit, above 0.
        high: upper limit.
        most: at most so many, where decades alone allow it.
    """
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found: list[float] = []
    for within in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        found = [f * 10.0**d for d in decades for f in within if low <= f * 10.0**d <= high]
        if len(found) <= most:
            return found
    return found[:: int(np.ceil(len(found) / most))]


def interval_bar(
    ax: Axes, place: float, ends: tuple[float, float, float], *, color: str, marker: str
) -> None:
    """Draw an estimate with its interval, lying; an end that is open is an arrow at the border.

    Args:
        ax: with its limits set.
        place: on the y axis.
        ends: low, estimate and high.
        color: of both.
        marker: of the estimate.
    """
    low, estimate, high = ends
    left, right = ax.get_xlim()
    ax.plot(
        [max(low, left), min(high, right)], [place, place], color=color, linewidth=1.4,
        solid_capstyle="butt",
    )  # fmt: skip
    if high > right:
        ax.plot([right], [place], ">", color=color, markersize=4, clip_on=False)
    if low < left:
        ax.plot([left], [place], "<", color=color, markersize=4, clip_on=False)
    if left <= estimate <= right:
        ax.plot(
            [estimate], [place], marker, color=color, markersize=4.2, markeredgecolor="white",
            markeredgewidth=0.5,
        )  # fmt: skip
