"""Is this checkpoint of this run? What must agree, and one line about what does not.

Standard library only.
"""

from collections.abc import Mapping
from typing import Any

PARAMETERS = "parameters"


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Compare the identity in a checkpoint with a run's.

    Args:
        there: of the checkpoint: names to plain values; under `PARAMETERS` tensor names to shapes.
        here: of the run.

    Returns:
        The first name that differs, with both values, None where all agree.

    >>> first_difference({"model": "mlp", "seed": 1}, {"model": "small_cnn", "seed": 1})
    'model is mlp there and small_cnn here'
    """
    for name in [*here, *(name for name in there if name not in here)]:
        a, b = there.get(name), here.get(name)
        if a == b:
            continue
        if name != PARAMETERS:
            return f"{name} is {_said(a)} there and {_said(b)} here"
        return _first_tensor(a or {}, b or {})
    return None


def _first_tensor(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    for name in sorted({*there, *here}):
        if there.get(name) != here.get(name):
            return (
                f"tensor {name} has shape {_said(there.get(name))} there and "
                f"{_said(here.get(name))} here"
            )
    return None


def _said(value: object) -> str:
    return "missing" if value is None else str(value)
