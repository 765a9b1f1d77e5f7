"""What a shortlist by a surface does for a search: both ways on the same independent searches.

    python -m paper.shortlists --out paper/results

searches digits anew for each sweep seed and batch size below, chooses a winner by the runs and one
by a surface through them (`--shortlist-by`), and measures each by fresh seeds: a few minutes of two
cores. `shortlists_digits.csv` has a row a search: the mean log steps of each winner over its seeds,
their standard deviation, and how many did not reach. With `--read` nothing is run: the table's
summary is printed, as after a run.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from models_of_scaling.trials import Trial
from paper.back_test_records import RESULTS, write
from surrogate.engines import run_stage
from surrogate.protocol import Candidate, Plan, Stage
from surrogate.ranking import shortlist_winner, steps_to_target
from surrogate.run_sweep import SweepSettings
from surrogate.search import next_stage
from surrogate.shortlist import shortlist_of

WORKLOAD: Final = "digits"
# Sweep seeds that no recorded sweep has, and batch sizes along the curve.
SEARCHES: Final[Mapping[str, tuple[range, tuple[int, ...]]]] = {
    "momentum": (range(10, 16), (4, 16, 32, 128, 512)),
    "adam": (range(10, 15), (4, 16, 64, 256, 1024)),
    "lars": (range(10, 14), (16, 64, 256, 1024)),
}
WAYS: Final = ("runs", "surface")
SEEDS: Final = 20
NAME: Final = "shortlists_digits.csv"


def searched(plan: Plan, batch_size: int) -> list[Trial]:
    """Return the trials of a search, up to its shortlist.

    Args:
        plan: the study.
        batch_size: examples per step.
    """
    done: list[Trial] = []
    while (stage := next_stage(plan, batch_size, done)) and stage.name not in {
        "shortlist",
        "repeat",
    }:
        for finished in run_stage(plan, batch_size, stage):
            done += finished
    return done


def run_again(
    plan: Plan,
    batch_size: int,
    trials: Sequence[Trial],
    phase: str,
    seeds: range,
    *,
    fewest_steps: int | None = None,
) -> list[Trial]:
    """Return runs of some configurations with fresh seeds.

    Args:
        plan: the study.
        batch_size: examples per step.
        trials: of each configuration, one; the same one twice is run once.
        phase: "shortlist" or "repeat".
        seeds: of each.
        fewest_steps: of the search, by which slow runs of a shortlist are stopped.
    """
    candidates = tuple(
        Candidate(
            phase=phase, hyper_parameters=each.hyper_parameters, settings=each.settings, seed=seed
        )
        for each in {_name(trial): trial for trial in trials}.values()
        for seed in seeds
    )
    stage = Stage(name=phase, candidates=candidates, fewest_steps=fewest_steps)
    return [trial for finished in run_stage(plan, batch_size, stage) for trial in finished]


def _name(trial: Trial) -> str:
    return json.dumps(dict(trial.hyper_parameters), sort_keys=True)


def row_of(optimizer: str, seed: int, batch_size: int) -> dict[str, Any]:
    """Return a search's winners, each by its fresh seeds.

    Args:
        optimizer: of the sweep.
        seed: of the sweep.
        batch_size: examples per step.
    """
    by = {
        way: SweepSettings(
            workload=WORKLOAD, optimizer=optimizer, out=Path(), seed=seed, shortlist_by=way
        ).plan
        for way in WAYS
    }
    plan = by["runs"]
    trials = searched(plan, batch_size)
    lists = {way: shortlist_of(each, batch_size, trials, "steps") for way, each in by.items()}
    first = plan.protocol.search_seed + 1
    last = first + plan.protocol.shortlist_seeds
    listed = [trial for each in lists.values() for trial in each]
    fewest = min(int(steps_to_target(trial, plan.target)) for trial in lists["runs"])
    again = run_again(
        plan, batch_size, listed, "shortlist", range(first, last), fewest_steps=fewest
    )
    winners = {
        way: shortlist_winner(each, again, plan.target, "steps") for way, each in lists.items()
    }
    seeds = range(last, last + SEEDS)
    repeats = run_again(plan, batch_size, list(winners.values()), "repeat", seeds)
    row: dict[str, Any] = {"optimizer": optimizer, "seed": seed, "batch_size": batch_size}
    for way, winner in winners.items():
        steps = np.array([
            steps_to_target(trial, plan.target)
            for trial in repeats
            if _name(trial) == _name(winner)
        ])
        reached = np.log(steps[np.isfinite(steps)])
        row |= {
            f"{way}_log_steps": float(reached.mean()),
            f"{way}_sd": float(reached.std(ddof=1)),
            f"{way}_not_reached": int(np.isinf(steps).sum()),
        }
    return row


def summaries(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say for each optimizer what the surface gains, and what tuning leaves by each way.

    Args:
        rows: of `row_of`.

    Yields:
        A line an optimizer. Searches where a winner's seed did not reach are counted, and left out.
    """
    for optimizer in dict.fromkeys(str(row["optimizer"]) for row in rows):
        all_of_it = [row for row in rows if row["optimizer"] == optimizer]
        lost = {w: sum(int(row[f"{w}_not_reached"]) > 0 for row in all_of_it) for w in WAYS}
        of_it = [r for r in all_of_it if not any(int(r[f"{w}_not_reached"]) for w in WAYS)]
        gain = np.array([
            float(row["runs_log_steps"]) - float(row["surface_log_steps"]) for row in of_it
        ])
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        left = {way: _tuning_spread(of_it, way) for way in WAYS}
        yield (
            f"{optimizer}: {len(of_it)} searches; by surface {100 * gain.mean():.1f} % +- "
            f"{100 * error:.1f} % fewer steps; tuning's spread {100 * left['runs']:.1f} % by runs, "
            f"{100 * left['surface']:.1f} % by surface; winners with seeds that did not reach: "
            f"{lost['runs']} and {lost['surface']} of {len(all_of_it)}"
        )


def _tuning_spread(rows: Sequence[Mapping[str, Any]], way: str) -> float:
    """Return the standard deviation over searches of a batch size that seeds do not explain."""
    variances = []
    for size in {int(row["batch_size"]) for row in rows}:
        means = [float(r[f"{way}_log_steps"]) for r in rows if int(r["batch_size"]) == size]
        if len(means) > 1:
            variances.append(np.var(means, ddof=1))
    seeds = np.mean([float(row[f"{way}_sd"]) ** 2 / SEEDS for row in rows])
    return float(np.sqrt(max(np.mean(variances) - seeds, 0.0)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the searches and write their table, or read it; print what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--read", action="store_true", help="run nothing")
    asked = parser.parse_args(arguments)
    path = asked.out / NAME
    if not asked.read:
        cells = [
            (optimizer, seed, size)
            for optimizer, (seeds, sizes) in SEARCHES.items()
            for seed in seeds
            for size in sizes
        ]
        with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as workers:
            write(path, list(workers.map(row_of, *zip(*cells, strict=True))))
    with path.open(encoding="utf-8", newline="") as stream:
        for line in summaries(list(csv.DictReader(stream))):
            print(line)


if __name__ == "__main__":
    main()
