"""What a shortlist by a surface does for a search: both ways on the same independent searches.

    python -m paper.shortlists --out paper/results

searches each workload anew for each sweep seed and batch size below, chooses a winner by the runs
and one by a surface through them (`--shortlist-by`), and measures each by fresh seeds: half an hour
of two cores, four minutes of it for digits. `shortlists.csv` has a row a search: the mean log steps
of each winner over its seeds, their standard deviation, and how many did not reach. `--workload`
runs one alone and leaves the others' rows. With `--read` nothing is run: the table's summary is
printed, as after a run. MNIST is read from where BATCH_LIMIT_DATA says.
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

MNIST: Final = "mnist_subset4096_width32"
# Sweep seeds that no recorded sweep has, and batch sizes along the curve.
SEARCHES: Final[Mapping[tuple[str, str], tuple[range, tuple[int, ...]]]] = {
    ("digits", "momentum"): (range(10, 16), (4, 16, 32, 128, 512)),
    ("digits", "adam"): (range(10, 15), (4, 16, 64, 256, 1024)),
    ("digits", "lars"): (range(10, 14), (16, 64, 256, 1024)),
    ("gaussian_mixture", "momentum"): (range(10, 16), (8, 64, 512)),
    ("gaussian_mixture", "adam"): (range(10, 16), (8, 64, 512)),
    (MNIST, "momentum"): (range(10, 16), (16, 128, 1024)),
    (MNIST, "adam"): (range(10, 16), (16, 128, 1024)),
}
WAYS: Final = ("runs", "surface")
SEEDS: Final = 20
NAME: Final = "shortlists.csv"


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


def row_of(workload: str, optimizer: str, seed: int, batch_size: int) -> dict[str, Any]:
    """Return a search's winners, each by its fresh seeds.

    Args:
        workload: of the sweep.
        optimizer: of the sweep.
        seed: of the sweep.
        batch_size: examples per step.
    """
    by = {
        way: SweepSettings(
            workload=workload, optimizer=optimizer, out=Path(), seed=seed, shortlist_by=way
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
    row: dict[str, Any] = {
        "workload": workload, "optimizer": optimizer, "seed": seed, "batch_size": batch_size,
    }  # fmt: skip
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
    """Say for each workload and optimizer what the surface gains, and what tuning leaves each way.

    Args:
        rows: of `row_of`.

    Yields:
        A line for each. Searches where a winner's seed did not reach are counted, and left out.
    """
    for key in dict.fromkeys(map(_study, rows)):
        all_of_it = [row for row in rows if _study(row) == key]
        lost = {w: sum(int(row[f"{w}_not_reached"]) > 0 for row in all_of_it) for w in WAYS}
        of_it = [r for r in all_of_it if not any(int(r[f"{w}_not_reached"]) for w in WAYS)]
        gain = np.array([
            float(row["runs_log_steps"]) - float(row["surface_log_steps"]) for row in of_it
        ])
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        left = {way: _tuning_spread(of_it, way) for way in WAYS}
        yield (
            f"{key}: {len(of_it)} searches; by surface {100 * gain.mean():.1f} % +- "
            f"{100 * error:.1f} % fewer steps; tuning's spread {100 * left['runs']:.1f} % by runs, "
            f"{100 * left['surface']:.1f} % by surface; winners with seeds that did not reach: "
            f"{lost['runs']} and {lost['surface']} of {len(all_of_it)}"
        )


def _study(row: Mapping[str, Any]) -> str:
    return f"{row['workload']} by {row['optimizer']}"


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
    workloads = sorted({workload for workload, _ in SEARCHES})
    parser.add_argument("--workload", choices=workloads, help="run this one's searches only")
    parser.add_argument("--read", action="store_true", help="run nothing")
    asked = parser.parse_args(arguments)
    path = asked.out / NAME
    if not asked.read:
        cells = [
            (workload, optimizer, seed, size)
            for (workload, optimizer), (seeds, sizes) in SEARCHES.items()
            for seed in seeds
            for size in sizes
            if asked.workload in {None, workload}
        ]
        kept = [row for row in _read(path) if row["workload"] not in {cell[0] for cell in cells}]
        with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as workers:
            write(path, kept + list(workers.map(row_of, *zip(*cells, strict=True))))
    for line in summaries(_read(path)):
        print(line)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    main()
