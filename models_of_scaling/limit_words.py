"""The verdict in words: an answer in short, each definition with its interval, what to run next."""

import math

from models_of_scaling.advice import code_in_words
from models_of_scaling.limit import LimitVerdict
from models_of_scaling.limit_claims import OVERHEAD, LimitClaim, difference_in_words
from models_of_scaling.wording import interval_in_words, number_in_words


def verdict_in_words(verdict: LimitVerdict) -> str:
    """Return the verdict for someone who buys machines, several lines."""
    saved = 100 * (1 - 1 / verdict.stop_saving)
    lines = [
        _in_short(verdict),
        f"Doubling the batch size still divides the steps by at least {verdict.saving:g} up to a "
        f"batch size {_of_in_words(verdict, verdict.pays_up_to)}",
        f"The {100 * OVERHEAD:g} %-overhead batch size (Zhang et al. 2024), where the examples are "
        f"{1 + OVERHEAD:g} times those at the smallest one fitted "
        f"({verdict.smallest_batch_size:,}), is {_claim_in_words(verdict, verdict.with_overhead)}",
        _critical_in_words(verdict),
        f"It stops paying (twice the machines take less than {saved:.0f} % off the steps) at "
        f"a batch size {_of_in_words(verdict, verdict.stops_paying)}",
        *_fewest_steps_in_words(verdict),
        difference_in_words(verdict.definitions),
    ]
    return "\n".join([*lines, code_in_words(verdict.code), *verdict.advice, *verdict.notes])


def _in_short(verdict: LimitVerdict) -> str:
    """Return the answer in one sentence: up to where it pays, and from where hardly at all."""
    if verdict.code in {"inconsistent", "not_converged"}:
        return "In short: no answer that can be trusted; the last lines say why."
    pays, stops = verdict.pays_up_to.batch_size, verdict.stops_paying.batch_size
    smallest = verdict.smallest_batch_size
    much, little = (
        f"{100 * (1 - 1 / saving):.0f} %" for saving in (verdict.saving, verdict.stop_saving)
    )
    doubling = f"a doubling of the batch size takes {much} or more off the steps"
    if pays.estimate < smallest:
        first = f"already at {smallest:,} {doubling.replace('takes', 'no longer takes')}"
    elif pays.is_bounded:
        first = f"up to about {number_in_words(pays.estimate)} {doubling}"
    elif pays.low >= smallest:
        first = f"up to {number_in_words(pays.low)} at least {doubling}"
    else:
        first = f"these rows do not tell up to where {doubling}"
    if stops.is_bounded:
        last = f"from about {number_in_words(stops.estimate)} on less than {little}"
    elif stops.low >= smallest:
        last = f"where it takes less than {little} off lies beyond {number_in_words(stops.low)}"
    else:
        last = f"nor from where less than {little}"
    return f"In short: {first}; {last}."


def _critical_in_words(verdict: LimitVerdict) -> str:
    if not verdict.has_floor:
        return (
            "The critical batch size B_crit (McCandlish et al. 2018) is infinite by definition: "
            f"the law fitted, {verdict.law}, has no floor, so there are no fewest steps to be "
            "twice of. That is a property of the law, not a finding."
        )
    return (
        "The critical batch size B_crit (McCandlish et al. 2018), where the steps are twice the "
        f"fewest possible, is {_claim_in_words(verdict, verdict.critical_batch_size)}"
    )


def _fewest_steps_in_words(verdict: LimitVerdict) -> list[str]:
    """Return the sentences on the fastest batch size and on the floor, as far as there are any."""
    lines, upturn = [], verdict.upturn
    if upturn is not None:
        lines.append(
            f"One law lets the steps rise again (weight {100 * upturn.weight:.0f} %): by it the "
            f"fewest are {interval_in_words(upturn.fewest_steps)}, at a batch size of "
            f"{_claim_in_words(verdict, upturn.fastest)}"
        )
    if verdict.has_floor and verdict.law != "knee_with_upturn":
        lines.append(
            "The fewest steps that any batch size can need, S_min: "
            f"{interval_in_words(verdict.min_steps)}."
        )
    return lines


def _of_in_words(verdict: LimitVerdict, claim: LimitClaim) -> str:
    """Return "of 512 (...)", or "that is not known (...)"."""
    words = _claim_in_words(verdict, claim)
    return f"that is {words}" if words.startswith("not known") else f"of {words}"


def _claim_in_words(verdict: LimitVerdict, claim: LimitClaim) -> str:
    """Return the batch size, its interval and how far it lies from what was fitted."""
    words = interval_in_words(claim.batch_size)
    share, smallest = claim.extrapolated_share, verdict.smallest_batch_size
    largest = f"the largest batch size fitted ({verdict.largest_batch_size:,})"
    if claim.batch_size.estimate < smallest:
        return f"{words}; below the smallest batch size fitted ({smallest:,}): extrapolated."
    if share < 0.005:
        return f"{words}; within what was fitted (up to {verdict.largest_batch_size:,})."
    beyond = f"with {100 * share:.0f} % probability"
    if math.isinf(claim.extrapolation):
        return f"{words}; {beyond} beyond {largest}, how far is not known."
    if claim.extrapolation > 1:
        factor = number_in_words(claim.extrapolation)
        return f"{words}; extrapolated: {factor}x {largest}, {beyond} beyond it."
    return f"{words}; {beyond} beyond {largest}."
