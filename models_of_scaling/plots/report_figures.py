"""The figures of the report page: each turns the record of a fit into one drawn figure.

No figure fits or reads anything: all numbers come from the record.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.limit import LimitVerdict
from models_of_scaling.mixture import mixed
from models_of_scaling.plots.definitions import draw_definitions
from models_of_scaling.plots.examples import draw_efficiency, draw_examples_to_target
from models_of_scaling.plots.learning_rates import SearchPoints, draw_learning_rates
from models_of_scaling.plots.residuals import draw_residuals
from models_of_scaling.plots.steps_to_target import (
    MeasuredSteps,
    StepsCurve,
    draw_saving_per_doubling,
    draw_steps_to_target,
)
from models_of_scaling.prediction import estimated_steps, predictive_interval
from models_of_scaling.quantities import Floats
from models_of_scaling.residuals import batch_size_residuals
from models_of_scaling.wording import law_title

_CURVE_POINTS = 60
_WIDTH = 8.2


def curve_range(fit: FitRecord, *, up_to: float = 0.0) -> Floats:
    """Return batch sizes from the smallest fitted to some doublings past all that was measured.

    Args:
        fit: the record.
        up_to: a batch size that must be among them.

    Returns:
        Ascending; the largest fitted one is among them, where a line turns dashed.
    """
    largest = max((*fit.measured.batch_size, *fit.held_out.batch_size))
    beyond = 4.0 if not fit.held_out.batch_size else 2.0
    last = max(beyond * largest, up_to)
    sizes = np.geomspace(fit.smallest_batch_size, last, _CURVE_POINTS)
    return np.union1d(sizes, [float(fit.largest_batch_size)])


def steps_curve(fit: FitRecord, *, up_to: float = 0.0) -> StepsCurve:
    """Return the averaged curve with its predictive interval.

    Args:
        fit: the record.
        up_to: a batch size that it must reach.
    """
    sizes = curve_range(fit, up_to=up_to)
    intervals = [predictive_interval(fit, size, level=fit.level) for size in sizes]
    return StepsCurve(
        batch_size=sizes,
        steps=np.array([interval.estimate for interval in intervals]),
        steps_low=np.array([interval.low for interval in intervals]),
        steps_high=np.array([interval.high for interval in intervals]),
    )


def measured_steps(fit: FitRecord) -> MeasuredSteps:
    """Return the fitted and the held-out rows of a record.

    Args:
        fit: the record.
    """
    rows = (fit.measured, fit.held_out)
    return MeasuredSteps(
        batch_size=np.array([size for part in rows for size in part.batch_size], dtype=float),
        steps=np.array([steps for part in rows for steps in part.steps]),
        reached=np.array([reached for part in rows for reached in part.reached], dtype=bool),
        held_out=np.array([part is fit.held_out for part in rows for _ in part.steps], dtype=bool),
    )


def steps_figure(fit: FitRecord, *, each_law: bool = True, up_to: float = 0.0) -> Figure:
    """Return steps to target against batch size.

    Args:
        fit: the record.
        each_law: whether each law's own curve is drawn where there are several.
        up_to: a batch size that the picture must reach.
    """
    several = each_law and len(fit.laws) > 1
    figure = Figure(figsize=(_WIDTH, 6.0 if several else 5.0), layout="constrained")
    critical, curve = fit.critical_batch_size, steps_curve(fit, up_to=up_to)
    if several:
        sizes = curve.batch_size
        laws = {_law_name(law): _median_steps(law, sizes) for law in fit.laws}
        curve = dataclasses.replace(curve, laws=laws)
    draw_steps_to_target(
        figure.add_subplot(),
        measured_steps(fit),
        curve,
        largest_fitted=fit.largest_batch_size,
        critical_batch_size=(critical.estimate, critical.low, critical.high),
        level=fit.level,
    )
    return figure


def _law_name(law: FittedLaw) -> str:
    return f"{law_title(law.name)}, weight {100 * law.weight:.0f} %"


def _median_steps(law: FittedLaw, sizes: Floats) -> Floats:
    """Return the median of one law's draws, as `estimated_steps` of the law alone."""
    return np.median(law.curves.steps(sizes), axis=0)


def examples_figure(fit: FitRecord) -> Figure:
    """Return examples to target and efficiency, side by side.

    Args:
        fit: the record.
    """
    figure = Figure(figsize=(_WIDTH, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    measured, largest = measured_steps(fit), fit.largest_batch_size
    smallest = fit.smallest_batch_size
    draw_examples_to_target(left, measured, steps_curve(fit), largest_fitted=largest)
    left.legend(frameon=False, fontsize="small", loc="upper left")
    draw_efficiency(
        right,
        measured,
        _efficiency_curve(fit),
        reference_examples=smallest * estimated_steps(fit, smallest),
        largest_fitted=largest,
    )
    return figure


def _efficiency_curve(fit: FitRecord) -> StepsCurve:
    """Return the efficiency with the interval over the laws' draws."""
    sizes, smallest = curve_range(fit), fit.smallest_batch_size

    def efficiency(law: FittedLaw, size: float) -> Floats:
        examples = size * law.replicate_steps(size)
        return np.asarray(smallest * law.replicate_steps(smallest) / examples)

    found = [_ends(fit, partial(efficiency, size=size)) for size in sizes]
    middle, low, high = (np.array(column) for column in zip(*found, strict=True))
    return StepsCurve(batch_size=sizes, steps=middle, steps_low=low, steps_high=high)


def saving_figure(fit: FitRecord, verdict: LimitVerdict) -> Figure:
    """Return what doubling the batch divides the steps by.

    Args:
        fit: the record.
        verdict: of it, with the thresholds.
    """
    sizes = curve_range(fit)

    def saving(law: FittedLaw, size: float) -> Floats:
        return np.asarray(law.replicate_steps(size) / law.replicate_steps(2 * size))

    found = [_ends(fit, partial(saving, size=size)) for size in sizes]
    middle, low, high = (np.array(column) for column in zip(*found, strict=True))
    figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    draw_saving_per_doubling(
        figure.add_subplot(),
        StepsCurve(
            batch_size=sizes,
            steps=middle,
            steps_low=low,
            steps_high=high,
        ),
        largest_measured=fit.largest_batch_size,
        thresholds=(
            (verdict.saving, f"still pays: {verdict.saving:g}"),
            (verdict.stop_saving, f"has stopped paying: {verdict.stop_saving:g}"),
        ),
    )
    return figure


def _ends(fit: FitRecord, of_law: Callable[[FittedLaw], Floats]) -> tuple[float, float, float]:
    """Return the median of a quantity over all laws' draws, and both ends of its interval."""
    values, weights = mixed(fit.laws, of_law)
    tail = (1 - fit.level) / 2
    low, middle, high = weighted_quantile(values, weights, (tail, 0.5, 1 - tail))
    return float(middle), float(low), float(high)


def definitions_figure(fit: FitRecord, verdict: LimitVerdict) -> Figure:
    """Return the definitions of the limit, one under another.

    Args:
        fit: the record.
        verdict: of it.
    """
    claims = [(claim.name, claim.batch_size) for claim in verdict.definitions]
    figure = Figure(figsize=(_WIDTH, 1.2 + 0.48 * len(claims)), layout="constrained")
    ends = (float(fit.smallest_batch_size), float(fit.largest_batch_size))
    draw_definitions(figure.add_subplot(), claims, measured=ends)
    return figure


def residuals_figure(fit: FitRecord) -> Figure:
    """Return how far each fitted batch size lies from the averaged curve.

    Args:
        fit: the record.
    """
    figure = Figure(figsize=(_WIDTH, 3.4), layout="constrained")
    draw_residuals(figure.add_subplot(), batch_size_residuals(fit))
    return figure


def search_figure(points: SearchPoints) -> Figure:
    """Return what each learning rate cost at each batch size.

    Args:
        points: the search's trials.
    """
    figure = Figure(figsize=(_WIDTH, 4.4), layout="constrained")
    draw_learning_rates(figure.add_subplot(), points)
    return figure
