"""A few runs of a workload, to set its target by: python -m surrogate.try_targets --workload NAME.

A target must be met at the full batch in a moderate number of steps, or the largest batch sizes
take most of a sweep. This trains one run at each learning rate, one seed, and prints the fewest
steps to several training losses: no tuning, and nothing of the noise between seeds.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.data_root import add_data_root_argument
from surrogate.workloads import get_workload

# Evaluating 2,304 images costs a small network about as much as training on 800.
_RATIO: Final = 1.1
_VALIDATION_IMAGES: Final = 256


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What the runs at one batch size found for one loss.

    Attributes:
        batch_size: examples per step.
        loss: training loss, on the first 2,048 training examples.
        steps: the fewest of the runs, at an evaluation; None where no run met it.
        learning_rate: of that run.
    """

    batch_size: int
    loss: float
    steps: int | None
    learning_rate: float | None


def coarse_grid(step: int) -> int:
    """Return the next evaluated step: every second one, then a tenth apart.

    >>> [coarse_grid(step) for step in (0, 2, 40, 100)]
    [2, 4, 44, 110]
    """
    return max(step + 2, int(step * _RATIO))


def fewest_steps(
    curves: Mapping[float, tuple[Sequence[int], Sequence[float]]],
    losses: Sequence[float],
    batch_size: int,
) -> list[Tried]:
    """Return for each loss the fewest steps over the runs.

    Args:
        curves: learning rate to evaluated steps and training losses there.
        losses: asked, any order.
        batch_size: of the runs.

    Returns:
        From the largest loss to the smallest.
    """
    tried = []
    for loss in sorted(losses, reverse=True):
        found = [
            (steps[int(np.argmax(met))], rate)
            for rate, (steps, values) in curves.items()
            if (met := np.asarray(values) <= loss).any()
        ]
        steps, rate = min(found) if found else (None, None)
        tried.append(Tried(batch_size=batch_size, loss=loss, steps=steps, learning_rate=rate))
    return tried


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What is run at each batch size.

    Attributes:
        losses: training losses asked for; the smallest one ends all runs.
        learning_rates: one run each, seed 0.
        momentum: of all.
        max_steps: of each.
    """

    losses: Sequence[float]
    learning_rates: Sequence[float]
    momentum: float = 0.9
    max_steps: int = 200


def try_targets(
    workload: str, batch_size: int, runs: Runs, say: Callable[[str], None]
) -> list[Tried]:
    """Train until a run meets the smallest loss or the steps are spent.

    Args:
        workload: its name.
        batch_size: examples per step.
        runs: which.
        say: told one line when a run ends.

    Returns:
        For each loss the fewest steps.

    Raises:
        InputError: for a batch size that the workload does not have, or a simulator.
    """
    spec = get_workload(workload)
    spec.check_batch_size(batch_size)
    if spec.load is None:
        raise InputError(f"--workload {workload}: a simulator needs no trial runs")
    if spec.check_data is not None:
        spec.check_data()
    from fullscale.optimizers.registry import get_update_rule
    from surrogate.training.members import Member, StopRule
    from surrogate.training.population_trials import prepare_torch
    from surrogate.training.task import Task
    from surrogate.training.train_population import train_population
    from surrogate.training.training_device import training_device

    prepare_torch()
    task = Task(
        data=spec.load(),
        model=spec.model,
        make_network=spec.make_network,
        rule=get_update_rule("momentum"),
        batch_size=batch_size,
        device=training_device(),
        max_validation_examples=_VALIDATION_IMAGES,
    )
    members = [
        Member(seed=0, numbers={"learning_rate": rate, "momentum": runs.momentum})
        for rate in runs.learning_rates
    ]
    rule = StopRule(
        target=Target(metric="train_loss", direction="<=", value=min(runs.losses)),
        max_steps=runs.max_steps,
        slowest_factor=1.0,  # the first to meet the smallest loss ends the others
        divergence_factor=30.0,
    )
    curves: dict[float, tuple[Sequence[int], Sequence[float]]] = {}
    for left in train_population(task, members, rule, grid=coarse_grid):
        for result in left:
            rate, curve = runs.learning_rates[result.member], result.curve
            curves[rate] = curve.steps, curve.train_loss
            say(
                f"{workload}, batch size {batch_size:,}, learning rate {rate:g}: {result.status} "
                f"after {curve.steps[-1]} steps at training loss {curve.train_loss[-1]:.3g}, "
                f"{curve.wall_time_s:.0f} s"
            )
    return fewest_steps(curves, runs.losses, batch_size)


def _numbers(text: str) -> list[float]:
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < np.inf for value in values):
        raise argparse.ArgumentTypeError(f"{text} must be positive numbers, a comma between")
    return values


def _sizes(text: str) -> list[int]:
    values = _numbers(text)
    if any(value != int(value) for value in values):
        raise argparse.ArgumentTypeError(f"{text} must be whole numbers, a comma between")
    return [int(value) for value in values]


def _momentum(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0, below 1")
    return value


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="python -m surrogate.try_targets", description=__doc__)
    add = parser.add_argument
    add("--workload", required=True, help="as for surrogate.sweep")
    add("--batch-sizes", type=_sizes, required=True, metavar="256,2048", help="examples per step")
    add("--losses", type=_numbers, required=True, metavar="1.5,1.0", help="training losses asked")
    add("--learning-rates", type=_numbers, required=True, metavar="0.01,0.03", help="a run at each")
    add("--momentum", type=_momentum, default=0.9, metavar="M", help="of SGD (default: 0.9)")
    add("--max-steps", type=int, default=200, metavar="N", help="of a run (default: 200)")
    add("--json", action="store_true", help="print one JSON line each")
    add_data_root_argument(parser)
    asked = parser.parse_args(argv)
    if asked.max_steps < 1:
        raise InputError(f"--max-steps {asked.max_steps} must be at least 1")
    runs = Runs(
        losses=asked.losses,
        learning_rates=asked.learning_rates,
        momentum=asked.momentum,
        max_steps=asked.max_steps,
    )
    for size in asked.batch_sizes:
        for each in try_targets(asked.workload, size, runs, _say):
            print(json.dumps(vars(each)) if asked.json else _in_words(each), flush=True)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _in_words(tried: Tried) -> str:
    if tried.steps is None:
        return f"batch size {tried.batch_size:,}: loss {tried.loss:g} not reached"
    return (
        f"batch size {tried.batch_size:,}: loss {tried.loss:g} in {tried.steps} steps, learning "
        f"rate {tried.learning_rate:g}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())
