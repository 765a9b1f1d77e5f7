"""Which configurations of a search get fresh seeds, and which of them wins."""

import math
from collections.abc import Sequence

import numpy as np

from models_of_scaling.trials import Trial
from surrogate.protocol import Plan
from surrogate.ranking import Question, ranked_trials, shortlist_winner, steps_to_target
from surrogate.response_surface import MOST_RUNS, smoothed


def shortlist_of(
    plan: Plan, batch_size: int, trials: Sequence[Trial], question: Question
) -> list[Trial]:
    """Return one search trial of each configuration that gets fresh seeds, the best first.

    Args:
        plan: the study.
        batch_size: examples per step.
        trials: of this batch size, of any phase.
        question: by what.

    Returns:
        At most `plan.protocol.shortlist`; none where no trial answers the question.
    """
    ranked = ranked_trials(trials, plan.target, question)
    by_surface = plan.protocol.shortlist_by == "surface" and plan.protocol.shortlist > 1
    # Of accuracy at fixed epochs nothing is known yet: there the runs themselves decide.
    if by_surface and question == "steps":
        ranked = _by_surface(plan, batch_size, trials, ranked)
    return ranked[: plan.protocol.shortlist]


def winner_of(
    plan: Plan, batch_size: int, trials: Sequence[Trial], question: Question
) -> Trial | None:
    """Return the configuration whose repeats are the measurement.

    Args:
        plan: the study.
        batch_size: examples per step.
        trials: of this batch size; search and shortlist are complete.
        question: by what.

    Returns:
        Its search trial; None where none answers the question.
    """
    shortlist = shortlist_of(plan, batch_size, trials, question)
    if len(shortlist) <= 1 or not any(trial.phase == "shortlist" for trial in trials):
        return next(iter(shortlist), None)
    return shortlist_winner(shortlist, trials, plan.target, question)


def _by_surface(
    plan: Plan, batch_size: int, trials: Sequence[Trial], ranked: list[Trial]
) -> list[Trial]:
    """Order the trials that reached by the steps that a surface through all gives them."""
    if not ranked:
        return ranked
    # Those that were stopped for being slow, or diverged, are beyond this. So is who was let go on
    # before a faster one was known.
    limit = plan.protocol.slowest_factor * steps_to_target(ranked[0], plan.target)
    reached = {trial.trial_id for trial in ranked}
    slow = [
        trial
        for trial in trials
        if trial.phase == "search"
        and trial.status != "interrupted"
        and trial.trial_id not in reached
    ]
    # By name, as the order in which trials ended must not matter to the last bit.
    runs = [*ranked, *sorted(slow, key=lambda trial: trial.trial_id)][:MOST_RUNS]
    space = plan.space_at(batch_size)
    log_steps = [math.log(min(steps_to_target(trial, plan.target), limit)) for trial in runs]
    surface = smoothed(
        np.array([space.places(trial.hyper_parameters) for trial in runs]), np.array(log_steps)
    )
    order = np.argsort(surface[: len(ranked)], kind="stable")
    return [ranked[place] for place in order]
