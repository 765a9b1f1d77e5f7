"""An active design from its first batch sizes to its stop, whoever runs the trials.

Nothing but the trials is kept: a design that was stopped decides again what it decided, from the
trials that it had then, finds what it asked for already run, and goes on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.measurements import Measurements
from models_of_scaling.study_source import TableChoice, measurements_from_trials
from models_of_scaling.trials import Trial, trials_to_table
from surrogate.design import Decision, Effort, Menu, decide, first_batch_sizes
from surrogate.design_cells import Cell, summarise_cell
from surrogate.design_plan import ActivePlan
from surrogate.design_question import Question
from surrogate.search import next_stage

# Given a study with its effort and batch sizes, run what is missing and return all their trials.
RunTrials = Callable[[ActivePlan, Sequence[int]], Mapping[int, Sequence[Trial]]]


@dataclass(frozen=True, kw_only=True)
class DesignState:
    """A design after a decision.

    Attributes:
        decision: what it does next.
        effort: of every batch size measured.
        trials: by batch size, those that it asked for.
    """

    decision: Decision
    effort: Effort
    trials: Mapping[int, Sequence[Trial]]


def run_design(
    plan: ActivePlan,
    question: Question,
    menu: Menu,
    run_trials: RunTrials,
    choice: FitChoice,
) -> Iterator[DesignState]:
    """Measure and decide until the design stops.

    Args:
        plan: the study, with the effort to start with.
        question: whose interval is to be narrowed.
        menu: what may be done.
        run_trials: runs what is missing.
        choice: how the laws are fitted between two decisions.

    Yields:
        The state after each decision, the last one without an action.
    """
    effort = Effort(trials=plan.protocol.trials, repeats=plan.protocol.repeats)
    wanted = list(first_batch_sizes(menu.batch_sizes))
    trials: dict[int, list[Trial]] = {}
    while True:
        plan = plan.with_effort(trials=effort.trials, repeats=effort.repeats)
        known = run_trials(plan, wanted)
        for size in wanted:
            trials[size] = asked_trials(plan, size, known[size], trials.get(size, []))
        measured = measurements_of(trials, path=Path(plan.study))
        cells = cells_of(plan, trials, measured)
        decision = decide(fit_laws(measured, choice), cells, effort, question, menu)
        yield DesignState(decision=decision, effort=effort, trials=trials)
        if decision.action is None:
            return
        effort = decision.action.effort
        size_to_visit = decision.action.batch_size
        wanted = sorted(trials) if size_to_visit is None else [size_to_visit]


def asked_trials(
    plan: ActivePlan, batch_size: int, known: Sequence[Trial], before: Sequence[Trial]
) -> list[Trial]:
    """Return the trials that the protocol asks for with this effort, from those known.

    Args:
        plan: the study with its effort.
        batch_size: examples per step.
        known: trials of this study and batch size, of any effort, at least those asked for.
        before: those that a smaller effort asked for: they were run and paid for.

    Returns:
        `before`, and what is new.

    Raises:
        LookupError: where a trial is asked for that is not known.
    """
    by_id = {trial.trial_id: trial for trial in known}
    asked = list(before)
    while stage := next_stage(plan, batch_size, asked):
        for candidate in stage.candidates:
            name = candidate.trial_id(plan, batch_size)
            if name not in by_id:
                raise LookupError(f"batch size {batch_size}: no trial {name} of {stage.name}")
            asked.append(by_id[name])
    return asked


def measurements_of(trials: Mapping[int, Sequence[Trial]], *, path: Path) -> Measurements:
    """Reduce trials to the rows that are fitted, as `models_of_scaling fit` does.

    Args:
        trials: by batch size.
        path: for messages.
    """
    everything = [trial for size in sorted(trials) for trial in trials[size]]
    return measurements_from_trials(trials_to_table(everything), TableChoice(), path=path)


def cells_of(
    plan: ActivePlan, trials: Mapping[int, Sequence[Trial]], measured: Measurements
) -> list[Cell]:
    """Return the summary of every batch size.

    Args:
        plan: the study.
        trials: by batch size.
        measured: the rows of the same trials.
    """
    low, high = np.maximum(measured.steps_low, 0.5), measured.steps_high
    cells = []
    for size in sorted(trials):
        rows = (measured.batch_size == size) & measured.reached
        log_steps = 0.5 * (np.log(low[rows]) + np.log(high[rows]))
        cells.append(
            summarise_cell(plan, trials[size], log_steps.tolist(), reached=bool(rows.any()))
        )
    return cells
