"""The flags of a sweep that change what a run is: its length, schedule, decay, ingredients."""

import argparse
from dataclasses import dataclass, field, fields
from typing import Any

from models_of_scaling.errors import InputError
from surrogate.budget import Budget
from surrogate.ingredients import Ingredients, add_ingredient_arguments, pop_ingredients
from surrogate.run_schedule import RunSchedule
from surrogate.search_space import Dimension, SearchSpace
from surrogate.workload import Workload

# Five decades around the 1e-4 that ResNets on ImageNet take (Goyal et al. 2017, section 5.1).
_WEIGHT_DECAY = Dimension(name="weight_decay", low=1e-7, high=1e-2)


@dataclass(frozen=True, kw_only=True)
class RunChoice:
    """What the command line says about a run; the defaults are the workload's.

    Attributes:
        max_steps: limit of a run, besides the workload's budget.
        max_examples: limit of a run, besides the workload's budget.
        epochs: of every run; None where runs end at the target.
        schedule: of the learning rate.
        weight_decay: a number; "search" for one that is searched on a log scale; None for the
            workload's.
        ingredients: of training.
    """

    max_steps: int | None = None
    max_examples: int | None = None
    epochs: float | None = None
    schedule: RunSchedule = field(default_factory=RunSchedule)
    weight_decay: str | None = None
    ingredients: Ingredients = field(default_factory=Ingredients)

    def budget(self, workload: Workload) -> Budget:
        """Return the budget of a run.

        Args:
            workload: gives what the flags leave open.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.epochs is not None and workload.engine != "population":
            raise InputError(f"--epochs {self.epochs:g}: {workload.name} has no training set")
        if self.epochs is not None and workload.evaluated_on == "test":
            raise InputError(
                f"--epochs {self.epochs:g}: {workload.name} evaluates on the test split, by whose "
                "accuracy nothing may be chosen; keep validation images with --holdout N"
            )
        return Budget(
            floor_steps=workload.floor_steps,
            budget_examples=workload.budget_examples,
            max_steps=self.max_steps,
            max_examples=self.max_examples,
            epochs=self.epochs,
            num_train_examples=workload.max_batch_size,
        )

    def space(self, space: SearchSpace) -> SearchSpace:
        """Return an optimizer's space with the weight decay that is asked for.

        Args:
            space: of the workload.

        Raises:
            InputError: where the value is no number, or the optimizer has no weight decay.
        """
        if self.weight_decay is None:
            return space
        if "weight_decay" not in {*space.fixed, *(each.name for each in space.dimensions)}:
            raise InputError(f"--weight-decay {self.weight_decay}: this optimizer has none")
        if self.weight_decay == "search":
            return space.searching(_WEIGHT_DECAY)
        try:
            value = float(self.weight_decay)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise InputError(
                f"--weight-decay {self.weight_decay!r} is neither a number, at least 0, nor search"
            )
        return space.fixing(weight_decay=value)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `RunChoice`.

    Args:
        parser: of the sweep's command.
    """
    add = parser.add_argument
    add("--max-steps", type=int, metavar="N", help="limit of a run (default: the workload's)")
    add("--max-examples", type=int, metavar="N", help="limit of a run (default: the workload's)")
    add("--epochs", type=float, metavar="E", help="run so many, and ask for the accuracy then")
    add(
        "--schedule",
        default="constant",
        help="of the learning rate, such as cosine; its length is searched (default: constant)",
    )
    add(
        "--warmup-share",
        type=float,
        default=0.0,
        metavar="X",
        help="share of the schedule's length, in 0 .. 1 (default: 0)",
    )
    add("--weight-decay", metavar="X", help="a number, or search (default: the workload's, 0)")
    add_ingredient_arguments(parser)


def pop_run_choice(arguments: dict[str, Any]) -> RunChoice:
    """Take the flags of `add_run_arguments` out of the arguments.

    Args:
        arguments: by name; those flags are removed.

    Returns:
        What they say.
    """
    schedule = RunSchedule(
        name=arguments.pop("schedule"), warmup_share=arguments.pop("warmup_share")
    )
    ingredients = pop_ingredients(arguments)
    named = {each.name for each in fields(RunChoice)} - {"schedule", "ingredients"}
    return RunChoice(
        schedule=schedule, ingredients=ingredients, **{name: arguments.pop(name) for name in named}
    )
