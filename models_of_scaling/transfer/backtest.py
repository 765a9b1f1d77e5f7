"""Back-test of the transfer on a measured ladder: parts of it are left out and predicted.

Two questions. How well are a left-out rung's B_crit and S_min predicted by the other rungs, by each
method? And how well are its large batches predicted from the others plus one or two small-batch
anchors of its own, beside what the anchors alone give? What is left out together is a whole family
(column `workload`), every rung with one value of a covariate, or one rung; a family that is left
out is new to the others, so that its level comes from its anchors.

Every batch size up to the rung's own critical one serves as the largest anchor in turn; beyond that
the steps are near their floor, and what is predicted is what the anchors show.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.fitting import Bools
from models_of_scaling.intervals import check_level
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.measurements import Measurements
from models_of_scaling.prediction import predict
from models_of_scaling.quantities import Floats
from models_of_scaling.transfer.anchors import anchors_of
from models_of_scaling.transfer.curve_shapes import CurveShapes
from models_of_scaling.transfer.full_scale import (
    METHODS,
    Method,
    from_ladder,
    from_surrogate,
    predict_knee,
    shapes_of,
)
from models_of_scaling.transfer.knee_draws import FullScale
from models_of_scaling.transfer.ladder import VALUES, Ladder, distance_in_logs
from models_of_scaling.transfer.meta_regression import Gaussians
from models_of_scaling.transfer.scores import TransferOutcome

FACTORS: Final = (4, 8, 16)
CURVE_METHODS: Final[tuple[Method, ...]] = ("regression", "process")
SURROGATE, ANCHORS_ALONE, PERFECT = "nearest rung", "anchors alone", "perfect scaling"
# Of a batch size: estimate, low and high; the ends None without an interval.
Answer: TypeAlias = Callable[[int], tuple[float, float | None, float | None]]
_NEAREST: Final = 2.0**0.25
_DRAWS: Final = 20_000
_REPLICATES: Final = 200


@dataclass(frozen=True, kw_only=True)
class _LeftOut:
    """A group of rungs that is predicted, and what is left to predict from."""

    rungs: Ladder
    rest: Ladder
    shapes: CurveShapes
    level: float

    def family(self, rung: int) -> str | None:
        """Return the rung's family where the rest knows it."""
        word = self.rungs.workload[rung]
        return word if word in self.rest.workload else None

    def place(self, rung: int) -> dict[str, float]:
        """Return the rung's covariates."""
        return {name: float(column[rung]) for name, column in self.rungs.covariates.items()}


def left_out_groups(ladder: Ladder, hold_out: str) -> list[Bools]:
    """Return which rungs are left out together.

    Args:
        ladder: the rungs.
        hold_out: "workload", "rung" or a covariate.

    Returns:
        One row of flags per group.

    Raises:
        InputError: for another word, or where nothing would be left to predict from.
    """
    columns: dict[str, Sequence[object]] = {
        "workload": ladder.workload,
        "rung": ladder.rung,
        **{name: column.tolist() for name, column in ladder.covariates.items()},
    }
    if hold_out not in columns:
        raise InputError(f"--hold-out {hold_out!r} is not one of {', '.join(columns)}")
    values = columns[hold_out]
    groups = [np.array([each == value for each in values]) for value in dict.fromkeys(values)]
    fewest = min(int((~group).sum()) for group in groups)
    if len(groups) < 2 or fewest < 2:
        raise InputError(
            f"--hold-out {hold_out}: {ladder.source} has {len(groups)} of them, and one without "
            f"which {fewest} rungs are left; at least 2 must be"
        )
    return groups


def back_test_transfer(
    ladder: Ladder, *, hold_out: str = "rung", level: float = 0.9
) -> list[TransferOutcome]:
    """Leave each group out and predict it.

    Args:
        ladder: the rungs; large batches are predicted where it has measurements.
        hold_out: what is left out together, see `left_out_groups`.
        level: of the intervals.

    Returns:
        All outcomes.

    Raises:
        InputError: where nothing can be left out, or no rung has a fit.
    """
    check_level(level)
    outcomes: list[TransferOutcome] = []
    for group in left_out_groups(ladder, hold_out):
        rest = ladder.take(~group)
        # A covariate that no longer varies says nothing; its coefficient is the prior's.
        fits = [fit for fit in rest.fits if fit is not None]
        if not fits:
            raise InputError(f"{ladder.source}: no rung has a fit to take the curve's shape from")
        left_out = _LeftOut(
            rungs=ladder.take(group), rest=rest, shapes=shapes_of(fits), level=level
        )
        for rung in range(len(left_out.rungs)):
            predicted = {
                method: predict_knee(
                    rest, left_out.place(rung), workload=left_out.family(rung), method=method
                )
                for method in METHODS
            }
            outcomes += _knees(left_out, rung, predicted)
            outcomes += _curves(left_out, rung, predicted)
    return outcomes


def _knees(
    left_out: _LeftOut, rung: int, predicted: dict[Method, Gaussians]
) -> Iterator[TransferOutcome]:
    """Predict B_crit and S_min as the rung's own fit would find them."""
    own = left_out.rungs
    rng = np.random.default_rng(0)
    deviates = rng.multivariate_normal(np.zeros(2), own.covariances[rung], _DRAWS)
    tail = (1 - left_out.level) / 2
    for method, mixture in predicted.items():
        draws = mixture.draw(_DRAWS, rng)
        for number, name in enumerate(VALUES):
            low, high = np.quantile(draws[:, number] + deviates[:, number], [tail, 1 - tail])
            yield TransferOutcome(
                rung=own.rung[rung],
                forecaster=method,
                quantity=name,
                num_anchors=0,
                factor=1,
                estimate=float(np.exp(np.median(draws[:, number]))),
                low=float(np.exp(low)),
                high=float(np.exp(high)),
                measured=float(np.exp(own.log_values[rung, number])),
                level=left_out.level,
            )


def _curves(
    left_out: _LeftOut, rung: int, predicted: dict[Method, Gaussians]
) -> Iterator[TransferOutcome]:
    """Predict large batches from one and two anchors below the rung's critical batch size."""
    rows = left_out.rungs.measurements[rung]
    if rows is None:
        return
    sizes, steps = _means(rows)
    nearest = int(np.argmin(distance_in_logs(left_out.rest, left_out.place(rung))))
    near_fit = left_out.rest.fits[nearest]
    near_shapes = None if near_fit is None else shapes_of([near_fit])
    critical = math.exp(left_out.rungs.log_values[rung, 0])
    for largest in np.flatnonzero(sizes <= critical).tolist():
        targets = list(_targets(sizes, largest))
        for count in (1, 2):
            if not targets or count > largest + 1:
                continue
            used = sizes[largest + 1 - count : largest + 1]
            own = rows.take(np.isin(rows.batch_size, used))
            forecasts = _forecasts(left_out, rung, predicted, near_shapes, own)
            for forecaster, answers in forecasts:
                for factor, target in targets:
                    estimate, low, high = answers(int(sizes[target]))
                    yield TransferOutcome(
                        rung=left_out.rungs.rung[rung],
                        forecaster=forecaster,
                        quantity="steps",
                        num_anchors=count,
                        factor=factor,
                        estimate=estimate,
                        low=low,
                        high=high,
                        measured=float(steps[target]),
                        level=left_out.level,
                    )


def _forecasts(
    left_out: _LeftOut,
    rung: int,
    predicted: dict[Method, Gaussians],
    near_shapes: CurveShapes | None,
    own: Measurements,
) -> Iterator[tuple[str, Answer]]:
    """Yield each forecaster that can answer from these anchors, and how it does."""
    anchors, level = anchors_of(own), left_out.level
    with_level = left_out.family(rung) is not None
    for method in CURVE_METHODS:
        curve = from_ladder(predicted[method], left_out.shapes, anchors, with_level=with_level)
        yield f"ladder, {method}", _of_curve(curve, level)
    if near_shapes is not None:
        yield SURROGATE, _of_curve(from_surrogate(near_shapes, anchors), level)
    if len(anchors.log_batch_size) > 1:
        yield ANCHORS_ALONE, _of_fit(fit_laws(own, FitChoice(replicates=_REPLICATES)), level)
    last_size, last_steps = anchors.largest_batch_size, float(np.exp(anchors.log_steps[-1]))
    yield PERFECT, lambda batch_size: (last_steps * last_size / batch_size, None, None)


def _of_curve(curve: FullScale, level: float) -> Answer:
    def answer(batch_size: int) -> tuple[float, float, float]:
        steps = curve.steps(batch_size, level=level)
        return steps.estimate, steps.low, steps.high

    return answer


def _of_fit(fit: FitRecord, level: float) -> Answer:
    def answer(batch_size: int) -> tuple[float, float, float]:
        steps = predict(fit, [batch_size], level=level)[0].steps
        return steps.estimate, steps.low, steps.high

    return answer


def _means(rows: Measurements) -> tuple[Floats, Floats]:
    """Return the batch sizes at which the target was reached, and the geometric mean of steps."""
    cells = anchors_of(rows)
    reached = cells.reached
    sizes = np.asarray(np.round(np.exp(cells.log_batch_size[reached])), dtype=np.float64)
    return sizes, np.exp(cells.log_steps[reached])


def _targets(sizes: Floats, largest: int) -> Iterator[tuple[int, int]]:
    """Yield each factor with the batch size that lies so far beyond, within a quarter octave."""
    for factor in FACTORS:
        ratio = sizes / (factor * sizes[largest])
        nearest = int(np.argmin(np.abs(np.log(ratio))))
        if 1 / _NEAREST < ratio[nearest] < _NEAREST:
            yield factor, nearest
