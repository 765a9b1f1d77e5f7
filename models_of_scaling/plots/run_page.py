"""One page of one run: loss, noise scale, its walk with the laws, sharpness with its limit, index.

The `draw_` functions take an axes and finished numbers, draw, and return nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models_of_scaling.curvature.quadrature import Quadrature
from models_of_scaling.curvature.sharpness_table import (
    SharpnessCurve,
    read_quadratures,
    read_sharpness,
    spectrum_path,
)
from models_of_scaling.diffusion.study import study_diffusion
from models_of_scaling.diffusion.walk_table import WalkChoice, read_walks
from models_of_scaling.plots.diffusion import draw_diffusion
from models_of_scaling.plots.steps_to_target import BLUE, GREY, VERMILION
from models_of_scaling.plots.targets import picture_of
from models_of_scaling.run_metrics import NOISE_SCALE, RunMetrics, read_run_metrics

_COLUMNS = 3
_COLOURS = {"evaluation": BLUE, "training": VERMILION}


def draw_sharpness(ax: Axes, curves: Sequence[SharpnessCurve]) -> None:
    """Draw the largest eigenvalue and the edge of stability against steps.

    Args:
        ax: to draw on.
        curves: one a mode of batch norm.
    """
    for curve in curves:
        ax.plot(
            curve["steps"], curve["eigenvalue_1"], "o-", markersize=3,
            color=_COLOURS.get(curve.mode, BLUE), label=f"{curve.mode} mode",
        )  # fmt: skip
    limit = curves[0]["stability_limit"]
    ax.plot(curves[0]["steps"], limit, "--", color=GREY, label="edge of stability")
    _steps_axis(ax)
    ax.set_yscale("log")
    ax.set_ylabel("largest eigenvalue of the Hessian")
    ax.legend(frameon=False, fontsize="x-small")


def draw_loss(ax: Axes, curves: Sequence[SharpnessCurve]) -> None:
    """Draw the loss of the fixed examples against steps.

    Args:
        ax: to draw on.
        curves: one a mode.
    """
    for curve in curves:
        ax.plot(
            curve["steps"], curve["loss"], "o-", markersize=3,
            color=_COLOURS.get(curve.mode, BLUE), label=f"{curve.mode} mode",
        )  # fmt: skip
    _steps_axis(ax)
    ax.set_ylabel("training loss of the fixed examples")


def draw_index(ax: Axes, curves: Sequence[SharpnessCurve]) -> None:
    """Draw the loss against the share of negative eigenvalues, with its bounds.

    Args:
        ax: to draw on.
        curves: one a mode.
    """
    for curve in curves:
        share = curve["negative_share"]
        ends = np.abs(
            np.stack([share - curve["negative_share_low"], curve["negative_share_high"] - share])
        )
        ax.errorbar(
            share, curve["loss"], xerr=ends, fmt="o", markersize=3, linewidth=0.8,
            color=_COLOURS.get(curve.mode, BLUE),
        )  # fmt: skip
    largest = max(float(curve["negative_share"].max()) for curve in curves)
    ax.set_xlim(0, min(1.0, 3 * largest) or 1.0)  # a bound that says nothing leaves the picture
    ax.set_xlabel("index: share of negative eigenvalues, with bounds")
    ax.set_ylabel("training loss of the fixed examples")


def draw_density(ax: Axes, quadratures: Mapping[tuple[int, str], Quadrature]) -> None:
    """Draw the density of eigenvalues at the first and the last point, in evaluation mode.

    Args:
        ax: to draw on.
        quadratures: by step and mode.
    """
    steps = sorted({step for step, _ in quadratures})
    for step, colour in zip((steps[0], steps[-1]), (GREY, BLUE), strict=True):
        quadrature = quadratures.get((step, "evaluation"))
        if quadrature is None:
            continue
        low, high = float(quadrature.nodes.min()), float(quadrature.nodes.max())
        width = (high - low) / quadrature.nodes.shape[1]
        at = np.linspace(low - 3 * width, high + 3 * width, 400)
        ax.plot(at, quadrature.density(at, width=width / 2), color=colour, label=f"step {step:,}")
    ax.set_yscale("log")
    ax.set_ylim(bottom=1e-6)
    ax.set_xlabel("eigenvalue of the Hessian")
    ax.set_ylabel("density of eigenvalues")
    ax.legend(frameon=False, fontsize="x-small")


def draw_losses(ax: Axes, metrics: RunMetrics) -> None:
    """Draw the training and validation loss against steps.

    Args:
        ax: to draw on.
        metrics: of the run.
    """
    for name, colour in (("train_loss", BLUE), ("validation_loss", VERMILION)):
        if name in metrics:
            label = name.replace("_", " ")
            ax.plot(metrics["steps"], metrics[name], "o-", markersize=3, color=colour, label=label)
    _steps_axis(ax)
    ax.set_ylabel("loss")
    ax.legend(frameon=False, fontsize="x-small")


def draw_noise_scale(ax: Axes, metrics: RunMetrics) -> None:
    """Draw the gradient noise scale with its interval against steps.

    Hollow where it is not valid; an interval without an upper end goes to the top of the picture.

    Args:
        ax: to draw on.
        metrics: of the run, with a noise scale.
    """
    steps, middle = metrics["steps"], metrics[NOISE_SCALE]
    low, high = metrics[f"{NOISE_SCALE}_low"], metrics[f"{NOISE_SCALE}_high"]
    known = np.isfinite(middle)
    ends = np.concatenate([x[np.isfinite(x) & (x > 0)] for x in (low, middle, high)])
    if not ends.size:
        ax.text(0.5, 0.5, "no noise scale was seen", ha="center", transform=ax.transAxes)
        return
    top, bottom = 2 * ends.max(), ends.min() / 2
    ax.vlines(
        steps, np.where(low > 0, low, bottom), np.where(np.isfinite(high), high, top), color=BLUE
    )
    valid = metrics.columns.get(f"{NOISE_SCALE}_valid", np.ones(len(steps))) > 0
    for chosen, face in ((known & valid, BLUE), (known & ~valid, "white")):
        ax.plot(steps[chosen], middle[chosen], "o", markersize=4, color=BLUE, markerfacecolor=face)
    _steps_axis(ax)
    ax.set_yscale("log")
    ax.set_ylim(bottom, top)
    ax.set_ylabel("noise scale, examples (hollow: invalid)")


def _steps_axis(ax: Axes) -> None:
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xlabel("optimizer steps")


def run_figure(*, sharpness: Path | None, walk: Path | None, metrics: Path | None = None) -> Figure:
    """Return the panels of one run, of what was measured on it.

    Args:
        sharpness: file of the sharpness callback; the quadratures lie beside it.
        walk: file of the diffusion callback.
        metrics: its metrics.csv.
    """
    draws: list[Callable[[Axes], None]] = []
    if metrics is not None:
        seen = read_run_metrics(metrics)
        draws.append(partial(draw_losses, metrics=seen))
        if NOISE_SCALE in seen.columns:
            draws.append(partial(draw_noise_scale, metrics=seen))
    if sharpness is not None:
        curves = read_sharpness(sharpness)
        draws += [partial(draw, curves=curves) for draw in (draw_loss, draw_sharpness, draw_index)]
        if spectrum_path(sharpness).exists():
            quadratures = read_quadratures(spectrum_path(sharpness))
            draws.append(partial(draw_density, quadratures=quadratures))
    if walk is not None:
        study = study_diffusion(read_walks(walk, WalkChoice()), replicates=20, level=0.9, seed=0)
        draws += [partial(draw_diffusion, studied=each) for each in study.settings]
    rows = -(-len(draws) // _COLUMNS)
    figure = Figure(figsize=(12.6, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax, draw in zip(axes, draws, strict=False):
        draw(ax)
    for ax in axes[len(draws) :]:
        ax.set_axis_off()
    return figure


def run_page(*, sharpness: Path, walk: Path | None, picture_format: str) -> bytes:
    """Return the page as a file's bytes.

    Args:
        sharpness: file of the sharpness callback.
        walk: of the same run; its panel is left out without one.
        picture_format: svg, pdf or png.
    """
    return picture_of(run_figure(sharpness=sharpness, walk=walk), picture_format)
