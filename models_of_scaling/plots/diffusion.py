"""Distance from the start against steps, with the competing laws: one panel a setting.

`draw_diffusion` takes an axes and finished numbers, draws, and returns nothing; `diffusion_picture`
makes the file's bytes. Colours are those of Okabe & Ito 2008.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.diffusion.words import setting_in_words
from models_of_scaling.plots.steps_to_target import BLUE, GREY, VERMILION
from models_of_scaling.plots.targets import picture_of

if TYPE_CHECKING:
    from models_of_scaling.diffusion.study import DiffusionStudy, StudiedSetting

_COLOURS = {
    "log": VERMILION,
    "power": BLUE,
    "log_power": "#CC79A7",
    "saturating": "#009E73",
    "regime_switching": "#E69F00",
}
_TITLES = {
    "log": "log t",
    "power": "t^nu",
    "log_power": "(log t)^(2/alpha)",
    "saturating": "saturating",
    "regime_switching": "regimes",
}


def draw_diffusion(ax: Axes, studied: "StudiedSetting") -> None:
    """Draw one setting's walks and every law; the chosen one is the thick line.

    Args:
        ax: to draw on.
        studied: a setting.
    """
    for place, walk in enumerate(studied.walks):
        ax.plot(
            walk.steps, walk.distance, ".", color="black", markersize=3,
            label="measured" if place == 0 else None,
        )  # fmt: skip
    steps = np.geomspace(studied.walks[0].steps[0], studied.walks[0].steps[-1], 200)
    comparison = studied.comparison
    for name in sorted(comparison.competitors, key=comparison.behind):
        chosen = name == comparison.chosen
        ax.plot(
            steps,
            np.exp(comparison.competitors[name].fit.log_distance(np.log(steps))),
            color=_COLOURS[name],
            linewidth=2.0 if chosen else 0.9,
            linestyle="-" if chosen else "--",
            label=f"{_TITLES[name]}, AICc {comparison.behind(name):+.0f}",
        )
    for drop in studied.setting.drops:
        ax.axvline(drop, color=GREY, linestyle=":", linewidth=1.0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("optimizer steps")
    ax.set_ylabel("distance from the start, ||w_t - w_0||")
    ax.set_title(setting_in_words(studied.setting), fontsize="small")
    ax.legend(frameon=False, fontsize="x-small")


def diffusion_picture(study: "DiffusionStudy", *, picture_format: str) -> bytes:
    """Return the picture of all settings as a file's bytes.

    Args:
        study: of at least one setting.
        picture_format: svg, pdf or png.
    """
    count = len(study.settings)
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(4.6 * columns, 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, studied in zip(axes, study.settings, strict=False):
        draw_diffusion(ax, studied)
    for ax in axes[count:]:
        ax.set_axis_off()
    return picture_of(figure, picture_format)
