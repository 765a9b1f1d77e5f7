"""Section "Prediction": sweeps with less noise, what was expected of them, what came of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from models_of_scaling.interval_scores import over_series, winkler_log_score
from paper.numbers.back_test import FACTORS, Row, read_rows
from paper.numbers.quoted import Quoted

FEW, MANY = "5", "20"  # seeds of each batch size
# Written down before the first of the sweeps was read (docs/back_tests.md), per cent.
EXPECTED: Final = (5, 8, 18)
RECORD: Final = "backtest_fine_cases.csv"
# The average of laws as it was when digits were swept, and as it is since.
BEFORE, SINCE, PRACTICE = "without_small_knees", "averaged", "todays_practice"
# What a choice among the runs' own luck gave is another record.
DIGITS: Final = ("digits_momentum_64_by", "digits_adam_64_by", "digits_lars_64_by")

Keep = Callable[[Row], bool]


def _error(row: Row) -> float:
    return abs(float(row["steps"]) / float(row["measured"]) - 1)


def _median_error(rows: Sequence[Row]) -> Quoted:
    errors = np.array([_error(row) for row in rows])
    found = over_series(errors, [row["series"] for row in rows], np.median)
    return Quoted(
        estimate=found.value, low=min(found.low, found.value), high=max(found.high, found.value),
        n=len(rows), of="cases", scale=100.0,
    )  # fmt: skip


def _held(rows: Sequence[Row]) -> float:
    ends = ((float(row["steps_low"]), float(row["steps_high"])) for row in rows)
    inside = [
        low <= float(row["measured"]) <= high for (low, high), row in zip(ends, rows, strict=True)
    ]
    return float(np.mean(inside))


def _winkler(rows: Sequence[Row]) -> float:
    return float(
        np.mean([
            winkler_log_score(
                float(row["steps_low"]), float(row["steps_high"]), float(row["measured"]), level=0.9
            )
            for row in rows
        ])
    )


def _over_factors(rows: Sequence[Row], keep: Keep = lambda row: True) -> list[dict[str, Any]]:
    return [
        _median_error([row for row in rows if row["factor"] == factor and keep(row)]).as_json()
        for factor in FACTORS
    ]


def _is_near(row: Row) -> bool:
    """Whether the rows end at a quarter of the critical batch size or beyond."""
    return float(row["origin_over_critical"]) >= 0.25


def less_noise_numbers(results: Path) -> dict[str, Any]:
    """Return median errors from few and from many seeds, by the average and today's practice.

    Args:
        results: the folder of records.
    """
    rows = [row for row in read_rows(results, RECORD) if row["design"] == "rolling"]
    digits = [row for row in rows if row["series"].startswith(DIGITS)]
    others = [
        row for row in rows if not row["series"].startswith("digits") and row["seeds"] == MANY
    ]
    by = {
        (name, seeds): [r for r in digits if (r["forecaster"], r["seeds"]) == (name, seeds)]
        for name in (BEFORE, PRACTICE)
        for seeds in (FEW, MANY)
    }
    of = {
        name: [row for row in others if row["forecaster"] == name]
        for name in (BEFORE, SINCE, PRACTICE)
    }
    return {
        "series": len({row["series"] for row in digits}),
        "few": {"seeds": FEW, "error": _over_factors(by[BEFORE, FEW])},
        "many": {
            "seeds": MANY,
            "error": _over_factors(by[BEFORE, MANY]),
            "practice": _over_factors(by[PRACTICE, MANY]),
        },
        "near": {
            "error": _over_factors(by[BEFORE, MANY], _is_near),
            "practice": _over_factors(by[PRACTICE, MANY], _is_near),
        },
        "expected": [str(value) for value in EXPECTED],
        "beyond": [f"{factor}x" for factor in FACTORS],
        "checked": {
            "series": len({row["series"] for row in others}),
            "error": _over_factors(of[SINCE]),
            "before": _over_factors(of[BEFORE]),
            "practice": _over_factors(of[PRACTICE]),
            "held": [
                f"{_held([row for row in of[SINCE] if row['factor'] == factor]):.2f}"
                for factor in FACTORS
            ],
            # As said before: averaged over the distances.
            "winkler": {
                name: float(
                    np.mean([_winkler([r for r in of[name] if r["factor"] == f]) for f in FACTORS])
                )
                for name in (BEFORE, SINCE)
            },
        },
    }
