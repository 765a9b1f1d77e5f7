"""A ladder's rungs against a covariate, with what the regression makes of them, and full scale.

Functions that draw take an axes and finished numbers and return nothing; those named `..._picture`
make a file's bytes. Colours are those of Okabe & Ito 2008.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from scipy.special import ndtri

from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.plots.steps_to_target import (
    BLUE,
    GREEN,
    ORANGE,
    VERMILION,
    Floats,
    MeasuredSteps,
    StepsCurve,
    draw_steps_to_target,
)
from models_of_scaling.plots.targets import picture_of
from models_of_scaling.transfer.knee_draws import FullScale
from models_of_scaling.transfer.ladder import VALUES, Ladder
from models_of_scaling.transfer.meta_regression import regress

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, "#CC79A7", "#56B4E9")
_MARKERS = "osD^vP"
_LABELS = {
    "critical_batch_size": "critical batch size (examples)",
    "min_steps": "fewest steps, S_min (optimizer steps)",
}
_DRAWS = 8000
_BEYOND = 0.2  # of the covariate's log range: the band goes on past the last rung by so much


@dataclass(frozen=True, kw_only=True)
class RungPoints:
    """Rungs of one workload; every field has shape (N,).

    Attributes:
        workload: its name.
        covariate: of each rung.
        value: the estimate.
        low: lower end.
        high: upper end.
    """

    workload: str
    covariate: Floats
    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class RegressionBand:
    """What a new rung is expected to have; every field has shape (M,), covariate increasing.

    Attributes:
        covariate: that varies; the others stay at the geometric mean over the rungs.
        value: the median.
        low: lower end.
        high: upper end.
    """

    covariate: Floats
    value: Floats
    low: Floats
    high: Floats


def draw_ladder(
    ax: Axes,
    points: Sequence[RungPoints],
    band: RegressionBand,
    *,
    covariate: str,
    quantity: str = "critical_batch_size",
    level: float = 0.9,
) -> None:
    """Draw a quantity of the rungs against a covariate, with the regression and its interval.

    Args:
        ax: to draw on.
        points: one entry per workload.
        band: the regression.
        covariate: its name, for the axis.
        quantity: "critical_batch_size" or "min_steps".
        level: of the intervals.
    """
    ax.fill_between(
        band.covariate,
        band.low,
        band.high,
        color="#777777",
        alpha=0.18,
        linewidth=0,
        label=f"a new {'rung' if len(points) == 1 else 'workload'}, {level:.0%} interval",
    )
    ax.plot(band.covariate, band.value, color="#777777", label="regression")
    for number, rungs in enumerate(points):
        ends = np.stack([rungs.value - rungs.low, rungs.high - rungs.value])
        ax.errorbar(
            rungs.covariate,
            rungs.value,
            yerr=ends,
            fmt=_MARKERS[number % len(_MARKERS)],
            color=_COLOURS[number % len(_COLOURS)],
            markersize=4,
            linewidth=1,
            label=rungs.workload or "rungs",
        )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(_whole))
    ax.set_xlabel(covariate.replace("_", " "))
    ax.set_ylabel(_LABELS[quantity])
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
    ax.legend(frameon=False, fontsize="small", loc="upper left")


def _whole(value: float, _: object) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def ladder_points(ladder: Ladder, covariate: str, quantity: str, level: float) -> list[RungPoints]:
    """Return the rungs by workload, with the intervals of their own fits.

    Args:
        ladder: the rungs.
        covariate: its name.
        quantity: "critical_batch_size" or "min_steps".
        level: of the intervals.

    Returns:
        One entry per workload.
    """
    number = VALUES.index(quantity)
    reach = float(ndtri(0.5 + level / 2)) * np.sqrt(ladder.covariances[:, number, number])
    middle, words = ladder.log_values[:, number], np.array(ladder.workload)
    answer = []
    for word in dict.fromkeys(ladder.workload):
        at = words == word
        answer.append(
            RungPoints(
                workload=word,
                covariate=ladder.covariates[covariate][at],
                value=np.exp(middle[at]),
                low=np.exp((middle - reach)[at]),
                high=np.exp((middle + reach)[at]),
            )
        )
    return answer


def regression_band(
    ladder: Ladder, covariate: str, quantity: str, level: float, *, num_points: int = 25
) -> RegressionBand:
    """Return the regression over one covariate: for a new rung, or of several workloads a new one.

    Args:
        ladder: the rungs.
        covariate: its name.
        quantity: "critical_batch_size" or "min_steps".
        level: of the interval.
        num_points: of the curve.

    Returns:
        The band, from the first rung to a fifth of the range beyond the last.
    """
    number, names = VALUES.index(quantity), list(ladder.covariates)
    values = ladder.covariates[covariate]
    last = values.max() * (values.max() / values.min()) ** _BEYOND
    along = np.geomspace(values.min(), last, num_points)
    regression = regress(ladder)
    centre = ladder.log_covariates.mean(axis=0)
    family = ladder.workload[0] if len(set(ladder.workload)) == 1 else None
    ends = []
    for value in along:
        place = centre.copy()
        place[names.index(covariate)] = np.log(value)
        # The same random numbers everywhere, so that the band is smooth.
        rng = np.random.default_rng(0)
        draws = regression.predict(place, family).draw(_DRAWS, rng)[:, number]
        tail = (1 - level) / 2
        ends.append(weighted_quantile(draws, np.ones(_DRAWS), [tail, 0.5, 1 - tail]))
    low, middle, high = np.exp(np.array(ends)).T
    return RegressionBand(covariate=along, value=middle, low=low, high=high)


def draw_full_scale(ax: Axes, full_scale: FullScale, largest: float, *, level: float) -> None:
    """Draw the curve at full scale with its interval, B_crit and the anchors.

    Args:
        ax: to draw on.
        full_scale: the curve.
        largest: batch size up to which it is drawn.
        level: of the intervals.
    """
    anchors = full_scale.anchors
    first = float(anchors.smallest_batch_size)
    sizes = np.geomspace(first / 2, max(largest, 2 * anchors.largest_batch_size), 60)
    steps = [full_scale.steps(size, level=level) for size in sizes.tolist()]
    critical = full_scale.critical_batch_size(level=level)
    draw_steps_to_target(
        ax,
        MeasuredSteps(
            batch_size=np.exp(anchors.log_batch_size),
            steps=np.exp(anchors.log_steps),
            reached=anchors.reached,
            held_out=np.zeros(len(anchors.reached), dtype=bool),
        ),
        StepsCurve(
            batch_size=sizes,
            steps=np.array([each.estimate for each in steps]),
            steps_low=np.array([each.low for each in steps]),
            steps_high=np.array([each.high for each in steps]),
        ),
        largest_fitted=float(anchors.largest_batch_size),
        critical_batch_size=(critical.estimate, critical.low, critical.high),
        level=level,
    )
    ax.yaxis.set_minor_formatter(NullFormatter())


def full_scale_picture(
    full_scale: FullScale, largest: float, *, picture_format: str, level: float
) -> bytes:
    """Return the picture of the curve at full scale.

    Args:
        full_scale: the curve.
        largest: batch size up to which it is drawn.
        picture_format: svg, pdf or png.
        level: of the intervals.

    Returns:
        The file's bytes.
    """
    figure = Figure(figsize=(6.8, 4.6), layout="constrained")
    draw_full_scale(figure.subplots(), full_scale, largest, level=level)
    return picture_of(figure, picture_format)


def ladder_picture(ladder: Ladder, *, picture_format: str, level: float) -> bytes:
    """Return the picture of a ladder: B_crit and S_min against each covariate.

    Args:
        ladder: with at least one covariate.
        picture_format: svg, pdf or png.
        level: of the intervals.

    Returns:
        The file's bytes.
    """
    names = list(ladder.covariates)
    figure = Figure(figsize=(4.8 * len(names), 7.2), layout="constrained")
    axes = figure.subplots(len(VALUES), len(names), squeeze=False)
    for row, quantity in enumerate(VALUES):
        for column, name in enumerate(names):
            draw_ladder(
                axes[row][column],
                ladder_points(ladder, name, quantity, level),
                regression_band(ladder, name, quantity, level),
                covariate=name,
                quantity=quantity,
                level=level,
            )
    return picture_of(figure, picture_format)
