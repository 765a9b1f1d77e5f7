"""What a record of a fit that was read from a file must hold, so that no answer is made of damage.

A file cut short is no JSON any more; what is checked here is what an editor, another program or a
bad copy leaves behind: NaN, words for numbers, columns of different lengths, weights of no share.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.intervals import check_level
from models_of_scaling.laws import LAWS, Hyperbola

if TYPE_CHECKING:
    from models_of_scaling.fit_record import FitRecord, MeasuredRows

_OF_SOURCE: Final = {"path": str, "kind": str, "sha256": str, "num_rows": int, "num_diverged": int}
# Of rounding in a sum of a handful of weights.
_ROUNDING: Final = 1e-9


def check_record(fit: "FitRecord") -> None:
    """Check what every reader of a record relies on; a ValueError names the field and the rule.

    Args:
        fit: as it was decoded.
    """
    check_level(_number(fit.level, "level"))
    _check_words(fit)
    for name in ("num_train_examples", "smallest_fitted", "holdout_above"):
        value = getattr(fit, name)
        _rule(value is None or isinstance(value, int), f"{name} {value!r} must be a whole number")
        _rule(value is None or name == "holdout_above" or value >= 1, f"{name} {value} must be > 0")
    _rule(_number(fit.group_sd, "group_sd") >= 0, f"group_sd {fit.group_sd} must not be negative")
    for rows in (fit.measured, fit.held_out):
        _check_rows(rows)
    total = 0.0
    for law in fit.laws:
        _check_law(law)
        total += law.weight
    _rule(abs(total - 1) < _ROUNDING, f"the weights of the laws sum to {total}, not 1")


def _check_words(fit: "FitRecord") -> None:
    for name in ("workload", "optimizer", "target"):
        _rule(isinstance(getattr(fit, name), str), f"{name} must be a text")
    _rule(all(isinstance(each, str) for each in fit.advice), "advice must be texts")
    for name, kind in _OF_SOURCE.items():
        _rule(
            isinstance(fit.source, Mapping) and isinstance(fit.source.get(name), kind),
            f"source.{name} is missing or no {kind.__name__}",
        )
    _rule(isinstance(fit.provenance, Mapping), "provenance must be a mapping")


def _check_rows(rows: "MeasuredRows") -> None:
    _rule(all(size >= 1 for size in rows.batch_size), "a measured batch_size is below 1")
    _check_numbers(rows.steps, "measured steps")
    _rule(
        all(0 <= low <= high for low, high in zip(rows.steps_low, rows.steps_high, strict=True)),
        "measured steps_low must lie in 0 .. steps_high",
    )


def _check_law(law: FittedLaw) -> None:
    names = set(LAWS.get(law.name, Hyperbola).parameter_names())  # a process adds to a hyperbola
    _rule(0 <= _number(law.weight, "weight") <= 1, f"{law.name}: weight {law.weight} is no share")
    _rule(set(law.point) == names, f"{law.name}: point must hold {', '.join(sorted(names))}")
    _rule(set(law.replicates) == names | {"noise"}, f"{law.name}: replicates have other columns")
    _check_numbers([*law.point.values(), law.noise], f"{law.name}: point and noise")
    for name, column in law.replicates.items():
        _check_numbers(column, f"{law.name}: replicates of {name}")
    lengths = {len(column) for column in law.replicates.values()}
    _rule(len(lengths) == 1 and 0 not in lengths, f"{law.name}: replicates of lengths {lengths}")
    is_process = law.name == "gaussian_process"
    _rule((law.deviation is not None) == is_process, f"{law.name}: deviation is amiss")


def _check_numbers(values: Iterable[Any], what: str) -> None:
    """Check that all are finite and more than 0."""
    for value in values:
        _rule(_number(value, what) > 0, f"{what}: {value} must be more than 0")


def _number(value: Any, what: str) -> float:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    _rule(is_one, f"{what}: {value!r} must be a finite number")
    return float(value)


def _rule(kept: bool, words: str) -> None:
    if not kept:
        raise ValueError(words)
