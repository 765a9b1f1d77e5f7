"""What a member of a population is, when it leaves, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from models_of_scaling.targets import Target
from models_of_scaling.trials import Status
from surrogate.evaluation_grid import end_of_slow_runs


class Schedule(Protocol):
    """A learning-rate schedule, for example `fullscale.schedules.WarmupPolynomial`."""

    @property
    def num_train_steps(self) -> int:
        """The planned length of the run in optimizer steps."""

    def factor(self, step: int) -> float:
        """Return the learning rate at a step, counted from 0, as a share of its peak."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One run.

    Attributes:
        seed: of the initialisation and the data order.
        numbers: the rule's hyper-parameters, `learning_rate` as the peak; defaults where missing.
        schedule: of the learning rate; None for a constant one. Where it ends, the run ends.
    """

    seed: int
    numbers: Mapping[str, float]
    schedule: Schedule | None = None


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """When a member leaves.

    Attributes:
        target: reached at the first evaluation that meets it; None for none.
        max_steps: the budget; a member that did not reach by then leaves as `not_reached`.
        stop_at_target: leave there; else go on to the end of the budget or the schedule, so that
            the accuracy after a fixed length can be read.
        slowest_factor: the budget of all shrinks to this multiple of the fewest steps to target
            among the members, so far; infinity switches it off.
        fewest_steps: the fewest steps to target known before the population began, if any.
        race_least: where it is more than 0, the members race (`surrogate.race`), and all but so
            many may be stopped for being behind.
        screened: members are evaluated fully only now and then, and where they could have met the
            target (`surrogate.training.screen`).
        divergence_factor: a training loss above this multiple of its value at the start is
            divergence, as is one that is not finite.
    """

    target: Target | None
    max_steps: int
    stop_at_target: bool = True
    slowest_factor: float = float("inf")
    fewest_steps: int | None = None
    race_least: int = 0
    screened: bool = False
    divergence_factor: float = float("inf")

    def budget(self, fewest_steps: int | None) -> int:
        """Return the steps a member may take, given the fewest steps to target so far.

        Cut at an evaluation, so that members who train apart can be cut alike afterwards.
        """
        if fewest_steps is None or self.slowest_factor == float("inf"):
            return self.max_steps
        limit = int(self.slowest_factor * fewest_steps)
        return min(self.max_steps, end_of_slow_runs(limit, screened=self.screened))


@dataclass(kw_only=True)
class Progress:
    """A member's evaluations while it trains; mutable, the finished form is `Result`."""

    steps: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    wall_time_s: float = 0.0

    def append(self, step: int, evaluation: tuple[float, float, float]) -> None:
        """Add training loss, validation loss and validation accuracy at a step."""
        self.steps.append(step)
        for values, value in zip(
            (self.train_loss, self.validation_loss, self.validation_accuracy),
            evaluation,
            strict=True,
        ):
            values.append(value)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one member ended.

    Attributes:
        member: its place in the list that the population was made of.
        status: `diverged` by its last evaluation; else `reached` where any evaluation met the
            target; else `not_reached`.
        steps_to_target: the first evaluated step that met the target; None where none did. The
            step it left, for one that reached and stopped there.
        curve: its evaluations; the last is at the step it left.
    """

    member: int
    status: Status
    steps_to_target: int | None
    curve: Progress
