"""A batch that grows where the rate would decay (Smith et al. 2017): what it costs and keeps.

From `results/batch_growth_digits.csv`: three arms on the same seeds. Differences are of pairs of
one seed, with Student's t over seeds.
"""

import csv
from pathlib import Path
from typing import Any, Final

import numpy as np

from paper.numbers.quoted import Quoted, direction, mean_of, percent

FILE: Final = "batch_growth_digits.csv"
DECAY: Final = "decay"
ARMS: Final = {
    "decay": "the rate decays", "growing_160": "the batch grows to 160",
    "growing": "the batch grows to the whole set",
}  # fmt: skip
Runs = dict[str, dict[int, dict[str, float]]]


def growth_runs(results: Path) -> Runs:
    """Return the runs' numbers by arm and seed; empty without the record.

    Args:
        results: the folder of records.
    """
    path, runs = results / FILE, Runs()
    if not path.exists():
        return runs
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            numbers = {
                name: float(row[name])
                for name in ("steps", "examples", "validation_accuracy", "validation_loss")
            }
            runs.setdefault(row["arm"], {})[int(row["seed"])] = numbers
    return runs


def paired(runs: Runs, arm: str, name: str, **more: Any) -> Quoted:
    """Return an arm's number less that of decay, over the seeds that both have.

    Args:
        runs: of all arms.
        arm: which.
        name: of the number.
        **more: fields of `Quoted`.
    """
    seeds = sorted(runs[arm].keys() & runs[DECAY].keys())
    return mean_of(
        [runs[arm][seed][name] - runs[DECAY][seed][name] for seed in seeds],
        of="seeds",
        nothing=0.0,
        **more,
    )


def growth_numbers(results: Path) -> dict[str, Any] | None:
    """Return the section's numbers; None without the record.

    Args:
        results: the folder of records.
    """
    runs = growth_runs(results)
    if not runs:
        return None
    rows = []
    for arm, title in ARMS.items():
        steps = {seed: each["steps"] for seed, each in runs[arm].items()}
        accuracy = mean_of(
            [each["validation_accuracy"] for each in runs[arm].values()], of="seeds", scale=100.0,
            unit="%",
        )  # fmt: skip
        row: dict[str, Any] = {
            "arm": arm,
            "title": title,
            "seeds": len(steps),
            "steps": f"{np.median(list(steps.values())):,.0f}",
            "share_of_steps": percent(
                float(np.median(list(steps.values()))) / _median(runs, DECAY)
            ),
            "accuracy": accuracy.as_json(),
        }
        if arm != DECAY:
            points = paired(runs, arm, "validation_accuracy", scale=100.0)
            loss = paired(runs, arm, "validation_loss")
            row |= {
                "points": points.as_json(),
                "points_word": direction(points, 0.0, ("higher", "lower", "not told apart")),
                "loss": loss.as_json(),
                "loss_word": direction(loss, 0.0, ("higher", "lower", "not told apart")),
            }
        rows.append(row)
    return {"rows": rows}


def _median(runs: Runs, arm: str) -> float:
    return float(np.median([each["steps"] for each in runs[arm].values()]))
