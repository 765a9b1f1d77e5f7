"""Which run of a batch size is best: by steps to the target, or by accuracy at fixed epochs."""

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from models_of_scaling.targets import Target
from models_of_scaling.trials import Trial

Question = Literal["steps", "accuracy"]


def steps_to_target(trial: Trial, target: Target) -> float:
    """Return the first evaluated step at which a target held, infinity where it never did."""
    values = getattr(trial, f"curve_{target.metric}")
    met = (
        step for step, value in zip(trial.curve_steps, values, strict=True) if target.is_met(value)
    )
    return float(next(met, math.inf))


def final_accuracy(trial: Trial) -> float:
    """Return the validation accuracy at a run's end, 0 for a run that diverged."""
    if trial.status == "diverged" or not trial.curve_validation_accuracy:
        return 0.0
    return float(trial.curve_validation_accuracy[-1])


def ranked_trials(
    trials: Sequence[Trial], target: Target, question: Question = "steps"
) -> list[Trial]:
    """Return the search trials that answer a question, the best first.

    By steps: those that met the target; ties go to the better value of the target's metric at the
    end. By accuracy: those that did not diverge; ties go to the lower validation loss at the end.
    Then to the smaller learning rate, then to the smaller momentum.

    Args:
        trials: of one batch size, of any phase.
        target: of the study.
        question: by what.

    Returns:
        The trials; none where none answers.
    """

    def rank(trial: Trial) -> tuple[float, ...]:
        if question == "accuracy":
            first, value = -final_accuracy(trial), float(trial.curve_validation_loss[-1])
        else:
            value = float(getattr(trial, f"curve_{target.metric}")[-1])
            first = steps_to_target(trial, target)
            value = value if target.direction == "<=" else -value
        numbers = trial.hyper_parameters
        return first, value, numbers["learning_rate"], numbers.get("momentum", 0.0)

    def answers(trial: Trial) -> bool:
        if question == "accuracy":
            return trial.status in {"reached", "not_reached"}
        return trial.status != "interrupted" and steps_to_target(trial, target) < math.inf

    return sorted((t for t in trials if t.phase == "search" and answers(t)), key=rank)


def shortlist_winner(
    shortlist: Sequence[Trial], trials: Sequence[Trial], target: Target, question: Question
) -> Trial:
    """Return the configuration whose fresh seeds are best in the median.

    By steps, a seed that did not reach the target counts as infinitely slow. Ties go to the
    better of the search.

    Args:
        shortlist: one search trial of each configuration, the best first.
        trials: of the batch size; those of phase "shortlist" are compared.
        target: of the study.
        question: by what.
    """

    def median(configuration: Trial) -> float:
        return statistics.median(
            steps_to_target(trial, target) if question == "steps" else -final_accuracy(trial)
            for trial in trials
            if trial.phase == "shortlist"
            and trial.hyper_parameters == configuration.hyper_parameters
            and trial.settings == configuration.settings
        )

    return min(shortlist, key=median)
