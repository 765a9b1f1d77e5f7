"""Reads a table (CSV, parquet) as text, column by column, with the place of each row.

Numbers are written as Python writes them: 512, 512.0 and 1e3 are batch sizes; 4k, 1,024 and 1_024
are not, and the message says what to write instead.
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.quantities import Floats

# What else separates columns in files that call themselves CSV.
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_LARGEST_WHOLE = 2.0**53
# What people call a column, in small letters alone.
_MEANT = {
    "batch_size": {"bs", "bsz", "b", "batch", "batchsize", "globalbatchsize", "globalbatch"},
    "steps": {"step", "iters", "iterations", "updates", "numsteps", "stepstotarget"},
}
_EMPTY = {"", "nan", "none", "null", "na"}
_GROUPED = re.compile(r"\d{1,3}([,'_ \u00a0\u202f]\d{3})+")
_SUFFIXED = re.compile(r"\d+(\.\d+)?\s*[kKmMgG][iI]?[bB]?")


def is_empty(text: str) -> bool:
    """Return whether a cell says nothing."""
    return text.lower() in _EMPTY


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """A table as text, column by column, with the place of each row for messages.

    Attributes:
        path: the file.
        columns: name to one text per row; a missing cell is "".
        lines: for a CSV, the line of the file that each row stands on.
        numbers: the place of each row among the file's rows, from 1, where rows were left out.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: tuple[int, ...] | None
    numbers: tuple[int, ...] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values()), []))

    def place(self, row: int) -> str:
        """Return "file: row 3 (line 4)" for a row counted from 0."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{self.path}: row {self.number(row)}{line}"

    def number(self, row: int) -> int:
        """Return a row's place among the file's rows, from 1."""
        return self.numbers[row] if self.numbers else row + 1

    def require(self, *columns: str) -> None:
        """Check that columns are there.

        Raises:
            InputError: naming the first that is missing, and those that are there.
        """
        for column in columns:
            if column not in self.columns:
                raise InputError(
                    f"{self.path}: column {column} is missing; it has: {', '.join(self.columns)}"
                    f"{self.rename(column)}"
                )

    def rename(self, missing: str) -> str:
        """Return "; rename 'bs' to batch_size" where one column is likely meant, else ""."""
        meant = [
            name
            for name in self.columns
            if re.sub("[^a-z]", "", name.lower()) in _MEANT.get(missing, ())
        ]
        return f"; rename {meant[0]!r} to {missing}" if len(meant) == 1 else ""

    def values(self, column: str) -> Floats:
        """Return a column as numbers, shape (rows,); NaN where a cell is empty or no number.

        Args:
            column: that is there.
        """
        return np.array([_number(text) for text in self.columns[column]])

    def counts(self, column: str) -> Floats:
        """Return a column of whole numbers of at least 1, shape (rows,), or `refuse` it.

        Args:
            column: that is there.
        """
        values = self.values(column)
        with np.errstate(invalid="ignore"):
            bad = ~(np.isfinite(values) & (values >= 1) & (values == np.floor(values)))
        self.refuse(column, bad, "must be a whole number of at least 1")
        # The next whole number can't be told from a larger one any more.
        self.refuse(column, values > _LARGEST_WHOLE, "must be at most 2^53")
        return values

    def measured(self, column: str) -> Floats:
        """Return a column as numbers, shape (rows,); NaN where it is empty: nothing was measured.

        A cell that says something else than a number is refused (`refuse`).

        Args:
            column: that is there.
        """
        values = self.values(column)
        wrong = np.isnan(values) & [not is_empty(text) for text in self.columns[column]]
        self.refuse(column, wrong, "must be a number")
        return values

    def refuse(self, column: str, bad: Sequence[bool] | np.ndarray, rule: str) -> None:
        """Refuse the first bad row.

        Args:
            column: that is there.
            bad: which rows break the rule, shape (rows,).
            rule: "must be ...".

        Raises:
            InputError: naming file, row, column, value and rule, where there is a bad one.
        """
        rows = np.flatnonzero(np.asarray(bad))
        if rows.size:
            row = int(rows[0])
            shown = self.columns[column][row] or "(empty)"
            more = f" ({rows.size - 1} more such rows)" if rows.size > 1 else ""
            place = f"{self.place(row)}, column {column}"
            raise InputError(f"{place}: {shown} {rule}{_hint(shown)}{more}")

    def keep(self, column: str, value: str) -> "RawTable":
        """Return the table with only the rows that hold a value; they keep their numbers."""
        rows = [row for row, text in enumerate(self.columns[column]) if text == value]
        return RawTable(
            path=self.path,
            columns={name: [cells[row] for row in rows] for name, cells in self.columns.items()},
            lines=tuple(self.lines[row] for row in rows) if self.lines else None,
            numbers=tuple(self.number(row) for row in rows),
        )


def _number(text: str) -> float:
    try:
        # Python would read 1_024 as a number; no other program does.
        return math.nan if is_empty(text) or "_" in text else float(text)
    except ValueError:
        return math.nan


def _hint(text: str) -> str:
    """Return what to write instead of a cell that people take for a number."""
    if _GROUPED.fullmatch(text):
        return f" (without separators: {re.sub('[^0-9]', '', text)})"
    if _SUFFIXED.fullmatch(text):
        return " (written out in digits: is 4k 4000 or 4096?)"
    if re.fullmatch(r"\d+,\d+", text):
        return " (with a decimal point, not a comma)"
    return ""


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
            _check_separator(path, header)
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


def _check_separator(path: Path, header: list[str]) -> None:
    """Refuse a header that is one column with another separator in it."""
    for separator, name in _OTHER_SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"{path}: line 1: columns are separated by {name} ({header[0]!r}); "
                "separate them by commas, and write decimals with a point"
            )


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
