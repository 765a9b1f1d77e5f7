"""A spectrum from a file: that of a real model, measured, or one's own.

CSV with a header, or NPZ, with columns `curvature` and `noise` (variance of the gradient's noise at
batch size 1), and optionally `weight` (so many modes like this one, any positive number: a Lanczos
quadrature's weights times the number of parameters) and `initial` (E[theta^2] at the start; 1).
"""

import csv
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_of_scaling.errors import InputError
from surrogate.noisy_quadratic import Spectrum

Floats = NDArray[np.float64]

_REQUIRED = ("curvature", "noise")
_POSITIVE = ("curvature", "weight")
_RULES = {
    "curvature": "a positive number",
    "noise": "a number, not negative",
    "weight": "a positive number",
    "initial": "a number, not negative",
}


def read_spectrum(path: Path) -> Spectrum:
    """Read a spectrum.

    A mode of weight w is as good as one whose noise and start have w times the variance, for the
    expected risk; that is how weights enter.

    Args:
        path: of a CSV or, by its name, an NPZ.

    Returns:
        The modes in the file's order.

    Raises:
        InputError: naming the file, the row and the rule.
    """
    columns = _npz_columns(path) if path.suffix.lower() == ".npz" else _csv_columns(path)
    lengths = {len(column) for column in columns.values()}
    if lengths == {0}:
        raise InputError(f"{path}: has no row")
    for name, column in columns.items():
        fine = np.isfinite(column) & (
            column > 0 if _RULES[name][2:].startswith("pos") else column >= 0
        )
        if not fine.all():
            row = int(np.argmin(fine))
            raise InputError(
                f"{path}, row {row + 1}: {name} {column[row]:g} must be {_RULES[name]}"
            )
    weight = columns.get("weight", np.ones(lengths.pop()))
    return Spectrum(
        curvature_P=columns["curvature"],
        noise_P=columns["noise"] * weight,
        initial_P=columns.get("initial", np.ones(len(weight))) * weight,
    )


def _check_names(names: list[str], path: Path) -> None:
    for name in _REQUIRED:
        if name not in names:
            raise InputError(f"{path}: has no column {name}; it needs {' and '.join(_REQUIRED)}")
    for name in names:
        if name not in _RULES or names.count(name) > 1:
            known = ", ".join(_RULES)
            raise InputError(f"{path}: column {name!r} is not one of {known}, once each")


def _csv_columns(path: Path) -> dict[str, Floats]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: can't be read as CSV ({_reason(error)})") from None
    names = [name.strip() for name in rows[0]] if rows else []
    _check_names(names, path)
    values = np.empty((len(rows) - 1, len(names)))
    for number, row in enumerate(rows[1:]):
        if len(row) != len(names):
            raise InputError(f"{path}, row {number + 1}: has {len(row)} values, not {len(names)}")
        for place, text in enumerate(row):
            try:
                values[number, place] = float(text)
            except ValueError:
                name = names[place]
                raise InputError(
                    f"{path}, row {number + 1}: {name} {text!r} must be {_RULES[name]}"
                ) from None
    return {name: values[:, place].copy() for place, name in enumerate(names)}


def _npz_columns(path: Path) -> dict[str, Floats]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise InputError(f"{path}: can't be read as NPZ ({_reason(error)})") from None
    _check_names(list(found), path)
    for name, array in found.items():
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise InputError(
                f"{path}: {name} must be one row of numbers, not {array.dtype}"
                f" of shape {array.shape}"
            )
        if len(array) != len(found["curvature"]):
            raise InputError(
                f"{path}: {name} has {len(array)} values, curvature {len(found['curvature'])}"
            )
    return {name: array.astype(np.float64) for name, array in found.items()}


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__
