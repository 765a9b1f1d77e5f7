"""A race among the trials of a search stage: as the best nears the target, the worst stop.

Sources: Jamieson & Talwalkar 2016, AISTATS 51:240 (successive halving: most of a search's cost is
in configurations that are behind long before they end); Maron & Moore 1994, NeurIPS 6:59 (races).
Differs: what share has been stopped is the square of the share of the way, in logs, that the best
has gone to the target, and not a matter of rounds fixed in steps. So the rule needs no length of a
run, is the same at every batch size, and goes by what trials of that batch size did alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from models_of_scaling.targets import Target
from models_of_scaling.trials import Trial


@dataclass(kw_only=True)
class Race:
    """The runs of one stage; mutable.

    Attributes:
        target: that they run to.
        num_runs: that began.
        least: so many are never stopped by the race.
        best_at_first: what was left to go for the best at the first evaluation; None before it.
        reached: runs that met the target.
    """

    target: Target
    num_runs: int
    least: int
    best_at_first: float | None = None
    reached: set[int] = field(default_factory=set)

    def fallen_behind(self, values: Mapping[int, float]) -> set[int]:
        """Return which runs stop after an evaluation.

        Args:
            values: of the target's metric, of every run that has been going on up to here. A run
                that is not among them and did not reach the target has stopped.

        Returns:
            Those that are not among the best `keep` of all that began, where keep is `num_runs`
            times 1 - (share of the way that the best has gone)^2, and at least `least`. Ties go
            to the run that began first.
        """
        now_reached = {run for run, value in values.items() if self.target.is_met(value)}
        self.reached |= now_reached
        left = {run: self._left(value) for run, value in values.items() if run not in now_reached}
        best = 0.0 if self.reached else min(left.values(), default=math.inf)
        if self.best_at_first is None:
            self.best_at_first = best
        keep = max(self.least, math.ceil(self.num_runs * (1 - self._share_of_way(best) ** 2)))
        order = sorted(left, key=lambda run: (left[run], run))
        return set(order[max(keep - len(self.reached), 0) :])

    def _left(self, value: float) -> float:
        """Return a loss, or one minus an accuracy; infinity where it is no number."""
        left = 1 - value if self.target.metric == "validation_accuracy" else value
        return left if math.isfinite(left) else math.inf

    def _share_of_way(self, best: float) -> float:
        if self.reached:
            return 1.0
        first, end = self.best_at_first, self._left(self.target.value)
        if first is None or not (0 < end < first < math.inf and 0 < best < math.inf):
            return 0.0
        return min(max(math.log(first / best) / math.log(first / end), 0.0), 1.0)


def as_raced(trials: Sequence[Trial], target: Target, *, least: int) -> list[Trial]:
    """Return the trials of a stage as a race would have left them.

    Args:
        trials: all of a stage, each evaluated at the same steps until it ended.
        target: that they ran to.
        least: see `Race`.

    Returns:
        The trials; one that fell behind is `not_reached` at the evaluation where it did.
    """
    race = Race(target=target, num_runs=len(trials), least=least)
    curves = [
        dict(zip(trial.curve_steps, getattr(trial, f"curve_{target.metric}"), strict=True))
        for trial in trials
    ]
    stopped: dict[int, int] = {}
    for step in sorted({step for curve in curves for step in curve}):
        values = {
            run: curve[step]
            for run, curve in enumerate(curves)
            if step in curve and run not in stopped
        }
        stopped |= dict.fromkeys(race.fallen_behind(values), step)
    return [
        cut_trial(trial, stopped[run]) if stopped.get(run, trial.steps) < trial.steps else trial
        for run, trial in enumerate(trials)
    ]


def cut_trial(trial: Trial, step: int) -> Trial:
    """Return a trial as it would be, had it been stopped at an evaluation.

    Args:
        trial: that went on for longer.
        step: of one of its evaluations.

    Returns:
        `not_reached` there.
    """
    kept = sum(each <= step for each in trial.curve_steps)
    return replace(
        trial,
        status="not_reached",
        steps=step,
        examples=step * trial.batch_size,
        # What was computed beyond was in vain: the share up to the cut is what it costs.
        wall_time_s=trial.wall_time_s * step / trial.steps,
        curve_steps=trial.curve_steps[:kept],
        curve_train_loss=trial.curve_train_loss[:kept],
        curve_validation_loss=trial.curve_validation_loss[:kept],
        curve_validation_accuracy=trial.curve_validation_accuracy[:kept],
    )
