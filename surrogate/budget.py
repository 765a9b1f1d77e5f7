"""How long a run of a sweep may be, in steps and in examples, or is, in epochs."""

import math
from dataclasses import dataclass

from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The length of a run at each batch size.

    A workload's own budget is floor_steps + budget_examples / batch_size: the shape of the law of
    steps to target, so that tuned runs use up the same share of it at every batch size. The
    user's limits, in steps and in examples, shorten it. A fixed number of epochs replaces it: then
    every run has that length, whatever it reaches on the way.

    Attributes:
        floor_steps: of the workload.
        budget_examples: of the workload.
        max_steps: limit of the user; None for none.
        max_examples: limit of the user; None for none.
        epochs: the length of every run; None where runs end at their target.
        num_train_examples: in an epoch; only read where `epochs` is given.
    """

    floor_steps: int
    budget_examples: int
    max_steps: int | None = None
    max_examples: int | None = None
    epochs: float | None = None
    num_train_examples: int = 0

    def __post_init__(self) -> None:
        """Check the user's numbers.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        for flag, value in (("--max-steps", self.max_steps), ("--max-examples", self.max_examples)):
            if value is not None and value < 1:
                raise InputError(f"{flag} {value} must be at least 1")
            if value is not None and self.epochs is not None:
                raise InputError(f"{flag} {value}: with --epochs every run has the same epochs")
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise InputError(f"--epochs {self.epochs:g} must be positive and finite")

    def steps(self, batch_size: int) -> int:
        """Return the optimizer steps that a run may take, or takes.

        >>> Budget(floor_steps=200, budget_examples=20_000).steps(64)
        513

        Args:
            batch_size: examples per step.

        Returns:
            At least 1. Of a number of epochs, the fewest steps that cover it.
        """
        if self.epochs is not None:
            # A decimal such as 0.1 is taken as written, not as its binary neighbour.
            return max(1, math.ceil(round(self.epochs * self.num_train_examples, 6) / batch_size))
        steps = self.floor_steps + -(-self.budget_examples // batch_size)
        if self.max_steps is not None:
            steps = min(steps, self.max_steps)
        if self.max_examples is not None:
            steps = min(steps, max(1, self.max_examples // batch_size))
        return steps

    @property
    def chosen(self) -> dict[str, float]:
        """What the user set, by name: it belongs to the study's identity."""
        values = {name: getattr(self, name) for name in ("max_steps", "max_examples", "epochs")}
        if self.epochs is not None:
            values["num_train_examples"] = self.num_train_examples
        return {name: value for name, value in values.items() if value is not None}
