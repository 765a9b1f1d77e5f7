"""The distance from the start: how steeply it grows along a run, and all settings' exponents."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.diffusion.study import StudiedSetting
from models_of_scaling.plots.steps_to_target import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION
from paper.figures.style import COLUMN, batch_axis, new_figure, numbers_on
from paper.numbers.study import Study
from paper.numbers.walks import local_exponents, slowest_momentum


def draw_local(ax: Axes, settings: list[StudiedSetting]) -> None:
    """Draw how steeply the distance grows, with what log t and a power of t would have.

    Args:
        ax: to draw on.
        settings: that differ in their batch size.
    """
    for studied, color in zip(settings, (BLUE, SKY, GREEN, ORANGE), strict=False):
        at, slope = local_exponents(studied)
        ax.plot(at, slope, color=color, label=f"batch {studied.setting.batch_size:,}")
        fits = {name: each.fit for name, each in studied.comparison.competitors.items()}
        edges = np.log(at[[0, -1]])
        power = np.diff(fits["power"].log_distance(edges)) / np.diff(edges)
        ax.plot(at[[0, -1]], [float(power[0])] * 2, ":", color=color, linewidth=0.9)
        step = 0.01
        log_t = [
            float(np.diff(fits["log"].log_distance(np.log(each) + np.array([-step, step])))[0])
            / (2 * step)
            for each in at
        ]
        ax.plot(at, log_t, "--", color=color, linewidth=0.9)
    ax.set_xscale("log", base=2)
    numbers_on(ax, "x", [64.0, 256.0, 1024.0])
    ax.set_xlabel("optimizer steps t")
    ax.set_ylabel("local exponent")
    ax.plot([], [], ":", color=GREY, linewidth=0.9, label="a power of t")
    ax.plot([], [], "--", color=GREY, linewidth=0.9, label="log t")
    ax.set_ylim(0.05, 0.75)
    ax.legend(loc="upper right", handlelength=1.6, labelspacing=0.25)


def draw_exponents(ax: Axes, settings: tuple[StudiedSetting, ...]) -> None:
    """Draw every setting's exponent against its batch size.

    Args:
        ax: to draw on.
        settings: all.
    """
    styles = [(BLUE, "o"), (SKY, "s"), (GREEN, "^"), (VERMILION, "D")]
    kinds = list(dict.fromkeys((s.setting.optimizer, s.setting.learning_rate) for s in settings))
    kinds.sort(key=lambda kind: (kind[0] == "adam", kind))
    for number, (optimizer, rate) in enumerate(kinds):
        color, marker = styles[number % len(styles)]
        shift = 1.07 ** (number - (len(kinds) - 1) / 2)
        label: str | None = f"{optimizer}, {rate:g}"
        for each in settings:
            if (each.setting.optimizer, each.setting.learning_rate) != (optimizer, rate):
                continue
            at = each.setting.batch_size * shift
            ax.plot([at, at], [each.exponent.low, each.exponent.high], color=color)
            ax.plot([at], [each.exponent.estimate], marker, color=color, label=label)
            label = None
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=0.9)
    ax.text(0.98, 0.505, "free random walk", transform=ax.get_yaxis_transform(), ha="right",
            va="bottom", color=GREY, fontsize=6)  # fmt: skip
    batch_axis(ax, np.array([float(s.setting.batch_size) for s in settings]))
    ax.set_ylim(0.2, 0.55)
    ax.set_ylabel("exponent of t")
    ax.legend(loc="center right", handletextpad=0.2, bbox_to_anchor=(1.03, 0.75), labelspacing=0.25)


def draw(study: Study) -> Figure:
    """Return the figure.

    Args:
        study: the records.
    """
    settings = study.walks.settings
    figure = new_figure(COLUMN, 2.0)
    left, right = figure.subplots(1, 2)
    draw_local(left, slowest_momentum(settings))
    draw_exponents(right, settings)
    return figure
