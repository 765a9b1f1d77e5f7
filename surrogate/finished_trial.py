"""The trial that a candidate's run becomes, whichever engine ran it."""

from typing import Any

from models_of_scaling.trials import Trial
from surrogate.protocol import Candidate, Plan
from surrogate.workloads import Workload

# A loss above so many times its start is divergence: high momentum overshoots, but not so far.
DIVERGENCE_FACTOR = 30.0


def finished_trial(
    plan: Plan, workload: Workload, batch_size: int, candidate: Candidate, **outcome: Any
) -> Trial:
    """Return the trial of a finished run.

    Args:
        plan: the study.
        workload: that of the plan.
        batch_size: examples per step.
        candidate: what was run.
        **outcome: the other fields of `Trial`, `steps` among them.

    Returns:
        The trial.
    """
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
