"""Durations as recipes write them ("5 epochs"), in steps of a batch size where that is known."""

import math
import re
from typing import Final

from models_of_scaling.errors import InputError

DURATION: Final = re.compile(r"\s*(\S+)\s+(step|epoch|example)s?\s*")


def duration_in_steps(text: str, batch_size: int, num_train_examples: int | None) -> int | None:
    """Return a duration such as "5 epochs" in steps, rounded up; None where it can't be known.

    Args:
        text: amount and unit.
        batch_size: examples per step.
        num_train_examples: size of the training set, or None.

    Returns:
        Steps.

    Raises:
        InputError: for a text of another form.
    """
    match = DURATION.fullmatch(text)
    try:
        amount = float(match[1]) if match else math.nan
    except ValueError:
        amount = math.nan
    if match is None or not 0 <= amount < math.inf:
        raise InputError(f"duration {text!r} is not of the form '5 epochs' or '500 steps'")
    if match[2] == "step":
        return math.ceil(amount)
    if match[2] == "epoch":
        if num_train_examples is None:
            return None
        amount *= num_train_examples
    return math.ceil(amount / batch_size)
