"""Reads walks from the files that `fullscale.callbacks.diffusion` writes, or from one's own table.

Columns: `steps` and `distance`; optional `batch_size`, `learning_rate`, `optimizer`, `seed`, `run`.
A run is one file and one value of each of batch_size, optimizer, seed and run; runs of one batch
size, optimizer, peak learning rate and schedule are repeats of one setting.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models_of_scaling.diffusion.comparison import FEWEST_POINTS
from models_of_scaling.diffusion.walk import Walk, learning_rate_drops
from models_of_scaling.errors import InputError
from models_of_scaling.quantities import Floats
from models_of_scaling.tables import RawTable, read_csv

Clock = Literal["steps", "learning_rate"]
_OF_A_RUN = ("batch_size", "optimizer", "seed", "run")
_DISTANCE = "distance"
# Of steps, learning rates and distances alike: no run has more, and powers of it overflow.
_TOO_LARGE = 1e100


@dataclass(frozen=True, kw_only=True, order=True)
class Setting:
    """What runs have in common that are repeats of each other.

    Attributes:
        optimizer: by name; "" where the table does not say.
        batch_size: examples per step; 0 where the table does not say.
        learning_rate: its peak; NaN where the table does not say.
        drops: steps at which the learning rate fell.
    """

    optimizer: str
    batch_size: int
    learning_rate: float
    drops: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class WalkChoice:
    """Which part of the files is read.

    Attributes:
        layer: its distance instead of that of all weights; "" for all.
        clock: t is the number of steps, or the sum of their learning rates over the peak: steps at
            the peak that would have moved as far.
        from_steps: first step that counts.
        to_steps: last one.
    """

    layer: str = ""
    clock: Clock = "steps"
    from_steps: float = 1.0
    to_steps: float = math.inf

    def __post_init__(self) -> None:
        """Check.

        Raises:
            InputError: where the steps are no range.
        """
        if not 1 <= self.from_steps < self.to_steps:
            raise InputError(
                f"--from-steps {self.from_steps:g} must be at least 1 and below --to-steps "
                f"{self.to_steps:g}"
            )


def read_walks(path: Path, choice: WalkChoice) -> dict[Setting, list[Walk]]:
    """Read one file, or all CSV files of a folder.

    Args:
        path: of the file or folder.
        choice: what of it counts.

    Returns:
        The runs by setting, sorted by it.

    Raises:
        InputError: naming file, row, column, value and rule.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: has no CSV file")
    found: dict[tuple[object, ...], tuple[Setting, list[Walk]]] = {}
    for file in files:
        for setting, walk in _walks_of(read_csv(file), choice):
            found.setdefault(_key(setting), (setting, []))[1].append(walk)
    return dict(found[key] for key in sorted(found))


def _key(setting: Setting) -> tuple[object, ...]:
    """Return what settings are told apart and sorted by: two unknown rates are the same."""
    rate = -1.0 if math.isnan(setting.learning_rate) else setting.learning_rate
    return setting.optimizer, setting.batch_size, rate, setting.drops


def _walks_of(raw: RawTable, choice: WalkChoice) -> Iterator[tuple[Setting, Walk]]:
    column = f"{_DISTANCE}/{choice.layer}" if choice.layer else _DISTANCE
    for name in ("steps", column):
        if name not in raw.columns:
            layers = [each.partition("/")[2] for each in raw.columns if "/" in each]
            known = f"; it has the layers {', '.join(layers)}" if choice.layer and layers else ""
            raise InputError(f"{raw.path}: column {name} is missing{known}")
    steps = raw.counts("steps")
    # Outside of what was asked for a run may have diverged.
    inside = (steps >= choice.from_steps) & (steps <= choice.to_steps)
    distance = _numbers(raw, column, inside)
    rates = (
        _numbers(raw, "learning_rate", inside)
        if "learning_rate" in raw.columns
        else np.full(len(steps), math.nan)
    )
    batch_sizes = raw.counts("batch_size") if "batch_size" in raw.columns else np.zeros(len(steps))
    sums = steps
    if choice.clock == "learning_rate":
        if "learning_rate" not in raw.columns or "learning_rate_sum" not in raw.columns:
            raise InputError(
                f"{raw.path}: --clock learning_rate needs the columns learning_rate and "
                "learning_rate_sum"
            )
        sums = _numbers(raw, "learning_rate_sum", inside)
    for rows in _runs(raw):
        _check_rising(raw, rows, steps)
        kept = [
            row
            for row in rows
            # A layer that has not moved yet (a head that starts at zero gradient) has no logarithm.
            if inside[row] and distance[row] > 0 < sums[row]
        ]
        if len(kept) < FEWEST_POINTS:
            raise InputError(
                f"{raw.place(rows[0])}: its run has {len(kept)} points with a distance above 0 "
                f"between --from-steps and --to-steps; {FEWEST_POINTS} are needed"
            )
        known = rates[rows][np.isfinite(rates[rows])]
        peak = float(known.max()) if len(known) else math.nan
        drops = learning_rate_drops(steps[kept], rates[kept])
        if choice.clock == "learning_rate":
            drops = ()  # the clock itself slows down
        setting = Setting(
            optimizer=raw.columns["optimizer"][rows[0]] if "optimizer" in raw.columns else "",
            batch_size=int(batch_sizes[rows[0]]),
            learning_rate=peak,
            drops=drops,
        )
        time = steps[kept] if choice.clock == "steps" else sums[kept] / peak
        yield setting, Walk(steps=time, distance=distance[kept], drops=drops)


def _runs(raw: RawTable) -> Iterator[list[int]]:
    """Return the rows of each run, in the order of the file."""
    names = [name for name in _OF_A_RUN if name in raw.columns]
    found: dict[tuple[str, ...], list[int]] = {}
    for row in range(len(raw)):
        found.setdefault(tuple(raw.columns[name][row] for name in names), []).append(row)
    yield from found.values()


def _check_rising(raw: RawTable, rows: list[int], steps: Floats) -> None:
    for before, row in zip(rows, rows[1:], strict=False):
        if steps[row] <= steps[before]:
            raise InputError(
                f"{raw.place(row)}, column steps: {steps[row]:g} must be more than the "
                f"{steps[before]:g} of the row before; tell runs apart by a column seed or run"
            )


def _numbers(raw: RawTable, column: str, inside: NDArray[np.bool_]) -> Floats:
    values = raw.values(column)
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(values) & (values >= 0))
        large = values > _TOO_LARGE
    raw.refuse(column, inside & bad, "must be a finite number, not negative")
    raw.refuse(column, inside & large, f"must be at most {_TOO_LARGE:g}")
    return values
