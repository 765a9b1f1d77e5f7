"""Writes how well held-out batch sizes are predicted: the scores and the cases behind them.

    python paper/back_test_records.py --out paper/results

runs `models_of_scaling backtest` on the published series, and on our two ladders with what is known
of B_crit beside their rows, for the average of laws and today's practice (half a minute of one
core). `backtest_scores.csv` has a row a score, `backtest_cases.csv` a row a case.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from models_of_scaling.backtest.evidence_table import read_evidence
from models_of_scaling.backtest.run import HANDFUL, BeyondRows, back_test
from models_of_scaling.backtest.scores import Outcome, scores
from models_of_scaling.backtest.table_series import table_series
from models_of_scaling.published.loader import choose_series

RESULTS: Final = Path(__file__).parent / "results"
FORECASTERS: Final = ["averaged", "todays_practice"]
# Our ladders, each with the table of what is known of B_crit beside its rows.
OWN: Final = {"digits": "evidence_ladder_digits", "noisy_quadratic": "evidence_noise_scale"}
REPLICATES: Final = 300
LEVEL: Final = 0.9


def outcomes_of(table: str) -> list[Outcome]:
    """Return every prediction of the published series, or of one of our ladders.

    Args:
        table: "published", or a key of `OWN`.
    """
    if table == "published":
        series, knee = choose_series(None), {}
    else:
        series = table_series(RESULTS / f"ladder_{table}.csv")
        knee = read_evidence(RESULTS / f"{OWN[table]}.csv", [each.name for each in series])
    return back_test(
        series,
        forecasters=FORECASTERS,
        replicates=REPLICATES,
        level=LEVEL,
        beyond=BeyondRows(more_runs=HANDFUL, knee=knee),
    )


def score_rows(table: str, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the scores as rows; an interval's ends are columns of their own.

    Args:
        table: that was predicted.
        outcomes: of it.
    """
    rows = []
    for score in scores(outcomes):
        row: dict[str, Any] = {"table": table}
        for name, value in asdict(score).items():
            if isinstance(value, dict):
                ends = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
                row |= {ends[end]: number for end, number in value.items()}
            elif value is None and name == "coverage":
                row |= dict.fromkeys((name, f"{name}_low", f"{name}_high"))
            else:
                row[name] = value
        rows.append(row)
    return rows


def case_rows(table: str, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the average's predictions as rows; `measured` is inf where nothing reached.

    Args:
        table: that was predicted.
        outcomes: of it.
    """
    return [
        {
            "table": table,
            "part": each.part,
            "series": each.series,
            "design": each.case.design,
            "factor": each.case.factor,
            "away": each.case.ratio,
            "steps": each.forecast.steps,
            "steps_low": each.forecast.low,
            "steps_high": each.forecast.high,
            "measured": each.measured,
        }
        for each in outcomes
        if each.forecaster == "averaged"
    ]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, numbers with five digits.

    Args:
        path: of the CSV file.
        rows: at least one; all with the same columns.
    """
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({
                name: f"{value:.5g}" if isinstance(value, float) else value
                for name, value in row.items()
            })


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    found = {table: outcomes_of(table) for table in ("published", *OWN)}
    write(out / "backtest_scores.csv", [r for t, o in found.items() for r in score_rows(t, o)])
    write(out / "backtest_cases.csv", [r for t, o in found.items() for r in case_rows(t, o)])


if __name__ == "__main__":
    main()
