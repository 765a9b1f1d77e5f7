"""Lengths of training in one unit, turned into steps once, where the batch size is known."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from models_of_scaling.errors import InputError

Unit = Literal["steps", "examples", "epochs"]
UNITS: tuple[Unit, ...] = ("steps", "examples", "epochs")
_PATTERN = re.compile(r"\s*(\S+)\s+(\w+?)s?\s*")


@dataclass(frozen=True, kw_only=True)
class Duration:
    """A length of training in exactly one unit.

    Attributes:
        amount: finite, not negative; a whole number where the unit is steps.
        unit: what is held fixed when the batch size changes.
    """

    amount: float
    unit: Unit

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the value and the rule.
        """
        if self.unit not in UNITS:
            raise InputError(f"duration: unit {self.unit!r} is not one of {', '.join(UNITS)}")
        if not math.isfinite(self.amount) or self.amount < 0:
            raise InputError(f"duration: amount {self.amount} must be finite and not negative")
        if self.unit == "steps" and self.amount != int(self.amount):
            raise InputError(f"duration: {self.amount} steps must be a whole number")

    def to_steps(self, *, batch_size: int, num_train_examples: int) -> int:
        """Return the smallest number of optimizer steps that covers this length.

        Args:
            batch_size: examples per optimizer step.
            num_train_examples: size of the training set.

        Returns:
            Steps; 0 for a length of 0.

        >>> Duration.parse("1 epoch").to_steps(batch_size=100, num_train_examples=1024)
        11
        """
        if self.unit == "steps":
            return int(self.amount)
        # The decimal that was written, not its binary neighbour: 0.1 epochs of 1000 are 100.
        examples = Fraction(repr(self.amount))
        if self.unit == "epochs":
            examples *= num_train_examples
        return math.ceil(examples / batch_size)

    def __str__(self) -> str:
        """Return the text that `parse` reads back."""
        return f"{self.amount:.15g} {self.unit}"

    @classmethod
    def parse(cls, text: str, *, flag: str = "duration") -> "Duration":
        """Read `5 epochs`, `500 steps` or `1e6 examples`; the singular is read too.

        Args:
            text: amount and unit.
            flag: names the value in an error.

        Returns:
            The duration.

        Raises:
            InputError: where the text has another form or breaks a rule.
        """
        match = _PATTERN.fullmatch(text)
        unit = f"{match.group(2)}s" if match else ""
        if match is None or unit not in UNITS:
            raise InputError(
                f"{flag} {text!r} is not of the form '20 epochs', '500 steps' or '100000 examples'"
            )
        try:
            return cls(amount=float(match.group(1)), unit=unit)
        except ValueError as error:
            raise InputError(f"{flag} {text!r}: {error}") from error
