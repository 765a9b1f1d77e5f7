"""Section "Prediction": the recorded back-tests of published series, our ladders and our sweeps."""

import csv
from pathlib import Path
from typing import Any, Final

from paper.numbers.quoted import Quoted

TITLES: Final = {
    ("published", "workload"): "MLPerf workloads",
    ("published", "resnet50_cut"): "ResNet-50 cuts",
    ("digits", "own_table"): "digits ladder",
    ("noisy_quadratic", "own_table"): "quadratic ladder",
    ("sweeps", "own_table"): "our first sweeps",
}
FACTORS: Final = ("2", "4", "8")
RECORDS: Final = ("backtest_scores.csv", "backtest_sweeps_scores.csv")
Row = dict[str, str]


def read_rows(results: Path, name: str) -> list[Row]:
    """Return a recorded table.

    Args:
        results: the folder of records.
        name: of the file.
    """
    with (results / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_scores(results: Path) -> list[Row]:
    """Return all recorded scores.

    Args:
        results: the folder of records.
    """
    return [row for name in RECORDS for row in read_rows(results, name)]


def quoted_score(row: Row, name: str, **more: Any) -> Quoted:
    """Return a score with its interval over series.

    Args:
        row: of the scores.
        name: column.
        **more: fields of `Quoted`.
    """
    ends = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    estimate, low, high = ends
    return Quoted(
        estimate=estimate, low=min(low, estimate), high=max(high, estimate),
        n=int(row["num_cases"]), of="cases", **more,
    )  # fmt: skip


def find(rows: list[Row], **wanted: str) -> Row | None:
    """Return the row with these cells, or None."""
    return next((r for r in rows if all(r[name] == value for name, value in wanted.items())), None)


def back_test_numbers(results: Path) -> dict[str, Any]:
    """Return the section's numbers.

    Args:
        results: the folder of records.
    """
    scores = read_scores(results)
    rows = []
    for (table, part), title in TITLES.items():
        for factor in FACTORS:
            where = {"table": table, "part": part, "design": "rolling", "factor": factor}
            ours, theirs = (
                find(scores, **where, forecaster=name) for name in ("averaged", "todays_practice")
            )
            if ours is None or theirs is None:
                continue
            more = find(scores, **where, forecaster="with_evidence")
            row: dict[str, Any] = {
                "title": title,
                "factor": f"{factor}x",
                "cases": ours["num_cases"],
                "series": ours["num_series"],
                "error": quoted_score(ours, "median_error", scale=100.0).as_json(),
                "practice": quoted_score(theirs, "median_error", scale=100.0).as_json(),
                "held": quoted_score(ours, "coverage").as_json(),
                "width": f"{float(ours['median_width']):.1f}",
            }
            if more is not None:
                row["evidence"] = quoted_score(more, "median_error", scale=100.0).as_json()
            rows.append(row)
    return {"rows": rows, "better": _better(scores), "largest": _largest(scores)}


def _largest(scores: list[Row]) -> list[dict[str, Any]]:
    """Return how the largest batch size of each sweep is predicted, by distance."""
    rows = []
    for factor in FACTORS:
        where = {"table": "sweeps", "design": "largest", "factor": factor}
        ours, theirs = (
            find(scores, **where, forecaster=name) for name in ("averaged", "todays_practice")
        )
        if ours is not None and theirs is not None:
            rows.append({
                "away": f"{float(ours['median_ratio']):.2g}",
                "cases": int(ours["num_cases"]),
                "error": quoted_score(ours, "median_error", scale=100.0).as_json(),
                "practice": quoted_score(theirs, "median_error", scale=100.0).as_json(),
                "held": quoted_score(ours, "coverage").as_json(),
            })
    return rows


def _better(scores: list[Row]) -> dict[str, Any]:
    """Return in how many of the published rows the average's error lies below today's practice."""
    pairs = [
        [find(scores, table="published", part=part, design="rolling", factor=factor,
              forecaster=name) for name in ("averaged", "todays_practice")]
        for part in ("workload", "resnet50_cut")
        for factor in FACTORS
    ]  # fmt: skip
    below = clear = of = 0
    for pair in pairs:
        ours, theirs = pair
        if ours is None or theirs is None:
            continue
        of += 1
        mine, other = (quoted_score(each, "median_error") for each in (ours, theirs))
        below += mine.estimate < other.estimate
        clear += mine.high < other.low or mine.low > other.high
    return {"below": below, "of": of, "clear": clear}
