"""Turns the candidates of a stage into finished trials, by the engine of their workload."""

import functools
import math
from collections.abc import Iterator
from typing import Any

from models_of_scaling.provenance import collect_provenance
from models_of_scaling.trials import Trial
from surrogate.finished_trial import DIVERGENCE_FACTOR, finished_trial
from surrogate.protocol import Plan, Stage
from surrogate.simulated_trials import run_simulator
from surrogate.workloads import Workload, get_workload


def run_stage(plan: Plan, batch_size: int, stage: Stage) -> Iterator[list[Trial]]:
    """Run the candidates of a stage.

    Args:
        plan: the study.
        batch_size: examples per step.
        stage: what to run.

    Yields:
        Trials as they finish, maybe none: a caller that stops asking stops the runs.
    """
    workload = get_workload(plan.workload)
    if workload.engine == "noisy_quadratic":
        yield from run_simulator(plan, workload, batch_size, stage)
    else:
        yield from _run_population(plan, workload, batch_size, stage)


@functools.cache
def _prepare_torch() -> None:
    """Set what a worker process needs for small tensors, once.

    One thread: the processes are the parallelism. Numbers below 1e-38 count as zero: the velocity
    of a dead unit decays into them, and arithmetic on them takes the processor many times longer
    (measured: a sweep of batch size 1 takes half the time).
    """
    import torch  # planning a sweep needs no torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@functools.lru_cache(maxsize=4)
def _task(workload: str, optimizer: str, batch_size: int) -> Any:
    """Return a population's task; its traced steps serve a batch size's next stage too."""
    from fullscale.optimizers.registry import get_update_rule
    from surrogate.member_step import Task

    spec = get_workload(workload)
    assert spec.load is not None
    return Task(
        data=spec.load(),
        model=spec.model,
        rule=get_update_rule(optimizer),
        batch_size=batch_size,
    )


def _run_population(
    plan: Plan, workload: Workload, batch_size: int, stage: Stage
) -> Iterator[list[Trial]]:
    _prepare_torch()
    from surrogate.population import Member, StopRule, train_population

    task = _task(plan.workload, plan.optimizer, batch_size)
    searching = stage.name != "repeat"
    stop_rule = StopRule(
        target=plan.target,
        max_steps=plan.budget.steps(batch_size),
        slowest_factor=plan.protocol.slowest_factor if searching else math.inf,
        fewest_steps=stage.fewest_steps if searching else None,
        divergence_factor=DIVERGENCE_FACTOR,
    )
    members = [
        Member(seed=candidate.seed, numbers=candidate.hyper_parameters)
        for candidate in stage.candidates
    ]
    provenance = vars(collect_provenance())
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
