"""A table of fewest steps to target over batch sizes, for one method and one spectrum."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models_of_scaling.errors import InputError
from surrogate.noisy_quadratic import Spectrum
from surrogate.simulator.methods import get_method
from surrogate.simulator.optimum import OptimalSteps, optimal_steps
from surrogate.simulator.schedules import OptimalSchedule, optimal_schedule
from surrogate.simulator.spectrum_file import read_spectrum
from surrogate.workloads import get_workload

_COLUMNS = ("batch_size", "steps", "reached", "learning_rate", "momentum", "averaging_decay")
_MOST_PIECES = 200
Row = dict[str, int | float | bool | str | list[float]]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is asked.

    Attributes:
        workload: `noisy_quadratic` or a rung of it; not used with a file.
        spectrum: a file, or None.
        method: a name of `methods.METHODS`, or `schedule`.
        batch_sizes: examples per step.
        target_risk: the expected risk to reach.
        preconditioning: p; None for the method's own.
        gradient_delay: steps that gradients are late.
        pieces: of a schedule.
        max_steps: the budget of a run.
    """

    workload: str = "noisy_quadratic"
    spectrum: Path | None = None
    method: str = "momentum"
    batch_sizes: Sequence[int]
    target_risk: float
    preconditioning: float | None = None
    gradient_delay: int = 0
    pieces: int = 20
    max_steps: int = 2**40

    def __post_init__(self) -> None:
        """Check the numbers that belong to a flag.

        Raises:
            InputError: naming the flag.
        """
        if not 1 <= self.pieces <= _MOST_PIECES:
            raise InputError(f"--pieces {self.pieces} must be in 1..{_MOST_PIECES}")
        if not 1 <= self.max_steps <= 2**50:
            raise InputError(f"--max-steps {self.max_steps} must be in 1..{2**50}")
        if self.method == "schedule" and self.gradient_delay:
            raise InputError("--gradient-delay: --method schedule has no late gradients")


def forecast(asked: Forecast) -> list[Row]:
    """Return a row for each batch size.

    Args:
        asked: the question.

    Returns:
        Rows with `batch_size`, `steps` (the budget where not reached), `reached`, and the
        hyper-parameters; a schedule's `learning_rate` is its first, and `learning_rates` all.
    """
    is_schedule = asked.method == "schedule"
    method = get_method("sgd" if is_schedule else asked.method).changed(
        preconditioning=asked.preconditioning, gradient_delay=asked.gradient_delay
    )
    spectrum = _spectrum(asked)
    found = optimal_steps(
        spectrum, asked.batch_sizes, asked.target_risk, method, max_steps=asked.max_steps
    )
    if not is_schedule:
        return [_row(each) for each in found]
    return [
        _schedule_row(
            optimal_schedule(
                spectrum,
                batch_size=each.batch_size,
                target_risk=asked.target_risk,
                pieces=asked.pieces,
                upper_steps=each.steps,
                preconditioning=method.preconditioning,
            )
        )
        if each.reached
        else _row(each)
        for each in found
    ]


def _spectrum(asked: Forecast) -> Spectrum:
    if asked.spectrum is not None:
        return read_spectrum(asked.spectrum)
    load = get_workload(asked.workload).spectrum
    assert load is not None
    return load()


def _row(found: OptimalSteps) -> Row:
    return {
        "batch_size": found.batch_size,
        "steps": found.steps,
        "reached": found.reached,
        **({"momentum": 0.0} | found.hyper_parameters if found.reached else {}),
    }


def _schedule_row(found: OptimalSchedule) -> Row:
    return {
        "batch_size": found.batch_size,
        "steps": found.steps,
        "reached": True,
        "learning_rate": found.learning_rates[0],
        "momentum": 0.0,
        "learning_rates": list(found.learning_rates),
    }


def as_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV; columns that no row has are left out.

    Args:
        rows: of `forecast`.
    """
    text = io.StringIO()
    used = [name for name in _COLUMNS if any(name in row for row in rows)]
    writer = csv.DictWriter(text, used, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"reached": str(row["reached"]).lower()})
    return text.getvalue()
