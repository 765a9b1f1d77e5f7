"""The sweeps of `results/sweeps`: which there are, what was measured, and the laws fitted to each.

A record that is added is taken up by itself: its workload and optimizer stand in its trials. The
two largest batch sizes of each sweep are predicted from the others by a fit that never saw them.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.measurements import Measurements
from models_of_scaling.over_targets.target_study import (
    TargetStudy,
    carried_target,
    default_targets,
    read_target_study_trials,
    study_targets,
)
from models_of_scaling.prediction import Prediction, predict
from models_of_scaling.quantities import Floats
from models_of_scaling.steps_to_target import study_rows, trial_outcomes
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.targets import Target
from models_of_scaling.trials import read_trials

HELD_OUT: Final = 2  # batch sizes, the largest
TARGETS: Final = 8  # losses at which the critical batch size is asked
# In the order of the pages; what is not here comes after, by name.
OPTIMIZERS: Final = {
    "momentum": "SGD with momentum", "lars": "LARS", "lamb": "LAMB", "adam": "Adam",
    "kfac": "K-FAC", "nesterov": "Nesterov momentum",
}  # fmt: skip
_RUNG_PART: Final = re.compile(r"_(holdout|subset|width)(\d+)")
WORKLOADS: Final = {
    "digits": "digits",
    "digits_cnn": "digits by a CNN",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10_cnn": "CIFAR-10 by a CNN",
    "cifar10_cnn_width8": "CIFAR-10 by a CNN",  # the only one; the text says its width
}
# Kept before there were whole sweeps: rows of the winners only. Taken where no sweep is.
_ROWS_ONLY: Final = {("fashion_mnist", "momentum"): "fashion_mnist.csv"}


@dataclass(frozen=True, kw_only=True)
class SweepFile:
    """One record.

    Attributes:
        path: of the file.
        workload: as the sweep names it.
        optimizer: likewise.
        has_trials: whether it holds the trials of the search, not the winners' rows alone.
    """

    path: Path
    workload: str
    optimizer: str
    has_trials: bool

    @property
    def title(self) -> str:
        """Workload and optimizer in words."""
        return f"{workload_title(self.workload)}, {optimizer_title(self.optimizer)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """A sweep with its fits.

    Attributes:
        file: of the record.
        measured: the rows.
        fit: to all batch sizes.
        held: the fit to all but the largest ones; None where the rest identify no law.
        targets: the critical batch size at easier targets, read from the same runs; None of records
            without trials, and where no range of targets takes enough steps at every batch size.
    """

    file: SweepFile
    measured: Measurements
    fit: FitRecord
    held: FitRecord | None
    targets: TargetStudy | None

    @cached_property
    def batch_sizes(self) -> Floats:
        """The measured batch sizes, increasing."""
        return np.unique(self.measured.batch_size)

    @cached_property
    def steps(self) -> Floats:
        """Geometric mean of steps to target at each of `batch_sizes`; inf where none reached."""
        found = []
        for size in self.batch_sizes:
            at = (self.measured.batch_size == size) & self.measured.reached
            found.append(np.exp(np.log(self.measured.steps[at]).mean()) if at.any() else np.inf)
        return np.array(found)

    @cached_property
    def predictions(self) -> list[Prediction]:
        """Of the batch sizes held out, each beside what was measured."""
        if self.held is None:
            return []
        return predict(self.held, [int(size) for size in np.unique(self.held.held_out.batch_size)])

    @cached_property
    def trials(self) -> pa.Table:
        """All trials; only of records that have them."""
        return read_trials(self.file.path)

    def winners(self) -> list[tuple[int, dict[str, float]]]:
        """Return the repeated configuration of each batch size at which some run reached."""
        if not self.file.has_trials:
            return []
        outcomes = trial_outcomes(self.trials, Target.parse(self.fit.target))
        numbers = self.trials["hyper_parameters"].to_pylist()
        return [
            (each.batch_size, dict(numbers[each.rows[0]]))
            for each in study_rows(self.trials, outcomes)
            if outcomes.reached[each.rows].any() and not each.from_search
        ]


def optimizer_title(name: str) -> str:
    """Return an optimizer's name for readers."""
    return OPTIMIZERS.get(name, name)


def short_title(name: str) -> str:
    """Return an optimizer's name where there is little room."""
    return name if name in {"momentum", "nesterov"} else optimizer_title(name)


def workload_title(name: str) -> str:
    """Return a workload's name for readers: "4,096 images of MNIST" of mnist_subset4096."""
    if name in WORKLOADS:
        return WORKLOADS[name]
    whole, changed = _RUNG_PART.sub("", name), dict(_RUNG_PART.findall(name))
    title = WORKLOADS.get(whole, whole.replace("_", " "))
    if "width" in changed:
        title += f" of width {changed['width']}"
    if "subset" in changed:
        return f"{int(changed['subset']):,} images of {title}"
    if "holdout" in changed:
        return f"{title} less {int(changed['holdout']):,} held out"
    return title


def place_of(name: str, known: dict[str, str]) -> tuple[int, str]:
    """Return where a name stands among others: the known in their order, then by name."""
    return (list(known).index(name) if name in known else len(known), name)


def sweep_files(results: Path) -> list[SweepFile]:
    """Return the records of sweeps to a target, in the order of the pages.

    Args:
        results: the folder of records.

    Returns:
        One each; two of the same workload and optimizer are refused.

    Raises:
        InputError: naming both files.
    """
    found: dict[tuple[str, str], SweepFile] = {}
    for path in sorted((results / "sweeps").glob("*.parquet")):
        words = pq.read_table(path, columns=["workload", "optimizer"]).slice(0, 1).to_pylist()[0]
        key = str(words["workload"]), str(words["optimizer"])
        if key in found:
            raise InputError(f"{path}: {found[key].path} is of the same workload and optimizer")
        found[key] = SweepFile(path=path, workload=key[0], optimizer=key[1], has_trials=True)
    for key, name in _ROWS_ONLY.items():
        if key not in found and (results / name).exists():
            found[key] = SweepFile(
                path=results / name, workload=key[0], optimizer=key[1], has_trials=False
            )
    return sorted(
        found.values(),
        key=lambda each: (
            place_of(each.workload, WORKLOADS), place_of(each.optimizer, OPTIMIZERS),
        ),
    )  # fmt: skip


def read_sweep(file: SweepFile) -> Sweep:
    """Return one record with the laws fitted to it, twice, and over easier targets.

    Args:
        file: the record.
    """
    measured = read_measurements(file.path, TableChoice())
    sizes = np.unique(measured.batch_size)
    limit = int(sizes[-1 - HELD_OUT])
    try:
        held = fit_laws(measured, FitChoice(holdout_above=limit))
    except InputError:
        held = None
    return Sweep(
        file=file,
        measured=measured,
        fit=fit_laws(measured, FitChoice()),
        held=held,
        targets=easier_targets(file) if file.has_trials else None,
    )


def easier_targets(file: SweepFile) -> TargetStudy | None:
    """Return the critical batch size at easier targets; None where they can't be asked.

    Args:
        file: a record with trials.
    """
    where = str(file.path)
    table = read_target_study_trials(file.path, TableChoice())
    carried = carried_target(table, where=where)
    try:
        targets = default_targets(table, carried.metric, carried, count=TARGETS, where=where)
        return study_targets(table, targets, carried, FitChoice(), path=file.path)
    except InputError:
        return None
