"""A CSV file of what a diagnostic measured, one row a point, that a resumed run goes on with."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fullscale.callbacks.line_file import LineFile
from models_of_scaling.errors import InputError


class PointFile:
    """Rows of numbers and words under a header; the first column is `steps`."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is written with its first row.

        Args:
            path: of the file; its folder is made with it.
        """
        self._lines = LineFile(path)
        self._columns: tuple[str, ...] = ()

    def check(self) -> None:
        """Make the folder, before hours are spent.

        Raises:
            InputError: where that can't be, or the path is a folder.
        """
        path = self._lines.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error}") from error
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")

    def add(self, *rows: Mapping[str, float | str]) -> None:
        """Write rows at once; the first ones take over the rows of the run's earlier part, if any.

        Rows at or beyond the first one's step were undone by a kill, or are of an earlier run.

        Args:
            *rows: at least one; one value a column, `steps` first; NaN is an empty cell.
        """
        lines = [_line([_text(value) for value in row.values()]) for row in rows]
        assert len({tuple(row) for row in rows} | ({self._columns} - {()})) == 1
        if self._columns:
            self._lines.add(lines)
            return
        self._columns = tuple(rows[0])
        header, steps = _line(self._columns), int(rows[0]["steps"])
        self._lines.begin([header, *_earlier(self._lines.path, header, steps), *lines])


def _earlier(path: Path, header: str, steps: int) -> list[str]:
    """Return whole rows of the file with fewer steps; none where its columns are others."""
    try:
        found, *lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    if found != header:
        return []
    kept = []
    for line in lines:
        first, _, _ = line.partition(",")
        if line.count(",") >= header.count(",") and first.isdigit() and int(first) < steps:
            kept.append(line)
    return kept


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else repr(value)


def _line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(cells)
    return stream.getvalue()
