"""What a batch size's trials say to an active design: its steps, their noise, what they cost.

The noise of a batch size's mean log steps about the law has a part that repeats shrink, the seeds'
variance over their number. The rest is what the search still misses, or the law itself; which of
them, only more search can tell. It is taken to fall as 1 / T with the search's T trials: near a
quadratic optimum of two searched numbers what the best of T random points misses is exponential
with a mean that falls as 1 / T, so its variance falls as 1 / T^2, and a law's misfit not at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models_of_scaling.quantities import Floats
from models_of_scaling.trials import Trial
from surrogate.protocol import Plan


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measured batch size.

    Attributes:
        batch_size: examples per step.
        reached: whether a repeat of the winner reached the target.
        log_steps: mean log steps to target of the winner's repeats; NaN where none reached.
        seed_variance: of one repeat's log steps; NaN with less than two.
        search_examples: that its search cost.
        shortlist_examples: that the choice among the best cost.
        repeat_examples: that the repeats cost.
    """

    batch_size: int
    reached: bool
    log_steps: float
    seed_variance: float
    search_examples: float
    shortlist_examples: float
    repeat_examples: float

    @property
    def examples(self) -> float:
        """All examples that were processed at this batch size."""
        return self.search_examples + self.shortlist_examples + self.repeat_examples

    @property
    def tuned_examples(self) -> float:
        """Examples of one tuned run to target."""
        return self.batch_size * math.exp(self.log_steps)


def charged_examples(plan: Plan, trials: Sequence[Trial]) -> dict[str, float]:
    """Return the examples that the trials of one batch size cost, by phase.

    A search or shortlist trial is stopped at a multiple of the fewest steps known. Training does
    that itself, up to its next evaluation; the simulator, whose runs cost nothing, does not, and
    its trials are charged as if it did.

    Args:
        plan: whose protocol says at which multiple.
        trials: of one batch size.

    Returns:
        Examples of "search", "shortlist" and "repeat".
    """
    spent = {"search": 0.0, "shortlist": 0.0, "repeat": 0.0}
    stages: dict[str, list[Trial]] = {}
    for trial in trials:
        name = trial.phase if trial.phase != "search" else trial.settings["stage"]
        stages.setdefault(name, []).append(trial)
    fewest = math.inf
    # As the protocol runs them: "wide" before "zoom-1" before "widen-1" before "shortlist".
    order = {"wide": 0, "zoom": 1, "widen": 2, "shortlist": 3, "repeat": 4}
    for name in sorted(stages, key=lambda each: (order[each.partition("-")[0]], each)):
        reached = [trial.steps for trial in stages[name] if trial.status == "reached"]
        if name not in {"shortlist", "repeat"}:
            fewest = min([fewest, *reached])
        limit = math.inf if name == "repeat" else plan.protocol.slowest_factor * fewest
        phase = stages[name][0].phase
        spent[phase] += sum(each.batch_size * min(each.steps, limit) for each in stages[name])
    return spent


def summarise_cell(
    plan: Plan, trials: Sequence[Trial], log_steps: Sequence[float], *, reached: bool
) -> Cell:
    """Reduce one batch size.

    Args:
        plan: the study.
        trials: of this batch size, at least one.
        log_steps: log steps to target of each repeat that reached it, as the fit reads them.
        reached: whether any did.

    Returns:
        The summary.
    """
    spent = charged_examples(plan, trials)
    return Cell(
        batch_size=trials[0].batch_size,
        reached=reached,
        log_steps=float(np.mean(log_steps)) if reached else math.nan,
        seed_variance=float(np.var(log_steps, ddof=1)) if len(log_steps) > 1 else math.nan,
        search_examples=spent["search"],
        shortlist_examples=spent["shortlist"],
        repeat_examples=spent["repeat"],
    )


def noise_left(
    noise_R: Floats, seed_variance: float, *, repeats: tuple[int, int], trials: tuple[int, int]
) -> Floats:
    """Return each draw's noise of a mean after more effort, (R,).

    Args:
        noise_R: size of each draw's noise now.
        seed_variance: of one repeat's log steps.
        repeats: now and after.
        trials: of the search, now and after.

    Returns:
        In logs. Where a draw's noise is less than the seeds alone would make it, it is the seeds'.
    """
    seeds_R = np.minimum(seed_variance / repeats[0], noise_R**2)
    rest_R = noise_R**2 - seeds_R
    return np.asarray(np.sqrt(seeds_R * repeats[0] / repeats[1] + rest_R * trials[0] / trials[1]))


def pooled_seed_variance(cells: Sequence[Cell]) -> float:
    """Return the variance of one repeat's log steps over all batch sizes; 0 where none tells it."""
    variances = [cell.seed_variance for cell in cells if not math.isnan(cell.seed_variance)]
    return float(np.mean(variances)) if variances else 0.0


def too_small(cells: Sequence[Cell]) -> int:
    """Return the largest batch size that is too small to reach the target; 0 where none is.

    Args:
        cells: those measured. One that missed the target below all that reached it was too small;
            one above them had too few steps.
    """
    reached = [cell.batch_size for cell in cells if cell.reached]
    missed = [cell.batch_size for cell in cells if not cell.reached]
    return max([size for size in missed if size < min(reached, default=0)], default=0)


@dataclass(frozen=True, kw_only=True)
class CostRates:
    """What runs cost, in examples of one tuned run at their batch size.

    Attributes:
        search_trial: one trial of a search.
        shortlist: the choice among a search's best.
        repeat: one repeat.
    """

    search_trial: float
    shortlist: float
    repeat: float

    def visit(self, *, trials: int, repeats: int) -> float:
        """Return the cost of measuring a new batch size."""
        return self.search_trial * trials + self.shortlist + self.repeat * repeats


def cost_rates(cells: Sequence[Cell], *, trials: int, repeats: int) -> CostRates:
    """Return the rates that the batch sizes measured so far paid on average.

    Args:
        cells: those measured; at least one reached.
        trials: of each one's search.
        repeats: of each one's winner.
    """
    reached = [cell for cell in cells if cell.reached]
    search, shortlist, repeat = (
        float(np.mean([getattr(cell, name) / cell.tuned_examples for cell in reached]))
        for name in ("search_examples", "shortlist_examples", "repeat_examples")
    )
    return CostRates(search_trial=search / trials, shortlist=shortlist, repeat=repeat / repeats)
