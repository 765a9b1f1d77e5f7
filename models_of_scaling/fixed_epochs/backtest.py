"""Back-test of accuracy at fixed epochs: published tables, larger batch sizes from smaller ones.

Each table of at least four batch sizes is cut after its third, fourth, ... smallest; what lies
above is predicted. Beside the averaged laws stands "no change", the accuracy at the largest batch
size that was fitted, which is what running a larger batch unseen amounts to. Tables are few and
small; counts are printed with every share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.fixed_epochs.accuracy_table import AccuracyRows, accuracy_rows
from models_of_scaling.fixed_epochs.averaged import FEWEST_BATCH_SIZES, fit_fixed_epochs
from models_of_scaling.published.fixed_epochs import accuracy_series


@dataclass(frozen=True, kw_only=True)
class AccuracyOutcome:
    """One held-out batch size, predicted and compared; errors and widths in points.

    Attributes:
        series: name of the table.
        largest_fitted: batch size.
        batch_size: held out.
        is_last_step: whether it is the table's largest, predicted from all smaller ones.
        measured: accuracy, percent.
        predicted: of the averaged laws, percent.
        low: lower end of the interval for one run.
        high: upper end.
        no_change: accuracy at the largest batch size fitted, percent.
    """

    series: str
    largest_fitted: int
    batch_size: int
    is_last_step: bool
    measured: float
    predicted: float
    low: float
    high: float
    no_change: float

    @property
    def is_covered(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, kw_only=True)
class AccuracyScore:
    """Summary of some outcomes.

    Attributes:
        what: which outcomes.
        num_cases: how many.
        num_series: from how many tables.
        median_error: median absolute error of the averaged laws, points.
        median_error_no_change: the same of "no change".
        num_covered: intervals that held the measured value.
        median_width: of the intervals, points.
    """

    what: str
    num_cases: int
    num_series: int
    median_error: float
    median_error_no_change: float
    num_covered: int
    median_width: float


def published_rows() -> dict[str, AccuracyRows]:
    """Return the published tables at fixed epochs by name."""
    return {
        series.name: accuracy_rows(
            series.batch_size, series.accuracy, path=series.name, epochs=series.epochs
        )
        for series in accuracy_series()
    }


def choose_published(name: str) -> AccuracyRows:
    """Return one published table.

    Args:
        name: of the table.

    Returns:
        Its rows.

    Raises:
        InputError: where there is no such table.
    """
    tables = published_rows()
    if name not in tables:
        raise InputError(f"--published {name!r} is not one of: {', '.join(tables)}")
    return tables[name]


def back_test_accuracy(
    tables: Sequence[AccuracyRows], *, level: float = 0.9, seed: int = 0
) -> list[AccuracyOutcome]:
    """Predict every held-out batch size of every cut of every table.

    Args:
        tables: those with fewer than four batch sizes give no case.
        level: of the intervals.
        seed: of the draws.

    Returns:
        One outcome per cut and larger batch size; deterministic for a seed.
    """
    outcomes = []
    for rows in tables:
        sizes = np.unique(rows.batch_size)
        for cut in range(FEWEST_BATCH_SIZES, len(sizes)):
            rng = np.random.default_rng([seed, cut])
            origin = int(sizes[cut - 1])
            fit = fit_fixed_epochs(rows.take(rows.batch_size <= origin), rng)
            for size in sizes[cut:].tolist():
                run = fit.forecast(size, rng, level=level).accuracy_of_run
                outcomes.append(
                    AccuracyOutcome(
                        series=rows.path,
                        largest_fitted=origin,
                        batch_size=size,
                        is_last_step=cut == len(sizes) - 1,
                        measured=100 * float(rows.accuracy[rows.batch_size == size].mean()),
                        predicted=100 * run.estimate,
                        low=100 * run.low,
                        high=100 * run.high,
                        no_change=100 * float(rows.accuracy[rows.batch_size == origin].mean()),
                    )
                )
    return outcomes


def accuracy_scores(outcomes: Sequence[AccuracyOutcome]) -> list[AccuracyScore]:
    """Summarise: the largest batch size from all smaller ones, up to 2x, up to 4x, and beyond.

    Args:
        outcomes: of `back_test_accuracy`.

    Returns:
        One score per part that has a case.
    """
    ratio = np.array([each.batch_size / each.largest_fitted for each in outcomes])
    parts = {
        "largest batch size, from all smaller": [each.is_last_step for each in outcomes],
        "all cuts, up to 2x": (ratio <= 2).tolist(),
        "all cuts, over 2x up to 4x": ((ratio > 2) & (ratio <= 4)).tolist(),
        "all cuts, over 4x": (ratio > 4).tolist(),
    }
    return [
        _score(what, [each for each, kept in zip(outcomes, keep, strict=True) if kept])
        for what, keep in parts.items()
        if any(keep)
    ]


def _score(what: str, outcomes: Sequence[AccuracyOutcome]) -> AccuracyScore:
    return AccuracyScore(
        what=what,
        num_cases=len(outcomes),
        num_series=len({each.series for each in outcomes}),
        median_error=float(np.median([abs(each.predicted - each.measured) for each in outcomes])),
        median_error_no_change=float(
            np.median([abs(each.no_change - each.measured) for each in outcomes])
        ),
        num_covered=sum(each.is_covered for each in outcomes),
        median_width=float(np.median([each.high - each.low for each in outcomes])),
    )


def accuracy_score_table(scores: Sequence[AccuracyScore], *, level: float) -> str:
    """Return the scores as aligned lines.

    Args:
        scores: at least one.
        level: of the intervals.
    """
    rows = [
        ("predicted", "cases", "tables", "error", "no change", f"in {level:.0%}", "width"),
        *(
            (
                each.what,
                str(each.num_cases),
                str(each.num_series),
                f"{each.median_error:.2f}",
                f"{each.median_error_no_change:.2f}",
                f"{each.num_covered} of {each.num_cases}",
                f"{each.median_width:.1f}",
            )
            for each in scores
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    lines = [
        "  ".join([
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ])
        for row in rows
    ]
    legend = (
        "Error and width: medians, in points of accuracy. No change: the error of taking the "
        "accuracy of the largest batch size fitted."
    )
    return "\n".join([*lines, legend])


def accuracy_back_test_as_json(
    outcomes: Sequence[AccuracyOutcome], scores: Sequence[AccuracyScore], *, level: float
) -> dict[str, Any]:
    """Return outcomes and scores as plain data.

    Args:
        outcomes: every case.
        scores: their summary.
        level: of the intervals.
    """
    return {
        "level": level,
        "scores": [vars(score) for score in scores],
        "outcomes": [{**vars(each), "is_covered": each.is_covered} for each in outcomes],
    }
