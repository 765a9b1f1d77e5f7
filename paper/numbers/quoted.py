"""A number of the paper: with its interval, what it rests on, and one rule of rounding.

All are rounded to the second digit of their interval's width, finer where an end would
else become zero: beyond it no digit says anything. Where an end is open the words say which bound
is known.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.stats import t

from models_of_scaling.intervals import Interval

LEVEL: Final = 0.9
_MOST_DIGITS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Quoted:
    """A number as the paper says it.

    Attributes:
        estimate: inf where it has no upper bound.
        low: lower end of the interval.
        high: upper end.
        level: of the interval.
        n: how many of `of` it rests on.
        of: what they are, in the plural: "runs", "cases".
        unit: to stand behind it: "%", "points"; "" for none.
        scale: by which all three are multiplied before they are written: 100 for per cent.
        nothing: what it is without an effect; no end that differs from it is rounded to it.
    """

    estimate: float
    low: float
    high: float
    n: int
    of: str = "runs"
    level: float = LEVEL
    unit: str = ""
    scale: float = 1.0
    nothing: float | None = None

    @property
    def digits(self) -> int:
        """Decimal places; negative where tens or more are rounded."""
        ends = [self.scale * each for each in (self.low, self.estimate, self.high)]
        known = [end for end in ends if math.isfinite(end)]
        width = max(known) - min(known) if known else 0.0
        sizes = [abs(end) for end in known if end]
        if not width:
            return 2 - math.floor(math.log10(min(sizes))) if sizes else 0
        second = 1 - math.floor(math.log10(width) + 1e-9)
        if min(ends) > 0:
            second = max(second, -math.floor(math.log10(min(sizes))))
        if self.nothing is None:
            return second
        # An end that is not nothing must not be rounded to it.
        nothing = self.scale * self.nothing
        while second < _MOST_DIGITS and any(
            end != nothing and round(end, second) == round(nothing, second) for end in known
        ):
            second += 1
        return second

    @property
    def value_text(self) -> str:
        """The estimate alone, rounded, for a table with a column for the interval."""
        if math.isinf(self.estimate):
            return f"> {rounded(self.scale * self.low, self.digits)}{self._unit}"
        return rounded(self.scale * self.estimate, self.digits) + self._unit

    @property
    def interval_text(self) -> str:
        """The interval alone: "74 to 182"."""
        low, high = (rounded(self.scale * end, self.digits) for end in (self.low, self.high))
        return f"{low} to {high}"

    @property
    def text(self) -> str:
        """The number with its interval."""
        if math.isinf(self.estimate):
            return f"more than {rounded(self.scale * self.low, self.digits)}{self._unit}"
        return f"{self.value_text} ({self.interval_text})"

    @property
    def full_text(self) -> str:
        """The number with its interval and what it rests on."""
        return f"{self.text.removesuffix(')')}{'; ' if '(' in self.text else ' ('}{self.count})"

    @property
    def count(self) -> str:
        """What it rests on: "n = 55 runs"."""
        return f"n = {self.n:,} {self.of}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def excludes(self, value: float) -> bool:
        """Return whether a value lies outside the interval."""
        return not self.low <= value <= self.high

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data with its words; an infinite end is None."""
        ends = {
            name: None if math.isinf(value) else value
            for name, value in (("value", self.estimate), ("low", self.low), ("high", self.high))
        }
        return {
            **ends, "level": self.level, "n": self.n, "of": self.of, "text": self.text,
            "value_text": self.value_text, "interval_text": self.interval_text,
            "count": self.count, "full": self.full_text,
        }  # fmt: skip


def rounded(value: float, digits: int) -> str:
    r"""Return a number with so many decimal places, thousands separated.

    >>> rounded(12345.6, -2), rounded(0.0456, 3), rounded(-0.001, 1)
    ('12,300', '0.046', '0.0')
    >>> rounded(-2.5, 1)
    '\u22122.5'
    """
    if math.isinf(value):
        return "\u221e" if value > 0 else "\u2212\u221e"
    text = f"{round(value, digits):,.{max(digits, 0)}f}"
    is_zero = not float(text.replace(",", ""))
    return text.removeprefix("-") if is_zero else text.replace("-", "\u2212")


def percent(share: float) -> str:
    """Return a share as a whole number of per cent."""
    return f"{100 * share:.0f} %"


def quoted(interval: Interval, n: int, **more: Any) -> Quoted:
    """Return an interval of the packages as a number of the paper.

    Args:
        interval: of `models_of_scaling`.
        n: what it rests on.
        **more: other fields of `Quoted`.
    """
    return Quoted(
        estimate=interval.estimate, low=interval.low, high=interval.high, level=interval.level,
        n=n, **more,
    )  # fmt: skip


def mean_of(values: Sequence[float], **more: Any) -> Quoted:
    """Return the mean of independent values with Student's t interval.

    Args:
        values: at least two.
        **more: other fields of `Quoted`.
    """
    array = np.asarray(values, dtype=float)
    half = t.ppf(0.5 + LEVEL / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array))
    mean = float(array.mean())
    return Quoted(estimate=mean, low=mean - half, high=mean + half, n=len(array), **more)


def geometric_mean_of(values: Sequence[float], **more: Any) -> Quoted:
    """Return the geometric mean with Student's t interval of the logs.

    Args:
        values: at least two, above 0.
        **more: other fields of `Quoted`.
    """
    logs = mean_of(np.log(np.asarray(values, dtype=float)).tolist(), **more)
    return replace(
        logs, estimate=math.exp(logs.estimate), low=math.exp(logs.low), high=math.exp(logs.high)
    )


def direction(number: Quoted, nothing: float, words: tuple[str, str, str]) -> str:
    """Return which of three words an interval supports, so that a sentence can't become false.

    Args:
        number: with its interval.
        nothing: what it would be without an effect.
        words: where all of the interval is above, below, or where it holds `nothing`.
    """
    above, below, untold = words
    if not number.excludes(nothing):
        return untold
    return above if number.low > nothing else below
