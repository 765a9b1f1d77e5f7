"""MLPerf's reference convergence points of other workloads than ResNet-50, per seed.

Source: mlcommons/logging, mlperf_logging/rcp_checker (Apache-2.0), by `extract.py`: language models
(BERT, GPT-3, Llama), detection (SSD, RetinaNet, Mask R-CNN), speech, segmentation, recommendation,
graphs, diffusion and science. What to mind:

- Some lengths are epochs, some examples. Epochs are turned to steps by a nominal million
  examples each: only ratios of steps matter to a law's shape, and to the back-test's errors.
- A length is the first evaluation that met the target. How far apart evaluations were is not
  recorded; lengths are whole multiples of it, so their greatest common divisor over a batch size's
  seeds stands for it (over all batch sizes in the one unit, where all seeds agree).
- Each point is tuned on its own, by different people, and references are chosen to be fast.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from models_of_scaling.published.csv_files import Row, read_published
from models_of_scaling.published.series import (
    PublishedRun,
    PublishedSeries,
    PublishedSource,
    measurements_of_runs,
)

_FILE: Final = "mlperf_rcp_other_seeds.csv"
_COLUMNS: Final = ("workload", "rules", "batch_size", "length", "unit", "creator")
_NOMINAL_EXAMPLES: Final = 1e6
# Lengths have at most three decimals; whole numbers of thousandths have a common divisor.
_DECIMALS: Final = 1000


def reference_workload_series() -> list[PublishedSeries]:
    """Return one series per workload, whatever its number of batch sizes."""
    by_workload: dict[str, list[Row]] = defaultdict(list)
    for row in read_published(_FILE):
        by_workload[row["workload"]].append(row)
    return [_series(workload, rows) for workload, rows in by_workload.items()]


def _series(workload: str, rows: Sequence[Row]) -> PublishedSeries:
    gaps = _evaluation_gaps(rows)
    runs = [
        PublishedRun(
            batch_size=int(row["batch_size"]),
            epochs=float(row["length"]),
            epochs_before=float(row["length"]) - gaps[row["batch_size"]],
            reached=True,
            group=row["creator"],
        )
        for row in rows
    ]
    in_epochs = rows[0]["unit"] == "epochs"
    return PublishedSeries(
        name=f"mlperf_{workload}",
        part="workload",
        source=PublishedSource(
            file=_FILE,
            columns=_COLUMNS,
            origin="mlcommons/logging, mlperf_logging/rcp_checker",
            commits=tuple(sorted({row["commit"] for row in rows})),
        ),
        measurements=measurements_of_runs(
            runs,
            file=_FILE,
            workload=workload,
            num_train_examples=_NOMINAL_EXAMPLES if in_epochs else 1.0,
        ),
    )


def _evaluation_gaps(rows: Sequence[Row]) -> dict[str, float]:
    """Return how far apart evaluations were at each batch size, in the lengths' own unit."""
    lengths: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        lengths[row["batch_size"]].add(round(float(row["length"]) * _DECIMALS))
    anywhere = math.gcd(*(length for found in lengths.values() for length in found))
    return {
        size: (math.gcd(*found) if len(found) > 1 else anywhere) / _DECIMALS
        for size, found in lengths.items()
    }
