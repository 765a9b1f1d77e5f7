"""Reads a run's `TRIAL.metrics.csv`, or a table of one's own: a row per evaluation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.quantities import Floats
from models_of_scaling.tables import read_csv

NOISE_SCALE = "gradient_noise_scale"
_READ = (
    *("steps", "batch_size", "train_loss", "validation_loss"),
    *(NOISE_SCALE, f"{NOISE_SCALE}_low", f"{NOISE_SCALE}_high", f"{NOISE_SCALE}_valid"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunMetrics:
    """What was measured at each evaluation of one run.

    Attributes:
        columns: by name, each of shape (N,); NaN where nothing was measured. Of the noise scale:
            its estimate, the ends of its interval (the upper one may be infinite), and 1 where it
            is valid; all of them or none are there.
    """

    columns: dict[str, Floats]

    def __getitem__(self, column: str) -> Floats:
        """Return a column that is there."""
        return self.columns[column]

    def __contains__(self, column: str) -> bool:
        """Return whether a column is there with any number in it."""
        return column in self.columns and not np.isnan(self.columns[column]).all()


def read_run_metrics(path: Path) -> RunMetrics:
    """Read one file.

    Args:
        path: a CSV file with a column steps and any of those that are drawn.

    Returns:
        The columns that are known.

    Raises:
        InputError: naming file, row, column, value and rule.
    """
    raw = read_csv(path)
    if "steps" not in raw.columns:
        raise InputError(f"{path}: column steps is missing; a run's metrics.csv is read")
    columns = {}
    for name in _READ:
        if name in raw.columns:
            columns[name] = raw.measured(name)
    if NOISE_SCALE in columns and not {f"{NOISE_SCALE}_low", f"{NOISE_SCALE}_high"} <= set(columns):
        raise InputError(f"{path}: column {NOISE_SCALE} has no columns _low and _high beside it")
    if not (np.isfinite(columns["steps"]).all() and (columns["steps"] >= 0).all()):
        raise InputError(f"{path}: column steps must be finite and not negative in every row")
    return RunMetrics(columns=columns)
