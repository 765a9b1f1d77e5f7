"""A user's own tables as series of the back-test: one for each workload, optimizer and target.

Trials are reduced to rows as `fit` reduces them: at each batch size the repeats of the search's
best configuration (`steps_to_target.study_rows`). A table of rows is taken as it is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models_of_scaling.errors import InputError
from models_of_scaling.measurements import Measurements
from models_of_scaling.published.series import PublishedSeries, PublishedSource
from models_of_scaling.study_source import (
    NEEDED_COLUMNS,
    TableChoice,
    is_trials,
    measurements_from_trials,
    sha256_of,
)
from models_of_scaling.table_rows import measurements_from_table
from models_of_scaling.tables import read_csv, read_parquet
from models_of_scaling.trials import read_trials

# What tells a user's series apart, in the order in which a name says it.
_WORDS: Final = ("workload", "optimizer", "target")


def table_series(paths: Sequence[Path]) -> list[PublishedSeries]:
    """Return the series of one or more tables.

    Args:
        paths: each a CSV or parquet table with one row per measurement, a file of trials or a
            folder of them.

    Returns:
        The series, in the order of the tables and in each as it first names them. A series has the
        name of its workload (of its table, where that names none); where several would have one
        name, the optimizer's, and if need be the target, is added to each of these. What is no
        table is refused, as are two tables with rows of one workload, optimizer and target.
    """
    found = [(path, rows) for path in paths for rows in _measurements(path)]
    names = _names([rows.workload or path.stem for path, rows in found], found)
    return [
        PublishedSeries(
            name=name,
            source=PublishedSource(file=str(path), columns=(), origin="this table"),
            measurements=rows,
            part="own_table",
        )
        for name, (path, rows) in zip(names, found, strict=True)
    ]


def _names(names: list[str], found: Sequence[tuple[Path, Measurements]]) -> list[str]:
    for more in ("optimizer", "target"):
        shared = {name for name, count in Counter(names).items() if count > 1}
        names = [
            f"{name}-{word}" if name in shared and (word := getattr(rows, more)) else name
            for name, (_, rows) in zip(names, found, strict=True)
        ]
    for place, name in enumerate(names):
        if name in names[:place]:
            before = found[names.index(name)][0]
            raise InputError(
                f"--table {found[place][0]}: holds rows of {name}, as {before} does; "
                "put the rows of one series into one table"
            )
    return names


def _measurements(path: Path) -> list[Measurements]:
    """Return each series of one table."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if is_trials(path):
        return _series_of_trials(path)
    raw = read_parquet(path) if path.suffix in {".parquet", ".pq"} else read_csv(path)
    columns = [name for name in _WORDS if name in raw.columns]
    choices = _first_seen(zip(*(raw.columns[name] for name in columns), strict=True)) or [()]
    answer = []
    for words in choices:
        part = raw
        for column, word in zip(columns, words, strict=True):
            part = part.keep(column, word)
        answer.append(
            measurements_from_table(
                part,
                choice=dict.fromkeys(_WORDS),
                num_train_examples=None,
                sha256=sha256_of(path),
            )
        )
    return answer


def _series_of_trials(path: Path) -> list[Measurements]:
    table = read_trials(path, columns=NEEDED_COLUMNS)
    if not len(table):
        raise InputError(f"{path}: holds no trial")
    columns = [table[name].to_pylist() for name in _WORDS]
    # `fit` asks one target of all trials, whichever they were stopped at; here each is asked its
    # own, or a search for one target would compete with the search for another.
    return [
        measurements_from_trials(_only(table, words), TableChoice(), path=path)
        for words in _first_seen(zip(*columns, strict=True))
    ]


def _only(table: pa.Table, words: Sequence[str]) -> pa.Table:
    for column, word in zip(_WORDS, words, strict=True):
        table = table.filter(pc.equal(table[column], word))
    return table


def _first_seen(words: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(words))
