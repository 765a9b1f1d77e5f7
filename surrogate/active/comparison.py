"""An active design beside the full grid: what both say of a quantity, and what both cost."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models_of_scaling.intervals import Interval
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.trials import Trial
from surrogate.active.actions import Effort, Menu
from surrogate.active.cells import charged_examples
from surrogate.active.plan import ActivePlan
from surrogate.active.question import Question
from surrogate.active.recorded_trials import Records, compute_trials
from surrogate.active.run import (
    Measure,
    TrialLedger,
    asked_trials,
    first_effort,
    measurements_of,
    run_design,
)
from surrogate.protocol import Plan


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One replay.

    Attributes:
        seed: of it.
        full: interval of the full grid.
        active: interval of the active design when it stopped.
        cost_share: what the active design cost over what the full grid cost.
        batch_sizes: that the design measured.
        effort: that it ended with.
    """

    seed: int
    full: Interval
    active: Interval
    cost_share: float
    batch_sizes: tuple[int, ...]
    effort: Effort

    @property
    def width_ratio(self) -> float:
        """Log width of the active design's interval over that of the full grid's."""
        return log_width(self.active) / log_width(self.full)

    @property
    def holds_estimate(self) -> bool:
        """Whether the active design's interval holds the full grid's estimate."""
        return self.active.low <= self.full.estimate <= self.active.high


def log_width(interval: Interval) -> float:
    """Return log(high / low); inf where an end is open."""
    return math.log(interval.high / interval.low) if interval.is_bounded else math.inf


@dataclass(frozen=True, kw_only=True)
class FullGrid:
    """What the full grid found and cost.

    Attributes:
        seed: of it.
        interval: of the asked quantity.
        examples: processed.
        batch_sizes: all of them.
        max_steps: budget of a run at each.
    """

    seed: int
    interval: Interval
    examples: float
    batch_sizes: tuple[int, ...]
    max_steps: tuple[int, ...]


def compare(
    full: FullGrid,
    measure: Measure,
    effort: tuple[Effort, Effort],
    question: Question,
    *,
    share: float,
    choice: FitChoice,
) -> Comparison:
    """Run an active design until its interval is as narrow as the full grid's.

    Args:
        full: what it is compared with.
        measure: measures for the design.
        effort: to start with, and the most.
        question: whose interval both give.
        share: of the full grid's examples that the design may spend at most.
        choice: how laws are fitted, the same for both.

    Returns:
        The comparison.
    """
    menu = Menu(
        batch_sizes=full.batch_sizes,
        max_steps=full.max_steps,
        most=effort[1],
        budget_examples=share * full.examples,
        precision=math.exp(log_width(full.interval)) if full.interval.is_bounded else 1.0,
    )
    *_, last = run_design(measure, effort[0], question, menu, choice)
    return Comparison(
        seed=full.seed,
        full=full.interval,
        active=last.decision.interval,
        cost_share=last.decision.spent / full.examples,
        batch_sizes=last.batch_sizes,
        effort=last.effort,
    )


def compare_trials(
    full: tuple[Plan, Records],
    active: tuple[ActivePlan, Records | None],
    question: Question,
    *,
    most: Effort,
    share: float,
    choice: FitChoice,
) -> Comparison:
    """Compare by trials.

    Args:
        full: the full sweep and its trials.
        active: the active study, and its trials of every effort up to `most`; None for a
            simulator, whose trials are computed when they are asked for.
        question: whose interval both give.
        most: effort that the design may reach.
        share: see `compare`.
        choice: see `compare`.

    Returns:
        The comparison.
    """
    full_plan, full_trials = full
    paid = {
        size: asked_trials(full_plan, size, each, []) for size, each in sorted(full_trials.items())
    }
    fit = fit_laws(measurements_of(paid, path=Path(full_plan.study)), choice)
    grid = FullGrid(
        seed=full_plan.protocol.seed,
        interval=question.interval(fit),
        examples=sum(sum(charged_examples(full_plan, each).values()) for each in paid.values()),
        batch_sizes=tuple(paid),
        max_steps=tuple(full_plan.budget.steps(size) for size in paid),
    )
    plan, recorded = active
    computed: dict[int, list[Trial]] = {}

    def run_trials(asked: ActivePlan, wanted: Sequence[int]) -> Records:
        if recorded is not None:
            return recorded
        for size in wanted:
            computed[size] = compute_trials(asked, size, computed.get(size, []))
        return computed

    ledger = TrialLedger(plan, run_trials)
    effort = first_effort(plan), most
    return compare(grid, ledger.measure, effort, question, share=share, choice=choice)


def summary_in_words(comparisons: Sequence[Comparison]) -> str:
    """Return the medians over replays, and in how many what was hoped for was so.

    Args:
        comparisons: at least one.
    """
    ratios = [each.width_ratio for each in comparisons]
    shares = [each.cost_share for each in comparisons]
    return (
        f"{len(comparisons)} replays: median log width {statistics.median(ratios):.2f} of the full "
        f"grid's ({min(ratios):.2f} to {max(ratios):.2f}) at a median "
        f"{100 * statistics.median(shares):.0f} % of its cost; as narrow in "
        f"{sum(ratio <= 1 for ratio in ratios)}; the grid's estimate within it in "
        f"{sum(each.holds_estimate for each in comparisons)}"
    )
