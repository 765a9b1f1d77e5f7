"""Turns the candidates of a stage into finished trials by training them as a population."""

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models_of_scaling.provenance import collect_provenance
from models_of_scaling.trials import Trial
from surrogate.finished_trial import DIVERGENCE_FACTOR, finished_trial
from surrogate.ingredients import Ingredients
from surrogate.protocol import Candidate, Plan, Stage
from surrogate.run_schedule import split_numbers
from surrogate.training.training_device import device_name, training_device
from surrogate.workloads import Workload, get_workload

if TYPE_CHECKING:
    from surrogate.training.members import Member
    from surrogate.training.task import Task

# When compiling the step pays. Measured on one core of an AMD EPYC for an MLP 64-32-10 in float32:
# a traced step takes 20 to 60 microseconds a member more than a compiled one, at batch sizes from
# 1 to 64 and populations of 64 to 8; compilation takes 5 to 15 s, once for a batch size.
_SAVED_S_PER_MEMBER_STEP = 30e-6
_COMPILATION_S = 15.0
# Runs of a search are cut off at three times the fewest steps, and the budget is ten times those
# of a tuned run: a fifth of the budget is what they take on average.
_SHARE_OF_BUDGET = 0.2


@functools.cache
def prepare_torch() -> None:
    """Set what a worker process needs for small tensors, once.

    One thread: the processes are the parallelism. Numbers below 1e-38 count as zero: the velocity
    of a dead unit decays into them, and arithmetic on them takes the processor many times longer
    (measured: a sweep of batch size 1 takes half the time).
    """
    import torch  # planning a sweep needs no torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def compilation_pays(workload: Workload, plan: Plan, batch_size: int) -> bool:
    """Return whether the steps of a batch size are compiled rather than traced.

    A compiled step rounds otherwise than a traced one. So that a resumed sweep gives the table of
    an undisturbed one, the answer depends on the plan and not on what of it is left to do.

    Args:
        workload: the plan's.
        plan: the study.
        batch_size: examples per step.

    Returns:
        Whether the time saved over all planned trials exceeds the compilation's. Never for
        networks with convolutions: they take most of a step either way, and a minute to compile.
    """
    if not workload.model.startswith("mlp"):
        return False
    member_steps = plan.protocol.planned_trials * plan.budget.steps(batch_size) * _SHARE_OF_BUDGET
    return member_steps * _SAVED_S_PER_MEMBER_STEP > _COMPILATION_S


def task_of(plan: Plan, batch_size: int, *, on_test: bool = False) -> "Task":
    """Return what the members of a batch size share; its programs serve its next stage too.

    Args:
        plan: the study.
        batch_size: examples per step.
        on_test: evaluated on the test split; only for a last report, see `Workload.load_test`.
    """
    # Inductor's GPU programs have not been tried.
    pays = compilation_pays(get_workload(plan.workload), plan, batch_size)
    compiled = pays and training_device() == "cpu"
    task: Task = _task(
        plan.workload, plan.optimizer, plan.ingredients, batch_size, compiled, on_test
    )
    return task


@functools.lru_cache(maxsize=4)
def _task(
    workload: str,
    optimizer: str,
    ingredients: Ingredients,
    batch_size: int,
    compiled: bool,
    on_test: bool,
) -> Any:
    from fullscale.optimizers.registry import get_update_rule
    from surrogate.training.task import Task

    spec = get_workload(workload)
    load = spec.load_test if on_test else spec.load
    assert load is not None
    return Task(
        data=load(),
        model=spec.model,
        make_network=spec.make_network,
        rule=get_update_rule(optimizer),
        batch_size=batch_size,
        device=training_device(),
        loss=ingredients.loss,
        groups=ingredients.groups,
        # The test split is looked at once, so whole.
        max_validation_examples=None if on_test else spec.max_validation_examples,
        compiled=compiled,
    )


def member_of(candidate: Candidate) -> "Member":
    """Return the population's member for a candidate of the search.

    Args:
        candidate: its hyper-parameters are numbers of the update rule and of the schedule.
    """
    from surrogate.training.members import Member

    numbers, schedule = split_numbers(candidate.hyper_parameters, candidate.settings)
    return Member(seed=candidate.seed, numbers=numbers, schedule=schedule)


def run_population(
    plan: Plan, workload: Workload, batch_size: int, stage: Stage
) -> Iterator[list[Trial]]:
    """Train the candidates of a stage.

    Args:
        plan: the study.
        workload: the plan's.
        batch_size: examples per step.
        stage: what to train.

    Yields:
        Trials as they finish, maybe none: a caller that stops asking stops the runs.
    """
    prepare_torch()
    from surrogate.training.members import StopRule
    from surrogate.training.train_population import train_population

    task = task_of(plan, batch_size)
    # Runs of a fixed length are compared at its end: none is cut short.
    searching = stage.name != "repeat" and plan.budget.epochs is None
    stop_rule = StopRule(
        target=plan.target,
        max_steps=plan.budget.steps(batch_size),
        stop_at_target=plan.budget.epochs is None,
        slowest_factor=plan.protocol.slowest_factor if searching else math.inf,
        fewest_steps=stage.fewest_steps if searching else None,
        race_least=plan.protocol.race_least if plan.races(stage.name) else 0,
        screened=plan.screens(stage.name),
        divergence_factor=DIVERGENCE_FACTOR,
    )
    members = [member_of(candidate) for candidate in stage.candidates]
    provenance = vars(collect_provenance(device=device_name()))
    for left in train_population(task, members, stop_rule):
        yield [
            finished_trial(
                plan,
                workload,
                batch_size,
                stage.candidates[result.member],
                num_train_examples=task.data.num_train_examples,
                num_parameters=task.num_parameters,
                status=result.status,
                steps=result.curve.steps[-1],
                wall_time_s=result.curve.wall_time_s,
                curve_steps=result.curve.steps,
                curve_train_loss=result.curve.train_loss,
                curve_validation_loss=result.curve.validation_loss,
                curve_validation_accuracy=result.curve.validation_accuracy,
                **provenance,
            )
            for result in left
        ]
