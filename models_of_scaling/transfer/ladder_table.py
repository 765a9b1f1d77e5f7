"""Reads a ladder of surrogate studies; names file, row, column and rule.

Two kinds of table (docs/transfer.md has both). One row per rung: `workload` (the family it belongs
to), covariates, and either `fit` (path of its record, relative to the table) or its numbers with
intervals. Or the measurements themselves, one row per run: `batch_size` and steps as in any table,
`workload` naming the rung, `family` what the rung belongs to; the laws are then fitted here.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy.special import ndtri

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord, read_fit
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.quantities import Floats
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.tables import RawTable, read_csv
from models_of_scaling.transfer.ladder import VALUES, Ladder, values_of_fit

# Taken without being asked for, where the table has them and they differ between rungs.
KNOWN_COVARIATES: Final = (
    "num_train_examples", "resolution", "width", "num_parameters", "noise_scale", "target_loss",
)  # fmt: skip
FEWEST_RUNGS: Final = 2
_REPLICATES: Final = 300
_DEFAULT_LEVEL: Final = 0.9


def read_ladder(path: Path, covariates: Sequence[str] | None = None) -> Ladder:
    """Read a ladder, of either kind.

    Args:
        path: CSV file.
        covariates: names of columns; None for those of `KNOWN_COVARIATES` that vary.

    Returns:
        The rungs.

    Raises:
        InputError: one line naming file, row, column and rule.
    """
    raw = read_csv(path)
    raw.require("workload")
    ladder = _from_runs(raw, covariates) if "batch_size" in raw.columns else _read(raw, covariates)
    if len(ladder) < FEWEST_RUNGS:
        raise InputError(f"{path}: {len(ladder)} rung; a ladder needs at least {FEWEST_RUNGS}")
    for name in list(ladder.covariates):
        if np.ptp(ladder.covariates[name]) == 0 and covariates is not None:
            value = ladder.covariates[name][0]
            raise InputError(
                f"{path}: column {name}: every rung has {value:g}; a covariate must differ"
            )
    return ladder


def _read(raw: RawTable, covariates: Sequence[str] | None) -> Ladder:
    """Read a table of one row per rung."""
    count = len(raw.columns["workload"])
    values = _covariates(raw, covariates, list(range(count)))
    fits: list[FitRecord | None] = []
    numbers = []
    for row in range(count):
        text = raw.columns["fit"][row] if "fit" in raw.columns else ""
        if text:
            fit = _fit_of_row(raw, row, raw.path.parent / text)
            fits.append(fit)
            numbers.append(values_of_fit(fit))
        else:
            fits.append(None)
            numbers.append(_numbers_of_row(raw, row))
    names = raw.columns.get("rung", [f"row {row + 1}" for row in range(count)])
    return Ladder(
        source=str(raw.path),
        rung=tuple(names),
        workload=tuple(raw.columns["workload"]),
        covariates=values,
        log_values=np.array([value for value, _ in numbers]),
        covariances=np.array([covariance for _, covariance in numbers]),
        fits=tuple(fits),
        measurements=(None,) * count,
    )


def _from_runs(raw: RawTable, covariates: Sequence[str] | None) -> Ladder:
    """Read measurements of all rungs, and fit the laws to each rung's."""
    names = list(dict.fromkeys(raw.columns["workload"]))
    first = [raw.columns["workload"].index(name) for name in names]
    values = _covariates(raw, covariates, first)
    for column in [*values, *(["family"] if "family" in raw.columns else [])]:
        _check_one_value_a_rung(raw, column)
    measured = [read_measurements(raw.path, TableChoice(workload=name)) for name in names]
    fits = [fit_laws(rows, FitChoice(replicates=_REPLICATES)) for rows in measured]
    numbers = [values_of_fit(fit) for fit in fits]
    families = raw.columns.get("family")
    return Ladder(
        source=str(raw.path),
        rung=tuple(names),
        workload=tuple("" if families is None else families[row] for row in first),
        covariates=values,
        log_values=np.array([value for value, _ in numbers]),
        covariances=np.array([covariance for _, covariance in numbers]),
        fits=tuple(fits),
        measurements=tuple(measured),
    )


def _fit_of_row(raw: RawTable, row: int, path: Path) -> FitRecord:
    try:
        return read_fit(path)
    except InputError as error:
        raise InputError(f"{raw.place(row)}, column fit: {error}") from error


def _numbers_of_row(raw: RawTable, row: int) -> tuple[Floats, Floats]:
    """Return the logs and their covariance, from estimates with intervals."""
    level = _number(raw, "level", row, default=_DEFAULT_LEVEL)
    if not 0 < level < 1:
        raise InputError(f"{raw.place(row)}, column level: {level:g} must lie between 0 and 1")
    logs, spreads = [], []
    for name in VALUES:
        middle, low, high = (
            _number(raw, column, row) for column in (name, f"{name}_low", f"{name}_high")
        )
        if not 0 < low <= middle <= high < math.inf:
            raise InputError(
                f"{raw.place(row)}, column {name}: {low:g}, {middle:g}, {high:g} must be finite, "
                "more than 0 and in the order low, estimate, high"
            )
        logs.append(math.log(middle))
        spreads.append(math.log(high / low) / (2 * float(ndtri(0.5 + level / 2))))
    return np.array(logs), np.diag(np.square(spreads))


def _covariates(
    raw: RawTable, asked: Sequence[str] | None, rows: Sequence[int]
) -> dict[str, Floats]:
    """Return the covariates of these rows, by name."""
    if asked is not None:
        for name in asked:
            if name not in raw.columns:
                raise InputError(
                    f"{raw.path}: --covariates {name!r} is no column; it has: "
                    f"{', '.join(raw.columns)}"
                )
    chosen = [name for name in KNOWN_COVARIATES if name in raw.columns] if asked is None else asked
    found = {}
    for name in chosen:
        column = raw.values(name)
        with np.errstate(invalid="ignore"):
            bad = ~(np.isfinite(column) & (column > 0)) & np.isin(np.arange(len(raw)), rows)
        rule = "must be a finite number, more than 0: its logarithm is the covariate"
        raw.refuse(name, bad, rule)
        values = column[list(rows)]
        if asked is not None or np.ptp(values) > 0:
            found[name] = values
    most = max(len(rows) - FEWEST_RUNGS, 0)
    if len(found) > most:
        raise InputError(
            f"{raw.path}: {len(found)} covariates ({', '.join(found)}) for {len(rows)} rungs; at "
            f"most {most}: choose with --covariates"
        )
    return found


def _check_one_value_a_rung(raw: RawTable, column: str) -> None:
    seen: dict[str, str] = {}
    for row, (name, text) in enumerate(
        zip(raw.columns["workload"], raw.columns[column], strict=True)
    ):
        if seen.setdefault(name, text) != text:
            raise InputError(
                f"{raw.place(row)}, column {column}: {text}, but workload {name} had {seen[name]}; "
                "a rung has one value"
            )


def _number(raw: RawTable, column: str, row: int, *, default: float | None = None) -> float:
    """Return a finite number of the table."""
    if (column not in raw.columns or not raw.columns[column][row]) and default is not None:
        return default
    if column not in raw.columns:
        raise InputError(f"{raw.place(row)}: column {column} is missing, and the row has no fit")
    value = float(raw.values(column)[row])
    here = np.arange(len(raw)) == row
    raw.refuse(column, here & (not math.isfinite(value)), "must be a finite number")
    return value
