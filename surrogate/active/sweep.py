"""Runs an active design: python -m surrogate.sweep --design active --ask steps@4096 --out DIR.

The state is the trial table, as with every sweep: the same command goes on where it was stopped,
and another --precision or --budget-examples goes on from what stands there.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models_of_scaling.errors import InputError
from models_of_scaling.intervals import Interval
from models_of_scaling.law_fit import FitChoice
from models_of_scaling.trials import Trial, read_trials, table_to_trials
from models_of_scaling.wording import interval_in_words, number_in_words
from surrogate.active.actions import Effort, Menu
from surrogate.active.plan import ActivePlan, active_plan, most_effort
from surrogate.active.question import QUESTIONS, Question
from surrogate.active.run import DesignState, TrialLedger, first_effort, run_design
from surrogate.protocol import Plan
from surrogate.run_sweep import MakeWorkers, SweepSettings, run_sweep


@dataclass(frozen=True, kw_only=True)
class DesignChoice:
    """What an active design is asked and when it stops.

    Attributes:
        ask: the quantity.
        precision: high / low of its 90 % interval at which it stops; None for never.
        budget_examples: that it may process; None for no limit.
    """

    ask: Question = field(default_factory=lambda: Question(name="critical_batch_size"))
    precision: float | None = None
    budget_examples: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.precision is None and self.budget_examples is None:
            raise InputError("--design active needs --precision, --budget-examples or both")
        if self.precision is not None and not 1 < self.precision < math.inf:
            raise InputError(f"--precision {self.precision} must be more than 1 and finite")
        if self.budget_examples is not None and not 0 < self.budget_examples < math.inf:
            raise InputError(f"--budget-examples {self.budget_examples} must be positive")


@dataclass(frozen=True, kw_only=True)
class DesignSummary:
    """What an active design found.

    Attributes:
        study: a value of the table's column `study`.
        trials_folder: of the parquet files.
        ask: the quantity.
        interval: of it.
        stop: "precision", "budget" or "nothing_left".
        batch_sizes: measured.
        effort: search trials and repeats of each.
        examples: processed.
        num_trials: that the design asked for.
    """

    study: str
    trials_folder: Path
    ask: str
    interval: Interval
    stop: str
    batch_sizes: tuple[int, ...]
    effort: Effort
    examples: float
    num_trials: int

    def in_words(self) -> str:
        """Return one line."""
        sizes = ", ".join(f"{size:,}" for size in self.batch_sizes)
        return (
            f"{self.study}: {self.ask} {interval_in_words(self.interval)}; {self.num_trials} "
            f"trials, {number_in_words(self.examples)} examples at batch sizes {sizes}; "
            f"{self.trials_folder}"
        )


@dataclass(frozen=True, kw_only=True)
class ActiveSettings(SweepSettings):
    """A sweep of some batch sizes under an active design's study, with a certain effort.

    Attributes:
        effort: of the protocol; None for the smallest.
    """

    effort: Effort | None = None

    @property
    def plan(self) -> Plan:
        """The study that these settings name, with its effort."""
        plan = active_plan(super().plan)
        if self.effort is None:
            return plan
        return plan.with_effort(trials=self.effort.trials, repeats=self.effort.repeats)


def add_design_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of an active design.

    Args:
        parser: of the sweep's command.
    """
    add = parser.add_argument
    add(
        "--design",
        choices=("grid", "active"),
        default="grid",
        help="every batch size, or the ones that narrow an answer most per example (default: grid)",
    )
    add("--ask", metavar="QUESTION", help=f"active: {QUESTIONS} (default: critical_batch_size)")
    add(
        "--precision",
        type=float,
        metavar="RATIO",
        help="active: stop at this high / low of the 90 %% interval",
    )
    add(
        "--budget-examples",
        type=float,
        metavar="N",
        help="active: process no more examples than this",
    )


def pop_design(arguments: dict[str, Any]) -> DesignChoice | None:
    """Take the flags of `add_design_arguments` out of the arguments.

    Args:
        arguments: by name.

    Returns:
        The choice; None for the grid.

    Raises:
        InputError: where a flag of the active design is given without it.
    """
    design = arguments.pop("design")
    given = {name: arguments.pop(name) for name in ("ask", "precision", "budget_examples")}
    given = {name: value for name, value in given.items() if value is not None}
    if design == "grid":
        for name in given:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {given[name]} is for --design active")
        return None
    if "ask" in given:
        given["ask"] = Question.parse(given["ask"])
    return DesignChoice(**given)


def run_active_sweep(
    settings: SweepSettings,
    choice: DesignChoice,
    *,
    progress: bool,
    say: Callable[[str], None],
    workers: MakeWorkers | None = None,
) -> DesignSummary:
    """Run an active design, or go on with it.

    Args:
        settings: of the full sweep that it stands for: its batch sizes are the candidates, its
            trials and seed those of the protocol.
        choice: what is asked and when to stop.
        progress: whether to tell how the runs go, on standard error.
        say: told one line after each decision.
        workers: makes the workers of each decision's runs; None for processes of this machine.

    Returns:
        The summary.

    Raises:
        InputError: for fewer than two batch sizes, or runs of a fixed number of epochs.
    """
    if settings.run.epochs is not None:
        raise InputError("--epochs: an active design asks for steps to a target")
    if len(settings.sizes) < 2:
        raise InputError("--batch-sizes: an active design chooses among at least two")
    content = {name: getattr(settings, name) for name in SweepSettings.__dataclass_fields__}
    active = ActiveSettings(**content)
    plan = active_plan(settings.plan)
    budget, precision = choice.budget_examples, choice.precision
    menu = Menu(
        batch_sizes=settings.sizes,
        max_steps=tuple(settings.plan.budget.steps(size) for size in settings.sizes),
        most=most_effort(settings.plan),
        budget_examples=math.inf if budget is None else budget,
        precision=1.0 if precision is None else precision,
    )

    def run_trials(asked: ActivePlan, sizes: Sequence[int]) -> Mapping[int, Sequence[Trial]]:
        effort = Effort(trials=asked.protocol.trials, repeats=asked.protocol.repeats)
        asked_for = replace(active, batch_sizes=tuple(sizes), effort=effort)
        run_sweep(asked_for, progress=progress, workers=workers)
        return _trials_in(settings.out, asked.study, sizes)

    ledger = TrialLedger(plan, run_trials)
    fit = FitChoice(seed=settings.seed)
    state: DesignState | None = None
    for state in run_design(ledger.measure, first_effort(plan), choice.ask, menu, fit):
        say(state.decision.in_words)
    assert state is not None  # a design decides at least once: to stop
    return DesignSummary(
        study=plan.study,
        trials_folder=settings.out / "trials",
        ask=str(choice.ask),
        interval=state.decision.interval,
        stop=state.decision.stop,
        batch_sizes=state.batch_sizes,
        effort=state.effort,
        examples=state.decision.spent,
        num_trials=sum(len(each) for each in ledger.trials.values()),
    )


def _trials_in(folder: Path, study: str, sizes: Sequence[int]) -> dict[int, list[Trial]]:
    """Read a study's trials at some batch sizes, those of every effort."""
    found: dict[int, list[Trial]] = {size: [] for size in sizes}
    for trial in table_to_trials(read_trials(folder / "trials")):
        if trial.study == study and trial.batch_size in found:
            found[trial.batch_size].append(trial)
    return found
