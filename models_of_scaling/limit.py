"""The verdict: how far the batch size can be raised before it stops paying, and how sure that is.

Three claims, each a batch size with an interval (definitions in `quantities`):

- it pays up to the largest batch size whose doubling still divides the steps by `saving` (1.6),
- the critical batch size, where the steps are twice their floor,
- it stops paying at the batch size whose doubling divides the steps by less than `stop_saving`
  (1.1): twice the machines for less than a tenth off the steps.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from models_of_scaling.curves import Curves
from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitCode, FitRecord
from models_of_scaling.intervals import Interval, check_level
from models_of_scaling.mixture import (
    batch_size_interval,
    critical_batch_sizes,
    mixed,
    with_a_floor,
)
from models_of_scaling.quantities import Floats
from models_of_scaling.wording import interval_in_words, number_in_words


@dataclass(frozen=True, kw_only=True)
class LimitClaim:
    """One batch size of the verdict.

    Attributes:
        meaning: what it is, in words.
        batch_size: examples per step; `high` is inf and `low` 0 where the data give no bound.
        extrapolated_share: share of the replicates in which it lies beyond the largest batch
            size that was fitted.
        extrapolation: the estimate over the largest batch size that was fitted; inf where the
            estimate has no upper bound.
    """

    meaning: str
    batch_size: Interval
    extrapolated_share: float
    extrapolation: float


@dataclass(frozen=True, kw_only=True)
class LimitVerdict:
    """The answer to "how far can I raise the batch size before it stops paying?".

    Attributes:
        saving: what a doubling must divide the steps by to pay.
        stop_saving: what it divides them by, at most, where it has stopped paying.
        pays_up_to: the largest batch size whose doubling still saves `saving`.
        critical_batch_size: where the steps are twice their floor.
        stops_paying: the batch size whose doubling saves less than `stop_saving`.
        largest_batch_size: the largest that was fitted.
        min_steps: the floor that no batch size goes below.
        num_train_examples: size of the training set, or None.
        code: of the fit.
        advice: of the fit.
        notes: what else a reader must know.
    """

    saving: float
    stop_saving: float
    pays_up_to: LimitClaim
    critical_batch_size: LimitClaim
    stops_paying: LimitClaim
    largest_batch_size: int
    min_steps: Interval
    num_train_examples: int | None
    code: FitCode
    advice: tuple[str, ...]
    notes: tuple[str, ...]


def judge(
    fit: FitRecord, *, saving: float = 1.6, stop_saving: float = 1.1, level: float | None = None
) -> LimitVerdict:
    """Return the verdict of a fit.

    Args:
        fit: the record.
        saving: in (1, 2); 2 would be perfect scaling, which no law with a floor shows anywhere.
        stop_saving: in (1, saving].
        level: of the intervals; that of the fit when None.

    Returns:
        The verdict.

    Raises:
        InputError: where an argument is outside its range.
    """
    if not 1 < saving < 2:
        raise InputError(f"--saving {saving} must be more than 1 and less than 2")
    if not 1 < stop_saving <= saving:
        raise InputError(f"--stop-saving {stop_saving} must be more than 1, at most {saving}")
    chosen = check_level(fit.level if level is None else level)

    def where_doubling_saves(factor: float) -> Callable[[Curves], Floats]:
        return lambda curves: curves.doubling_saves(factor)

    pays = _claim(
        fit, f"largest batch size whose doubling divides the steps by at least {saving:g}",
        where_doubling_saves(saving), chosen,
    )  # fmt: skip
    critical = _claim(
        fit, "critical batch size: the steps are twice their floor", critical_batch_sizes, chosen
    )
    stops = _claim(
        fit, f"batch size whose doubling divides the steps by less than {stop_saving:g}",
        where_doubling_saves(stop_saving), chosen,
    )  # fmt: skip
    return LimitVerdict(
        saving=saving,
        stop_saving=stop_saving,
        pays_up_to=pays,
        critical_batch_size=critical,
        stops_paying=stops,
        largest_batch_size=fit.largest_batch_size,
        min_steps=fit.min_steps,
        num_train_examples=fit.num_train_examples,
        code=fit.code,
        advice=fit.advice,
        notes=_notes(fit, pays, stops),
    )


def _claim(
    fit: FitRecord, meaning: str, of_curves: Callable[[Curves], Floats], level: float
) -> LimitClaim:
    """Return a claim with its interval over all laws and how much of it is extrapolated."""
    ends = (fit.smallest_batch_size, fit.largest_batch_size)
    laws, best = fit.laws, fit.best
    if of_curves is critical_batch_sizes:
        laws, best = with_a_floor(laws, best)
    interval = batch_size_interval(laws, best, of_curves, ends=ends, level=level)
    values, weights = mixed(laws, lambda law: of_curves(law.curves))
    return LimitClaim(
        meaning=meaning,
        batch_size=interval,
        extrapolated_share=float(weights[values > ends[1]].sum() / weights.sum()),
        extrapolation=interval.estimate / ends[1],
    )


def _notes(fit: FitRecord, pays: LimitClaim, stops: LimitClaim) -> tuple[str, ...]:
    """Say what the training set's size and the two ends of the data mean for the claims."""
    notes = []
    size = fit.num_train_examples
    for claim, word in ((pays, "still pays"), (stops, "stops paying")):
        estimate, limits = claim.batch_size.estimate, claim.batch_size
        if size is not None and estimate > size:
            notes.append(
                f"The batch size where doubling {word} exceeds the training set of {size:,} "
                "examples: the whole training set in one batch is the end before it."
            )
        elif size is not None and limits.high > size:
            notes.append(
                f"The interval of the batch size where doubling {word} reaches beyond the "
                f"training set of {size:,} examples."
            )
    if pays.batch_size.estimate < fit.smallest_batch_size:
        notes.append(
            "Already at the smallest batch size that was fitted "
            f"({fit.smallest_batch_size:,}) a doubling saves less than asked."
        )
    return tuple(notes)


def verdict_in_words(verdict: LimitVerdict) -> str:
    """Return the verdict for someone who buys machines, several lines."""
    saved = 100 * (1 - 1 / verdict.stop_saving)
    lines = [
        f"Doubling the batch size still divides the steps by at least {verdict.saving:g} up to a "
        f"batch size of {_claim_in_words(verdict, verdict.pays_up_to)}",
        "The critical batch size, where the steps are twice the fewest possible, is "
        f"{_claim_in_words(verdict, verdict.critical_batch_size)}",
        f"It stops paying (twice the machines take less than {saved:.0f} % off the steps) at "
        f"a batch size of {_claim_in_words(verdict, verdict.stops_paying)}",
        f"The fewest steps that any batch size can need: {interval_in_words(verdict.min_steps)}.",
    ]
    if verdict.code != "converged":
        lines.append(f"Result code: {verdict.code}.")
    return "\n".join([*lines, *verdict.advice, *verdict.notes])


def _claim_in_words(verdict: LimitVerdict, claim: LimitClaim) -> str:
    """Return the batch size, its interval and how much of it is extrapolated."""
    words = interval_in_words(claim.batch_size)
    share = claim.extrapolated_share
    largest = f"{verdict.largest_batch_size:,}"
    if share < 0.005:
        return f"{words}; within what was fitted (up to {largest})."
    if math.isinf(claim.extrapolation):
        distance = "by an unknown factor"
    elif claim.extrapolation > 1:
        distance = f"by {number_in_words(claim.extrapolation)}x at the estimate"
    else:
        distance = "at the upper end"
    return (
        f"{words}; {100 * share:.0f} % of this claim is extrapolated beyond the largest batch size "
        f"fitted ({largest}), {distance}."
    )


def verdict_as_json(verdict: LimitVerdict) -> dict[str, Any]:
    """Return the verdict as plain data; infinite ends are None (null in JSON)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and math.isinf(value) else value

    answer: dict[str, Any] = plain(asdict(verdict))
    return answer
