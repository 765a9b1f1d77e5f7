"""The noise scale, branching, and the critical batch size of steps to target, side by side.

From the records of branching: at each checkpoint of a tuned run at a small batch size, the critical
batch size by branching and the noise scale, each with an interval over seeds.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from models_of_scaling.branch_table import CheckpointRow
from models_of_scaling.branching import BranchAnswer
from models_of_scaling.intervals import Interval
from paper.numbers.quoted import LEVEL, Quoted, direction, geometric_mean_of, quoted
from paper.numbers.sweep_records import Sweep, workload_title

WORKLOADS: Final = ("digits", "fashion_mnist")


def checkpoints(results: Path, workload: str) -> list[CheckpointRow]:
    """Return what branching found at each checkpoint.

    Args:
        results: the folder of records.
        workload: whose.
    """
    path = results / f"branching_{workload}.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))

    def answer(row: dict[str, str], name: str) -> BranchAnswer:
        ends = [float(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
        return BranchAnswer(estimate=ends[0], low=ends[1], high=ends[2], level=LEVEL)

    return [
        CheckpointRow(
            examples=round(float(row["examples"])),
            train_loss=float(row["train_loss"]),
            critical=answer(row, "critical_batch_size"),
            by_rule={},
            lossless={},
            noise_scale=answer(row, "gradient_noise_scale"),
        )
        for row in rows
    ]


def largest_branch(results: Path, workload: str) -> int:
    """Return the largest batch size that branches were trained at."""
    path = results / f"branching_{workload}_losses.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        return max(int(row["batch_size"]) for row in csv.DictReader(stream))


def num_seeds(results: Path, workload: str) -> int:
    """Return how many seeds each branch was trained with."""
    path = results / f"branching_{workload}_losses.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        return len({row["seed"] for row in csv.DictReader(stream)})


def momentum_knee(sweeps: Sequence[Sweep], workload: str) -> Interval | None:
    """Return B_crit of steps to target with momentum; None where no sweep says."""
    for each in sweeps:
        if (each.file.workload, each.file.optimizer) == (workload, "momentum"):
            return each.fit.critical_batch_size
    return None


def quotient(above: BranchAnswer | Interval, below: BranchAnswer | Interval, n: int) -> Quoted:
    """Return one over the other; the arms of both, in logs, add up in squares.

    Args:
        above: with both ends known.
        below: likewise.
        n: what it rests on.
    """
    value = math.log(above.estimate / below.estimate)
    down = math.hypot(math.log(above.estimate / above.low), math.log(below.high / below.estimate))
    up = math.hypot(math.log(above.high / above.estimate), math.log(below.estimate / below.low))
    ends = (math.exp(each) for each in (value, value - down, value + up))
    estimate, low, high = ends
    return Quoted(estimate=estimate, low=low, high=high, n=n, of="seeds", nothing=1.0)


def noise_numbers(results: Path, sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Return the section's numbers.

    Args:
        results: the folder of records.
        sweeps: all.
    """
    rows = []
    for workload in WORKLOADS:
        found, seeds = checkpoints(results, workload), num_seeds(results, workload)
        knee, last = momentum_knee(sweeps, workload), found[-1]
        of_noise = [each.critical.estimate / each.noise_scale.estimate for each in found]
        row: dict[str, Any] = {
            "workload": workload_title(workload),
            "checkpoints": len(found),
            "seeds": seeds,
            "largest_branch": f"{largest_branch(results, workload):,}",
            "branching_over_noise": geometric_mean_of(
                of_noise, of="checkpoints", nothing=1.0
            ).as_json(),
            "noise_first": _answer(found[0].noise_scale, seeds),
            "noise_last": _answer(last.noise_scale, seeds),
            "branching_last": _answer(last.critical, seeds),
            "loss_last": f"{last.train_loss:.2g}",
        }
        if knee is not None and knee.is_bounded:
            noise, branch = (
                quotient(each, knee, seeds) for each in (last.noise_scale, last.critical)
            )
            words = ("above", "below", "not told from")
            row |= {
                "knee": quoted(knee, _runs(sweeps, workload)).as_json(),
                "noise_over_knee": noise.as_json(),
                "noise_word": direction(noise, 1.0, words),
                "branching_over_knee": branch.as_json(),
                "branching_word": direction(branch, 1.0, words),
            }
        rows.append(row)
    return {"rows": rows}


def _runs(sweeps: Sequence[Sweep], workload: str) -> int:
    return next(
        len(each.fit.measured.steps)
        for each in sweeps
        if (each.file.workload, each.file.optimizer) == (workload, "momentum")
    )


def _answer(answer: BranchAnswer, seeds: int) -> dict[str, Any]:
    said = Quoted(estimate=answer.estimate, low=answer.low, high=answer.high, n=seeds, of="seeds")
    return said.as_json()
