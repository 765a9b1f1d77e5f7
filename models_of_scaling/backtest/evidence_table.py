"""Reads what is known of each series' B_crit beside its rows: CSV, one row per series.

Columns: `workload` (the series' name), `critical_batch_size`, and `knee_factor`, within which it is
90 % sure to lie. Other columns say where the numbers come from and are not read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.tables import read_csv

_NUMBERS: Final = ("critical_batch_size", "knee_factor")


def read_evidence(path: Path, series: Sequence[str]) -> dict[str, KneeEvidence]:
    """Read a table of evidence.

    Args:
        path: CSV file.
        series: names of the series that are back-tested.

    Returns:
        By series; those without a row have none.

    Raises:
        InputError: one line naming file, row, column, value and rule.
    """
    raw = read_csv(path)
    raw.require("workload", *_NUMBERS)
    values = {column: raw.values(column) for column in _NUMBERS}
    for column in _NUMBERS:
        raw.refuse(column, np.isnan(values[column]), "must be a number")
    found: dict[str, KneeEvidence] = {}
    for row, name in enumerate(raw.columns["workload"]):
        if name not in series:
            raise InputError(f"{raw.place(row)}, column workload: {name!r} is none of the series")
        if name in found:
            raise InputError(f"{raw.place(row)}, column workload: {name!r} has a row already")
        batch_size, factor = (float(values[column][row]) for column in _NUMBERS)
        try:
            found[name] = KneeEvidence(critical_batch_size=batch_size, factor=factor)
        except InputError as error:
            raise InputError(f"{raw.place(row)}: {error}") from error
    return found
