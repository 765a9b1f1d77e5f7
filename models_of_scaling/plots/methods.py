"""Steps to target against batch size, one curve for each of several methods.

The function takes an axes and finished numbers, draws, and returns nothing; `methods_picture` makes
the file's bytes. Colours are those of Okabe & Ito 2008, and every curve has dashes of its own.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from models_of_scaling.plots.steps_to_target import (
    BATCH_SIZE_LABEL,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
)
from models_of_scaling.plots.targets import picture_of

_STYLES = (
    ("black", "-"), (GREY, ":"), (GREEN, "--"), (SKY, (0, (6, 1, 1, 1))),
    (BLUE, "-"), (VERMILION, (0, (8, 3))), (ORANGE, "--"), (PURPLE, "-"),
)  # fmt: skip


def draw_methods(ax: Axes, batch_sizes: Sequence[int], curves: Mapping[str, Sequence[int]]) -> None:
    """Draw the steps to target of each method.

    Args:
        ax: to draw on.
        batch_sizes: examples per step, rising.
        curves: steps at each, by the method's name.
    """
    for number, (name, steps) in enumerate(curves.items()):
        color, dashes = _STYLES[number % len(_STYLES)]
        ax.plot(batch_sizes, steps, color=color, linestyle=dashes, linewidth=1.6, label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel(BATCH_SIZE_LABEL)
    ax.set_ylabel("fewest steps to target")
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.legend(frameon=False, fontsize="small")


def methods_picture(
    batch_sizes: Sequence[int], curves: Mapping[str, Sequence[int]], *, picture_format: str
) -> bytes:
    """Return the picture's file.

    Args:
        batch_sizes: of `draw_methods`.
        curves: of `draw_methods`.
        picture_format: "svg", "pdf" or "png".
    """
    figure = Figure(figsize=(7.0, 4.8), layout="constrained")
    draw_methods(figure.add_subplot(), batch_sizes, curves)
    return picture_of(figure, picture_format)
