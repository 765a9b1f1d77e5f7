"""What a published series is: measurements of one curve, and where they were read.

Two kinds: steps to a target against batch size (which the back-test predicts), and accuracy after
a fixed number of epochs against batch size (the other way to ask for the limit; no step at which
a target held is known, so it is no table of steps to target).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, get_args

import numpy as np

from models_of_scaling.fitting import Integers
from models_of_scaling.measurements import Measurements, TableSource
from models_of_scaling.published.csv_files import sha256_of_published
from models_of_scaling.quantities import Floats

IMAGENET_TRAIN_EXAMPLES: Final = 1_281_167  # ILSVRC-2012 training split

SeriesKind = Literal["steps_to_target", "accuracy_at_fixed_epochs"]
SeriesUnit = Literal["run", "submission"]
# "workload": one series of each workload, which share nothing. "resnet50_cut": ResNet-50's runs
# again, by creator, round and submitter, which share runs with each other. "own_table": a user's.
SeriesPart = Literal["workload", "resnet50_cut", "own_table"]
SERIES_PARTS: Final[tuple[SeriesPart, ...]] = get_args(SeriesPart)


@dataclass(frozen=True, kw_only=True)
class PublishedSource:
    """Where a series was read.

    Attributes:
        file: in `models_of_scaling/published/`.
        columns: of that file, which the numbers came from.
        origin: the repository or paper behind the file.
        commits: of that repository; empty where the file names none.
    """

    file: str
    columns: tuple[str, ...]
    origin: str
    commits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PublishedSeries:
    """Steps to one target against batch size.

    Attributes:
        name: the word that `backtest --series` takes.
        source: where it was read.
        measurements: one row per training run, as the fitter takes them; runs of one submission
            share a group.
        unit: what the back-test takes as one row: the run, or a submission's median run.
        part: of the published series that it belongs to.
        num_left_out: runs of this series that say nothing and are no row, with `left_out` why.
        left_out: "" where there is none.
    """

    kind: ClassVar[SeriesKind] = "steps_to_target"
    name: str
    source: PublishedSource
    measurements: Measurements
    unit: SeriesUnit = "run"
    part: SeriesPart = "resnet50_cut"
    num_left_out: int = 0
    left_out: str = ""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The different batch sizes, ascending."""
        return tuple(int(size) for size in np.unique(self.measurements.batch_size))

    @property
    def rows(self) -> Measurements:
        """The rows that the back-test fits and compares with."""
        return self.measurements if self.unit == "run" else median_runs(self.measurements)


def median_runs(measurements: Measurements) -> Measurements:
    """Return the median run of each group at each batch size.

    A submission's runs differ by their seeds alone, so a batch size that sixteen companies
    submitted would outweigh one with a single submission. MLPerf scores a submission alike: it
    drops the fastest and the slowest of five runs.

    Args:
        measurements: rows with groups.

    Returns:
        One of the rows for each group and batch size; a run that did not reach the target counts
        as slower than any that did, and of an even number the slower of the middle two is taken.
    """
    order = np.lexsort((
        measurements.steps_low,
        measurements.steps_high,
        measurements.group,
        measurements.batch_size,
    ))
    key = list(zip(measurements.batch_size[order], measurements.group[order], strict=True))
    starts = [place for place in range(len(key)) if place == 0 or key[place] != key[place - 1]]
    ends = [*starts[1:], len(key)]
    chosen = np.zeros(len(key), dtype=bool)
    chosen[[order[(start + end) // 2] for start, end in zip(starts, ends, strict=True)]] = True
    return measurements.take(chosen)


@dataclass(frozen=True, kw_only=True)
class PublishedAccuracies:
    """Accuracy after a fixed number of epochs against batch size; N rows.

    Attributes:
        name: the series' word.
        source: where it was read.
        batch_size: examples per step, (N,).
        accuracy: share of test examples that were right, (N,), in 0 .. 1.
        epochs: passes over the training set, the same at every batch size.
        num_train_examples: size of the training set.
    """

    kind: ClassVar[SeriesKind] = "accuracy_at_fixed_epochs"
    name: str
    source: PublishedSource
    batch_size: Integers
    accuracy: Floats
    epochs: float
    num_train_examples: int

    @property
    def steps(self) -> Floats:
        """Optimizer steps of each row, epochs times examples over batch size, (N,)."""
        return np.asarray(self.epochs * self.num_train_examples / self.batch_size)


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """One training run, in epochs, as the sources count.

    Attributes:
        batch_size: examples per step.
        epochs: when an evaluation first met the target, or the epochs done without meeting it.
        epochs_before: the last evaluation that did not meet it.
        reached: whether the target was met.
        group: runs tuned alike share a word.
    """

    batch_size: int
    epochs: float
    epochs_before: float
    reached: bool
    group: str


def imagenet_measurements(
    runs: Sequence[PublishedRun], *, file: str, workload: str, optimizer: str, target: float
) -> Measurements:
    """Return runs on ImageNet as rows in steps.

    Args:
        runs: at least one.
        file: published table that they are from.
        workload: for the record.
        optimizer: for the record.
        target: top-1 accuracy, a share.

    Returns:
        Rows as `measurements_of_runs` makes them.
    """
    rows = measurements_of_runs(
        runs, file=file, workload=workload, num_train_examples=IMAGENET_TRAIN_EXAMPLES
    )
    return replace(
        rows,
        optimizer=optimizer,
        target=f"validation_accuracy>={target:g}",
        num_train_examples=IMAGENET_TRAIN_EXAMPLES,
    )


def measurements_of_runs(
    runs: Sequence[PublishedRun], *, file: str, workload: str, num_train_examples: float
) -> Measurements:
    """Return runs as rows in steps.

    Args:
        runs: at least one.
        file: published table that they are from.
        workload: for the record.
        num_train_examples: in an epoch, which turns epochs into steps.

    Returns:
        Rows of steps, ordered by batch size. A run that met its target did so somewhere in
        (epochs_before, epochs]; one that did not is censored at `epochs`.
    """
    ordered = sorted(runs, key=lambda run: run.batch_size)
    batch_size = np.array([run.batch_size for run in ordered], dtype=np.int64)
    steps_per_epoch = num_train_examples / batch_size
    reached = np.array([run.reached for run in ordered], dtype=bool)
    steps = np.array([run.epochs for run in ordered]) * steps_per_epoch
    before = np.array([run.epochs_before for run in ordered]) * steps_per_epoch
    return Measurements(
        batch_size=batch_size,
        steps=steps,
        reached=reached,
        steps_low=np.where(reached, before, steps),
        steps_high=np.where(reached, steps, np.inf),
        weight=np.ones(len(ordered)),
        group=np.array([run.group for run in ordered], dtype=np.str_),
        workload=workload,
        source=TableSource(
            path=file, kind="table", sha256=sha256_of_published(file), num_rows=len(ordered)
        ),
    )
