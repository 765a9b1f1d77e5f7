"""Scores of a transfer's predictions against what was measured, and their tables.

Several predictions are from one rung and share its runs, so a coverage comes with Wilson's interval
that counts a rung as one case (`interval_scores`).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models_of_scaling.interval_scores import Estimated, share_over_series, winkler_log_score


@dataclass(frozen=True, kw_only=True)
class TransferOutcome:
    """One prediction beside its measurement.

    Attributes:
        rung: that was left out.
        forecaster: who predicted.
        quantity: "critical_batch_size", "min_steps" or "steps".
        num_anchors: batch sizes of its own that it was predicted from; 0 for a ladder alone.
        factor: how far beyond the largest anchor; 1 for a ladder alone.
        estimate: the prediction.
        low: lower end; None without an interval.
        high: upper end; None without one.
        measured: what was then measured.
        level: of the interval.
    """

    rung: str
    forecaster: str
    quantity: str
    num_anchors: int
    factor: int
    estimate: float
    low: float | None
    high: float | None
    measured: float
    level: float

    @property
    def error(self) -> float:
        """Estimate over measured value, less 1."""
        return self.estimate / self.measured - 1

    @property
    def is_covered(self) -> bool | None:
        """Whether the interval holds the measured value; None without one."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.measured <= self.high

    @property
    def width(self) -> float | None:
        """High over low; None without an interval."""
        return None if self.low is None or self.high is None else self.high / self.low

    @property
    def score(self) -> float | None:
        """Winkler's interval score in logs; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return winkler_log_score(self.low, self.high, self.measured, level=self.level)


@dataclass(frozen=True, kw_only=True)
class TransferScore:
    """How one forecaster did.

    Attributes:
        quantity: "critical_batch_size", "min_steps" or "steps".
        num_anchors: 0 for a ladder alone.
        factor: how far beyond the largest anchor; 1 for a ladder alone.
        forecaster: its name.
        num_cases: predictions.
        num_rungs: that they are of.
        median_error: median absolute relative error, a share.
        high_error: its 90th percentile.
        coverage: share of intervals that held the measured value; None without intervals.
        median_width: high over low; None without intervals.
        interval_score: mean of Winkler's score in logs; None without intervals.
    """

    quantity: str
    num_anchors: int
    factor: int
    forecaster: str
    num_cases: int
    num_rungs: int
    median_error: float
    high_error: float
    coverage: Estimated | None
    median_width: float | None
    interval_score: float | None


def transfer_scores(outcomes: Sequence[TransferOutcome]) -> list[TransferScore]:
    """Summarise outcomes by what was predicted, from how much, how far and by whom.

    Args:
        outcomes: of `back_test_transfer`.

    Returns:
        One score each, those of a question side by side.
    """
    groups: dict[tuple[str, int, int, str], list[TransferOutcome]] = {}
    for each in outcomes:
        key = (each.quantity, each.num_anchors, each.factor, each.forecaster)
        groups.setdefault(key, []).append(each)
    place = {question: number for number, question in enumerate(sorted({k[:3] for k in groups}))}
    return [_score(groups[key]) for key in sorted(groups, key=lambda key: place[key[:3]])]


def _score(outcomes: list[TransferOutcome]) -> TransferScore:
    first = outcomes[0]
    errors = np.abs([each.error for each in outcomes])
    covered = [each.is_covered for each in outcomes if each.is_covered is not None]
    rungs = [each.rung for each in outcomes]
    return TransferScore(
        quantity=first.quantity,
        num_anchors=first.num_anchors,
        factor=first.factor,
        forecaster=first.forecaster,
        num_cases=len(outcomes),
        num_rungs=len(set(rungs)),
        median_error=float(np.median(errors)),
        high_error=float(np.quantile(errors, 0.9)),
        coverage=share_over_series(np.array(covered, dtype=float), rungs) if covered else None,
        median_width=float(np.median([each.width or 0.0 for each in outcomes]))
        if covered
        else None,
        interval_score=float(np.mean([each.score or 0.0 for each in outcomes]))
        if covered
        else None,
    )


_WORDS = {"critical_batch_size": "B_crit", "min_steps": "S_min"}
_HEADER = ("predicted", "by", "cases, rungs", "median error", "90th", "coverage", "width", "score")


def transfer_table(scores: Sequence[TransferScore], *, level: float) -> str:
    """Return scores as aligned lines.

    Args:
        scores: at least one.
        level: of the intervals.
    """
    rows = [_HEADER, *(_row(score) for score in scores)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [
        "  ".join([
            *(cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)),
            *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)),
        ]).rstrip()
        for row in rows
    ]
    legend = (
        f"Errors in %, of the estimate; coverage of {100 * level:g} % intervals, in brackets its "
        "own 90 % interval with a rung as one case; width: median of high over low; score: mean "
        "of Winkler's in logs, smaller is better."
    )
    return "\n".join([*lines, legend])


def _row(score: TransferScore) -> tuple[str, ...]:
    if score.num_anchors:
        anchors = "1 anchor" if score.num_anchors == 1 else f"{score.num_anchors} anchors"
        question = f"steps at {score.factor}x from {anchors}"
    else:
        question = f"{_WORDS[score.quantity]} from the ladder"
    cover, width, penalty = score.coverage, score.median_width, score.interval_score
    return (
        question,
        score.forecaster,
        f"{score.num_cases}, {score.num_rungs}",
        f"{100 * score.median_error:.1f}",
        f"{100 * score.high_error:.1f}",
        "-" if cover is None else f"{cover.value:.2f} [{cover.low:.2f}, {cover.high:.2f}]",
        "-" if width is None else f"{width:.2f}",
        "-" if penalty is None else f"{penalty:.2f}",
    )


def transfer_as_json(
    scores: Sequence[TransferScore], outcomes: Sequence[TransferOutcome], **how: Any
) -> dict[str, Any]:
    """Return a back-test as plain data.

    Args:
        scores: the summary.
        outcomes: every prediction.
        **how: further entries: the ladder's file, what was held out, the level.
    """
    return {
        **how,
        "scores": [dataclasses.asdict(score) for score in scores],
        "cases": [dataclasses.asdict(outcome) for outcome in outcomes],
    }
