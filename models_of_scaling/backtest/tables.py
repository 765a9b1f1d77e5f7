"""A back-test's scores as a table for people, and everything it found as plain data."""

import dataclasses
import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Final

from models_of_scaling.backtest.scores import Outcome, Score
from models_of_scaling.interval_scores import Estimated
from models_of_scaling.published.series import PublishedSeries

_PARTS: Final = {
    "workload": "ONE SERIES OF EACH WORKLOAD (MLPerf's reference points)",
    "resnet50_cut": "RESNET-50 AGAIN, by creator, round and submitter; these series share runs",
    "own_table": "YOUR TABLES, one series of each workload and optimizer",
}
_TITLES: Final = {
    "rolling": "Rolling origin: fitted below, predicted nearest to 2x, 4x and 8x beyond.",
    "largest": "The largest batch size, predicted from those at most 1/2, 1/4 and 1/8 of it.",
    "one_more": "Rolling origin, 8x beyond it, where 5 runs at about 4x are known too.",
}
_HEADER: Final = (
    "forecaster", "", "cases", "series", "away", "median error", "90th pct", "coverage",
    "width", "score",
)  # fmt: skip


def score_table(scores: Sequence[Score], *, level: float) -> str:
    """Return the scores as aligned lines, one block per part and design.

    Args:
        scores: of `scores.scores`.
        level: of the intervals that were scored.
    """
    blocks = []
    for (part, name), (design, title) in product(_PARTS.items(), _TITLES.items()):
        chosen = [score for score in scores if (score.part, score.design) == (part, design)]
        if chosen:
            rows = [_HEADER, *(_cells(score) for score in chosen)]
            blocks.append("\n".join([f"{name}.", title, *_aligned(rows)]))
    legend = (
        "away: median distance from the data. median error, 90th pct: of the relative error at "
        "the held-out batch size.\n"
        f"coverage: share of {100 * level:g} % intervals that held it. width: median of high over "
        "low. score: mean of Winkler's interval score in logs, smaller is better.\n"
        "In brackets: 90 % intervals that count a series, not a case, as one."
    )
    return "\n\n".join([*blocks, legend])


def _cells(score: Score) -> tuple[str, ...]:
    return (
        score.forecaster,
        f"{score.factor}x",
        f"{score.num_cases}",
        f"{score.num_series}",
        f"{score.median_ratio:.1f}x",
        _with_interval(score.median_error, 100.0, ".1f") + " %",
        f"{100 * score.high_error:.0f} %",
        "-" if score.coverage is None else _with_interval(score.coverage, 1.0, ".2f"),
        "-" if score.median_width is None else f"{score.median_width:.2f}x",
        "-" if score.interval_score is None else f"{score.interval_score:.2f}",
    )


def _with_interval(number: Estimated, scale: float, digits: str) -> str:
    value, low, high = (f"{scale * each:{digits}}" for each in dataclasses.astuple(number))
    return f"{value} [{low}, {high}]"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return [
        "  ".join([
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ])
        for row in rows
    ]


def back_test_as_json(
    series: Sequence[PublishedSeries],
    outcomes: Sequence[Outcome],
    scores: Sequence[Score],
    *,
    replicates: int,
    level: float,
) -> dict[str, Any]:
    """Return a back-test as plain data; what is infinite is None (null in JSON).

    Args:
        series: that were asked for, those without a case too.
        outcomes: every prediction.
        scores: their summary.
        replicates: of each fit.
        level: of the intervals.
    """
    answer: dict[str, Any] = _plain({
        "level": level,
        "replicates": replicates,
        "series": [_series(each) for each in series],
        "scores": [dataclasses.asdict(score) for score in scores],
        "cases": [_case(outcome) for outcome in outcomes],
    })
    return answer


def _series(series: PublishedSeries) -> dict[str, Any]:
    return {
        "name": series.name,
        "part": series.part,
        "kind": series.kind,
        "batch_sizes": list(series.batch_sizes),
        "num_runs": len(series.measurements),
        "unit": series.unit,
        "num_rows": len(series.rows),
        "num_not_reached": int((~series.measurements.reached).sum()),
        "num_left_out": series.num_left_out,
        "left_out": series.left_out,
        "source": dataclasses.asdict(series.source),
    }


def _case(outcome: Outcome) -> dict[str, Any]:
    return {
        "series": outcome.series,
        "forecaster": outcome.forecaster,
        **dataclasses.asdict(outcome.case),
        "steps": outcome.forecast.steps,
        "steps_low": outcome.forecast.low,
        "steps_high": outcome.forecast.high,
        "measured": outcome.measured,
        "is_covered": outcome.is_covered,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isinf(value) else value
