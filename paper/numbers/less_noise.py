"""Section "Prediction": sweeps of digits with less noise, and what was expected of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from models_of_scaling.interval_scores import over_series
from paper.numbers.back_test import FACTORS, Row, read_rows
from paper.numbers.quoted import Quoted

FEW, MANY = "5", "20"  # seeds of each batch size
# Written down before the first of the sweeps was read (docs/back_tests.md), per cent.
EXPECTED: Final = (5, 8, 18)
# What a choice among the runs' own luck gave is another record.
RECORD, CHOSEN_BY = "backtest_fine_cases.csv", "by_surface"


def _median_error(rows: Sequence[Row]) -> Quoted:
    errors = np.array([abs(float(row["steps"]) / float(row["measured"]) - 1) for row in rows])
    found = over_series(errors, [row["series"] for row in rows], np.median)
    return Quoted(
        estimate=found.value, low=min(found.low, found.value), high=max(found.high, found.value),
        n=len(rows), of="cases", scale=100.0,
    )  # fmt: skip


def _over_factors(rows: Sequence[Row], keep: Callable[[Row], bool]) -> list[dict[str, Any]]:
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
    rows = [
        row
        for row in read_rows(results, RECORD)
        if row["design"] == "rolling" and CHOSEN_BY in row["series"]
    ]
    by = {
        (name, seeds): [r for r in rows if (r["forecaster"], r["seeds"]) == (name, seeds)]
        for name in ("averaged", "todays_practice")
        for seeds in (FEW, MANY)
    }
    return {
        "series": len({row["series"] for row in rows}),
        "few": {"seeds": FEW, "error": _over_factors(by["averaged", FEW], lambda row: True)},
        "many": {
            "seeds": MANY,
            "error": _over_factors(by["averaged", MANY], lambda row: True),
            "practice": _over_factors(by["todays_practice", MANY], lambda row: True),
        },
        "near": {
            "error": _over_factors(by["averaged", MANY], _is_near),
            "practice": _over_factors(by["todays_practice", MANY], _is_near),
        },
        "expected": [str(value) for value in EXPECTED],
        "beyond": [f"{factor}x" for factor in FACTORS],
    }
