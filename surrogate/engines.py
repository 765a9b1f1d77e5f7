"""Turns the candidates of a stage into finished trials, by the engine of their workload."""

from collections.abc import Iterator

from models_of_scaling.trials import Trial
from surrogate.protocol import Plan, Stage
from surrogate.simulated_trials import run_simulator
from surrogate.training.population_trials import run_population
from surrogate.workloads import get_workload


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
        yield from run_population(plan, workload, batch_size, stage)
