"""The claims of a verdict: each definition of "the limit" with its name, source and interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.curves import Curves
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval, weighted_quantile
from models_of_scaling.mixture import (
    METHOD,
    batch_size_interval,
    critical_batch_sizes,
    mixed,
    with_a_floor,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.wording import number_in_words

OVERHEAD: Final = 0.2  # Zhang et al. 2024
_OWN: Final = "this project's definition"
_MCCANDLISH: Final = "McCandlish et al. 2018, arXiv:1812.06162, eq. 2.8"
_ZHANG: Final = "Zhang et al. 2024, arXiv:2410.21676, who call it critical"
_UPTURN: Final = "this project's law knee_with_upturn"


@dataclass(frozen=True, kw_only=True)
class LimitClaim:
    """One batch size of the verdict.

    Attributes:
        name: short, for a table or a picture.
        meaning: what it is, in words.
        source: of the definition.
        batch_size: examples per step; `high` is inf and `low` 0 where the data give no bound.
        extrapolated_share: share of the replicates in which it lies beyond the largest batch
            size that was fitted.
        extrapolation: the estimate over the largest batch size that was fitted; inf where the
            estimate has no upper bound.
    """

    name: str
    meaning: str
    source: str
    batch_size: Interval
    extrapolated_share: float
    extrapolation: float


@dataclass(frozen=True, kw_only=True)
class Upturn:
    """What the laws whose steps rise again say; only of them, whatever their weight.

    Attributes:
        fastest: the batch size at which the steps are fewest; its far end is open where the rise
            at the largest batch size fitted is less than the noise.
        fewest_steps: there; the near end is open with it.
        weight: of these laws, a share.
    """

    fastest: LimitClaim
    fewest_steps: Interval
    weight: float


def doubling_claim(fit: FitRecord, *, saving: float, last: bool, level: float) -> LimitClaim:
    """Return the batch size up to which a doubling divides the steps by at least `saving`.

    Args:
        fit: the record.
        saving: what it divides them by.
        last: whether it is named for the batch sizes below it (they pay) or above (they don't).
        level: of the interval.
    """
    much = f"{saving:g}"
    return _claim(
        fit,
        (
            f"doubling still divides steps by {much}"
            if last
            else f"doubling divides steps by less than {much}",
            f"largest batch size whose doubling divides the steps by at least {much}"
            if last
            else f"batch size whose doubling divides the steps by less than {much}",
            _OWN,
        ),
        lambda curves: curves.doubling_saves(saving),
        level,
    )


def critical_claim(fit: FitRecord, *, level: float) -> LimitClaim:
    """Return the critical batch size, of the laws that have a floor where any has.

    Args:
        fit: the record.
        level: of the interval.
    """
    words = (
        "critical batch size", "critical batch size: the steps are twice their floor", _MCCANDLISH,
    )  # fmt: skip
    return _claim(fit, words, critical_batch_sizes, level)


def overhead_claim(fit: FitRecord, *, level: float) -> LimitClaim:
    """Return the batch size that needs 20 % more examples than the smallest one fitted.

    Zhang et al. count from a batch size that still scales perfectly; here it is the smallest
    batch size fitted, the nearest to one that was measured.

    Args:
        fit: the record.
        level: of the interval.
    """
    smallest = fit.smallest_batch_size
    words = (
        "20 %-overhead batch size",
        f"largest batch size that needs at most {1 + OVERHEAD:g} times the examples of the "
        f"smallest one fitted ({smallest:,})",
        _ZHANG,
    )
    return _claim(
        fit,
        words,
        lambda curves: curves.with_overhead(OVERHEAD, reference_batch_size=smallest),
        level,
    )


def _claim(
    fit: FitRecord,
    words: tuple[str, str, str],
    of_curves: Callable[[Curves], Floats],
    level: float,
) -> LimitClaim:
    """Return a claim with its interval over all laws and how much of it is extrapolated."""
    ends = (fit.smallest_batch_size, fit.largest_batch_size)
    laws = with_a_floor(fit.laws) if of_curves is critical_batch_sizes else fit.laws
    interval = batch_size_interval(laws, of_curves, ends=ends, level=level)
    values, weights = mixed(laws, lambda law: of_curves(law.curves))
    beyond = float(weights[values > ends[1]].sum() / weights.sum())
    return _named(words, interval, beyond, ends[1])


def _named(
    words: tuple[str, str, str], interval: Interval, beyond: float, largest: int
) -> LimitClaim:
    name, meaning, source = words
    return LimitClaim(
        name=name,
        meaning=meaning,
        source=source,
        batch_size=interval,
        extrapolated_share=beyond,
        extrapolation=interval.estimate / largest,
    )


def upturn_of(fit: FitRecord, *, level: float) -> Upturn | None:
    """Return where the steps are fewest, by the laws whose steps rise again.

    Args:
        fit: the record.
        level: of the intervals.

    Returns:
        None where no such law was fitted.
    """
    laws = [law for law in fit.laws if "turning_batch_size" in law.point]
    if not laws:
        return None
    law = max(laws, key=lambda each: each.weight)  # there is one such law so far
    largest = fit.largest_batch_size
    sizes, point = fastest_batch_sizes(law.curves), fastest_batch_sizes(law.point_curve)
    tells = largest / np.array(law.replicates["turning_batch_size"]) >= law.noise_of_draws
    point_tells = largest / law.point["turning_batch_size"] >= law.noise
    batch_size = _between(
        np.stack([sizes, np.where(tells, sizes, np.inf)]),
        float(point[0]) if point_tells else math.inf,
        level,
    )
    steps = law.curves.steps(sizes[:, None])[:, 0]
    fewest = _between(
        np.stack([np.where(tells, steps, 0.0), steps]),
        law.steps(float(point[0])) if point_tells else 0.0,
        level,
    )
    words = (
        "fastest batch size",
        "batch size with the fewest steps: beyond it they rise again",
        _UPTURN,
    )
    beyond = float((sizes > largest).mean())
    return Upturn(
        fastest=_named(words, batch_size, beyond, largest), fewest_steps=fewest, weight=law.weight
    )


def fastest_batch_sizes(curves: Curves) -> Floats:
    """Return the batch size with the fewest steps, (R,), examples.

    Args:
        curves: of `laws.KneeWithUpturn`, whose `fastest_batch_size` is the same for one curve.
    """
    critical = curves.critical_batch_size
    turning = np.asarray(curves.columns["turning_batch_size"], dtype=float)
    half = 0.5 * critical
    # The root of B^2 + B_crit B - B_crit B_turn, in the form that keeps its digits for large B_crit
    return np.asarray(critical * turning / (np.sqrt(half**2 + critical * turning) + half))


def _between(low_and_high: Floats, estimate: float, level: float) -> Interval:
    """Return the interval whose ends come from two views of equally likely draws, (2, R)."""
    weights = np.ones(low_and_high.shape[1])
    tail = (1 - level) / 2
    low = float(weighted_quantile(low_and_high[0], weights, [tail])[0])
    high = float(weighted_quantile(low_and_high[1], weights, [1 - tail])[0])
    return Interval(
        estimate=estimate,
        low=min(low, estimate),
        high=max(high, estimate),
        level=level,
        method=METHOD,
    )


def differ_by(claims: Sequence[LimitClaim]) -> float | None:
    """Return the largest estimate over the smallest, of the claims that the rows place.

    Args:
        claims: of different definitions.

    Returns:
        None where fewer than two have an interval with both ends.
    """
    estimates = [claim.batch_size.estimate for claim in claims if claim.batch_size.is_bounded]
    if len(estimates) < 2 or min(estimates) <= 0:
        return None
    return max(estimates) / min(estimates)


def difference_in_words(claims: Sequence[LimitClaim]) -> str:
    """Say by how much the definitions differ, in one line.

    Args:
        claims: of different definitions, at least two.

    Returns:
        Two sentences.
    """
    factor = differ_by(claims)
    count = {2: "two", 3: "three", 4: "four", 5: "five"}.get(len(claims), str(len(claims)))
    start = f"These are {count} definitions of the limit"
    end = "Compare a batch size only with one of the same definition."
    placed = [claim for claim in claims if claim.batch_size.is_bounded]
    if factor is None:
        return f"{start}, and the rows place fewer than two of them. {end}"
    placed.sort(key=lambda claim: claim.batch_size.estimate)
    low, high = (
        f"{number_in_words(claim.batch_size.estimate)} ({claim.name})"
        for claim in (placed[0], placed[-1])
    )
    which = "" if len(placed) == len(claims) else f"the {len(placed)} that the rows place "
    return (
        f"{start}; here {which or 'they '}differ by up to {number_in_words(factor)}x, from {low} "
        f"to {high}. {end}"
    )
