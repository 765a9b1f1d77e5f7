"""Reads a table of measurements (CSV, parquet) into `Measurements`; names file, row and rule."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.measurements import (
    Measurements,
    TableSource,
    check_identifiable,
    choose_one,
)
from models_of_scaling.quantities import Floats

_LENGTH_COLUMNS = ("steps", "examples", "epochs")
_TRUE = {"true", "1", "1.0", "yes", "t", "y"}
_FALSE = {"false", "0", "0.0", "no", "f", "n"}
_EMPTY = {"", "nan", "none", "null", "na"}


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """A table as text, column by column, with the place of each row for messages.

    Attributes:
        path: the file.
        columns: name to one text per row; a missing cell is "".
        lines: for a CSV, the line of the file that each row stands on.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: tuple[int, ...] | None

    def place(self, row: int) -> str:
        """Return "file: row 3 (line 4)" for a row counted from 0."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{self.path}: row {row + 1}{line}"

    def keep(self, column: str, value: str) -> "RawTable":
        """Return the table with only the rows that hold a value; row numbers then start anew."""
        rows = [row for row, text in enumerate(self.columns[column]) if text == value]
        return RawTable(
            path=self.path,
            columns={name: [cells[row] for row in rows] for name, cells in self.columns.items()},
            lines=tuple(self.lines[row] for row in rows) if self.lines else None,
        )


def read_csv(path: Path) -> RawTable:
    """Read a CSV file as text.

    Args:
        path: the file; UTF-8, with a header.

    Returns:
        Its columns.

    Raises:
        InputError: where it can't be read, has no row, or a row has another number of fields.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header, rows, lines = _csv_rows(path, ((reader.line_num, row) for row in reader))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from error
    if not rows:
        raise InputError(f"{path}: the table has no rows")
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    return RawTable(path=path, columns=columns, lines=tuple(lines))


def _csv_rows(
    path: Path, lines_read: Iterator[tuple[int, list[str]]]
) -> tuple[list[str], list[list[str]], list[int]]:
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, fields in lines_read:
        cells = [cell.strip() for cell in fields]
        if not any(cells):
            continue
        if not header:
            header = cells
            repeated = sorted({name for name in header if header.count(name) > 1})
            if repeated:
                raise InputError(f"{path}: line {line}: column {repeated[0]!r} stands there twice")
        elif len(cells) != len(header):
            raise InputError(
                f"{path}: row {len(rows) + 1} (line {line}): {len(cells)} fields, "
                f"but the header has {len(header)}"
            )
        else:
            rows.append(cells)
            lines.append(line)
    return header, rows, lines


def read_parquet(path: Path) -> RawTable:
    """Read a parquet table of measurements as text.

    Args:
        path: the file.

    Returns:
        Its columns; only those of a plain type.

    Raises:
        InputError: where it can't be read or has no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a readable parquet file: {error}") from error
    if not len(table):
        raise InputError(f"{path}: the table has no rows")
    columns = {
        field.name: ["" if cell is None else str(cell) for cell in table[field.name].to_pylist()]
        for field in table.schema
        if not pa.types.is_nested(field.type)
    }
    return RawTable(path=path, columns=columns, lines=None)


def measurements_from_table(
    raw: RawTable, *, workload: str | None, num_train_examples: int | None, sha256: str
) -> Measurements:
    """Check a table and turn it into columns of numbers.

    Args:
        raw: the table as text.
        workload: which one to fit, where the table holds several.
        num_train_examples: size of the training set; needed for a table in epochs.
        sha256: of the file, for the record.

    Returns:
        The rows.

    Raises:
        InputError: naming file, row, column, value and rule.
    """
    if "batch_size" not in raw.columns:
        raise InputError(
            f"{raw.path}: column batch_size is missing; it has: {', '.join(raw.columns)}"
        )
    word = ""
    if "workload" in raw.columns:
        where = f"{raw.path}: column workload"
        word = choose_one(raw.columns["workload"], workload, where=where, flag="--workload")
        raw = raw.keep("workload", word)
    elif workload is not None:
        raise InputError(f"{raw.path}: --workload {workload!r}, but column workload is missing")
    batch_size = _batch_sizes(raw)
    steps = _steps(raw, batch_size, num_train_examples)
    reached = _reached(raw)
    low, high = _interval(raw, steps, reached)
    weight = _numbers(raw, "weight", rule="more than 0", default=np.ones(len(steps)))
    _refuse(raw, "weight", ~(weight > 0), "must be more than 0")
    rows = Measurements(
        batch_size=batch_size.astype(np.int64),
        steps=steps,
        reached=reached,
        steps_low=low,
        steps_high=high,
        weight=weight,
        group=np.array(raw.columns.get("group", [""] * len(steps)), dtype=np.str_),
        workload=word,
        source=TableSource(path=str(raw.path), kind="table", sha256=sha256, num_rows=len(steps)),
        num_train_examples=num_train_examples,
    )
    check_identifiable(rows, where=str(raw.path))
    return rows


def _number(text: str) -> float:
    """Return the number, or NaN for a cell that is empty or no number."""
    try:
        return math.nan if text.lower() in _EMPTY else float(text)
    except ValueError:
        return math.nan


def _numbers(raw: RawTable, column: str, *, rule: str, default: Floats) -> Floats:
    """Return a column of numbers; an empty cell takes its default, NaN there refuses it."""
    if column not in raw.columns:
        return default
    texts = raw.columns[column]
    values = np.array([_number(text) for text in texts])
    empty = np.array([text.lower() in _EMPTY for text in texts])
    values = np.where(empty, default, values)
    _refuse(raw, column, ~np.isfinite(values), f"must be a finite number, {rule}")
    return values


def _refuse(raw: RawTable, column: str, bad: Sequence[bool] | np.ndarray, rule: str) -> None:
    """Refuse the first bad row.

    Raises:
        InputError: naming it, where there is one.
    """
    rows = np.flatnonzero(np.asarray(bad))
    if rows.size:
        row = int(rows[0])
        shown = raw.columns[column][row] or "(empty)"
        more = f" ({rows.size - 1} more such rows)" if rows.size > 1 else ""
        raise InputError(f"{raw.place(row)}, column {column}: {shown} {rule}{more}")


def _batch_sizes(raw: RawTable) -> Floats:
    nothing = np.full(len(raw.columns["batch_size"]), np.nan)
    rule = "must be a whole number of at least 1"
    texts = raw.columns["batch_size"]
    values = np.array([_number(text) for text in texts]) if texts else nothing
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(values) & (values >= 1) & (values == np.floor(values)))
    _refuse(raw, "batch_size", bad, rule)
    return values


def _steps(raw: RawTable, batch_size: Floats, num_train_examples: int | None) -> Floats:
    column = next((name for name in _LENGTH_COLUMNS if name in raw.columns), None)
    if column is None:
        raise InputError(
            f"{raw.path}: column steps (or examples, or epochs) is missing; "
            f"it has: {', '.join(raw.columns)}"
        )
    values = np.array([_number(text) for text in raw.columns[column]])
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(values) & (values > 0))
    _refuse(raw, column, bad, "must be a finite number, more than 0")
    if column == "steps":
        return values
    if column == "examples":
        return values / batch_size
    if num_train_examples is None:
        raise InputError(f"{raw.path}: column epochs: its unit needs --num-train-examples")
    return values * num_train_examples / batch_size


def _reached(raw: RawTable) -> np.ndarray:
    texts = [text.lower() for text in raw.columns.get("reached", [])]
    if "reached" not in raw.columns:
        return np.ones(len(raw.columns["batch_size"]), dtype=bool)
    _refuse(raw, "reached", [text not in _TRUE | _FALSE for text in texts], "must be true or false")
    return np.array([text in _TRUE for text in texts], dtype=bool)


def _interval(raw: RawTable, steps: Floats, reached: np.ndarray) -> tuple[Floats, Floats]:
    """Return the ends; those of a row that did not reach its target are (steps, inf)."""
    low = _numbers(raw, "steps_low", rule="at least 0", default=steps)
    high = _numbers(raw, "steps_high", rule="at least steps_low", default=steps)
    if "steps_low" in raw.columns:
        _refuse(raw, "steps_low", reached & (low < 0), "must be at least 0")
        _refuse(raw, "steps_low", reached & (low > high), "must not exceed steps_high")
    if "steps_high" in raw.columns:
        _refuse(raw, "steps_high", reached & (high <= 0), "must be more than 0")
        _refuse(raw, "steps_high", reached & (low > high), "must be at least steps_low")
    return np.where(reached, low, steps), np.where(reached, high, np.inf)
