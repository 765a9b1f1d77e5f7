"""Writes how well held-out batch sizes are predicted: the scores and the cases behind them.

    python paper/back_test_records.py --out paper/results

runs `models_of_scaling backtest` on the published series, and on our two ladders with what is known
of B_crit beside their rows, for the average of laws and today's practice (half a minute of one
core). `backtest_scores.csv` has a row a score, `backtest_cases.csv` a row a case.

    python paper/back_test_records.py --sweeps --out paper/results

runs it on the recorded sweeps and `fashion_mnist.csv`, which nothing was tuned for, for every law
too: `backtest_sweeps_scores.csv` and, of the average and today's practice,
`backtest_sweeps_cases.csv`.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from models_of_scaling.backtest.evidence_table import read_evidence
from models_of_scaling.backtest.forecasters import FORECASTERS
from models_of_scaling.backtest.run import HANDFUL, BeyondRows, back_test
from models_of_scaling.backtest.scores import Outcome, scores
from models_of_scaling.backtest.table_series import table_series
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.published.loader import choose_series

RESULTS: Final = Path(__file__).parent / "results"
COMPARED: Final = ("averaged", "todays_practice")
# Our ladders, each with the table of what is known of B_crit beside its rows.
OWN: Final = {"digits": "evidence_ladder_digits", "noisy_quadratic": "evidence_noise_scale"}
# A sweep of Fashion-MNIST by momentum of which the trials were not kept.
ROWS_ONLY: Final = RESULTS / "fashion_mnist.csv"
REPLICATES: Final = 300
LEVEL: Final = 0.9


def sweep_tables() -> list[Path]:
    """Return the records of all sweeps, each a table of the back-test."""
    return [*sorted((RESULTS / "sweeps").glob("*.parquet")), ROWS_ONLY]


def outcomes_of(table: str) -> list[Outcome]:
    """Return every prediction of the published series, or of one of our ladders.

    Args:
        table: "published", "sweeps", or a key of `OWN`.
    """
    knee: dict[str, KneeEvidence] = {}
    if table == "published":
        series = choose_series(None)
    elif table == "sweeps":
        series = table_series(sweep_tables())
    else:
        series = table_series([RESULTS / f"ladder_{table}.csv"])
        knee = read_evidence(RESULTS / f"{OWN[table]}.csv", [each.name for each in series])
    return back_test(
        series,
        forecasters=tuple(FORECASTERS) if table == "sweeps" else COMPARED,
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


def case_rows(
    table: str, outcomes: Sequence[Outcome], *, forecaster: str = "averaged"
) -> list[dict[str, Any]]:
    """Return one forecaster's predictions as rows; `measured` is inf where nothing reached.

    Args:
        table: that was predicted.
        outcomes: of it.
        forecaster: whose.
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
        if each.forecaster == forecaster
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


def sweep_case_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the predictions of the sweeps by the average and by today's practice as rows.

    Args:
        outcomes: of the sweeps.
    """
    return [
        {"forecaster": name, **row}
        for name in COMPARED
        for row in case_rows("sweeps", outcomes, forecaster=name)
    ]


def main() -> None:
    """Write two tables: scores and cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--sweeps", action="store_true", help="of the sweeps instead")
    asked = parser.parse_args()
    out = asked.out
    if asked.sweeps:
        outcomes = outcomes_of("sweeps")
        write(out / "backtest_sweeps_scores.csv", score_rows("sweeps", outcomes))
        write(out / "backtest_sweeps_cases.csv", sweep_case_rows(outcomes))
        return
    found = {table: outcomes_of(table) for table in ("published", *OWN)}
    write(out / "backtest_scores.csv", [r for t, o in found.items() for r in score_rows(t, o)])
    write(out / "backtest_cases.csv", [r for t, o in found.items() for r in case_rows(t, o)])


if __name__ == "__main__":
    main()
