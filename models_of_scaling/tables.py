"""Reads a table (CSV, parquet) as text, column by column, with the place of each row."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models_of_scaling.errors import InputError

# What else separates columns in files that call themselves CSV.
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


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

    def measured(self, column: str, row: int) -> float:
        """Return a cell as a number, NaN where it is empty: nothing was measured.

        Args:
            column: that is there.
            row: from 0.

        Raises:
            InputError: naming file, row, column and value, where it is no number.
        """
        text = self.columns[column][row]
        try:
            return float(text) if text else math.nan
        except ValueError:
            place = f"{self.place(row)}, column {column}"
            raise InputError(f"{place}: {text!r} must be a number") from None

    def keep(self, column: str, value: str) -> "RawTable":
        """Return the table with only the rows that hold a value; they keep their numbers."""
        rows = [row for row, text in enumerate(self.columns[column]) if text == value]
        return RawTable(
            path=self.path,
            columns={name: [cells[row] for row in rows] for name, cells in self.columns.items()},
            lines=tuple(self.lines[row] for row in rows) if self.lines else None,
            numbers=tuple(self.number(row) for row in rows),
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
