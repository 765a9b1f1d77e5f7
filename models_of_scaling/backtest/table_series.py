"""A user's own table as series of the back-test, one for each of its workloads."""

from pathlib import Path

from models_of_scaling.measurements import Measurements
from models_of_scaling.published.series import PublishedSeries, PublishedSource
from models_of_scaling.study_source import TableChoice, is_trials, read_measurements
from models_of_scaling.tables import read_csv, read_parquet


def table_series(path: Path) -> list[PublishedSeries]:
    """Return one series per workload of a table, or a single one where it names none.

    Args:
        path: a CSV or parquet table with one row per measurement, or trials of one study.

    Returns:
        The series, in the order in which the table first names them.
    """
    if is_trials(path):
        return [_series(read_measurements(path, TableChoice()), path)]
    raw = read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
    words = list(dict.fromkeys(raw.columns.get("workload", [])))
    choices = [TableChoice(workload=word) for word in words] or [TableChoice()]
    return [_series(read_measurements(path, choice), path) for choice in choices]


def _series(rows: Measurements, path: Path) -> PublishedSeries:
    return PublishedSeries(
        name=rows.workload or path.stem,
        source=PublishedSource(file=str(path), columns=(), origin="this table"),
        measurements=rows,
        part="own_table",
    )
