"""Reads what `fullscale.callbacks.sharpness` wrote: one run's points, by mode of batch norm."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_of_scaling.curvature.quadrature import Quadrature
from models_of_scaling.errors import InputError
from models_of_scaling.quantities import Floats
from models_of_scaling.tables import RawTable, read_csv

_NEEDED = (
    *("steps", "loss", "eigenvalue_1", "stability_limit", "trace", "negative_share"),
    *("negative_share_low", "negative_share_high"),
)
_OPTIONAL = ("keskar_sharpness", "batch_size", "learning_rate", "gradient_norm")
_MODE = "batch_norm"


@dataclass(frozen=True, kw_only=True, eq=False)
class SharpnessCurve:
    """One run's Hessian over its steps, in one mode of batch norm.

    Attributes:
        mode: evaluation or training.
        columns: by name, each of shape (N,); NaN where nothing was measured.
        optimizer: by name.
    """

    mode: str
    columns: dict[str, Floats]
    optimizer: str

    def __getitem__(self, column: str) -> Floats:
        """Return a column; NaN throughout where the file has none of that name."""
        found = self.columns.get(column)
        return np.full(len(self.columns["steps"]), math.nan) if found is None else found


def read_sharpness(path: Path) -> list[SharpnessCurve]:
    """Read one file.

    Args:
        path: of the callback's CSV file.

    Returns:
        One curve a mode, in the file's order.

    Raises:
        InputError: naming file, row, column, value and rule.
    """
    raw = read_csv(path)
    for name in _NEEDED:
        if name not in raw.columns:
            raise InputError(
                f"{path}: column {name} is missing; the sharpness callback's file is read"
            )
    modes = raw.columns.get(_MODE, ["evaluation"] * len(raw))
    optimizer = raw.columns.get("optimizer", [""])[0]
    curves = []
    for mode in dict.fromkeys(modes):
        rows = [row for row, word in enumerate(modes) if word == mode]
        columns = {
            name: _measured(raw, name)[rows]
            for name in (*_NEEDED, *_OPTIONAL)
            if name in raw.columns
        }
        curves.append(SharpnessCurve(mode=mode, columns=columns, optimizer=optimizer))
    return curves


def is_sharpness_file(path: Path) -> bool:
    """Return whether a CSV file has the columns of the sharpness callback."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        return {"stability_limit", "eigenvalue_1"} <= set(stream.readline().strip().split(","))


def _measured(raw: RawTable, column: str) -> Floats:
    values = raw.measured(column)
    if column in {"steps", "loss"}:
        raw.refuse(column, ~np.isfinite(values), "must be a finite number")
    return values


def spectrum_path(path: Path) -> Path:
    """Return the name of the quadratures' file beside a sharpness file."""
    return path.with_name(f"{path.stem}.spectrum.csv")


def read_quadratures(path: Path) -> dict[tuple[int, str], Quadrature]:
    """Read the quadratures of a run.

    Args:
        path: of the callback's `.spectrum.csv` file.

    Returns:
        By step and mode.

    Raises:
        InputError: naming file, row, column and value.
    """
    raw = read_csv(path)
    names = ("steps", "probe", "node", "weight")
    raw.require(*names, _MODE)
    steps, probes, nodes, weights = (_measured(raw, name).tolist() for name in names)
    found: dict[tuple[int, str], dict[float, list[int]]] = {}
    for row, mode in enumerate(raw.columns[_MODE]):
        found.setdefault((int(steps[row]), mode), {}).setdefault(probes[row], []).append(row)
    quadratures = {}
    for key, rows in found.items():
        try:
            quadratures[key] = Quadrature(
                nodes=np.array([[nodes[row] for row in probe] for probe in rows.values()]),
                weights=np.array([[weights[row] for row in probe] for probe in rows.values()]),
            )
        except ValueError as error:
            raise InputError(
                f"{path}: step {key[0]}, {key[1]}: its nodes are no quadratures ({error})"
            ) from error
    return quadratures
