"""From a path to `Measurements`: a CSV, a parquet table, a trial file or a folder of trials."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models_of_scaling.errors import InputError
from models_of_scaling.measurements import (
    Measurements,
    SearchedCell,
    TableSource,
    check_identifiable,
    choose_one,
)
from models_of_scaling.steps_to_target import (
    CURVE_COLUMNS,
    StudyRows,
    TrialOutcomes,
    steps_not_enough,
    study_rows,
    trial_outcomes,
)
from models_of_scaling.table_rows import measurements_from_table
from models_of_scaling.tables import read_csv, read_parquet
from models_of_scaling.targets import Target
from models_of_scaling.trials import is_trial_file, read_trials

# What the reduction asks of a trial, besides what tells trials apart.
NEEDED_COLUMNS: Final = (
    "workload", "optimizer", "num_train_examples", "hyper_parameters", "settings", "target",
    *CURVE_COLUMNS,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TableChoice:
    """Which part of a table to read, and what it does not say itself.

    Attributes:
        workload: one of the table's workloads; None where it has only one.
        optimizer: one of the table's or trials' optimizers; None where there is only one.
        target: asked of the trials' stored curves, or one of the table's; None for the only one.
        num_train_examples: size of the training set; None to take it from the trials.
        fewest_batch_sizes: that the rows must have: 2 for a law, 1 for anchors.
    """

    workload: str | None = None
    optimizer: str | None = None
    target: Target | None = None
    num_train_examples: int | None = None
    fewest_batch_sizes: int = 2


def read_measurements(path: Path, choice: TableChoice) -> Measurements:
    """Read any table of measurements.

    Args:
        path: a CSV or parquet file, or a folder of trial files.
        choice: which part of it.

    Returns:
        The rows to fit.

    Raises:
        InputError: one line naming file, row or flag, value and rule.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if is_trials(path):
        return measurements_from_trials(
            read_trials(path, columns=NEEDED_COLUMNS), choice, path=path
        )
    raw = read_parquet(path) if path.suffix in {".parquet", ".pq"} else read_csv(path)
    return measurements_from_table(
        raw,
        choice={
            "workload": choice.workload,
            "optimizer": choice.optimizer,
            "target": None if choice.target is None else str(choice.target),
        },
        num_train_examples=choice.num_train_examples,
        sha256=sha256_of(path),
        fewest_batch_sizes=choice.fewest_batch_sizes,
    )


def is_trials(path: Path) -> bool:
    """Return whether a path is a folder (of trials) or a parquet file of trials."""
    return path.is_dir() or (path.suffix == ".parquet" and is_trial_file(path))


def choose_trials(table: pa.Table, choice: TableChoice, *, where: str) -> pa.Table:
    """Keep the trials of one workload and one optimizer.

    Args:
        table: of `trials.TRIAL_SCHEMA`.
        choice: which workload and optimizer.
        where: file or folder, for messages.

    Returns:
        The chosen rows. Several values without a choice, or one that is not there, are refused.
    """
    words = table.select(["workload", "optimizer"])
    wanted = np.arange(len(table))
    for column, chosen in (("workload", choice.workload), ("optimizer", choice.optimizer)):
        known = words[column].take(wanted)
        values = [str(value) for value in pc.unique(known).to_pylist()]
        value = choose_one(values, chosen, where=f"{where}: column {column}", flag=f"--{column}")
        is_it = pc.fill_null(pc.equal(known, value), False)
        wanted = wanted[is_it.to_numpy()]
    # The curves of a million trials are moved once, and only where some are left out.
    return table if len(wanted) == len(table) else table.take(wanted)


def stored_target(table: pa.Table, choice: TableChoice, *, where: str) -> Target:
    """Return the target that is asked of the curves.

    Args:
        table: the chosen trials.
        choice: its target, if any, comes first.
        where: file or folder, for messages.

    Returns:
        The chosen target, or the one that all trials carry; different ones without a choice are
        refused.
    """
    if choice.target is not None:
        return choice.target
    values = [str(value) for value in pc.unique(table["target"]).to_pylist()]
    return Target.parse(choose_one(values, None, where=f"{where}: column target", flag="--target"))


def measurements_from_trials(table: pa.Table, choice: TableChoice, *, path: Path) -> Measurements:
    """Reduce trials to the rows that are fitted.

    Args:
        table: of `trials.TRIAL_SCHEMA`.
        choice: workload, optimizer and target.
        path: where the trials came from.

    Returns:
        Per batch size the repeats of the search's best configuration, or what stands in for them
        (`steps_to_target.study_rows`).

    Raises:
        InputError: one line naming path, column or flag, value and rule.
    """
    where = str(path)
    if not len(table):
        raise InputError(f"{where}: holds no trial")
    table = choose_trials(table, choice, where=where)
    target = stored_target(table, choice, where=where)
    small = pc.less(table["batch_size"], 1)
    if pc.any(small).as_py():
        bad = table.filter(small)
        raise InputError(
            f"{where}: trial {bad['trial_id'][0]}: batch_size {bad['batch_size'][0]} "
            "must be at least 1"
        )
    outcomes = trial_outcomes(table, target)
    studies = study_rows(table, outcomes)
    rows = np.concatenate([study.rows for study in studies])
    sizes = np.repeat([s.batch_size for s in studies], [len(s.rows) for s in studies])
    # A run that ended before its first step says nothing, but it is one of the rows.
    steps = np.maximum(outcomes.steps[rows], 1.0)
    trial_sizes = table["batch_size"].to_numpy()
    for study in studies:
        not_enough = steps_not_enough(np.flatnonzero(trial_sizes == study.batch_size), outcomes)
        steps = np.where(sizes == study.batch_size, np.maximum(steps, not_enough), steps)
    measured = Measurements(
        batch_size=sizes,
        steps=steps,
        reached=outcomes.reached[rows],
        steps_low=np.where(outcomes.reached[rows], outcomes.steps_low[rows], steps),
        steps_high=outcomes.steps_high[rows],
        weight=np.ones(len(rows)),
        group=np.full(len(rows), "", dtype=np.str_),
        workload=str(table["workload"][0]),
        source=TableSource(
            path=where,
            kind="trials",
            sha256=sha256_of(path),
            num_rows=len(table),
            num_diverged=int(outcomes.diverged.sum()),
            from_search=tuple(study.batch_size for study in studies if study.from_search),
        ),
        optimizer=str(table["optimizer"][0]),
        target=str(target),
        num_train_examples=choice.num_train_examples or _one_size(table),
        cells=tuple(_cell(study, outcomes) for study in studies if study.search.size),
    )
    check_identifiable(
        measured,
        where=f"{where}, target {target}",
        fewest_batch_sizes=choice.fewest_batch_sizes,
    )
    return measured


def _one_size(table: pa.Table) -> int | None:
    sizes = pc.unique(table["num_train_examples"]).to_pylist()
    return int(sizes[0]) if len(sizes) == 1 and sizes[0] else None


def _cell(study: StudyRows, outcomes: TrialOutcomes) -> SearchedCell:
    search, repeats = study.search, study.repeats
    steps = np.where(outcomes.reached[search], outcomes.steps[search], np.inf)
    low = outcomes.steps_low[repeats]
    low = np.where(outcomes.reached[repeats], low, np.maximum(low, 1.0))
    with np.errstate(divide="ignore"):  # log 0 = -inf: reached by the first evaluation
        log_low = np.log(low)
    return SearchedCell(
        batch_size=study.batch_size,
        search_log_steps=np.log(steps),
        search_configuration=study.configuration[search],
        repeat_configuration=study.configuration[repeats],
        repeat_log_low=log_low,
        repeat_log_high=np.log(outcomes.steps_high[repeats]),
    )


def sha256_of(path: Path) -> str:
    """Return the digest of a file, or of a folder's parquet files and their names.

    Args:
        path: file or folder.

    Returns:
        64 hexadecimal digits; "" where nothing is there.
    """
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    files = sorted(path.rglob("*.parquet"))
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest() if files else ""
