"""A target: the metric, direction and value that stop the clock, written `metric>=value`."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from models_of_scaling.errors import InputError

Metric = Literal["train_loss", "validation_loss", "validation_accuracy"]
METRICS: tuple[Metric, ...] = ("train_loss", "validation_loss", "validation_accuracy")
_PATTERN = re.compile(r"\s*(\w+)\s*(<=|>=)\s*([^\s]+)\s*")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a run must reach.

    Attributes:
        metric: a column of the evaluation curve.
        direction: ">=" where larger is better, "<=" where smaller is.
        value: the metric's threshold; accuracies are shares in [0, 1].
    """

    metric: Metric
    direction: Literal["<=", ">="]
    value: float

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the field that breaks its rule.
        """
        if self.metric not in METRICS:
            raise InputError(f"target: metric {self.metric!r} is not one of {', '.join(METRICS)}")
        if not math.isfinite(self.value):
            raise InputError(f"target: value {self.value} must be finite")
        if self.metric == "validation_accuracy" and not 0 < self.value <= 1:
            raise InputError(f"target: validation_accuracy {self.value} must be a share in (0, 1]")
        better = ">=" if self.metric == "validation_accuracy" else "<="
        if self.direction != better:
            raise InputError(f"target: {self.metric} wants {better}, not {self.direction}")

    def is_met(self, value: float) -> bool:
        """Return whether a measured value meets the target; NaN never does.

        >>> Target.parse("validation_accuracy>=0.9").is_met(0.9)
        True
        """
        return value >= self.value if self.direction == ">=" else value <= self.value

    def __str__(self) -> str:
        """Return the text that `parse` reads back."""
        return f"{self.metric}{self.direction}{self.value!r}"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read `metric>=value` or `metric<=value`.

        >>> Target.parse("validation_loss<=0.2") == Target.parse(" validation_loss <= 0.20 ")
        True

        Args:
            text: for example `validation_accuracy>=0.95`.

        Returns:
            The target.

        Raises:
            InputError: where the text has another form or a field breaks its rule.
        """
        match = _PATTERN.fullmatch(text)
        if match is None or not _is_number(match[3]):
            raise InputError(
                f"target {text!r} is not of the form validation_accuracy>=0.95 or "
                "validation_loss<=0.2"
            )
        return cls(metric=match[1], direction=match[2], value=float(match[3]))  # type: ignore[arg-type]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
