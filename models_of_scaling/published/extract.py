"""Makes `mlperf_rcp_other_seeds.csv` from a clone of mlcommons/logging (Apache-2.0).

    python -m models_of_scaling.published.extract path/to/logging > mlperf_rcp_other_seeds.csv

One row per seed of every reference convergence point but ResNet-50's (which has a file of its
own). Rule sets repeat points, so one rule set is taken per workload: that with the most batch
sizes, the newest of those. Names that moved on are one workload: gnn is rgat's older name, and
ssd is RetinaNet from rule set 2.0.0 on.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_FOLDER: Final = "mlperf_logging/rcp_checker"
_LEFT_OUT: Final = ("resnet", "gnn")
# These files count examples; the others count epochs, or give both under the name of epochs.
_LENGTHS: Final = ("Epochs to converge", "samples to converge")
# No run of a reference needed this many epochs: a larger number counts examples.
_MOST_EPOCHS: Final = 50_000
_COLUMNS: Final = (
    "workload", "rules", "batch_size", "seed_index", "length", "unit", "creator", "commit",
)  # fmt: skip


def _git(clone: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(clone), *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def _points(clone: Path) -> Iterator[tuple[str, tuple[int, ...], str, dict[str, Any]]]:
    """Yield workload, rule set as numbers and as text, and one point."""
    for name in _git(clone, "ls-tree", "-r", "--name-only", "HEAD", _FOLDER).split():
        folder, file = name.split("/")[-2:]
        if not (file.startswith("rcps_") and file.endswith(".json")):
            continue
        workload, rules = file[len("rcps_") : -len(".json")], folder
        numbers = tuple(int(part) for part in rules.split("_")[-1].split("."))
        if workload in _LEFT_OUT or (workload == "ssd" and numbers >= (2,)):
            continue
        for point in json.loads(_git(clone, "show", f"HEAD:{name}")).values():
            yield workload, numbers, rules, point


def _rows(clone: Path) -> Iterator[tuple[Any, ...]]:
    commit = _git(clone, "rev-parse", "HEAD").strip()
    by_workload: dict[str, dict[tuple[tuple[int, ...], str], list[dict[str, Any]]]] = {}
    for workload, numbers, rules, point in _points(clone):
        by_workload.setdefault(workload, {}).setdefault((numbers, rules), []).append(point)
    for workload, rule_sets in sorted(by_workload.items()):
        (_, rules), points = max(
            rule_sets.items(), key=lambda item: (len({p["BS"] for p in item[1]}), item[0][0])
        )
        for point in sorted(points, key=lambda each: int(each["BS"])):
            lengths = next(point[name] for name in _LENGTHS if name in point)
            for seed, length in enumerate(lengths):
                unit = "examples" if length > _MOST_EPOCHS else "epochs"
                yield (
                    workload, rules, point["BS"], seed, length,
                    "examples" if "samples to converge" in point else unit,
                    point.get("Creator", ""), commit,
                )  # fmt: skip


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_rows(Path(sys.argv[1])))
