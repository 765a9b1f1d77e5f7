"""Reads a table of accuracy at a fixed number of epochs; names file, row, column and rule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models_of_scaling.errors import InputError
from models_of_scaling.fitting import Integers
from models_of_scaling.measurements import choose_one
from models_of_scaling.quantities import Floats
from models_of_scaling.tables import RawTable, read_csv, read_parquet

_SCALES = {"accuracy": 1.0, "accuracy_percent": 100.0}


@dataclass(frozen=True, kw_only=True)
class AccuracyRows:
    """Runs of one number of epochs, in numpy columns of one length N.

    Attributes:
        batch_size: examples per step.
        accuracy: share of test examples that were right, 0 .. 1.
        group: rows tuned alike share a word; "" where the table has none.
        num_test_examples: that a row was tested on, for binomial noise; inf where not given.
        epochs: passes over the training set; None where the table does not say.
        path: where the rows came from.
        num_diverged: runs that diverged and are not among the rows.
    """

    batch_size: Integers
    accuracy: Floats
    group: npt.NDArray[np.str_]
    num_test_examples: Floats
    epochs: float | None
    path: str
    num_diverged: int = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.batch_size)

    def take(self, rows: npt.NDArray[np.bool_]) -> "AccuracyRows":
        """Return only some of the rows."""
        return AccuracyRows(
            batch_size=self.batch_size[rows],
            accuracy=self.accuracy[rows],
            group=self.group[rows],
            num_test_examples=self.num_test_examples[rows],
            epochs=self.epochs,
            path=self.path,
            num_diverged=self.num_diverged,
        )


def accuracy_rows(
    batch_size: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    *,
    path: str,
    epochs: float | None = None,
    group: Sequence[str] | None = None,
    num_test_examples: npt.ArrayLike | None = None,
) -> AccuracyRows:
    """Return rows from columns.

    Args:
        batch_size: examples per step, whole numbers.
        accuracy: shares.
        path: where they came from, for messages.
        epochs: passes over the training set.
        group: rows tuned alike share a word.
        num_test_examples: that each row was tested on; None where all share one test set.

    Returns:
        The rows.
    """
    sizes = np.asarray(batch_size, dtype=np.int64)
    count = len(sizes)
    return AccuracyRows(
        batch_size=sizes,
        accuracy=np.asarray(accuracy, dtype=float),
        group=np.array(["" for _ in range(count)] if group is None else group, dtype=np.str_),
        num_test_examples=np.full(count, np.inf)
        if num_test_examples is None
        else np.broadcast_to(np.asarray(num_test_examples, dtype=float), (count,)).copy(),
        epochs=epochs,
        path=path,
    )


@dataclass(frozen=True, kw_only=True)
class AccuracyCells:
    """Rows of one group at one batch size, reduced; C cells, increasing in batch size.

    Attributes:
        batch_size: examples per step.
        group: number of the group, from 0.
        error: mean error, points.
        count: rows.
        binomial: mean binomial variance of a row, points squared; 0 where not told.
        squares: sum of squared deviations from the mean, points squared.
    """

    batch_size: Floats
    group: Integers
    error: Floats
    count: Floats
    binomial: Floats
    squares: Floats

    @property
    def x(self) -> Floats:
        """Log of batch size over the largest."""
        return np.asarray(np.log(self.batch_size / self.batch_size.max()))

    @property
    def level_scale(self) -> float:
        """Error at the smallest batch size, points, to which amplitudes are referred.

        At least half a point: perfect accuracy at the smallest batch size must not forbid a rise.
        """
        return max(float(self.error[0]), 0.5)


def cells_of(rows: AccuracyRows) -> AccuracyCells:
    """Reduce rows to one number per group and batch size.

    Args:
        rows: at least one.

    Returns:
        The cells. A row's binomial variance is p (1 - p) / n at p = (wrong + 2) / (n + 4) (Agresti
        and Coull 1998), which is not 0 where no test example was wrong.
    """
    names = np.unique(rows.group)
    key = rows.batch_size * len(names) + np.searchsorted(names, rows.group)
    found, at = np.unique(key, return_inverse=True)
    count = np.bincount(at).astype(float)
    error = 100.0 * (1.0 - rows.accuracy)
    mean = np.bincount(at, error) / count
    tested = rows.num_test_examples
    told = np.isfinite(tested)
    safe = np.where(told, tested, 1.0)
    share = (error / 100.0 * safe + 2.0) / (safe + 4.0)
    variance = np.where(told, 1e4 * share * (1 - share) / safe, 0.0)
    return AccuracyCells(
        batch_size=(found // len(names)).astype(float),
        group=found % len(names),
        error=mean,
        count=count,
        binomial=np.bincount(at, variance) / count,
        squares=np.asarray(np.bincount(at, (error - mean[at]) ** 2), dtype=float),
    )


def read_accuracy_table(path: Path, *, epochs: float | None = None) -> AccuracyRows:
    """Read a CSV or parquet table.

    Columns: `batch_size`; `accuracy` (a share, 0 .. 1) or `accuracy_percent` (0 .. 100); optional
    `epochs`, `group`, `num_test_examples`. Repeated rows at one batch size are repeats.

    Args:
        path: the file.
        epochs: which number of epochs, where the table holds several.

    Returns:
        The rows.

    Raises:
        InputError: naming file, row, column, value and rule.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    raw = read_parquet(path) if path.suffix in {".parquet", ".pq"} else read_csv(path)
    columns = [name for name in _SCALES if name in raw.columns]
    if "batch_size" not in raw.columns or len(columns) != 1:
        raise InputError(
            f"{path}: needs the columns batch_size and one of accuracy (0 .. 1) and "
            f"accuracy_percent (0 .. 100); it has: {', '.join(raw.columns)}"
        )
    raw, chosen = _choose_epochs(raw, epochs)
    column = columns[0]
    scale = _SCALES[column]
    sizes, shares = raw.counts("batch_size"), _column(raw, column) / scale
    rule = f"must lie in 0 .. {scale:g}"
    if column == "accuracy":
        rule += " (per cent go into a column accuracy_percent)"
    raw.refuse(column, (shares < 0) | (shares > 1), rule)
    if column == "accuracy_percent" and shares.max() <= 0.01:
        raise InputError(
            f"{path}: column accuracy_percent: no value is above 1; shares go into a column "
            "named accuracy"
        )
    tested = None
    if "num_test_examples" in raw.columns:
        tested = _column(raw, "num_test_examples")
        raw.refuse("num_test_examples", tested < 1, "must be at least 1")
    return accuracy_rows(
        sizes,
        shares,
        path=str(path),
        epochs=chosen,
        group=raw.columns.get("group"),
        num_test_examples=tested,
    )


def _choose_epochs(raw: RawTable, epochs: float | None) -> tuple[RawTable, float | None]:
    """Keep the rows of one number of epochs."""
    if "epochs" not in raw.columns:
        # Said by the user alone; every row is then of that length.
        return raw, epochs
    values = _column(raw, "epochs")
    raw.refuse("epochs", values <= 0, "must be more than 0")
    words = [f"{value:g}" for value in values]
    raw = replace(raw, columns={**raw.columns, "epochs": words})
    word = choose_one(
        words,
        None if epochs is None else f"{epochs:g}",
        where=f"{raw.path}: column epochs",
        flag="--epochs",
    )
    return raw.keep("epochs", word), float(word)


def _column(raw: RawTable, name: str) -> Floats:
    """Return a column of finite numbers."""
    values = raw.values(name)
    raw.refuse(name, ~np.isfinite(values), "must be a finite number")
    return values
