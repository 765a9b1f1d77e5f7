"""One page of a sweep's runs: noise scale, diffusion, sharpness and loss, each against batch size.

The `draw_` functions take an axes and finished numbers, draw, and return nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from models_of_scaling.curvature.sharpness_table import (
    SharpnessCurve,
    is_sharpness_file,
    read_sharpness,
)
from models_of_scaling.diffusion.study import DiffusionStudy, study_diffusion
from models_of_scaling.diffusion.walk_table import WalkChoice, read_walks
from models_of_scaling.errors import InputError
from models_of_scaling.plots.steps_to_target import BATCH_SIZE_LABEL, BLUE, GREY, VERMILION
from models_of_scaling.run_metrics import NOISE_SCALE, RunMetrics, read_run_metrics

_MARKERS = "os^Dv"


def draw_exponents(ax: Axes, study: DiffusionStudy) -> None:
    """Draw the exponent of t^nu with its interval; a marker for each optimizer and rate.

    Args:
        ax: to draw on.
        study: of walks whose batch sizes are known.
    """
    kinds: dict[str, str] = {}
    for each in study.settings:
        kind = f"{each.setting.optimizer} {each.setting.learning_rate:g}".strip()
        first = kind not in kinds
        marker = kinds.setdefault(kind, _MARKERS[len(kinds) % len(_MARKERS)])
        nu = each.exponent
        ends = [[nu.estimate - nu.low], [nu.high - nu.estimate]]
        ax.errorbar(
            [each.setting.batch_size], [nu.estimate], yerr=ends, fmt=marker, markersize=4,
            color=BLUE, label=kind if first else None,
        )  # fmt: skip
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=1.0)  # a free random walk
    _batch_axis(ax)
    ax.set_ylabel("exponent of the distance, t^nu")
    ax.legend(frameon=False, fontsize="x-small")


def draw_last_sharpness(ax: Axes, curves: Sequence[SharpnessCurve]) -> None:
    """Draw the largest eigenvalue at each run's last point, and the edge of stability there.

    Args:
        ax: to draw on.
        curves: of several runs, in one mode of batch norm.
    """
    sizes = [_at_last(curve, "batch_size") for curve in curves]
    ax.plot(sizes, [_at_last(each, "eigenvalue_1") for each in curves], "o", color=BLUE,
            label="largest eigenvalue at the end")  # fmt: skip
    limits = [_at_last(each, "stability_limit") for each in curves]
    ax.plot(sizes, limits, "_", markersize=14, color=GREY, label="edge of stability")
    _batch_axis(ax)
    ax.set_yscale("log")
    ax.set_ylabel("largest eigenvalue of the Hessian")
    ax.legend(frameon=False, fontsize="x-small")


def draw_last_noise_scale(ax: Axes, runs: Sequence[RunMetrics]) -> None:
    """Draw each run's last noise scale with its interval, beside the batch size itself.

    Args:
        ax: to draw on.
        runs: with a noise scale.
    """
    for run in runs:
        rows = np.flatnonzero(np.isfinite(run[NOISE_SCALE]))
        if not rows.size:
            continue
        last = rows[-1]
        size, middle = run["batch_size"][last], run[NOISE_SCALE][last]
        low, high = run[f"{NOISE_SCALE}_low"][last], run[f"{NOISE_SCALE}_high"][last]
        above = high - middle if np.isfinite(high) else 9 * middle  # off the picture
        ax.errorbar([size], [middle], yerr=[[middle - max(low, middle / 100)], [above]], fmt="o",
                    markersize=4, color=BLUE)  # fmt: skip
    _batch_axis(ax)
    ax.set_yscale("log")
    ends = ax.get_xlim()
    ax.plot(ends, ends, color=GREY, linestyle=":", linewidth=1.0)  # as large as the batch
    ax.set_xlim(ends)
    ax.set_ylabel("noise scale at the end, examples")


def draw_last_losses(ax: Axes, runs: Sequence[RunMetrics]) -> None:
    """Draw each run's last training and validation loss.

    Args:
        ax: to draw on.
        runs: of several batch sizes.
    """
    for name, colour in (("train_loss", BLUE), ("validation_loss", VERMILION)):
        seen = [run for run in runs if name in run]
        ax.plot([run["batch_size"][-1] for run in seen], [run[name][-1] for run in seen], "o",
                markersize=4, color=colour, label=name.replace("_", " "))  # fmt: skip
    _batch_axis(ax)
    ax.set_ylabel("loss at the end")
    ax.legend(frameon=False, fontsize="x-small")


def sweep_figure(
    *, sharpness: Path | None, walk: Path | None, metrics: Path | None = None
) -> Figure:
    """Return the panels of a sweep's runs.

    Args:
        sharpness: folder of files of the sharpness callback.
        walk: folder of files of the diffusion callback.
        metrics: folder of `*.metrics.csv` files.

    Returns:
        A panel for each that is given.

    Raises:
        InputError: where a folder has no such files, or one without its batch size.
    """
    draws: list[Callable[[Axes], None]] = []
    if metrics is not None:
        runs = [read_run_metrics(path) for path in _files(metrics, "*metrics.csv", "--metrics")]
        for run in runs:
            if "batch_size" not in run:
                raise InputError(f"--metrics {metrics}: a file has no column batch_size")
        draws.append(partial(draw_last_losses, runs=runs))
        noisy = [run for run in runs if NOISE_SCALE in run]
        if noisy:
            draws.append(partial(draw_last_noise_scale, runs=noisy))
    if sharpness is not None:
        paths = filter(is_sharpness_file, _files(sharpness, "*.csv", "--sharpness"))
        curves = [read_sharpness(path)[0] for path in paths]
        if not curves:
            raise InputError(f"--sharpness {sharpness}: holds no file of the sharpness callback")
        draws.append(partial(draw_last_sharpness, curves=curves))
    if walk is not None:
        study = study_diffusion(read_walks(walk, WalkChoice()), replicates=50, level=0.9, seed=0)
        draws.append(partial(draw_exponents, study=study))
    figure = Figure(figsize=(4.2 * len(draws), 3.6), layout="constrained")
    axes = figure.subplots(1, len(draws), squeeze=False).ravel()
    for ax, draw in zip(axes, draws, strict=True):
        draw(ax)
    return figure


def _files(folder: Path, pattern: str, flag: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise InputError(f"{flag} {folder}: holds no file {pattern}")
    return found


def _at_last(curve: SharpnessCurve, column: str) -> float:
    return float(curve[column][-1])


def _batch_axis(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xlabel(BATCH_SIZE_LABEL)
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=6))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
