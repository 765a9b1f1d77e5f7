"""What each quantity means, side by side, as pure functions of arrays.

Definitions differ by factors of three to four, so they are never mixed:

| quantity | definition | hyperbola | p-norm, q = 2 |
|---|---|---|---|
| critical batch size | steps are twice their floor, S = 2 S_min | B_crit | B_crit |
| corner | the falling part equals the floor | B_crit | 1.73 B_crit |
| doubling saves f | largest B with S(B) / S(2B) >= f | B_crit (1 - f/2) / (f - 1) | |
| the same, f = 1.6 | twice the machines buy four fifths of the ideal | B_crit / 3 | 0.83 B_crit |
| the same, f = 1.1 | twice the machines buy a tenth | 4.5 B_crit | 3.2 B_crit |
| overhead of 20 % | E(B) = 1.2 E_min, Zhang et al. 2024 | B_crit / 5 | 1.15 B_crit |

The critical batch size is eq. 2.8 of McCandlish et al. 2018, arXiv:1812.06162; Zhang et al. 2024,
arXiv:2410.21676, give that name to an overhead of 20 % over perfect scaling.
None of them is the gradient noise scale, which is measured on gradients.

Most of what is here is for one shape that holds the laws with a floor,

    S(B) = S_min (1 + y^q)^(1/q),    y = (K / B)^alpha,    K = B_crit (2^q - 1)^(1 / (alpha q)),

where y is the falling part over the floor, K the corner at which both are equal, alpha the slope
far below it and q the sharpness of the knee. q = 1 is the power law with floor, in which K is
B_crit; alpha = q = 1 is the hyperbola; alpha = 1 is the p-norm knee; large q is a hard corner.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


def fall_over_floor(
    batch_size: npt.ArrayLike,
    *,
    critical_batch_size: npt.ArrayLike,
    exponent: npt.ArrayLike = 1.0,
    sharpness: npt.ArrayLike = 1.0,
) -> Floats:
    """Return y(B) = (K / B)^alpha, the part of the steps that falls with B over the floor.

    Args:
        batch_size: B, examples per step; all arguments broadcast.
        critical_batch_size: B_crit, examples.
        exponent: alpha, dimensionless.
        sharpness: q, dimensionless.

    Returns:
        Dimensionless; 1 at the corner, (2^q - 1)^(1/q) at B_crit.
    """
    ratio = np.asarray(critical_batch_size, dtype=float) / np.asarray(batch_size, dtype=float)
    at_critical = _fall_over_floor_at_critical(np.asarray(sharpness, dtype=float))
    return np.asarray(at_critical * ratio ** np.asarray(exponent, dtype=float))


def _fall_over_floor_at_critical(sharpness: Floats) -> Floats:
    # (2^q - 1)^(1/q) without overflow for a hard knee, and exactly 1 for q = 1.
    return np.asarray(2 * (1 - 2.0**-sharpness) ** (1 / sharpness))


def steps_to_target(
    batch_size: npt.ArrayLike,
    *,
    min_steps: npt.ArrayLike,
    critical_batch_size: npt.ArrayLike,
    exponent: npt.ArrayLike = 1.0,
    sharpness: npt.ArrayLike = 1.0,
) -> Floats:
    """Return S(B) = S_min (1 + y^q)^(1/q), in optimizer steps.

    Args:
        batch_size: B, examples per step; all arguments broadcast.
        min_steps: S_min, the floor.
        critical_batch_size: B_crit, examples, finite.
        exponent: alpha, dimensionless.
        sharpness: q, dimensionless.

    Returns:
        Steps, of the broadcast shape.
    """
    fall = fall_over_floor(
        batch_size,
        critical_batch_size=critical_batch_size,
        exponent=exponent,
        sharpness=sharpness,
    )
    q = np.asarray(sharpness, dtype=float)
    larger = np.maximum(fall, 1.0)  # taken out of the norm, so that no power overflows
    norm = larger * ((1 / larger) ** q + (fall / larger) ** q) ** (1 / q)
    return np.asarray(np.asarray(min_steps, dtype=float) * norm)


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
    saving: float,
    *,
    critical_batch_size: npt.ArrayLike,
    exponent: npt.ArrayLike = 1.0,
    sharpness: npt.ArrayLike = 1.0,
) -> Floats:
    """Return the largest B whose doubling still divides the steps by `saving`.

    The condition ((1 + y^q) / (1 + y^q 2^(-alpha q)))^(1/q) = f gives
    y^q = (f^q - 1) / (1 - (f 2^-alpha)^q), so the answer is closed.

    Args:
        saving: f, more than 1.
        critical_batch_size: B_crit, examples.
        exponent: alpha; broadcasts with it.
        sharpness: q; broadcasts with it.

    Returns:
        Examples per step. 0 where no batch size saves that much (f >= 2^alpha, what doubling
        would save without any floor).

    Raises:
        ValueError: if `saving` is not more than 1.
    """
    if not saving > 1:
        raise ValueError(f"saving {saving} must be more than 1")
    alpha, q = np.asarray(exponent, dtype=float), np.asarray(sharpness, dtype=float)
    headroom = np.maximum(1 - (saving * 2.0**-alpha) ** q, 0)
    one_over_fall = (headroom / (1 - saving**-q)) ** (1 / q) / saving
    corner = _fall_over_floor_at_critical(q) * one_over_fall
    critical = np.asarray(critical_batch_size, dtype=float)
    with np.errstate(invalid="ignore"):  # infinity times zero is settled in the next line
        answer = critical * corner ** (1 / alpha)
    return np.asarray(np.where(headroom > 0, answer, 0.0))


def batch_size_with_overhead(
    overhead: float,
    *,
    critical_batch_size: npt.ArrayLike,
    sharpness: npt.ArrayLike = 1.0,
) -> Floats:
    """Return where the examples are 1 + overhead times their minimum, for a law with alpha = 1.

    E / E_min = (1 + y^-q)^(1/q) = 1 + h gives y = ((1 + h)^q - 1)^(-1/q).

    Args:
        overhead: h, more than 0; 0.2 is the definition of Zhang et al. 2024, arXiv:2410.21676.
        critical_batch_size: B_crit, examples.
        sharpness: q; broadcasts with it.

    Returns:
        Examples per step.

    Raises:
        ValueError: if `overhead` is not more than 0.
    """
    if not overhead > 0:
        raise ValueError(f"overhead {overhead} must be more than 0")
    q = np.asarray(sharpness, dtype=float)
    corner = _fall_over_floor_at_critical(q) * np.asarray(critical_batch_size, dtype=float)
    return np.asarray(corner * ((1 + overhead) ** q - 1) ** (1 / q))


def smoothly_broken_steps(
    batch_size: npt.ArrayLike,
    *,
    corner_steps: npt.ArrayLike,
    corner_batch_size: npt.ArrayLike,
    exponent: npt.ArrayLike,
    second_exponent: npt.ArrayLike,
    sharpness: npt.ArrayLike,
) -> Floats:
    """Return S(B) = S_K ((B / K)^(-alpha q) + (B / K)^(-beta q))^(1/q), in optimizer steps.

    Args:
        batch_size: B, examples per step; all arguments broadcast.
        corner_steps: S_K, what either of the two power laws gives at the corner.
        corner_batch_size: K, examples, where they cross.
        exponent: alpha, the slope below the corner.
        second_exponent: beta, the slope beyond it.
        sharpness: q, how suddenly one takes over from the other.

    Returns:
        Steps, of the broadcast shape.
    """
    x = np.log(np.asarray(batch_size, dtype=float) / np.asarray(corner_batch_size, dtype=float))
    alpha, beta, q = (
        np.asarray(each, dtype=float) for each in (exponent, second_exponent, sharpness)
    )
    return np.asarray(
        np.asarray(corner_steps, dtype=float)
        * np.exp(np.logaddexp(-alpha * q * x, -beta * q * x) / q)
    )
