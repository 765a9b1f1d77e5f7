"""The reproduction table: every figure with the records it is drawn from, their commands and cost.

Costs come from the records: of sweeps the run time in their trials, of the others
`results/costs.csv`, which was measured when they were made.
"""

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from paper.numbers.sweep_records import Sweep

_SWEEP: Final = "python -m surrogate.sweep --workload W --optimizer O --out SWEEP"
_TEST: Final = "python -m surrogate.final_test SWEEP --out TEST.csv"
_FULL: Final = "python -m surrogate.sweep --workload W --optimizer O --epochs E --out SWEEP"


@dataclass(frozen=True, kw_only=True)
class FigureSource:
    """What a figure is made from.

    Attributes:
        name: of `paper/figures/NAME.py`.
        records: files or folders of `paper/results`; "sweeps" for all of them.
    """

    name: str
    records: tuple[str, ...]


FIGURES: Final = (
    FigureSource(name="steps_to_target", records=("sweeps",)),
    FigureSource(name="critical_batch_sizes", records=("sweeps",)),
    FigureSource(name="held_out", records=("sweeps",)),
    FigureSource(name="easier_targets", records=("sweeps",)),
    FigureSource(name="full_batch", records=("published", "full_batch")),
    FigureSource(name="diffusion", records=("diffusion_fashion_mnist",)),
    FigureSource(
        name="noise_scale",
        records=("branching_digits.csv", "branching_fashion_mnist.csv", "sweeps"),
    ),
    FigureSource(name="batch_growth", records=("batch_growth_digits.csv",)),
    FigureSource(name="learning_rates", records=("sweeps",)),
    FigureSource(name="back_test", records=("backtest_scores.csv", "backtest_sweeps_scores.csv")),
    FigureSource(name="forecast", records=("forecast_imagenet.csv", "forecast_machine.csv")),
)


def _costs(results: Path) -> dict[str, tuple[float, str]]:
    with (results / "costs.csv").open(encoding="utf-8", newline="") as stream:
        return {
            row["record"]: (float(row["processor_minutes"]), row["command"])
            for row in csv.DictReader(stream)
        }


def _run_minutes(paths: Sequence[Path]) -> float:
    seconds = [pq.read_table(path, columns=["wall_time_s"])["wall_time_s"] for path in paths]
    return sum(float(np.nansum(each.to_numpy())) for each in seconds) / 60


def reproduction_rows(results: Path, sweeps: Sequence[Sweep]) -> list[dict[str, Any]]:
    """Return a row for the figures of the same records, where they are there.

    Args:
        results: the folder of records.
        sweeps: all.
    """
    costs = _costs(results)
    full = sorted((results / "full_batch").glob("*.parquet"))
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        minutes = 0.0
        records: list[str] = []
        commands: list[str] = []
        for record in figure.records:
            if record == "sweeps":
                whole = [each.file.path for each in sweeps if each.file.has_trials]
                minutes += _run_minutes(whole)
                commands.append(_SWEEP)
                records.append(f"sweeps/ ({len(whole)} files)")
                for each in sweeps:
                    if not each.file.has_trials:
                        minutes += costs[each.file.path.name][0]
                        records.append(each.file.path.name)
            elif record == "full_batch":
                if full:
                    minutes += _run_minutes(full)
                    commands.append(_FULL)
                    if list((results / record).glob("*.csv")):
                        commands.append(_TEST)
                    records.append(f"full_batch/ ({len(full)} files)")
            elif record == "published":
                records.append("published logs, in the package")
            elif (results / record).exists():
                minutes += costs[record][0]
                records.append(record)
                if costs[record][1] not in commands:
                    commands.append(costs[record][1])
        if records:
            row = {
                "names": [figure.name],
                "records": records,
                "commands": commands,
                "minutes": _in_words(minutes),
            }
            alike = [each for each in rows if each["records"] == records]
            if alike:
                alike[0]["names"].append(figure.name)
            else:
                rows.append(row)
    return rows


def _in_words(minutes: float) -> str:
    if not minutes:
        return "none"
    return f"{minutes:,.1f}" if minutes < 10 else f"{minutes:,.0f}"


def dictionary_digests(results: Path) -> dict[str, str]:
    """Return the digest of each file that the data dictionary's table lists.

    Args:
        results: the folder of records.
    """
    text = (results / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([^`]+)` \| [\d,]+ \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))


def unlisted_or_changed(results: Path) -> list[str]:
    """Return every record whose digest is not the one in the data dictionary, in words.

    Folders of many small files have one joined digest each, in the dictionary's text.

    Args:
        results: the folder of records.
    """
    digests = dictionary_digests(results)
    text = (results / "README.md").read_text(encoding="utf-8")
    wrong = [f"{name}: listed, not there" for name in digests if not (results / name).exists()]
    joined: dict[Path, Any] = {}
    for path in sorted(each for each in results.rglob("*") if each.is_file()):
        name = path.relative_to(results).as_posix()
        content = path.read_bytes()
        if name in digests:
            if hashlib.sha256(content).hexdigest() != digests[name]:
                wrong.append(f"{name}: changed")
        elif path.parent != results:
            joined.setdefault(path.parent, hashlib.sha256()).update(content)
        elif name != "README.md":
            wrong.append(f"{name}: not in the data dictionary")
    wrong += [
        f"{folder.name}/: changed, or not in the data dictionary"
        for folder, digest in joined.items()
        if digest.hexdigest() not in text
    ]
    return wrong
