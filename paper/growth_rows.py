"""Reduces runs with a growing batch, and those whose rate decays in its place, to a row each.

    python paper/growth_rows.py TRIALS --out paper/results/batch_growth_digits.csv

TRIALS is the folder that `fullscale.fit --record.folder` wrote to; the study is the arm's name.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from models_of_scaling.trials import read_trials


def rows_of(trials: Path) -> list[dict[str, Any]]:
    """Return a row a run, by arm and seed.

    Args:
        trials: a folder of trial files.
    """
    found = []
    for trial in read_trials(trials).to_pylist():
        found.append({
            "arm": trial["study"],
            "seed": trial["seed"],
            "batch_size": trial["batch_size"],
            "batch_phases": dict(trial["settings"]).get("batch_phases", ""),
            "steps": trial["steps"],
            "examples": trial["examples"],
            "validation_accuracy": trial["curve_validation_accuracy"][-1],
            "validation_loss": trial["curve_validation_loss"][-1],
        })
    return sorted(found, key=lambda row: (row["arm"], row["seed"]))


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = rows_of(asked.trials)
    with asked.out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
