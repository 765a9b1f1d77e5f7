"""The hyper-parameters that the trials were tuned to, and what they say about a batch size.

At each batch size the winner is that of `steps_to_target.study_rows`. Between two tuned batch sizes
the effective learning rate, learning_rate / (1 - momentum), and 1 - momentum are interpolated in
logs of both axes; the other numbers are those of the nearer one. Outside, the nearest tuned batch
size is scaled by a stated rule (`scaled_rate`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from models_of_scaling.errors import InputError
from models_of_scaling.steps_to_target import study_rows, trial_outcomes
from models_of_scaling.targets import Target

Rule = Literal["linear", "sqrt"]
# A trial's numbers that belong to its schedule or loss, not to the optimizer.
SCHEDULE: Final = (
    "warmup_steps", "warmup_start", "num_train_steps", "decay_power", "end_learning_rate",
    "num_cycles", "cycle_growth", "low_factor", "amplitude_decay", "label_smoothing",
)  # fmt: skip
_RULE_WORDS: Final = {
    "linear": "the linear rule (Krizhevsky 2014; Goyal et al. 2017)",
    "sqrt": "the square-root rule (Krizhevsky 2014; Hoffer et al. 2017)",
}


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The winner at one batch size.

    Attributes:
        batch_size: examples per step.
        numbers: the optimizer's, learning_rate among them.
        schedule: those of `SCHEDULE` that the trial has.
        schedule_name: as the trial's settings have it; "" where they have none.
        dataset: its name.
        model: its name.
        optimizer: its name.
        reached: whether the winner met the target.
    """

    batch_size: int
    numbers: dict[str, float]
    schedule: dict[str, float]
    schedule_name: str = ""
    dataset: str
    model: str
    optimizer: str
    reached: bool


def tuned_values(table: pa.Table, target: Target, *, where: str) -> list[Tuned]:
    """Return the winner at each batch size, increasing.

    Args:
        table: trials of one workload and optimizer.
        target: that the fit is about.
        where: folder, for messages.

    Returns:
        At least one.

    Raises:
        InputError: where no winner met the target or has a learning rate.
    """
    outcomes = trial_outcomes(table, target)
    found = []
    for study in study_rows(table, outcomes):
        row = table.slice(int(study.rows[0]), 1).to_pylist()[0]
        numbers = dict(row["hyper_parameters"] or ())
        if "learning_rate" not in numbers:
            raise InputError(f"{where}: trial {row['trial_id']} has no number learning_rate")
        found.append(
            Tuned(
                batch_size=study.batch_size,
                numbers={name: x for name, x in numbers.items() if name not in SCHEDULE},
                schedule={name: x for name, x in numbers.items() if name in SCHEDULE},
                schedule_name=dict(row["settings"] or ()).get("schedule", ""),
                dataset=row["dataset"],
                model=row["model"],
                optimizer=row["optimizer"],
                reached=bool(outcomes.reached[study.rows].any()),
            )
        )
    reached = [each for each in found if each.reached]
    if not reached:
        raise InputError(f"{where}: no trial reached {target}; nothing is tuned")
    return reached


def default_rule(optimizer: str) -> Rule:
    """Return the rule for an optimizer whose rate must be carried to another batch size.

    Linear for SGD and momentum. Square root for others: LARS normalises the gradient, and the
    MLPerf reference points of LARS on ResNet-50 (1,632 to 65,536) grow no faster than that.

    Args:
        optimizer: its name.
    """
    return "linear" if optimizer in {"momentum", "sgd", "nesterov"} else "sqrt"


def scaled_rate(
    learning_rate: float, *, from_batch_size: int, to_batch_size: int, rule: Rule
) -> tuple[float, str]:
    """Return a learning rate at another batch size, and how it was made.

    Args:
        learning_rate: at `from_batch_size`.
        from_batch_size: where it was tuned.
        to_batch_size: where it is wanted.
        rule: "linear" multiplies it by the ratio k of the batch sizes, "sqrt" by its square root.
    """
    if from_batch_size == to_batch_size:
        return learning_rate, f"that of batch size {from_batch_size:,}"
    ratio = to_batch_size / from_batch_size
    factor = ratio if rule == "linear" else math.sqrt(ratio)
    words = (
        f"{learning_rate:.4g} of batch size {from_batch_size:,} times {factor:.3g} by "
        f"{_RULE_WORDS[rule]}; scaled, not tuned"
    )
    return learning_rate * factor, words


def numbers_at(
    tuned: Sequence[Tuned], batch_size: int, *, rule: Rule
) -> tuple[dict[str, float], str]:
    """Return the optimizer's numbers at a batch size, and how they were made.

    Args:
        tuned: winners, batch sizes increasing.
        batch_size: where they are wanted.
        rule: outside the tuned batch sizes.

    Returns:
        Numbers to six digits, and words without a full stop.
    """
    exact = [each for each in tuned if each.batch_size == batch_size]
    if exact:
        return exact[0].numbers, f"tuned at batch size {batch_size:,}"
    sizes = np.array([each.batch_size for each in tuned])
    nearest = tuned[int(np.argmin(np.abs(np.log(sizes / batch_size))))]
    above = int(np.searchsorted(sizes, batch_size))
    if above in {0, len(sizes)}:
        rate, words = scaled_rate(
            nearest.numbers["learning_rate"],
            from_batch_size=nearest.batch_size,
            to_batch_size=batch_size,
            rule=rule,
        )
        return nearest.numbers | {"learning_rate": _rounded(rate)}, words
    low, high = tuned[above - 1], tuned[above]
    share = math.log(batch_size / low.batch_size) / math.log(high.batch_size / low.batch_size)
    damping = _between(
        1 - low.numbers.get("momentum", 0.0), 1 - high.numbers.get("momentum", 0.0), share
    )
    rate = damping * _between(_effective(low), _effective(high), share)
    numbers = nearest.numbers | {"learning_rate": _rounded(rate)}
    if "momentum" in numbers:
        numbers["momentum"] = _rounded(1 - damping)
    return numbers, (
        f"interpolated in logs between the tuned values of batch sizes {low.batch_size:,} "
        f"(rate {low.numbers['learning_rate']:.4g}, momentum {low.numbers.get('momentum', 0):.4g})"
        f" and {high.batch_size:,} (rate {high.numbers['learning_rate']:.4g}, momentum "
        f"{high.numbers.get('momentum', 0):.4g})"
    )


def _effective(tuned: Tuned) -> float:
    return tuned.numbers["learning_rate"] / (1 - tuned.numbers.get("momentum", 0.0))


def _between(low: float, high: float, share: float) -> float:
    return math.exp((1 - share) * math.log(low) + share * math.log(high))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
