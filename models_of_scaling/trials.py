"""The trial record: one row per training run; its schema, atomic write, read and merge.

pyarrow at most, so that 512 training processes import it cheaply. Curves are kept whole, so that
any target can be asked of a stored trial (`steps_to_target`). Columns: `docs/trial_table.md`.
"""

import hashlib
import json
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from models_of_scaling.trial_merge import MERGE_COLUMNS, merged

SCHEMA_VERSION = 1
_VERSION_KEY = b"trial_schema_version"

Status = Literal["reached", "not_reached", "diverged", "interrupted"]
STATUSES: tuple[Status, ...] = get_args(Status)

_FLOATS = pa.list_(pa.float64())
_MAPS = ("hyper_parameters", "settings", "versions", "measurements")
TRIAL_SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("study", pa.string()),
        ("phase", pa.string()),
        ("workload", pa.string()),
        ("dataset", pa.string()),
        ("num_train_examples", pa.int64()),
        ("model", pa.string()),
        ("num_parameters", pa.int64()),
        ("optimizer", pa.string()),
        ("hyper_parameters", pa.map_(pa.string(), pa.float64())),
        ("settings", pa.map_(pa.string(), pa.string())),
        ("batch_size", pa.int64()),
        ("seed", pa.int64()),
        ("target", pa.string()),
        ("status", pa.string()),
        ("steps", pa.int64()),
        ("examples", pa.int64()),
        ("wall_time_s", pa.float64()),
        ("curve_steps", pa.list_(pa.int64())),
        ("curve_train_loss", _FLOATS),
        ("curve_validation_loss", _FLOATS),
        ("curve_validation_accuracy", _FLOATS),
        ("measurements", pa.map_(pa.string(), pa.float64())),
        ("commit", pa.string()),
        ("dirty", pa.bool_()),
        ("versions", pa.map_(pa.string(), pa.string())),
        ("device", pa.string()),
        ("start_time", pa.timestamp("us", tz="UTC")),
    ],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run.

    Attributes:
        study: the search that this trial belongs to; trials of one study were tuned alike.
        phase: "search" (a point of the search), "shortlist" (one of its best on fresh seeds, to
            choose by), "repeat" (the winner on seeds used nowhere before) or "single" (a run of
            its own).
        workload: data set, model and target's name together, as the sweep knows it.
        dataset: name of the data set.
        num_train_examples: size of its training split.
        model: name of the network.
        num_parameters: trainable parameters.
        optimizer: name of the update rule.
        hyper_parameters: every number that the optimizer and schedule were given.
        settings: every choice that is a word, for example the schedule.
        batch_size: examples per optimizer step over all devices.
        seed: of the data order and the initialisation.
        target: as `Target` prints it; what the run was stopped at.
        status: how it ended.
        steps: optimizer steps done when it ended.
        examples: examples processed, with repetition.
        wall_time_s: seconds; for a member of a population its share of the population's time.
        curve_steps: optimizer steps at which the run was evaluated, increasing.
        curve_train_loss: same length; NaN where it was not measured.
        curve_validation_loss: same length.
        curve_validation_accuracy: same length, shares in [0, 1]; NaN where there is none.
        commit: git commit of the code.
        dirty: whether that checkout had changes.
        versions: package name to version.
        device: what computed, in words.
        start_time: UTC.
        measurements: what else was measured, as it stood at the end, for example
            `gradient_noise_scale`; no part of the trial's name.
    """

    study: str
    phase: str = "single"
    workload: str
    dataset: str
    num_train_examples: int
    model: str
    num_parameters: int
    optimizer: str
    hyper_parameters: Mapping[str, float]
    settings: Mapping[str, str] = field(default_factory=dict)
    batch_size: int
    seed: int
    target: str
    status: Status
    steps: int
    examples: int
    wall_time_s: float
    curve_steps: Sequence[int]
    curve_train_loss: Sequence[float]
    curve_validation_loss: Sequence[float]
    curve_validation_accuracy: Sequence[float]
    commit: str
    dirty: bool
    versions: Mapping[str, str]
    device: str
    start_time: datetime
    measurements: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what readers rely on.

        Raises:
            ValueError: naming the field, its value and the rule.
        """
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is not one of {STATUSES}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} must be at least 1")
        lengths = {
            len(self.curve_steps),
            len(self.curve_train_loss),
            len(self.curve_validation_loss),
            len(self.curve_validation_accuracy),
        }
        if len(lengths) != 1:
            raise ValueError(f"the curve's columns have different lengths {sorted(lengths)}")

    @property
    def trial_id(self) -> str:
        """Name of the experiment: the same configuration and seed has the same name anywhere."""
        return trial_identity(
            study=self.study,
            phase=self.phase,
            workload=self.workload,
            optimizer=self.optimizer,
            hyper_parameters=self.hyper_parameters,
            settings=self.settings,
            batch_size=self.batch_size,
            seed=self.seed,
        )


def trial_identity(**configuration: Any) -> str:
    """Return a short name that depends on the configuration only, not on how it went.

    Args:
        **configuration: study, phase, workload, optimizer, hyper_parameters, settings,
            batch_size and seed, as in `Trial`.

    Returns:
        20 hexadecimal digits.
    """
    plain = {
        key: dict(sorted(value.items())) if isinstance(value, Mapping) else value
        for key, value in configuration.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:20]


def trials_to_table(trials: Iterable[Trial]) -> pa.Table:
    """Return the trials as a table of `TRIAL_SCHEMA`."""
    rows = []
    for trial in trials:
        row = {name: getattr(trial, name) for name in TRIAL_SCHEMA.names if name not in _MAPS}
        for name in _MAPS:
            row[name] = sorted(getattr(trial, name).items())
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=TRIAL_SCHEMA)


def table_to_trials(table: pa.Table) -> list[Trial]:
    """Return the rows of a table of `TRIAL_SCHEMA` as trials."""
    trials = []
    for row in table.to_pylist():
        row.pop("trial_id", None)
        for name in _MAPS:
            row[name] = dict(row[name] or ())
        trials.append(Trial(**row))
    return trials


def write_trials(folder: Path, trials: Sequence[Trial], *, name: str | None = None) -> Path:
    """Write one parquet file of trials; a reader never sees half of it.

    Args:
        folder: made when missing.
        trials: at least one.
        name: of the file without ending. The same name replaces the file that was there; without
            one the name is random, so that two writers never collide.

    Returns:
        The file's path.

    Raises:
        ValueError: where there is no trial to write.
    """
    if not trials:
        raise ValueError("no trials to write")
    path = folder / f"{name or 'trials-' + secrets.token_hex(8)}.parquet"
    with whole_file(path) as stream:
        pq.write_table(trials_to_table(trials), stream, compression="zstd")
    return path


def is_trial_file(path: Path) -> bool:
    """Return whether a parquet file says that it holds trials of this schema."""
    try:
        return _VERSION_KEY in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowInvalid):
        return False


def _read_file(path: Path, schema: pa.Schema) -> pa.Table:
    """Read one file and bring it to the current schema, or to some columns of it."""
    try:
        known = set(pq.read_schema(path).names)
        table = pq.read_table(path, columns=[name for name in schema.names if name in known])
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a readable parquet file: {error}") from error
    stated = (table.schema.metadata or {}).get(_VERSION_KEY, b"")
    version = int(stated) if stated.isdigit() else 0
    if not 1 <= version <= SCHEMA_VERSION:
        raise InputError(
            f"{path}: trial schema version {version} is not one of 1..{SCHEMA_VERSION}"
            + (": written by a newer release; upgrade" if version > SCHEMA_VERSION else "")
        )
    return pa.Table.from_arrays([_column(table, each, path) for each in schema], schema=schema)


def _column(table: pa.Table, column: pa.Field, path: Path) -> pa.ChunkedArray | pa.Array:
    """Return a column in its type; one that an older version did not have is empty there."""
    if column.name not in table.column_names:
        return pa.nulls(len(table), column.type)
    try:
        return table[column.name].cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: column {column.name} must be {column.type}: {str(error).splitlines()[0]}"
        ) from error


def read_trials(
    path: Path, *, skip_damaged: bool = False, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a trial file, or every trial file below a folder, as one table.

    Of several rows of one `trial_id` (an interrupted run, run again) one is kept (see `merged`).

    Args:
        path: a parquet file or a folder.
        skip_damaged: pass over files that can't be read, with a line on standard error for each,
            instead of refusing.
        columns: which to read, None for all; those that tell trials apart come with them.

    Returns:
        A table of `TRIAL_SCHEMA`, ordered by what the trials are and not by how they came to be
        written: batch size, phase, seed, trial_id. So a sweep that was interrupted and resumed is
        fitted to the last digit like an undisturbed one.

    Raises:
        InputError: where nothing is there, or a file is damaged (it is named).
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    wanted = {*(TRIAL_SCHEMA.names if columns is None else columns), *MERGE_COLUMNS}
    schema = pa.schema([each for each in TRIAL_SCHEMA if each.name in wanted])
    tables = []
    for file in files:
        try:
            tables.append(_read_file(file, schema))
        except InputError as error:
            if not skip_damaged:
                raise
            print(f"warning: skipped: {error}", file=sys.stderr)
    if not tables:
        raise InputError(f"{path}: holds no readable trial file (*.parquet)")
    return merged(pa.concat_tables(tables)).replace_schema_metadata(TRIAL_SCHEMA.metadata)
