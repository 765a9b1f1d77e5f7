"""Accuracy at a fixed number of epochs from a sweep's trials (`surrogate.sweep --epochs E`).

At each batch size the winner is the repeated configuration whose fresh seeds on the shortlist had
the highest median accuracy, and its rows are its repeats: seeds that chose nothing. Differs from
steps to target in one thing: a run that diverged has no accuracy worth a law and is left out, with
a count.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models_of_scaling.errors import InputError
from models_of_scaling.fixed_epochs.accuracy_table import AccuracyRows, accuracy_rows
from models_of_scaling.measurements import choose_one
from models_of_scaling.quantities import Floats
from models_of_scaling.steps_to_target import configuration_numbers
from models_of_scaling.study_source import TableChoice, choose_trials
from models_of_scaling.trials import read_trials

_COLUMNS: Final = (
    "workload", "optimizer", "hyper_parameters", "settings", "curve_validation_accuracy",
)  # fmt: skip


def accuracies_from_trials(
    path: Path, choice: TableChoice, *, epochs: float | None = None
) -> AccuracyRows:
    """Read the accuracy of tuned runs at the end of a fixed number of epochs.

    Args:
        path: a folder of trial files, or one.
        choice: workload and optimizer, where there are several.
        epochs: which length, where there are several.

    Returns:
        One row per repeat.

    Raises:
        InputError: naming the folder, the flag and the rule.
    """
    where = str(path)
    table = choose_trials(read_trials(path, columns=_COLUMNS), choice, where=where)
    lengths = [dict(each or ()).get("epochs", "") for each in table["settings"].to_pylist()]
    if not any(lengths):
        raise InputError(
            f"{where}: no trial has a fixed number of epochs (runs that end at a target have no "
            "accuracy to compare); sweep with --epochs E"
        )
    known = [each for each in lengths if each]
    word = choose_one(
        known,
        None if epochs is None else f"{epochs:g}",
        where=f"{where}: setting epochs",
        flag="--epochs",
    )
    table = table.take(np.flatnonzero(np.array(lengths) == word))
    return _rows_of(table, path=where, epochs=float(word))


def _rows_of(table: pa.Table, *, path: str, epochs: float) -> AccuracyRows:
    accuracy, configuration = _final(table), configuration_numbers(table)
    phase = np.array(table["phase"].to_pylist())
    batch_size = table["batch_size"].to_numpy()
    kept: list[npt.NDArray[np.intp]] = []
    for size in np.unique(batch_size):
        here = np.flatnonzero(batch_size == size)
        repeats = here[phase[here] == "repeat"]
        if not repeats.size:
            continue
        shortlist = here[phase[here] == "shortlist"]
        medians = {
            name: _median(accuracy[shortlist[configuration[shortlist] == name]])
            for name in np.unique(configuration[repeats])
        }
        best = max(medians, key=lambda name: medians[name])
        kept.append(repeats[configuration[repeats] == best])
    if not kept:
        raise InputError(f"{path}: the sweep has no repeats yet; give its command again")
    rows = np.concatenate(kept)
    ended = np.isfinite(accuracy[rows])
    if not ended.any():
        raise InputError(f"{path}: every repeat diverged; there is no accuracy to fit")
    found = accuracy_rows(batch_size[rows[ended]], accuracy[rows[ended]], path=path, epochs=epochs)
    return replace(found, num_diverged=int((~ended).sum()))


def _final(table: pa.Table) -> Floats:
    """Return each trial's last accuracy, NaN where it diverged or was interrupted."""
    curves = table["curve_validation_accuracy"].to_pylist()
    ended = pc.is_in(table["status"], value_set=pa.array(["reached", "not_reached"])).to_pylist()
    return np.array([
        float(curve[-1]) if is_over and curve else np.nan
        for curve, is_over in zip(curves, ended, strict=True)
    ])


def _median(accuracies: Floats) -> float:
    """Return the median, a diverged seed counting as the worst; -1 where there is none."""
    values = np.nan_to_num(accuracies, nan=0.0)
    return float(np.median(values)) if values.size else -1.0
