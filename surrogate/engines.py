"""Turns the candidates of a stage into finished trials, by the engine of their workload."""

from collections.abc import Iterator

from models_of_scaling.trials import Trial
from surrogate.protocol import Plan, Stage
from surrogate.race import as_raced
from surrogate.simulated_trials import run_simulator
from surrogate.training.population_trials import run_population
from surrogate.user_optimizer import check_same_source
from surrogate.workloads import get_workload


def run_stage(plan: Plan, batch_size: int, stage: Stage) -> Iterator[list[Trial]]:
    """Run the candidates of a stage.

    Args:
        plan: the study.
        batch_size: examples per step.
        stage: what to run.

    Yields:
        Trials as they finish, maybe none: a caller that stops asking stops the runs. Those of a
        race come together at its end. A user's rule of another version than the study's is refused.
    """
    check_same_source(plan.optimizer, plan.space)
    workload = get_workload(plan.workload)
    simulated = workload.engine == "noisy_quadratic"
    engine = run_simulator if simulated else run_population
    running = engine(plan, workload, batch_size, stage)
    if not plan.races(stage.name):
        yield from running
        return
    # Who stops depends on all that run: a part of them would race anew, and otherwise.
    whole: list[Trial] = []
    for finished in running:
        whole += finished
        yield []
    yield as_raced(whole, plan.target, least=plan.protocol.race_least) if simulated else whole
