"""How long steps and evaluations of a population take on this machine: timed for a moment each.

Steps and evaluations are timed apart, on a population that does what a sweep's does, at a learning
rate that moves nothing. The first of them, which traces, is left out, unless it takes so long that
tracing is nothing beside it. And what follows from another time is not timed: members that step one
by one, or so slowly that they fill the processor, take a time in proportion to their number. So a
calibration ends soon however large the batch size.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from surrogate.protocol import Candidate, Plan, Stage
from surrogate.search import next_stage
from surrogate.workloads import get_workload

if TYPE_CHECKING:
    from surrogate.population import Population

POPULATIONS = (4, 32)  # between and beyond them, a line
_SECONDS = 1.0  # for each thing that is timed
# What takes this long is timed once, with its tracing: a second or so.
_SLOW_SECONDS = 10.0
# Where four members take this long for a step, 32 take eight times it.
_FILLED_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Seconds at one batch size.

    Attributes:
        step_of_4: one optimizer step of four members; or four simulated candidates.
        step_of_32: of 32.
        evaluation: of one member.
    """

    step_of_4: float
    step_of_32: float
    evaluation: float

    def step(self, members: float) -> float:
        """Return the seconds of one step of so many members."""
        few, many = POPULATIONS
        slope = max(self.step_of_32 - self.step_of_4, 0.0) / (many - few)
        line = self.step_of_4 + slope * (members - few)
        # A slope that timing made too steep must not take fewer members' time away.
        return max(line, 0.5 * self.step_of_4 * min(members / few, 1.0))


def measure_step_times(plan: Plan, sizes: Sequence[int]) -> dict[int, StepTimes]:
    """Time a few batch sizes.

    Args:
        plan: the study.
        sizes: batch sizes, increasing.

    Returns:
        The times at each. Evaluations are of one member, whatever the batch size: timed once.
    """
    if get_workload(plan.workload).engine == "noisy_quadratic":
        return {size: _simulated(plan, size) for size in sizes}
    evaluation = cache(lambda: evaluation_seconds(plan, sizes[0]))
    return {size: _trained(plan, size, evaluation()) for size in sizes}


def seconds_of_one(
    run: Callable[[int], None],
    *,
    first_counts: bool = True,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Return how long one of many alike things takes.

    Args:
        run: does so many of them.
        first_counts: whether the first is like the others where it is slow; not if it compiles.
        now: a clock, seconds.

    Returns:
        Seconds: of the first where that is slow, else of those in some time after it.
    """
    started = now()
    run(1)
    first = now() - started
    if first_counts and first > _SLOW_SECONDS:
        return first
    count = 1
    while True:
        started = now()
        run(count)
        spent = now() - started
        if spent > _SECONDS / 2:  # twice as many would take longer than the time
            return spent / count
        count *= 2


def step_times(
    seconds_of: Callable[[int], float], *, one_by_one: bool, evaluation: float
) -> StepTimes:
    """Return the times of a batch size, of as few populations as tell them.

    Args:
        seconds_of: times a step of so many members.
        one_by_one: whether members step one after another.
        evaluation: seconds of one member's.
    """
    few, many = POPULATIONS
    if one_by_one:
        one = seconds_of(1)
        return StepTimes(step_of_4=few * one, step_of_32=many * one, evaluation=evaluation)
    at_few = seconds_of(few)
    at_many = at_few * many / few if at_few > _FILLED_SECONDS else seconds_of(many)
    return StepTimes(step_of_4=at_few, step_of_32=at_many, evaluation=evaluation)


def _trained(plan: Plan, size: int, evaluation: float) -> StepTimes:
    import torch

    from surrogate.training.population_trials import task_of

    task = task_of(plan, size)

    def seconds_of(members: int) -> float:
        population = _population(plan, size, members)

        def run(count: int) -> None:
            population.advance(population.steps + count)
            if task.device == "cuda":  # calls to a GPU come back before it is done
                torch.cuda.synchronize()

        return seconds_of_one(run, first_counts=not task.compiled)

    one_by_one = task.stacked_network.one_by_one
    return step_times(seconds_of, one_by_one=one_by_one, evaluation=evaluation)


def evaluation_seconds(plan: Plan, size: int) -> float:
    """Time one member's evaluation.

    Args:
        plan: the study.
        size: a batch size; the time hardly depends on it.

    Returns:
        Seconds.
    """
    from surrogate.training.population_trials import task_of

    population = _population(plan, size, 1)

    def run(count: int) -> None:
        for _ in range(count):
            population.evaluate(0)

    # A compiled task's first compiles it, for tens of seconds on a busy machine.
    return seconds_of_one(run, first_counts=not task_of(plan, size).compiled)


def _population(plan: Plan, size: int, members: int) -> "Population":
    from surrogate.population import Population
    from surrogate.training.population_trials import member_of, prepare_torch, task_of

    prepare_torch()
    still = [
        replace(each, hyper_parameters={**each.hyper_parameters, "learning_rate": 1e-9})
        for each in _first_candidates(plan, size, members)
    ]
    return Population(task_of(plan, size), [member_of(each) for each in still])


def _first_candidates(plan: Plan, size: int, count: int) -> list[Candidate]:
    stage = next_stage(plan, size, [])
    assert stage is not None  # without a trial none is complete
    return [stage.candidates[number % len(stage.candidates)] for number in range(count)]


def _simulated(plan: Plan, size: int) -> StepTimes:
    """Run candidates of a simulator for a while: whole ones, not steps."""
    from surrogate.engines import run_stage

    few, many = POPULATIONS
    chosen = tuple(_first_candidates(plan, size, many))
    stamps = [time.perf_counter()]
    for _ in run_stage(plan, size, Stage(name="wide", candidates=chosen, fewest_steps=None)):
        stamps.append(time.perf_counter())
        if stamps[-1] - stamps[0] > _SECONDS:
            break
    one = float(np.mean(np.diff(stamps)))
    return StepTimes(step_of_4=few * one, step_of_32=many * one, evaluation=1e-9)
