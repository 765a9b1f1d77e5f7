"""Accuracy after a fixed number of epochs against batch size, and what else is not steps to target.

Sources, and what to mind:

- hysts/pytorch_image_classification: CIFAR-10, one run per cell, last-epoch test error. The lone
  'multistep' row (one batch size) is no series.
- NUS-HPC-AI-Lab/LARS-ImageNet-PyTorch: four batch sizes, learning rate and warm-up scaled by rule.
- noahgolmant/pytorch-lars and JosephChenHub/pytorch-lars: small tables; the first kept the default
  hyper-parameters at every batch size, so it shows untuned training, not a limit.
- dm-haiku's ImageNet rows don't state their epochs and the K-FAC rows of chainerkfac changed them
  with the batch size: neither is a table at fixed epochs. They stay readable as plain rows.
- McCandlish et al. 2018: secondary readings, not checked against the paper; some cells are ranges
  or bounds.
- fastalgo/mnist_tpu: mostly one batch size (the full batch) over grids of unequal size; final
  accuracies on the test set, so the best of a grid flatters the larger grid.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.published.csv_files import Row, read_published
from models_of_scaling.published.series import (
    IMAGENET_TRAIN_EXAMPLES,
    PublishedAccuracies,
    PublishedSource,
)

_CIFAR_TRAIN_EXAMPLES: Final = 50_000  # Krizhevsky 2009
_MNIST_TRAIN_EXAMPLES: Final = 60_000  # LeCun et al. 1998
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")


def accuracy_series() -> list[PublishedAccuracies]:
    """Return every table of accuracy at fixed epochs, one series per line of it."""
    return [*_cifar_series(), _lars_series(), *_small_scale_series()]


def _cifar_series() -> list[PublishedAccuracies]:
    file = "cifar10_fixed_epochs_table.csv"
    cosine = [row for row in read_published(file) if row["schedule"] == "cosine"]
    return [
        _series(
            f"cifar10_resnet20_{epochs}_epochs",
            file,
            [row for row in cosine if row["epochs"] == epochs],
            accuracy="test_error_percent",
            epochs=float(epochs),
            num_train_examples=_CIFAR_TRAIN_EXAMPLES,
        )
        for epochs in sorted({row["epochs"] for row in cosine}, key=int)
    ]


def _lars_series() -> PublishedAccuracies:
    file = "lars_90_epochs_table.csv"
    return _series(
        "imagenet_resnet50_lars_90_epochs",
        file,
        read_published(file),
        accuracy="top1_percent",
        epochs=90.0,
        num_train_examples=IMAGENET_TRAIN_EXAMPLES,
    )


def _small_scale_series() -> list[PublishedAccuracies]:
    file = "small_scale_batch_tables.csv"
    rows = read_published(file)
    series = [
        _series(
            "cifar10_resnet18_lars_untuned",
            file,
            [row for row in rows if row["dataset"] == "CIFAR-10"],
            accuracy="test_accuracy",
            epochs=200.0,
            num_train_examples=_CIFAR_TRAIN_EXAMPLES,
        )
    ]
    for optimizer in ("LARS", "SGD", "Adam"):
        chosen = [row for row in rows if (row["dataset"], row["optimizer"]) == ("MNIST", optimizer)]
        series.append(
            _series(
                f"mnist_cnn_{optimizer.lower()}_10_epochs",
                file,
                chosen,
                accuracy="test_accuracy",
                epochs=10.0,
                num_train_examples=_MNIST_TRAIN_EXAMPLES,
            )
        )
    return series


def _series(
    name: str,
    file: str,
    rows: list[Row],
    *,
    accuracy: str,
    epochs: float,
    num_train_examples: int,
) -> PublishedAccuracies:
    percent = np.array([float(row[accuracy]) for row in rows])
    return PublishedAccuracies(
        name=name,
        source=PublishedSource(
            file=file, columns=("batch_size", accuracy), origin=rows[0]["source"]
        ),
        batch_size=np.array([int(row["batch_size"]) for row in rows], dtype=np.int64),
        accuracy=(100.0 - percent if "error" in accuracy else percent) / 100.0,
        epochs=epochs,
        num_train_examples=num_train_examples,
    )


@dataclass(frozen=True, kw_only=True)
class PublishedRange:
    """A number that a source prints as itself, as a range, or as a lower bound.

    Attributes:
        low: the least it can be.
        high: the most; equal to `low` for a plain number, inf for a lower bound.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CriticalBatchRow:
    """One task of McCandlish et al. 2018, as secondary readings give it.

    Attributes:
        task: the word of the table.
        unit: what a batch counts: images, tokens or frames.
        b_crit_start: critical batch size early in training; None where not measured.
        b_crit_average: over the whole of training.
        b_simple_start: simple noise scale early in training.
        b_simple_average: over the whole of training.
        caveat: the table's own word on where it was read.
    """

    task: str
    unit: str
    b_crit_start: PublishedRange | None
    b_crit_average: PublishedRange | None
    b_simple_start: PublishedRange | None
    b_simple_average: PublishedRange | None
    caveat: str


def critical_batch_sizes() -> list[CriticalBatchRow]:
    """Return McCandlish et al. 2018's table of critical batch sizes and noise scales."""
    return [
        CriticalBatchRow(
            task=row["task"],
            unit=row["unit"],
            b_crit_start=published_range(row["b_crit_start"]),
            b_crit_average=published_range(row["b_crit_average"]),
            b_simple_start=published_range(row["b_simple_start"]),
            b_simple_average=published_range(row["b_simple_average"]),
            caveat=row["source"],
        )
        for row in read_published("mccandlish2018_table1.csv")
    ]


def published_range(cell: str) -> PublishedRange | None:
    """Read "300", "100-1000" or ">8000000 (est.)"; None for a cell without a number."""
    numbers = [float(text) for text in _NUMBER.findall(cell)]
    if not numbers:
        return None
    return PublishedRange(low=numbers[0], high=math.inf if cell.startswith(">") else numbers[-1])


@dataclass(frozen=True, kw_only=True)
class FullBatchRun:
    """One MNIST run of fastalgo/mnist_tpu; None where its log lacks the number.

    Attributes:
        optimizer: folder of the repository.
        folder: of the log.
        batch_size: examples per step.
        steps: of the whole run.
        initial_learning_rate: before warm-up's scaling.
        warmup_epochs: length of warm-up.
        test_accuracy: at the end, a share.
    """

    optimizer: str
    folder: str
    batch_size: int | None
    steps: int | None
    initial_learning_rate: float | None
    warmup_epochs: float | None
    test_accuracy: float | None


def mnist_full_batch_runs(optimizer: str) -> list[FullBatchRun]:
    """Return the logs of one optimizer.

    Args:
        optimizer: "adam", "adamw", "lamb", "momentum_lars", ...: the repository's folders.

    Returns:
        Every log, those without a result too.

    Raises:
        ValueError: where the repository has no such folder.
    """
    rows = read_published("you_mnist_tpu_fullbatch_logs.csv")
    known = sorted({row["optimizer_dir"] for row in rows})
    if optimizer not in known:
        raise ValueError(f"optimizer {optimizer!r} is not one of {', '.join(known)}")
    return [_full_batch_run(row) for row in rows if row["optimizer_dir"] == optimizer]


def _full_batch_run(row: Row) -> FullBatchRun:
    def number(column: str) -> float | None:
        return float(row[column]) if row[column] else None

    def count(column: str) -> int | None:
        return int(float(row[column])) if row[column] else None

    return FullBatchRun(
        optimizer=row["optimizer_dir"],
        folder=row["folder"],
        batch_size=count("batch_size"),
        steps=count("steps"),
        initial_learning_rate=number("init_lr"),
        warmup_epochs=number("warm_up_epochs"),
        test_accuracy=number("test_accuracy"),
    )
