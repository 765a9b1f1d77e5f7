"""The record of a fit, `fit.json`: enough for predict, limit and report without the table.

An infinite end of an interval is written as null, so that the file is strict JSON.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from models_of_scaling.fit_record_check import check_record
from models_of_scaling.fitted_law import FittedLaw, decode_interval, decode_law
from models_of_scaling.intervals import Interval
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.laws import LawName

SCHEMA_VERSION: Final = 3
_FORMAT: Final = "batch-size-limit fit"

FitCode = Literal["converged", "not_identified", "not_converged", "inconsistent"]


@dataclass(frozen=True, kw_only=True)
class MeasuredRows:
    """Rows as they were measured, one entry each; `steps_high` is inf where not reached.

    Attributes:
        batch_size: examples per step.
        steps: steps to target, or the steps done without reaching it.
        steps_low: not yet reached by here.
        steps_high: reached by here.
        reached: whether the target was reached.
    """

    batch_size: tuple[int, ...]
    steps: tuple[float, ...]
    steps_low: tuple[float, ...]
    steps_high: tuple[float, ...]
    reached: tuple[bool, ...]

    def __post_init__(self) -> None:
        """Check that the columns have one length."""
        lengths = {len(getattr(self, column.name)) for column in dataclasses.fields(self)}
        if len(lengths) != 1:
            raise ValueError(f"columns of different lengths {sorted(lengths)}")


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """What a fit found, from what, and how.

    Attributes:
        source: path, kind ("table" or "trials"), sha256, num_rows, num_diverged and from_search
            of the table, as `measurements.TableSource` has them.
        workload: "" where the table has no such column.
        optimizer: "" where the table does not say.
        target: "" where the table does not say.
        num_train_examples: size of the training set, or None.
        law: the best law's name.
        laws: all laws that were fitted, the simpler first.
        code: "converged", "not_identified" (B_crit is not bounded by these rows),
            "inconsistent" (the rows contradict every law that was fitted) or "not_converged".
        advice: sentences: what is not known and what to run next.
        group_sd: standard deviation between groups of rows, in logs; 0 where none was estimated.
        level: of the intervals in this record.
        num_replicates: that were drawn; the record keeps at most 400 of them per law.
        seed: of the replicates.
        critical_batch_size: B_crit with the interval over all laws.
        min_steps: S_min with the interval over all laws.
        measured: the rows that were fitted.
        held_out: rows that the fit did not see.
        holdout_above: batch sizes above it were held out, or None.
        provenance: commit, dirty, versions, device and start_time of the fit.
        knee: what was known of B_crit beside the rows, or None.
        smallest_fitted: batch sizes below it are too small for the target; None in older records,
            whose laws were fitted to all of them.
    """

    source: dict[str, Any]
    workload: str
    optimizer: str
    target: str
    num_train_examples: int | None
    law: LawName
    laws: tuple[FittedLaw, ...]
    code: FitCode
    advice: tuple[str, ...]
    group_sd: float
    level: float
    num_replicates: int
    seed: int
    critical_batch_size: Interval
    min_steps: Interval
    measured: MeasuredRows
    held_out: MeasuredRows
    holdout_above: int | None
    provenance: dict[str, Any]
    knee: KneeEvidence | None = None
    smallest_fitted: int | None = None

    def __post_init__(self) -> None:
        """Check what readers rely on."""
        if self.law not in [law.name for law in self.laws]:
            raise ValueError(f"law {self.law!r} is not among the laws")
        if not self.measured.batch_size:
            raise ValueError("measured has no rows")
        if self.code not in get_args(FitCode):
            raise ValueError(f"code {self.code!r} is not one of {get_args(FitCode)}")

    @property
    def best(self) -> FittedLaw:
        """The best law."""
        return next(law for law in self.laws if law.name == self.law)

    @property
    def smallest_batch_size(self) -> int:
        """The smallest batch size that was measured and reached, or may have been cut short.

        Efficiencies are relative to it. Smaller ones are on no curve
        (`measurements.without_too_small`).
        """
        return self.smallest_fitted or min(self.measured.batch_size)

    @property
    def largest_batch_size(self) -> int:
        """The largest batch size that was fitted; beyond it everything is extrapolated."""
        return max(self.measured.batch_size)

    @property
    def num_reached(self) -> int:
        """Fitted rows that reached the target."""
        return sum(self.measured.reached)

    @property
    def num_censored(self) -> int:
        """Fitted rows that did not."""
        return len(self.measured.reached) - self.num_reached


def write_fit(path: Path, fit: FitRecord) -> None:
    """Write a record; a reader sees the old file or the new one, never half of it.

    Args:
        path: of the JSON file; its folder is made when missing.
        fit: what to write.
    """
    content = {"format": _FORMAT, "schema_version": SCHEMA_VERSION, **dataclasses.asdict(fit)}
    # One line per field: readable and comparable, though the replicates are long.
    lines = [
        f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}"
        for name, value in _without_infinity(content).items()
    ]
    with whole_file(path) as stream:
        stream.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())


def _without_infinity(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(item) for item in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def read_fit(path: Path) -> FitRecord:
    """Read a record that `write_fit` wrote.

    Args:
        path: of the JSON file.

    Returns:
        The record.

    Raises:
        InputError: where the file is missing, damaged, or of another kind or version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; `fit TABLE --out {path}` writes one") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not a readable fit record, which `fit TABLE --out FIT.JSON` writes: {error}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(f"{path}: not a fit record; `fit TABLE --out {path}` writes one")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema_version {version} is not {SCHEMA_VERSION}; fit the table again"
        )
    try:
        fit = _decode(content)
        check_record(fit)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: damaged fit record: {type(error).__name__}: {error}; fit the table again"
        ) from error
    return fit


def _refuse_constant(word: str) -> None:
    # Python's own reader takes NaN and Infinity, which no JSON has.
    raise ValueError(f"{word} is no number")


def _decode(content: dict[str, Any]) -> FitRecord:
    # Records from before there was such evidence are without it.
    content = {"knee": None, **content}
    values = {column.name: content[column.name] for column in dataclasses.fields(FitRecord)}
    if content["knee"] is not None:
        values["knee"] = KneeEvidence(**content["knee"])
    values["laws"] = tuple(decode_law(law) for law in content["laws"])
    values["advice"] = tuple(content["advice"])
    for name in ("critical_batch_size", "min_steps"):
        values[name] = decode_interval(content[name])
    for name in ("measured", "held_out"):
        values[name] = _decode_rows(content[name])
    return FitRecord(**values)


def _decode_rows(content: Mapping[str, Any]) -> MeasuredRows:
    return MeasuredRows(
        batch_size=tuple(int(value) for value in content["batch_size"]),
        steps=tuple(float(value) for value in content["steps"]),
        steps_low=tuple(float(value) for value in content["steps_low"]),
        steps_high=tuple(
            math.inf if value is None else float(value) for value in content["steps_high"]
        ),
        reached=tuple(bool(value) for value in content["reached"]),
    )
