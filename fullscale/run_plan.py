"""What a run will do, in steps, derived once from durations, batch and data."""

import functools
from dataclasses import dataclass, replace

from fullscale.batch_growth import BatchGrowth, BatchPhases
from fullscale.batch_layout import BatchLayout
from fullscale.durations import Duration
from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The whole length of a run.

    Attributes:
        layout: how each step is cut over processes and forwards; where the batch grows, the first.
        num_train_examples: size of the training set.
        num_train_steps: planned length in optimizer steps.
        stop_steps: the step after which the run ends anyway: smaller than planned under
            `--trainer.max_steps` or `--trainer.max_epochs`.
        evaluate_every_steps: optimizer steps between evaluations, where the batch grows in its
            first phase; the last step is evaluated too.
        evaluate_every: what that came from.
        growth: how the batch grows.
        phases: of the batch; one where it does not grow.
        num_constant_steps: the length in steps of the first batch; the schedule's.
        lengths_batch_size: by which lengths become steps: under regime adaptation the batch size
            that they were chosen for.
        max_steps: ends the run earlier.
        max_examples: likewise.
    """

    layout: BatchLayout
    num_train_examples: int
    num_train_steps: int
    stop_steps: int
    evaluate_every_steps: int
    evaluate_every: Duration
    growth: BatchGrowth
    phases: BatchPhases
    num_constant_steps: int
    lengths_batch_size: int
    max_steps: int | None = None
    max_examples: int | None = None

    def with_phases(self, phases: BatchPhases) -> "RunPlan":
        """Return the plan of the same examples in other steps.

        Args:
            phases: of the batch, from the run's start.
        """
        steps = phases.steps_to(self.num_constant_steps * self.layout.global_batch_size)
        limits = [steps]
        if self.max_steps is not None:
            limits.append(self.max_steps)
        if self.max_examples is not None:
            limits.append(phases.steps_to(self.max_examples))
        return replace(self, phases=phases, num_train_steps=steps, stop_steps=min(limits))

    @property
    def epochs(self) -> float:
        """Planned passes over the training set."""
        return self.examples(self.num_train_steps) / self.num_train_examples

    def examples(self, steps: int) -> int:
        """Return the examples of so many first steps.

        Args:
            steps: of the run.
        """
        return self.phases.examples(steps)

    @property
    def grows(self) -> bool:
        """Whether steps differ in their batch size, or may come to."""
        return self.growth.grows

    def layout_of(self, batch_size: int) -> BatchLayout:
        """Return how a step of a batch size is cut.

        Args:
            batch_size: examples per optimizer step.
        """
        return _layout_of(self.layout, batch_size)

    @property
    def largest_layout(self) -> BatchLayout:
        """How the step of the largest batch is cut."""
        return self.layout_of(max(phase.batch_size for phase in self.phases.phases))

    def is_due(self, steps: int, every: Duration) -> bool:
        """Return whether something at a rhythm falls on the end of a step.

        In each phase it falls on every so many steps as cover the length there; a length in steps
        counts from the run's start.

        Args:
            steps: done, at least 1.
            every: the rhythm.
        """
        phase = self.phases.at(steps - 1)
        first = 0 if every.unit == "steps" else phase.first_step
        every_steps = every.to_steps(
            batch_size=phase.batch_size, num_train_examples=self.num_train_examples
        )
        return (steps - first) % every_steps == 0

    def evaluation_is_due(self, steps: int) -> bool:
        """Return whether an evaluation falls on the end of a step.

        Args:
            steps: done, at least 1.
        """
        if not self.grows:
            return steps % self.evaluate_every_steps == 0
        return self.is_due(steps, self.evaluate_every)


@functools.lru_cache(maxsize=64)
def _layout_of(layout: BatchLayout, batch_size: int) -> BatchLayout:
    return replace(layout, global_batch_size=batch_size)


def plan_run(  # noqa: PLR0913 - what a plan follows from
    *,
    layout: BatchLayout,
    num_train_examples: int,
    train_duration: str,
    evaluate_every: str,
    max_steps: int | None = None,
    max_epochs: int | None = None,
    growth: BatchGrowth | None = None,
    adapted_from: int | None = None,
) -> RunPlan:
    """Turn durations into steps.

    Args:
        layout: how each step is cut.
        num_train_examples: size of the training set.
        train_duration: for example "20 epochs".
        evaluate_every: for example "1 epochs".
        max_steps: ends the run earlier, without a change of the schedule.
        max_epochs: likewise, in passes over the training set.
        growth: of the batch; none when not given.
        adapted_from: the batch size of a regime that is adapted to this one.

    Returns:
        The plan.

    Raises:
        InputError: where the batch is larger than the data set, or a duration has another form or
            comes to no step at all.
    """
    if layout.global_batch_size > num_train_examples:
        few = (
            f", which are too few for {layout.world_size} processes"
            if num_train_examples < layout.world_size
            else ""
        )
        raise InputError(
            f"--data.global_batch_size {layout.global_batch_size} is a batch larger than the data "
            f"set: the training set has {num_train_examples} examples{few}; all of them are the "
            "largest batch"
        )
    growth = growth or BatchGrowth()
    first = layout.global_batch_size
    size = {"batch_size": first, "num_train_examples": num_train_examples}
    lengths = size | {"batch_size": adapted_from or first}
    constant = Duration.parse(train_duration, flag="--model.train_duration").to_steps(**lengths)
    rhythm = Duration.parse(evaluate_every, flag="--data.evaluate_every")
    every = rhythm.to_steps(**size)
    for flag, text, found in (
        ("--model.train_duration", train_duration, constant),
        ("--data.evaluate_every", evaluate_every, every),
    ):
        if found < 1:
            raise InputError(f"{flag} {text!r} must be at least one optimizer step")
    phases = growth.phases(
        batch_size=first, num_constant_steps=constant, num_train_examples=num_train_examples
    )
    steps = phases.steps_to(constant * first)
    # A phase that the last step of the one before reaches beyond has no step.
    phases = BatchPhases(tuple(each for each in phases.phases if each.first_step < steps))
    for phase in phases.phases:
        _layout_of(layout, phase.batch_size)  # refuses what can't be cut
    plan = RunPlan(
        layout=layout,
        num_train_examples=num_train_examples,
        num_train_steps=steps,
        stop_steps=steps,
        evaluate_every_steps=every,
        evaluate_every=rhythm,
        growth=growth,
        phases=phases,
        num_constant_steps=constant,
        lengths_batch_size=adapted_from or first,
        max_steps=max_steps,
        max_examples=None if max_epochs is None else max_epochs * num_train_examples,
    ).with_phases(phases)
    if plan.stop_steps < 1:
        raise InputError(f"--trainer.max_steps or max_epochs leaves {plan.stop_steps} steps, not 1")
    return plan
