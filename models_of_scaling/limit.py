"""The verdict: how far the batch size can be raised before it stops paying, and how sure that is.

Four definitions of the limit side by side, each a batch size with an interval (`quantities` has
their formulas), so that nobody takes one for another:

- it pays up to the largest batch size whose doubling still divides the steps by `saving` (1.6),
- the 20 %-overhead batch size of Zhang et al. 2024, arXiv:2410.21676, examples 1.2 times those at
  the smallest batch size fitted,
- the critical batch size of McCandlish et al. 2018, arXiv:1812.06162, steps twice their floor,
- it stops paying at the batch size whose doubling divides the steps by less than `stop_saving`
  (1.1): twice the machines for less than a tenth off the steps.

A law whose steps rise again adds the fastest batch size. A law without a floor has no critical one.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitCode, FitRecord
from models_of_scaling.intervals import Interval, check_level
from models_of_scaling.limit_claims import (
    LimitClaim,
    Upturn,
    critical_claim,
    differ_by,
    doubling_claim,
    overhead_claim,
    upturn_of,
)
from models_of_scaling.mixture import min_steps_interval
from models_of_scaling.prediction import estimated_steps
from models_of_scaling.residuals import batch_size_residuals

# A doubling from the smallest batch size fitted that saves less than this is no perfect scaling: by
# the hyperbola the overhead counted from there is then a third too lenient, or more.
_NEARLY_PERFECT: Final = 1.9
_UNDERNEATH: Final = {
    "knee_with_upturn": "without its rise",
    "gaussian_process": "underneath it",
}


@dataclass(frozen=True, kw_only=True)
class LimitVerdict:
    """The answer to "how far can I raise the batch size before it stops paying?".

    Attributes:
        saving: what a doubling must divide the steps by to pay.
        stop_saving: what it divides them by, at most, where it has stopped paying.
        pays_up_to: the largest batch size whose doubling still saves `saving`.
        with_overhead: where the examples are 1.2 times those at the smallest one fitted.
        critical_batch_size: where the steps are twice their floor.
        stops_paying: the batch size whose doubling saves less than `stop_saving`.
        upturn: where the steps are fewest; None where no law fitted has them rise again.
        law: the best law's name.
        has_floor: whether a fitted law has a floor; without one the critical batch size is
            infinite by definition.
        smallest_batch_size: the smallest that was fitted.
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
    with_overhead: LimitClaim
    critical_batch_size: LimitClaim
    stops_paying: LimitClaim
    upturn: Upturn | None
    law: str
    has_floor: bool
    smallest_batch_size: int
    largest_batch_size: int
    min_steps: Interval
    num_train_examples: int | None
    code: FitCode
    advice: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def definitions(self) -> tuple[LimitClaim, ...]:
        """Every claim that a reader might call the limit, the strictest first by rule of thumb."""
        critical = (self.critical_batch_size,) if self.has_floor else ()
        fastest = () if self.upturn is None else (self.upturn.fastest,)
        return (self.pays_up_to, self.with_overhead, *critical, self.stops_paying, *fastest)


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
    pays = doubling_claim(fit, saving=saving, last=True, level=chosen)
    stops = doubling_claim(fit, saving=stop_saving, last=False, level=chosen)
    ends = (fit.smallest_batch_size, fit.largest_batch_size)
    return LimitVerdict(
        saving=saving,
        stop_saving=stop_saving,
        pays_up_to=pays,
        with_overhead=overhead_claim(fit, level=chosen),
        critical_batch_size=critical_claim(fit, level=chosen),
        stops_paying=stops,
        upturn=upturn_of(fit, level=chosen),
        law=fit.law,
        has_floor=any(law.curves.has_floor for law in fit.laws),
        smallest_batch_size=ends[0],
        largest_batch_size=ends[1],
        min_steps=min_steps_interval(fit.laws, ends=ends, level=chosen),
        num_train_examples=fit.num_train_examples,
        code=fit.code,
        advice=fit.advice,
        notes=_notes(fit, pays, stops),
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
    smallest = fit.smallest_batch_size
    first = estimated_steps(fit, smallest) / estimated_steps(fit, 2 * smallest)
    if first < _NEARLY_PERFECT:
        notes.append(
            f"Doubling the smallest batch size fitted ({smallest:,}) divides the steps by "
            f"{first:.2f} only: counted from perfect scaling, as Zhang et al. do, the "
            "20 %-overhead batch size is smaller than stated here."
        )
    if fit.law in _UNDERNEATH:
        notes.append(
            f"The critical batch size and the floor of {fit.law} are those of the hyperbola "
            f"{_UNDERNEATH[fit.law]}."
        )
    notes += [
        each.in_words() for each in batch_size_residuals(fit) if each.is_outlier and each.reached
    ]
    return tuple(notes)


def verdict_as_json(verdict: LimitVerdict) -> dict[str, Any]:
    """Return the verdict as plain data; infinite ends are None (null in JSON)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and math.isinf(value) else value

    claims = verdict.definitions
    answer: dict[str, Any] = plain(asdict(verdict))
    answer["definitions"] = [claim.name for claim in claims]
    answer["definitions_differ_by"] = differ_by(claims)
    return answer
