"""From a table as text to `Measurements`; what breaks a rule is named by file, row and value.

What counts as a number: `tables.RawTable.values`.
"""

from collections.abc import Mapping

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.measurements import (
    Measurements,
    TableSource,
    check_identifiable,
    choose_one,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.tables import RawTable, is_empty

_LENGTH_COLUMNS = ("steps", "examples", "epochs")
_TRUE = {"true", "1", "1.0", "yes", "t", "y"}
_FALSE = {"false", "0", "0.0", "no", "f", "n"}
# Of a trial (docs/trial_table.md): exported, it says what `reached` would.
_REACHED_BY_STATUS = {
    "reached": True, "not_reached": False, "diverged": False, "interrupted": False,
}  # fmt: skip
# Beyond the whole numbers that a float can tell apart, and below what any unit of length makes of a
# step, nothing was measured; the curves' own arithmetic would overflow.
_FEWEST_STEPS, _MOST_STEPS = 1e-9, 2.0**53
# Of the conversion from examples or epochs.
_ROUNDING = 1e-9


def measurements_from_table(
    raw: RawTable,
    *,
    choice: Mapping[str, str | None],
    num_train_examples: int | None,
    sha256: str,
    fewest_batch_sizes: int = 2,
) -> Measurements:
    """Check a table and turn it into columns of numbers.

    What breaks a rule ends in an `InputError` that names file, row, column, value and rule.

    Args:
        raw: the table as text.
        choice: column (workload, optimizer, target) to the word whose rows are fitted; None where
            the table holds one word there or has no such column.
        num_train_examples: size of the training set, where the table does not say; needed for a
            table in epochs.
        sha256: of the file, for the record.
        fewest_batch_sizes: see `measurements.check_identifiable`.

    Returns:
        The rows.
    """
    raw.require("batch_size")
    words: dict[str, str] = {}
    for column, chosen in choice.items():
        raw, words[column] = _choose(raw, column, chosen)
    batch_size = raw.counts("batch_size")
    num_train_examples = _num_train_examples(raw, num_train_examples)
    steps = _steps(raw, batch_size, num_train_examples)
    reached = _reached(raw)
    _refuse_contradictions(raw, batch_size, steps, reached)
    low, high = _interval(raw, steps, reached)
    weight = _numbers(raw, "weight", rule="more than 0", default=np.ones(len(steps)))
    raw.refuse("weight", ~(weight > 0), "must be more than 0")
    rows = Measurements(
        batch_size=batch_size.astype(np.int64),
        steps=steps,
        reached=reached,
        steps_low=low,
        steps_high=high,
        weight=weight,
        group=np.array(raw.columns.get("group", [""] * len(steps)), dtype=np.str_),
        workload=words.get("workload", ""),
        optimizer=words.get("optimizer", ""),
        target=words.get("target", ""),
        source=TableSource(path=str(raw.path), kind="table", sha256=sha256, num_rows=len(steps)),
        num_train_examples=num_train_examples,
    )
    check_identifiable(rows, where=str(raw.path), fewest_batch_sizes=fewest_batch_sizes)
    return rows


def _choose(raw: RawTable, column: str, chosen: str | None) -> tuple[RawTable, str]:
    """Keep the rows of one word of a column; "" where there is no such column."""
    if column in raw.columns:
        where = f"{raw.path}: column {column}"
        word = choose_one(raw.columns[column], chosen, where=where, flag=f"--{column}")
        return raw.keep(column, word), word
    if chosen is not None:
        raise InputError(
            f"{raw.path}: --{column} {chosen!r}, but column {column} is missing; the flag is for "
            "folders of trials and for tables with such a column"
        )
    return raw, ""


def _num_train_examples(raw: RawTable, given: int | None) -> int | None:
    """Return the size of the training set that the flag or the column says."""
    if "num_train_examples" not in raw.columns:
        return given
    texts = raw.columns["num_train_examples"]
    values = raw.counts("num_train_examples")
    different = np.flatnonzero(values != (values[0] if given is None else given))
    if different.size:
        row, other = int(different[0]), raw.number(0)
        against = f"{texts[0]} in row {other}" if given is None else f"--num-train-examples {given}"
        raise InputError(
            f"{raw.place(row)}, column num_train_examples: {texts[row]}, but {against}; "
            "a fit is of one training set"
        )
    return int(values[0])


def _refuse_contradictions(
    raw: RawTable, batch_size: Floats, steps: Floats, reached: np.ndarray
) -> None:
    """Refuse two rows of one run of which one reached its target and the other did not."""
    if reached.all():
        return
    same = [raw.columns[name] for name in ("group", "seed") if name in raw.columns]
    first: dict[tuple[object, ...], int] = {}
    for row, key in enumerate(zip(batch_size.tolist(), steps.tolist(), *same, strict=True)):
        before = first.setdefault(key, row)
        if reached[before] != reached[row]:
            word = {True: "true", False: "false"}
            raise InputError(
                f"{raw.place(row)}, column reached: {word[bool(reached[row])]}, but "
                f"{word[bool(reached[before])]} in row {raw.number(before)} of the same batch_size "
                "and steps; tell them apart by a column seed, or drop one"
            )


def _numbers(raw: RawTable, column: str, *, rule: str, default: Floats) -> Floats:
    """Return a column of numbers; an empty cell takes its default, NaN there refuses it."""
    if column not in raw.columns:
        return default
    values = raw.values(column)
    empty = np.array([is_empty(text) for text in raw.columns[column]])
    values = np.where(empty, default, values)
    raw.refuse(column, ~np.isfinite(values), f"must be a finite number, {rule}")
    return values


def _steps(raw: RawTable, batch_size: Floats, num_train_examples: int | None) -> Floats:
    column = next((name for name in _LENGTH_COLUMNS if name in raw.columns), None)
    if column is None:
        accuracies = any(name.startswith("accuracy") for name in raw.columns)
        raise InputError(
            f"{raw.path}: column steps (or examples, or epochs) is missing; "
            f"it has: {', '.join(raw.columns)}"
            + ("; for accuracies there is `fixed-epochs`" if accuracies else raw.rename("steps"))
        )
    values = raw.values(column)
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(values) & (values > 0))
    raw.refuse(column, bad, "must be a finite number, more than 0")
    if column == "examples":
        values = values / batch_size
    elif column == "epochs":
        if num_train_examples is None:
            raise InputError(
                f"{raw.path}: column epochs: its unit needs --num-train-examples, "
                "or a column num_train_examples"
            )
        values = values * num_train_examples / batch_size
    silly = (values < _FEWEST_STEPS) | (values > _MOST_STEPS)
    raw.refuse(column, silly, f"must make {_FEWEST_STEPS:g} to 2^53 steps")
    return values


def _reached(raw: RawTable) -> np.ndarray:
    count = len(raw.columns["batch_size"])
    if "reached" not in raw.columns:
        return _reached_by_status(raw) if "status" in raw.columns else np.ones(count, dtype=bool)
    texts = [text.lower() for text in raw.columns["reached"]]
    raw.refuse("reached", [text not in _TRUE | _FALSE for text in texts], "must be true or false")
    return np.array([text in _TRUE for text in texts], dtype=bool)


def _reached_by_status(raw: RawTable) -> np.ndarray:
    """Return what a trial's status says, so that a run that diverged is not taken for one that did.

    Other words are refused: what "failed" or "ok" mean is the user's to say.
    """
    texts = [text.lower() for text in raw.columns["status"]]
    raw.refuse(
        "status",
        [text not in _REACHED_BY_STATUS for text in texts],
        f"must be one of {', '.join(_REACHED_BY_STATUS)}, or a column reached must say it",
    )
    return np.array([_REACHED_BY_STATUS[text] for text in texts], dtype=bool)


def _interval(raw: RawTable, steps: Floats, reached: np.ndarray) -> tuple[Floats, Floats]:
    """Return the ends; those of a row that did not reach its target are (steps, inf)."""
    low = _numbers(raw, "steps_low", rule="at least 0", default=steps)
    high = _numbers(raw, "steps_high", rule="at least steps_low", default=steps)
    if "steps_low" in raw.columns:
        raw.refuse("steps_low", reached & (low < 0), "must be at least 0")
        raw.refuse("steps_low", reached & (low > high), "must not exceed steps_high")
    if "steps_high" in raw.columns:
        raw.refuse("steps_high", reached & (high <= 0), "must be more than 0")
        raw.refuse("steps_high", reached & (low > high), "must be at least steps_low")
    if "steps" in raw.columns:
        outside = (steps < low * (1 - _ROUNDING)) | (steps > high * (1 + _ROUNDING))
        raw.refuse("steps", reached & outside, "must lie in steps_low .. steps_high")
    return np.where(reached, low, steps), np.where(reached, high, np.inf)
