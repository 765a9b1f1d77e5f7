"""Turns the candidates of a stage into finished trials, by the engine of their workload."""

import functools
import math
import time
from collections.abc import Iterator
from typing import Any

from models_of_scaling.provenance import collect_provenance
from models_of_scaling.trials import Trial
from surrogate.noisy_quadratic import Spectrum, one_step, run_to_target
from surrogate.protocol import Candidate, Plan, Stage
from surrogate.workloads import Workload, get_workload

# A loss above so many times its start is divergence: high momentum overshoots, but not so far.
DIVERGENCE_FACTOR = 30.0


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
    run = _run_population if workload.engine == "population" else _run_noisy_quadratic
    yield from run(plan, workload, batch_size, stage)


def _trial(
    plan: Plan, workload: Workload, batch_size: int, candidate: Candidate, **outcome: Any
) -> Trial:
    return Trial(
        study=plan.study,
        phase=candidate.phase,
        workload=plan.workload,
        dataset=workload.dataset,
        model=workload.model,
        optimizer=plan.optimizer,
        hyper_parameters=candidate.hyper_parameters,
        settings=candidate.settings,
        batch_size=batch_size,
        seed=candidate.seed,
        target=str(plan.target),
        examples=outcome["steps"] * batch_size,
        **outcome,
    )


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
            _trial(
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


def _run_noisy_quadratic(
    plan: Plan, workload: Workload, batch_size: int, stage: Stage
) -> Iterator[list[Trial]]:
    """Give each candidate's expected risk; there is no run, so nothing is stopped early."""
    spectrum = _spectrum(plan.workload)
    provenance = vars(collect_provenance())
    for candidate in stage.candidates:
        started = time.perf_counter()
        run = run_to_target(
            spectrum,
            one_step(
                spectrum,
                batch_size=batch_size,
                learning_rate=candidate.hyper_parameters["learning_rate"],
                momentum=candidate.hyper_parameters["momentum"],
            ),
            target_risk=plan.target.value,
            max_steps=plan.budget.steps(batch_size),
            divergence_factor=DIVERGENCE_FACTOR,
        )
        yield [
            _trial(
                plan,
                workload,
                batch_size,
                candidate,
                # No training set: every example is a fresh draw, and an epoch has no meaning.
                num_train_examples=0,
                num_parameters=len(spectrum.curvature_P),
                status=run.status,
                steps=run.steps,
                wall_time_s=time.perf_counter() - started,
                curve_steps=run.curve_steps,
                # The expected risk is the loss on fresh examples: training and validation loss.
                curve_train_loss=run.curve_risk,
                curve_validation_loss=run.curve_risk,
                curve_validation_accuracy=[math.nan] * len(run.curve_steps),
                **provenance,
            )
        ]


@functools.cache
def _spectrum(workload: str) -> Spectrum:
    spectrum = get_workload(workload).spectrum
    assert spectrum is not None
    return spectrum()
