"""What a fit can't tell, and which runs would: a result code and sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from scipy.special import ndtr, stdtr

from models_of_scaling.fit_record import FitCode
from models_of_scaling.fitted_law import FittedLaw
from models_of_scaling.intervals import Interval
from models_of_scaling.measurements import Measurements, without_too_small
from models_of_scaling.wording import batch_sizes_in_words, number_in_words

# Wider than this the critical batch size is not an answer that a cluster can be bought on.
_WIDEST_IDENTIFIED = 10.0
_CONTRADICTED = 0.01
_FEWEST_TO_TELL_A_RISE = 3


def contradicted_sizes(laws: Sequence[FittedLaw], fitted: Measurements) -> list[int]:
    """Return batch sizes where nothing reached the target though all laws say that it should have.

    Args:
        laws: with weights that sum to 1.
        fitted: the rows.

    Returns:
        Sizes where fewer than one in a hundred draws, with the noise of a measurement, need more
        steps than were done.
    """
    found = []
    for size in np.unique(fitted.batch_size):
        at = fitted.batch_size == size
        if fitted.reached[at].any():
            continue
        log_done = np.log(fitted.steps[at].max())
        share = sum(
            law.weight
            * ndtr((np.log(law.replicate_steps(size)) - log_done) / law.noise_of_draws).mean()
            for law in laws
        )
        if share < _CONTRADICTED:
            found.append(int(size))
    return found


def steps_rise(fitted: Measurements) -> bool:
    """Return whether the steps rise with the batch size over all the rows, beyond chance.

    No law can follow that; each would call it noise and answer all the same.

    Args:
        fitted: the rows.

    Returns:
        Whether the slope of the log steps, one mean for each batch size where a run reached the
        target, is above 0 by a one-sided t test at 1 %. Two batch sizes can't tell.
    """
    rows = fitted.take(fitted.reached)
    sizes, cell_N = np.unique(rows.batch_size, return_inverse=True)
    if len(sizes) < _FEWEST_TO_TELL_A_RISE:
        return False
    y = np.bincount(cell_N, np.log(rows.steps)) / np.bincount(cell_N)
    x, y = np.log(sizes) - np.log(sizes).mean(), y - y.mean()
    slope, spare = (x @ y) / (x @ x), len(sizes) - 2
    if slope <= 0:
        return False
    error = math.sqrt(((y - slope * x) ** 2).sum() / spare / (x @ x))
    return error == 0 or bool(stdtr(spare, -slope / error) < _CONTRADICTED)


def fit_code(
    best: FittedLaw, critical: Interval, contradicted: Sequence[int], *, rising: bool = False
) -> FitCode:
    """Return the result code.

    Args:
        best: the best law.
        critical: B_crit with its interval over all laws.
        contradicted: of `contradicted_sizes`.
        rising: of `steps_rise`.

    Returns:
        "not_identified" where an end of B_crit is open or the ends are 10x apart.
    """
    if not best.converged:
        return "not_converged"
    if contradicted or rising:
        return "inconsistent"
    if not critical.is_bounded or critical.high > _WIDEST_IDENTIFIED * critical.low:
        return "not_identified"
    return "converged"


_CODES: Final[Mapping[FitCode, str]] = {
    "converged": f"the critical batch size is known within {_WIDEST_IDENTIFIED:g}x",
    "not_identified": f"the critical batch size is not known within {_WIDEST_IDENTIFIED:g}x",
    "inconsistent": "the rows contradict every law",
    "not_converged": "the best law could not be fitted",
}


def code_in_words(code: FitCode) -> str:
    """Return a result code and what it means, one sentence."""
    return f"Result code: {code} ({_CODES[code]})."


def advice_for(
    code: FitCode,
    critical: Interval,
    fitted: Measurements,
    contradicted: Sequence[int],
    *,
    rising: bool = False,
) -> tuple[str, ...]:
    """Say what is not known and what to run next.

    Args:
        code: of the fit.
        critical: B_crit with its interval over all laws.
        fitted: the rows.
        contradicted: of `contradicted_sizes`.
        rising: of `steps_rise`.

    Returns:
        Sentences; none where nothing is amiss.
    """
    sentences = []
    smallest, largest = int(fitted.batch_size.min()), int(fitted.batch_size.max())
    if code == "not_converged":
        sentences.append(
            "The fit did not converge: look at the rows for outliers before using any number here."
        )
    if contradicted:
        sentences.append(
            f"Nothing reached the target at batch size {batch_sizes_in_words(contradicted)}, "
            "although more steps were done than the fitted laws say it needs: it may be out of "
            "reach there, or the search too narrow. Trust no prediction near it until that is "
            "known."
        )
    if rising:
        sentences.append(
            "Steps rise with the batch size over all the rows, and by every law they fall: trust "
            "no number here. Look whether the columns hold what they are named, and whether larger "
            "batch sizes were tuned."
        )
    if math.isinf(critical.low):
        sentences.append(
            "A law without a floor has no critical batch size: go by where a doubling stops paying."
        )
    elif code == "not_identified" and critical.high > largest:
        known = (
            f"B_crit is only known to exceed {number_in_words(critical.low)}"
            if critical.low > 0
            else "B_crit is not known at all"
        )
        if math.isfinite(critical.high) and critical.low > 0:
            known = (
                f"B_crit is only known to lie in {number_in_words(critical.low)} .. "
                f"{number_in_words(critical.high)}"
            )
        sentences.append(
            f"No batch size above {largest:,} was fitted; {known}. "
            f"Measure at {2 * largest:,} and {4 * largest:,} next."
        )
    if code == "not_identified" and critical.low < smallest:
        smaller = [size for size in (smallest // 2, smallest // 4) if size >= 1]
        sentences.append(
            f"No batch size below {smallest:,} was fitted that is small enough to show perfect "
            "scaling"
            + (
                f"; B_crit is only known to be below {number_in_words(critical.high)}."
                if math.isfinite(critical.high)
                else "."
            )
            + (f" Measure at {batch_sizes_in_words(smaller)} next." if smaller else "")
        )
    if code == "not_identified" and smallest <= critical.low and critical.high <= largest:
        sentences.append(
            "The rows scatter too much to place B_crit: repeat each batch size with more seeds."
        )
    sentences += _unreached(fitted)
    # Larger ones may be held out, or a search that still runs.
    if sizes := [size for size in fitted.source.from_search if size <= largest]:
        sentences.append(
            f"Nobody repeated the best of the search at batch size {batch_sizes_in_words(sizes)}: "
            "the fewest steps of a search are too few on average. Repeat the best with fresh seeds."
        )
    return tuple(sentences)


def _unreached(fitted: Measurements) -> list[str]:
    """Name the batch sizes where no row reached the target."""
    sizes = np.unique(fitted.batch_size)
    never = [int(size) for size in sizes if not fitted.reached[fitted.batch_size == size].any()]
    first = int(without_too_small(fitted).batch_size.min())
    too_small = [size for size in never if size < first]
    sentences = []
    if too_small:
        sentences.append(
            f"No row reached the target at batch size {batch_sizes_in_words(too_small)}, in more "
            "steps than any law asks of it: too small for this target as it was tuned, it is no "
            "point of the curve."
        )
    if others := [size for size in never if size >= first]:
        sentences.append(
            f"No row reached the target at batch size {batch_sizes_in_words(others)}: "
            "it enters as 'more steps than were done'. Run it longer."
        )
    return sentences
