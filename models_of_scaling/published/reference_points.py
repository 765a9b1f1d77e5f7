"""MLPerf Training's reference convergence points: ResNet-50, ImageNet, LARS, top-1 0.759, per seed.

Source: mlcommons/logging, mlperf_logging/rcp_checker (Apache-2.0). What to mind:

- The points of 1.0.0 stand again in 4.0.0, the same seeds under another version (at 13,056 fewer
  of them). Only the newest version is taken; two batch sizes that it no longer has (2,048 and
  64,480) are left out with the older one, counted.
- Epochs to converge are whole numbers: an evaluation after every epoch found the target met, so
  it was met somewhere in (epochs - 1, epochs].
- The curve jumps between 3,264 and 4,096, where the creator changes: other tuning, not only
  another batch size. Hence a series of each creator beside that of all.
- Each batch size had its own length of schedule, and references were chosen to be fast.
- Version 1.0.0 names no creator; its `decay_steps` is in part epochs. We use neither.
"""

from collections.abc import Sequence
from typing import Final

from models_of_scaling.published.csv_files import Row, read_published
from models_of_scaling.published.series import (
    PublishedRun,
    PublishedSeries,
    PublishedSource,
    SeriesPart,
    imagenet_measurements,
)

_FILE: Final = "mlperf_rcp_resnet_seeds.csv"
_COLUMNS: Final = ("version", "batch_size", "epochs_to_converge", "creator", "target_top1")
_TARGET: Final = 0.759


def reference_point_series() -> list[PublishedSeries]:
    """Return the series of all reference points and of each creator."""
    every = read_published(_FILE)
    rows = of_newest_version(every)
    kept = {row["batch_size"] for row in rows}
    num_withdrawn = sum(row["batch_size"] not in kept for row in every)
    series = [_series("mlperf_reference", rows, part="workload", num_left_out=num_withdrawn)]
    for creator in sorted({row["creator"] for row in rows}):
        own = [row for row in rows if row["creator"] == creator]
        series.append(_series(f"mlperf_reference_{creator.lower()}", own))
    return series


def of_newest_version(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the newest version.

    Args:
        rows: with `version`, three numbers with dots.

    Returns:
        Those rows, in the order given.
    """

    def number(row: Row) -> tuple[int, ...]:
        return tuple(int(part) for part in row["version"].split("."))

    newest = max(number(row) for row in rows)
    return [row for row in rows if number(row) == newest]


def _series(
    name: str, rows: Sequence[Row], *, part: SeriesPart = "resnet50_cut", num_left_out: int = 0
) -> PublishedSeries:
    runs = [
        PublishedRun(
            batch_size=int(row["batch_size"]),
            epochs=float(row["epochs_to_converge"]),
            epochs_before=float(row["epochs_to_converge"]) - 1.0,
            reached=True,
            group=row["creator"],
        )
        for row in rows
    ]
    return PublishedSeries(
        name=name,
        source=PublishedSource(
            file=_FILE,
            columns=_COLUMNS,
            origin="mlcommons/logging, mlperf_logging/rcp_checker",
            commits=tuple(sorted({row["commit"] for row in rows})),
        ),
        measurements=imagenet_measurements(
            runs, file=_FILE, workload="resnet50_imagenet", optimizer="lars", target=_TARGET
        ),
        part=part,
        num_left_out=num_left_out,
        left_out="batch sizes that only rule set 1.0.0 has" if num_left_out else "",
    )
