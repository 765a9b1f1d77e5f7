"""Numbers in words: as many digits as a reader can use, and an open end said as such."""

import math
from collections.abc import Sequence

from models_of_scaling.intervals import Interval


def number_in_words(value: float) -> str:
    """Return a number with three digits, thousands separated.

    >>> number_in_words(12345.6), number_in_words(0.01234), number_in_words(7.0)
    ('12,300', '0.0123', '7')
    """
    if math.isinf(value):
        return "infinity"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    if abs(value) >= 10:  # batch sizes and steps are whole numbers
        digits = min(digits, 0)
    text = f"{round(value, digits):,.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def interval_in_words(interval: Interval) -> str:
    """Return "1,230 (90 % interval 1,010 to 1,500)", or which bound is known.

    Args:
        interval: any end may be open.

    Returns:
        Words without a full stop; never a bare number.

    >>> open_end = Interval(estimate=math.inf, low=90, high=math.inf, level=0.9, method="")
    >>> interval_in_words(open_end)
    'more than 90 (90 % interval 90 to infinity)'
    """
    level = f"{100 * interval.level:g} %"
    low, high = number_in_words(interval.low), number_in_words(interval.high)
    # All mass at one end, as for the critical batch size of a law without a floor, is no bound.
    if interval.is_bounded or math.isinf(interval.low) or interval.high == 0:
        return f"{number_in_words(interval.estimate)} ({level} interval {low} to {high})"
    if interval.low > 0:
        return f"more than {low} ({level} interval {low} to infinity)"
    if math.isfinite(interval.high):
        return f"less than {high} ({level} interval 0 to {high})"
    return f"not known ({level} interval 0 to infinity)"


def batch_sizes_in_words(sizes: Sequence[int]) -> str:
    """Return "8, 16 and 32"; long lists are cut after six."""
    words = [f"{size:,}" for size in sizes]
    if len(words) > 6:
        return ", ".join(words[:6]) + f" and {len(words) - 6} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def law_title(name: str) -> str:
    """Return a law's name for a table or a picture.

    >>> law_title("p_norm_knee")
    'p-norm knee'
    """
    return name.replace("p_norm", "p-norm").replace("gaussian", "Gaussian").replace("_", " ")
