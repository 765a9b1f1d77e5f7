"""An active design from its first batch sizes to its stop, whoever runs the trials.

Nothing but the trials is kept: a design that was stopped decides again what it decided, from the
trials that it had then, finds what it asked for already run, and goes on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.measurements import Measurements
from models_of_scaling.study_source import TableChoice, measurements_from_trials
from models_of_scaling.trials import Trial, trials_to_table
from surrogate.active.actions import Effort, Menu
from surrogate.active.cells import Cell, summarise_cell, too_small
from surrogate.active.plan import ActivePlan
from surrogate.active.question import Question
from surrogate.design import Decision, decide, first_batch_sizes
from surrogate.protocol import Plan
from surrogate.search import next_stage

# Given a study with its effort and batch sizes, run what is missing and return all their trials.
RunTrials = Callable[[ActivePlan, Sequence[int]], Mapping[int, Sequence[Trial]]]
# Given an effort and the batch sizes that lack it, return the rows and cells of all measured ones.
Measure = Callable[[Effort, Sequence[int]], tuple[Measurements, Sequence[Cell]]]


@dataclass(frozen=True, kw_only=True)
class DesignState:
    """A design after a decision.

    Attributes:
        decision: what it does next.
        effort: of every batch size measured.
        cells: the batch sizes measured.
    """

    decision: Decision
    effort: Effort
    cells: Sequence[Cell]

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes measured."""
        return tuple(cell.batch_size for cell in self.cells)


def run_design(
    measure: Measure, effort: Effort, question: Question, menu: Menu, choice: FitChoice
) -> Iterator[DesignState]:
    """Measure and decide until the design stops.

    Args:
        measure: runs what is missing and says what was found.
        effort: to start with.
        question: whose interval is to be narrowed.
        menu: what may be done.
        choice: how the laws are fitted between two decisions.

    Yields:
        The state after each decision, the last one without an action.
    """
    measured, cells = measure_start(measure, effort, menu.batch_sizes)
    while True:
        decision = decide(fit_laws(measured, choice), cells, effort, question, menu)
        state = DesignState(decision=decision, effort=effort, cells=cells)
        yield state
        if decision.action is None:
            return
        menu = replace(menu, was_narrow=menu.is_met(decision.interval))
        effort, size = decision.action.effort, decision.action.batch_size
        measured, cells = measure(effort, state.batch_sizes if size is None else [size])


def measure_start(
    measure: Measure, effort: Effort, batch_sizes: Sequence[int]
) -> tuple[Measurements, Sequence[Cell]]:
    """Measure the batch sizes that a design starts with.

    The smallest comes last. A run that can't reach the target costs its whole budget, and where a
    batch size is too small to reach it at all (LARS's steps do not shrink with the gradient), a
    smaller one is too: then those next above it take the place of what is left.

    Args:
        measure: runs what is missing and says what was found.
        effort: of each.
        batch_sizes: that may be measured, increasing.

    Returns:
        What `measure` says at the end.
    """
    first = first_batch_sizes(batch_sizes)
    # A law needs two.
    asked = first[1:] if len(first) > 2 else first
    measured, cells = measure(effort, asked)
    reached = [cell.batch_size for cell in cells if cell.reached]
    if reached and not too_small(cells):
        return (measured, cells) if asked == first else measure(effort, first[:1])
    missed = max(cell.batch_size for cell in cells if not cell.reached)
    above = [size for size in batch_sizes if size > missed and size not in reached]
    return measure(effort, above[: len(first) - len(reached)])


def first_effort(plan: ActivePlan) -> Effort:
    """Return the effort that a study starts with."""
    return Effort(trials=plan.protocol.trials, repeats=plan.protocol.repeats)


class TrialLedger:
    """Measures by trials, and keeps those that the design asked for.

    Attributes:
        trials: by batch size, in the order asked; with those of smaller efforts, which were paid.
    """

    def __init__(self, plan: ActivePlan, run_trials: RunTrials) -> None:
        """Start with none.

        Args:
            plan: the study.
            run_trials: runs what is missing.
        """
        self._plan, self._run_trials = plan, run_trials
        self.trials: dict[int, list[Trial]] = {}

    def measure(
        self, effort: Effort, batch_sizes: Sequence[int]
    ) -> tuple[Measurements, Sequence[Cell]]:
        """Bring batch sizes to an effort, and reduce all that were measured.

        Args:
            effort: search trials and repeats.
            batch_sizes: that lack it.

        Returns:
            The rows of the fit, and a cell of each batch size.
        """
        plan = self._plan.with_effort(trials=effort.trials, repeats=effort.repeats)
        known = self._run_trials(plan, batch_sizes)
        for size in batch_sizes:
            before = self.trials.get(size, [])
            self.trials[size] = asked_trials(plan, size, known[size], before)
        measured = measurements_of(self.trials, path=Path(plan.study))
        return measured, cells_of(plan, self.trials, measured)


def asked_trials(
    plan: Plan, batch_size: int, known: Sequence[Trial], before: Sequence[Trial]
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

    Returns:
        The rows.
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
