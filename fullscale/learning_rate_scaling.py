"""How a learning rate follows the batch size: linearly, by the square root, not at all."""

from typing import Final, Literal, get_args

from models_of_scaling.errors import InputError

RateScaling = Literal["none", "sqrt", "linear"]
_POWERS: Final = dict(zip(get_args(RateScaling), (0.0, 0.5, 1.0), strict=True))


def scaled_learning_rate(
    learning_rate: float, *, rule: RateScaling, batch_size: int, base_batch_size: int
) -> float:
    """Return a learning rate that was good at one batch size, scaled to another.

    Krizhevsky 2014, arXiv:1404.5997, section 5: by the square root in theory (the noise of a step
    then has the same variance), linearly in practice; Goyal et al. 2017, section 2.1: linearly.

    >>> scaled_learning_rate(0.1, rule="linear", batch_size=8192, base_batch_size=256)
    3.2

    Args:
        learning_rate: at the base batch size.
        rule: "none", "sqrt" or "linear".
        batch_size: examples per step.
        base_batch_size: examples per step.

    Returns:
        The rate at `batch_size`.

    Raises:
        InputError: where the rule is unknown or a batch size is not positive.
    """
    if rule not in _POWERS:
        raise InputError(f"learning-rate scaling {rule!r} is not one of {', '.join(_POWERS)}")
    if batch_size < 1 or base_batch_size < 1:
        raise InputError(f"batch sizes {batch_size} and {base_batch_size} must be at least 1")
    scale: float = (batch_size / base_batch_size) ** _POWERS[rule]
    return learning_rate * scale
