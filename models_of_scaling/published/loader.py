"""All published series of steps to target, and the choice of some by name."""

from collections.abc import Sequence
from typing import Final

from models_of_scaling.errors import InputError
from models_of_scaling.published.reference_points import reference_point_series
from models_of_scaling.published.reference_workloads import reference_workload_series
from models_of_scaling.published.series import PublishedSeries
from models_of_scaling.published.submitted_runs import submitted_series

# Three to fit (one more than the simplest law has parameters) and one to predict.
FEWEST_BATCH_SIZES: Final = 4


def steps_series() -> list[PublishedSeries]:
    """Return the published series of steps to target with at least 4 different batch sizes.

    Returns:
        42 series: MLPerf's reference points of ResNet-50 (all, and of either creator) and of 16
        other workloads, each round's submitted ResNet-50 runs by optimizer (11), and each
        submitter's over the rounds v0.7 to v4.0 (12).
    """
    return [
        series
        for series in [
            *reference_point_series(),
            *reference_workload_series(),
            *submitted_series(),
        ]  # fmt: skip
        if len(series.batch_sizes) >= FEWEST_BATCH_SIZES
    ]


def choose_series(names: Sequence[str] | None) -> list[PublishedSeries]:
    """Return the series of these names, in their own order.

    Args:
        names: of series; None for all.

    Returns:
        Each series once.

    Raises:
        InputError: naming the flag and the word that is no series.
    """
    series = steps_series()
    if names is None:
        return series
    known = [each.name for each in series]
    for name in names:
        if name not in known:
            raise InputError(f"--series {name!r} is not one of: {', '.join(known)}")
    return [each for each in series if each.name in names]
