"""What a run will do, in steps, derived once from durations, batch and data."""

from dataclasses import dataclass

from fullscale.batch_layout import BatchLayout
from fullscale.durations import Duration
from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The whole length of a run.

    Attributes:
        layout: how each step is cut over processes and forwards.
        num_train_examples: size of the training set.
        num_train_steps: planned length in optimizer steps; the schedule's.
        stop_steps: the step after which the run ends anyway: smaller than planned under
            `--trainer.max_steps` or `--trainer.max_epochs`.
        evaluate_every_steps: optimizer steps between evaluations; the last step is evaluated too.
    """

    layout: BatchLayout
    num_train_examples: int
    num_train_steps: int
    stop_steps: int
    evaluate_every_steps: int

    @property
    def epochs(self) -> float:
        """Planned passes over the training set."""
        return self.num_train_steps * self.layout.global_batch_size / self.num_train_examples


def plan_run(
    *,
    layout: BatchLayout,
    num_train_examples: int,
    train_duration: str,
    evaluate_every: str,
    max_steps: int | None = None,
    max_epochs: int | None = None,
) -> RunPlan:
    """Turn durations into steps.

    Args:
        layout: how each step is cut.
        num_train_examples: size of the training set.
        train_duration: for example "20 epochs".
        evaluate_every: for example "1 epochs".
        max_steps: ends the run earlier, without a change of the schedule.
        max_epochs: likewise, in passes over the training set.

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
    size = {"batch_size": layout.global_batch_size, "num_train_examples": num_train_examples}
    steps = Duration.parse(train_duration, flag="--model.train_duration").to_steps(**size)
    every = Duration.parse(evaluate_every, flag="--data.evaluate_every").to_steps(**size)
    for flag, text, found in (
        ("--model.train_duration", train_duration, steps),
        ("--data.evaluate_every", evaluate_every, every),
    ):
        if found < 1:
            raise InputError(f"{flag} {text!r} must be at least one optimizer step")
    limits = [steps]
    if max_steps is not None:
        limits.append(max_steps)
    if max_epochs is not None:
        limits.append(Duration(amount=max_epochs, unit="epochs").to_steps(**size))
    if min(limits) < 1:
        raise InputError(f"--trainer.max_steps or max_epochs leaves {min(limits)} steps, not 1")
    return RunPlan(
        layout=layout,
        num_train_examples=num_train_examples,
        num_train_steps=steps,
        stop_steps=min(limits),
        evaluate_every_steps=every,
    )
