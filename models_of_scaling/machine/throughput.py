"""Measured seconds per step: the rows of a user's CSV, checked one by one.

Columns: `nodes`, `devices` (per node), `per_device_batch_size` (examples per forward of one
device), `seconds_per_step`; optional `accumulate_grad_batches` (forwards per step, else 1).
Repeated rows of one configuration are repeats.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from models_of_scaling.quantities import Floats
from models_of_scaling.tables import read_csv

Integers: TypeAlias = npt.NDArray[np.int64]

_COUNTS: Final = ("nodes", "devices", "per_device_batch_size")
_OPTIONAL: Final = "accumulate_grad_batches"
_SECONDS: Final = "seconds_per_step"
# From light crossing a third of a millimetre to 30,000 years.
_POSSIBLE_SECONDS: Final = (1e-12, 1e12)


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Measured configurations, one entry each, repeats averaged in logs.

    Attributes:
        nodes: M.
        devices_per_node: k.
        per_device_batch_size: examples per forward of one device.
        accumulate_grad_batches: forwards per step.
        seconds_per_step: geometric mean over the repeats.
        num_rows: rows that were read.
    """

    nodes: Integers
    devices_per_node: Integers
    per_device_batch_size: Integers
    accumulate_grad_batches: Integers
    seconds_per_step: Floats
    num_rows: int

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self.nodes)


def average_repeats(configurations: list[tuple[int, int, int, int]], seconds: Floats) -> Throughput:
    """Return one entry per configuration.

    What separates configurations from the model is mostly the model's own misfit, which more
    repeats of one configuration don't shrink; so each configuration counts once.

    Args:
        configurations: nodes, devices per node, examples per forward, forwards; one per row.
        seconds: per step, one per row.
    """
    unique = sorted(set(configurations))
    logs = np.log(seconds)
    place = np.array([unique.index(row) for row in configurations])
    columns = np.array(unique, dtype=np.int64).T
    return Throughput(
        nodes=columns[0],
        devices_per_node=columns[1],
        per_device_batch_size=columns[2],
        accumulate_grad_batches=columns[3],
        seconds_per_step=np.exp(np.bincount(place, logs) / np.bincount(place)),
        num_rows=len(configurations),
    )


def read_throughput(path: Path) -> Throughput:
    """Read a CSV of measured seconds per step.

    What breaks a rule ends in an `InputError` that names file, row, column, value and rule.

    Args:
        path: the file.

    Returns:
        Its configurations.
    """
    raw = read_csv(path)
    raw.require(*_COUNTS, _SECONDS)
    columns = [raw.counts(name) for name in _COUNTS]
    once = np.ones(len(raw))
    columns.append(raw.counts(_OPTIONAL) if _OPTIONAL in raw.columns else once)
    seconds = raw.values(_SECONDS)
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(seconds) & (seconds > 0))
    raw.refuse(_SECONDS, bad, "must be a finite number, more than 0")
    shortest, longest = _POSSIBLE_SECONDS
    silly = (seconds < shortest) | (seconds > longest)
    raw.refuse(_SECONDS, silly, f"must lie in {shortest:g} .. {longest:g}")
    configurations = np.array(columns, dtype=np.int64).T.tolist()
    return average_repeats([tuple(row) for row in configurations], seconds)
