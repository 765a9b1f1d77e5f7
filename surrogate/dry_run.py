"""What a sweep would cost: a short calibration of this machine, then the arithmetic of budgets.

Steps and evaluations of a population are timed at two or three batch sizes (`step_times`); times
at others are interpolated in logarithms. How many steps a run takes is not known before a sweep: it
is guessed from the workload's budget, of which tuned runs of digits take a tenth. So the range is
wide on purpose, and the answer is an estimate. Where trials are there, their fewest steps replace
the guess.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from surrogate.evaluation_grid import next_evaluation
from surrogate.protocol import Plan
from surrogate.run_sweep import SweepSettings, local_workers
from surrogate.search import next_stage
from surrogate.spoken_time import spoken_time
from surrogate.step_times import StepTimes, measure_step_times
from surrogate.trial_parts import finished_trials
from surrogate.workloads import Workload, get_workload

# Fewest steps to target as a share of the budget: low end, guess, high end of the range.
_SHARES = (0.06, 0.12, 0.25)
# Members leave as they reach or diverge: the mean population over a search's life, as a share.
_MEAN_POPULATION = 0.6
# Full evaluations of a screened run, and what few images of the others cost, as a share of all.
_SCREENED_SHARE = 0.5
_START_SECONDS = 6.0  # a process imports torch and traces its first steps


@dataclass(frozen=True, kw_only=True)
class BatchSizeEstimate:
    """What one batch size would cost.

    Attributes:
        batch_size: examples per step.
        num_runs: that are missing, without widenings.
        max_steps: budget of one run.
        seconds: of one process, expected.
        seconds_low: if runs reach early.
        seconds_high: if they reach late, with widenings.
    """

    batch_size: int
    num_runs: int
    max_steps: int
    seconds: float
    seconds_low: float
    seconds_high: float


@dataclass(frozen=True, kw_only=True)
class SweepEstimate:
    """What a sweep would cost; an estimate.

    Attributes:
        study: its name.
        workers: processes that share the work.
        num_cells: stages to run, without widenings.
        batch_sizes: one for each that is not complete.
        seconds: of wall time, expected.
        seconds_low: low end of the range.
        seconds_high: high end.
    """

    study: str
    workers: int
    num_cells: int
    batch_sizes: tuple[BatchSizeEstimate, ...]
    seconds: float
    seconds_low: float
    seconds_high: float

    def in_words(self) -> str:
        """Return a table, the total, and that it is an estimate."""
        lines = [f"{'batch size':>10} {'runs':>6} {'steps at most':>14}  time of one process"]
        lines += [
            f"{each.batch_size:>10,} {each.num_runs:>6} {each.max_steps:>14,}  "
            f"{spoken_time(each.seconds)} ({spoken_time(each.seconds_low)} to "
            f"{spoken_time(each.seconds_high)})"
            for each in self.batch_sizes
        ]
        runs = sum(each.num_runs for each in self.batch_sizes)
        return "\n".join([
            *lines,
            f"{self.study}: {runs:,} runs in {self.num_cells} cells on {self.workers} workers: "
            f"{spoken_time(self.seconds)} ({spoken_time(self.seconds_low)} to "
            f"{spoken_time(self.seconds_high)})",
            "This is an estimate: steps at another machine's load, and how early runs reach the "
            "target, are not known before; nothing was written.",
        ])


def estimate_sweep(settings: SweepSettings) -> SweepEstimate:
    """Estimate what a sweep would cost on this machine; writes nothing.

    Args:
        settings: of the sweep.

    Returns:
        The estimate.
    """
    plan, workload = settings.plan, get_workload(settings.workload)
    done = {size: finished_trials(plan, size, settings.out) for size in settings.sizes}
    missing = [size for size in settings.sizes if next_stage(plan, size, done[size])]
    workers, _ = local_workers(settings)
    times = _Times(plan, workload, missing)
    estimates, cells = [], 0
    for size in missing:
        stages = _stages(plan, len(done[size]))
        cells += len(stages)
        known = [t.steps for t in done[size] if t.status == "reached" and t.phase == "search"]
        budget = plan.budget.steps(size)
        fewest = [min(known)] * 3 if known else [max(1.0, share * budget) for share in _SHARES]
        low, middle, high = (
            sum(times.stage(size, name, count, each) for name, count in stages) for each in fewest
        )
        widenings = plan.protocol.max_widenings * plan.protocol.widening_trials
        estimates.append(
            BatchSizeEstimate(
                batch_size=size,
                num_runs=sum(count for _, count in stages),
                max_steps=budget,
                seconds=middle,
                seconds_low=low / 1.5,
                seconds_high=high + times.stage(size, "widen-1", widenings, fewest[2]),
            )
        )
    columns = ("seconds", "seconds_low", "seconds_high")
    total = {name: _wall_time([getattr(e, name) for e in estimates], workers) for name in columns}
    return SweepEstimate(
        study=plan.study,
        workers=workers,
        num_cells=cells,
        batch_sizes=tuple(estimates),
        **total,
    )


def _wall_time(seconds: Sequence[float], workers: int) -> float:
    """Return the wall time of batch sizes, each of which is a chain of stages.

    A chain can be dealt out among idle workers, at little gain: it counts as one worker's here.
    """
    if not seconds:
        return 0.0
    return _START_SECONDS + max(sum(seconds) / workers, *seconds)


def _stages(plan: Plan, num_done: int) -> list[tuple[str, int]]:
    """Return the planned stages that are missing, with their runs; trials come in this order."""
    protocol = plan.protocol
    half = protocol.trials - protocol.trials // 2
    zooms = len(protocol.zoom_widths)
    again = protocol.shortlist * protocol.shortlist_seeds if protocol.shortlist > 1 else 0
    planned = [
        ("wide", half),
        *((f"zoom-{number}", protocol.trials // 2 // zooms) for number in range(1, zooms + 1)),
        ("shortlist", again * len(plan.questions)),
        ("repeat", protocol.repeats * len(plan.questions)),
    ]
    missing = []
    for name, count in planned:
        passed = min(count, num_done)
        num_done -= passed
        if count > passed:
            missing.append((name, count - passed))
    return missing


class _Times:
    """Times of populations, measured at a few batch sizes and interpolated between them."""

    def __init__(self, plan: Plan, workload: Workload, sizes: Sequence[int]) -> None:
        self._plan = plan
        places = sorted({0, len(sizes) // 2, len(sizes) - 1}) if sizes else []
        self._known = measure_step_times(plan, sorted({sizes[place] for place in places}))
        self._simulated = workload.engine == "noisy_quadratic"

    def stage(self, size: int, name: str, count: int, fewest_steps: float) -> float:
        """Return the seconds of a stage with so many runs, given the fewest steps to target."""
        if not count:
            return 0.0
        times = self._at(size)
        if self._simulated:
            return count * times.step_of_4 / 4
        searching = name.startswith(("wide", "zoom", "widen"))
        factor = self._plan.protocol.slowest_factor if searching else 1.5
        budget = self._plan.budget
        whole = budget.epochs is not None  # every run goes to its end
        steps = budget.steps(size) if whole else min(factor * fewest_steps, budget.steps(size))
        members = count * (_MEAN_POPULATION if searching else 1.0)
        evaluations = _evaluations(steps) * (_SCREENED_SHARE if self._plan.screens(name) else 1.0)
        return steps * times.step(members) + evaluations * members * times.evaluation

    def _at(self, size: int) -> StepTimes:
        logs = np.log(list(self._known))

        def at(name: str) -> float:
            values = [getattr(each, name) for each in self._known.values()]
            return float(np.exp(np.interp(math.log(size), logs, np.log(values))))

        return StepTimes(**{each.name: at(each.name) for each in fields(StepTimes)})


def _evaluations(steps: float) -> int:
    count, step = 0, 0
    while step < steps:
        step, count = next_evaluation(step), count + 1
    return count
