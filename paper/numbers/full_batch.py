"""Section "The full-batch limit": accuracy after a fixed small number of whole-set steps.

Two sources: the seed study's first author's own MNIST logs (published; the best of grids of unequal
size, chosen on test accuracy), and our sweeps and ablation in `results/full_batch`, where each rung
is tuned by equal search and measured on fresh seeds.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from models_of_scaling.ablation import Effect, RungRuns, effect
from models_of_scaling.fixed_epochs.trial_accuracies import accuracies_from_trials
from models_of_scaling.published.fixed_epochs import mnist_full_batch_runs
from models_of_scaling.quantities import Floats
from models_of_scaling.study_source import TableChoice
from models_of_scaling.trials import read_trials
from paper.numbers.quoted import LEVEL, Quoted, direction, mean_of
from paper.numbers.sweep_records import OPTIMIZERS, optimizer_title, place_of, workload_title

FOLDER: Final = "full_batch"
# Folder of the published logs to the optimizer's name, those of the whole set of 60,000.
PUBLISHED: Final = {"momentum_poly": "momentum", "momentum_lars": "lars", "lamb": "lamb"}
WHOLE: Final = 60_000
BASELINE: Final = "momentum"
EQUAL_TRIES: Final = 100


def published_accuracies(folder: str) -> Floats:
    """Return the final test accuracies of one optimizer's logs of the whole set in one batch.

    Args:
        folder: of the published repository.
    """
    runs = [each for each in mnist_full_batch_runs(folder) if each.batch_size == WHOLE]
    return np.array([each.test_accuracy for each in runs if each.test_accuracy is not None])


def published_steps() -> int:
    """Return the number of steps that all those runs had."""
    (steps,) = {
        each.steps
        for folder in PUBLISHED
        for each in mnist_full_batch_runs(folder)
        if each.batch_size == WHOLE and each.steps is not None
    }
    return steps


def best_of(values: Floats, tries: int, *, draws: int = 4000) -> Quoted:
    """Return the best of so many of the runs, drawn without replacement.

    Args:
        values: all runs.
        tries: at most as many as there are.
        draws: of the subsets.

    Returns:
        The median, with the middle 90 % of the draws.
    """
    rng = np.random.default_rng(0)
    ranks = np.sort(values)
    # The place of the best of k of n: from the largest of k places.
    best = np.array([rng.choice(len(ranks), tries, replace=False).max() for _ in range(draws)])
    tail = (1 - LEVEL) / 2
    low, middle, high = np.quantile(ranks[best], [tail, 0.5, 1 - tail])
    return Quoted(
        estimate=float(middle), low=float(low), high=float(high), n=len(values), of="runs",
        scale=100.0, unit="%",
    )  # fmt: skip


def published_numbers() -> dict[str, Any]:
    """Return what the published logs say."""
    rows = []
    for folder, optimizer in PUBLISHED.items():
        values = published_accuracies(folder)
        rows.append({
            "optimizer": optimizer_title(optimizer),
            "runs": f"{len(values):,}",
            "best": f"{100 * values.max():.2f} %",
            "median": f"{100 * float(np.median(values)):.1f} %",
            "equal": best_of(values, EQUAL_TRIES).as_json(),
        })
    return {
        "rows": rows, "steps": published_steps(), "whole": f"{WHOLE:,}", "tries": EQUAL_TRIES,
    }  # fmt: skip


def own_files(results: Path) -> list[Path]:
    """Return the records of our full-batch sweeps."""
    return sorted((results / FOLDER).glob("*.parquet"))


def own_rungs(results: Path) -> dict[tuple[str, str], RungRuns]:
    """Return each optimizer's fresh-seed accuracies, by workload and optimizer; a file a search.

    Args:
        results: the folder of records.
    """
    searches: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for path in own_files(results):
        words = pq.read_table(path, columns=["workload", "optimizer"]).slice(0, 1).to_pylist()[0]
        found = accuracies_from_trials(path, TableChoice()).accuracy
        key = str(words["workload"]), str(words["optimizer"])
        searches.setdefault(key, []).append(tuple(found.tolist()))
    ordered = sorted(searches, key=lambda key: (key[0], place_of(key[1], OPTIMIZERS)))
    return {
        key: RungRuns(label=optimizer_title(key[1]), values=tuple(searches[key])) for key in ordered
    }


def own_rows(results: Path) -> list[dict[str, Any]]:
    """Return each optimizer's accuracy and what it has more than momentum, in the pages' order.

    Args:
        results: the folder of records.

    Returns:
        One row each, `values` with the fresh seeds of each search. Intervals are over searches
        where there are several.
    """
    rungs, rows = own_rungs(results), []
    for (workload, optimizer), rung in rungs.items():
        searches = len(rung.values)
        of = "searches" if searches > 1 else "seeds"
        row: dict[str, Any] = {
            "workload": workload_title(workload),
            "optimizer": rung.label,
            "name": optimizer,
            "searches": searches,
            "runs": rung.num_runs,
            "accuracy": _over_searches(rung.values).as_json(),
            "values": rung.values,
        }
        tests = final_tests(results).get((workload, optimizer))
        if tests is not None:
            row["test"] = _over_searches(tests).as_json()
        base = rungs.get((workload, BASELINE))
        if base is not None and optimizer != BASELINE:
            n = searches if searches > 1 else rung.num_runs
            gain = _quoted_effect(effect(rung, base, "accuracy"), n, of)
            if gain is not None:
                row["over_momentum"] = gain.as_json()
                row["word"] = direction(gain, 0.0, ("better", "worse", "not told apart"))
        rows.append(row)
    return rows


def final_tests(results: Path) -> dict[tuple[str, str], list[list[float]]]:
    """Return the test accuracies of the tuned repeats, by workload and optimizer; a list a search.

    Args:
        results: the folder of records; `full_batch/*.csv` as `surrogate.final_test` writes them.
    """
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for path in sorted((results / FOLDER).glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                searches = found.setdefault((row["workload"], row["optimizer"]), {})
                searches.setdefault(row["study"], []).append(float(row["test_accuracy"]))
    return {key: list(searches.values()) for key, searches in found.items()}


def own_setting(results: Path) -> dict[str, str]:
    """Return how our runs were made, from their trials; empty without records."""
    files = own_files(results)
    if not files:
        return {}
    tables = [read_trials(path, columns=["settings", "num_train_examples"]) for path in files]
    found = accuracies_from_trials(files[0], TableChoice())
    first = dict(tables[0]["settings"][0].as_py())
    return {
        "batch_size": f"{int(found.batch_size.max()):,}",
        "examples": f"{tables[0]['num_train_examples'][0].as_py():,}",
        "epochs": f"{found.epochs:g}",
        "schedule": first.get("schedule", "constant"),
        "trials": f"{sum(len(table) for table in tables):,}",
    }


def _over_searches(values: Sequence[Sequence[float]]) -> Quoted:
    """Return the mean over searches of the mean over seeds; over seeds where one search is all."""
    means = [float(np.mean(each)) for each in values]
    if len(means) > 1:
        return mean_of(means, of="searches", scale=100.0, unit="%")
    return mean_of(list(values[0]), of="seeds", scale=100.0, unit="%")


def _quoted_effect(found: Effect, n: int, of: str) -> Quoted | None:
    if not np.isfinite(found.gain) or not np.isfinite(found.high):
        return None
    return Quoted(estimate=found.gain, low=found.low, high=found.high, n=n, of=of, nothing=0.0)


def ablations(results: Path) -> list[dict[str, Any]]:
    """Return the tables of `surrogate.ablate` that are kept, as it wrote them.

    Args:
        results: the folder of records.
    """
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((results / FOLDER).glob("*.json"))
    ]


def effect_of(found: dict[str, Any] | None) -> Effect | None:
    """Return a gain of a kept table, or None where there is none to tell."""
    if found is None or found["gain"] is None:
        return None
    low = -np.inf if found["low"] is None else found["low"]
    high = np.inf if found["high"] is None else found["high"]
    return Effect(**{**found, "low": low, "high": high})


def _step(row: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"label": row["label"], "runs": row["num_runs"]}
    said["mean"] = "" if row["mean"] is None else f"{row['mean']:.2f} %"
    for name in ("gain", "gain_in_whole"):
        gain = effect_of(row[name])
        said[name] = None
        if gain is not None and np.isfinite(gain.low):
            number = Quoted(
                estimate=gain.gain, low=gain.low, high=gain.high, n=row["num_runs"], nothing=0.0
            )
            said[name] = number.as_json()
            said[f"{name}_told"] = number.excludes(0.0)
    return said


def full_batch_numbers(results: Path) -> dict[str, Any]:
    """Return the section's numbers; `own` and `recipes` are empty without records.

    Args:
        results: the folder of records.
    """
    recipes = []
    for table in ablations(results):
        name, comma, rest = table["question"].partition(",")
        question = f"{workload_title(name)}{comma}{rest}"
        steps = [_step(row) for row in table["rows"]]
        total = effect_of(table["total"])
        recipes.append({
            "question": question,
            "workload": workload_title(name),
            "rows": steps,
            "told": sum(bool(step.get("gain_told")) for step in steps),
            "steps": len(steps) - 1,
            "total": None
            if total is None
            else Quoted(
                estimate=total.gain, low=total.low, high=total.high, n=steps[-1]["runs"]
            ).as_json(),
        })
    own = [{k: v for k, v in row.items() if k != "values"} for row in own_rows(results)]
    return {
        "published": published_numbers(), "own": own, "setting": own_setting(results),
        "recipes": recipes,
    }  # fmt: skip
