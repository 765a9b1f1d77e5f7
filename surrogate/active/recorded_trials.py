"""Recorded sweeps as an active design would have seen them: renamed, in another order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from models_of_scaling.trials import Trial
from surrogate.active.actions import Effort
from surrogate.active.plan import ActivePlan
from surrogate.active.run import asked_trials
from surrogate.protocol import Plan
from surrogate.search import next_stage

Records = Mapping[int, Sequence[Trial]]  # trials by batch size


def renamed(trials: Records, plan: Plan) -> dict[int, list[Trial]]:
    """Return trials under a plan's name: another release may name the same study otherwise."""
    return {size: [replace(each, study=plan.study) for each in of] for size, of in trials.items()}


def recorded_effort(plan: ActivePlan, records: Records, *, most: Effort) -> Effort:
    """Return the largest effort, by doublings, that was recorded at every batch size.

    Args:
        plan: with the effort to start from, which was recorded.
        records: of the study.
        most: that is not exceeded.
    """
    found = Effort(trials=plan.protocol.trials, repeats=plan.protocol.repeats)

    def is_there(effort: Effort) -> bool:
        if effort.trials > most.trials or effort.repeats > most.repeats:
            return False
        wanted = plan.with_effort(trials=effort.trials, repeats=effort.repeats)
        try:
            for size, trials in records.items():
                asked_trials(wanted, size, trials, [])
        except LookupError:
            return False
        return True

    while is_there(replace(found, repeats=2 * found.repeats)):
        found = replace(found, repeats=2 * found.repeats)
    while is_there(replace(found, trials=2 * found.trials)):
        found = replace(found, trials=2 * found.trials)
    return found


def with_repeats_reordered(trials: Sequence[Trial], rng: np.random.Generator) -> list[Trial]:
    """Return trials whose repeats stand under each other's seeds, within each configuration.

    Args:
        trials: of one batch size.
        rng: source of randomness.
    """
    reordered = [trial for trial in trials if trial.phase != "repeat"]
    groups: dict[tuple[tuple[str, float], ...], list[Trial]] = {}
    for trial in trials:
        if trial.phase == "repeat":
            groups.setdefault(tuple(sorted(trial.hyper_parameters.items())), []).append(trial)
    for group in groups.values():
        order = rng.permutation(len(group))
        reordered += [
            replace(group[other], seed=trial.seed)
            for trial, other in zip(group, order, strict=True)
        ]
    return reordered


def compute_trials(plan: Plan, batch_size: int, done: Sequence[Trial]) -> list[Trial]:
    """Return a batch size's trials with those that are missing computed in this process.

    Args:
        plan: of a simulator; nothing would keep the runs of another workload.
        batch_size: examples per step.
        done: trials that are there.
    """
    from surrogate.engines import run_stage

    trials = list(done)
    while stage := next_stage(plan, batch_size, trials):
        for finished in run_stage(plan, batch_size, stage):
            trials += finished
    return trials
