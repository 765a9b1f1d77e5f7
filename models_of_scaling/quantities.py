"""What each quantity means, side by side, as pure functions of arrays.

Definitions differ by factors of three to four, so they are never mixed:

| quantity | definition | hyperbola |
|---|---|---|
| critical batch size | steps are twice their floor, S = 2 S_min | B_crit |
| where doubling saves a factor f | largest B with S(B) / S(2B) >= f | B_crit (1 - f/2) / (f - 1) |
| the same, f = 1.6 | twice the machines still buy four fifths of the ideal | B_crit / 3 |
| the same, f = 1.1 | twice the machines buy a tenth | 4.5 B_crit |

The critical batch size is eq. 2.8 of McCandlish et al. 2018, arXiv:1812.06162.
None of them is the gradient noise scale, which is measured on gradients.

Everything here is written for S(B) = S_min (1 + (B_crit / B)^alpha); alpha = 1 is the hyperbola.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


def steps_of_power_with_floor(
    batch_size: npt.ArrayLike,
    *,
    min_steps: npt.ArrayLike,
    critical_batch_size: npt.ArrayLike,
    exponent: npt.ArrayLike,
) -> Floats:
    """Return S(B) = S_min (1 + (B_crit / B)^alpha), in optimizer steps.

    Args:
        batch_size: B, examples per step; all arguments broadcast.
        min_steps: S_min, the floor.
        critical_batch_size: B_crit, examples; may be infinite only where `min_steps` is not zero.
        exponent: alpha, dimensionless.

    Returns:
        Steps, of the broadcast shape.
    """
    ratio = np.asarray(critical_batch_size, dtype=float) / np.asarray(batch_size, dtype=float)
    steps = np.asarray(min_steps, dtype=float) * (1 + ratio ** np.asarray(exponent, dtype=float))
    return np.asarray(steps)


def examples_processed(batch_size: npt.ArrayLike, steps: npt.ArrayLike) -> Floats:
    """Return E = B S, examples with repetition."""
    return np.asarray(np.asarray(batch_size, dtype=float) * np.asarray(steps, dtype=float))


def relative_efficiency(
    batch_size: npt.ArrayLike, steps: npt.ArrayLike, *, reference_examples: npt.ArrayLike
) -> Floats:
    """Return the examples needed at a reference batch size over those needed at `batch_size`.

    This is what the project calls efficiency. E_min / E would be the textbook's choice, but a
    power law with floor has no smallest E: with alpha < 1 the examples keep falling as the batch
    shrinks. The reference is the smallest batch size that was fitted, where it is 1 by definition.

    Args:
        batch_size: B, examples per step.
        steps: S(B).
        reference_examples: E at the reference batch size.

    Returns:
        A share; 0.5 means that every example is worth half of one at the reference.
    """
    reference = np.asarray(reference_examples, dtype=float)
    return np.asarray(reference / examples_processed(batch_size, steps))


def batch_size_where_doubling_saves(
    saving: float, *, critical_batch_size: npt.ArrayLike, exponent: npt.ArrayLike
) -> Floats:
    """Return the largest B whose doubling still divides the steps by `saving`.

    With x = (B_crit / B)^alpha the condition (1 + x) / (1 + x 2^-alpha) = f gives
    x = (f - 1) / (1 - f 2^-alpha), so the answer is closed.

    Args:
        saving: f, more than 1.
        critical_batch_size: B_crit, examples.
        exponent: alpha; broadcasts with it.

    Returns:
        Examples per step. 0 where no batch size saves that much (f >= 2^alpha, what doubling
        would save without any floor).

    Raises:
        ValueError: if `saving` is not more than 1.
    """
    if not saving > 1:
        raise ValueError(f"saving {saving} must be more than 1")
    alpha = np.asarray(exponent, dtype=float)
    headroom = np.maximum(1 - saving * 2.0**-alpha, 0)
    critical = np.asarray(critical_batch_size, dtype=float)
    with np.errstate(invalid="ignore"):  # infinity times zero is settled in the next line
        answer = critical * (headroom / (saving - 1)) ** (1 / alpha)
    return np.asarray(np.where(headroom > 0, answer, 0.0))
