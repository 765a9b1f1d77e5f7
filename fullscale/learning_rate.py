"""A run's learning rate at each step: peak, warm-up, schedule, and what the batch changes in them.

Where the batch grows, the schedule is read at the examples done, in steps of the first batch, and
the rate may follow the batch (`fullscale.batch_growth`).

Regime adaptation (Hoffer, Hubara & Soudry 2017, arXiv:1705.08741, sections 4 and 5) carries a
regime that was good at batch size B_0 over to B: the rate times sqrt(B / B_0), so that a step's
noise has the same covariance; every length in epochs or examples times B / B_0, so that there are
as many steps; statistics of batch norm over "ghost" batches of the old size (--model.
batch_norm_span). Differs from the source: its gradient clipping is a flag of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fullscale.durations import Duration
from fullscale.learning_rate_scaling import RateScaling, scaled_learning_rate
from fullscale.run_plan import RunPlan
from fullscale.schedule_registry import build_schedule
from fullscale.schedules import Schedule
from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LearningRate:
    """What the flags say of it.

    Attributes:
        given_peak: at the end of the warm-up, at the batch that it was given for.
        end: where the decay ends, likewise.
        schedule_name: a key of `SCHEDULES`.
        schedule_numbers: fields of the schedule, the warm-up's start among them.
        warmup: its length.
        adapted_from: B_0 of regime adaptation; None without.
        growth_scaling: how the rate follows a batch that grows by a table or by measured noise.
    """

    given_peak: float
    end: float = 0.0
    schedule_name: str
    schedule_numbers: Mapping[str, Any] = field(default_factory=dict)
    warmup: Duration
    adapted_from: int | None = None
    growth_scaling: RateScaling = "none"

    def __post_init__(self) -> None:
        """Check each field; and the schedule, but for what depends on the run's length.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if not 0 < self.given_peak < float("inf"):
            raise InputError(f"--model.learning_rate {self.given_peak} must be positive and finite")
        if not 0 <= self.end <= self.given_peak:
            raise InputError(
                f"--model.end_learning_rate {self.end} must be between 0 and the peak "
                f"{self.given_peak}"
            )
        if self.adapted_from is not None and self.adapted_from < 1:
            raise InputError(
                f"--model.adapt_regime_from {self.adapted_from} must be a batch size, at least 1"
            )
        self._build(warmup_steps=0, num_train_steps=1)

    def _build(self, **lengths: int) -> Schedule:
        numbers = dict(self.schedule_numbers)
        if self.end or self.schedule_name == "polynomial":
            numbers["end_factor"] = self.end / self.given_peak
        return build_schedule(self.schedule_name, numbers=numbers, **lengths)

    def schedule(self, plan: RunPlan) -> Schedule:
        """Return the course over the run, in steps of its first batch.

        Args:
            plan: of the run.

        Raises:
            InputError: where the warm-up is as long as the run, or not over where the batch grows
                with the decay.
        """
        schedule = self._build(
            warmup_steps=self.warmup.to_steps(
                batch_size=plan.lengths_batch_size, num_train_examples=plan.num_train_examples
            ),
            num_train_steps=plan.num_constant_steps,
        )
        if plan.growth.with_decay:
            second = plan.phases.phases[min(1, len(plan.phases.phases) - 1)]
            grown_at = second.first_example // plan.layout.global_batch_size
            if schedule.warmup_steps > grown_at > 0:
                raise InputError(
                    f"--data.grow_with_decay: the warm-up of {schedule.warmup_steps} steps must "
                    f"be over where the schedule drops first, after {grown_at} steps"
                )
        return schedule

    def peak(self, plan: RunPlan) -> float:
        """Return the rate at the end of the warm-up.

        Args:
            plan: of the run.
        """
        if self.adapted_from is None:
            return self.given_peak
        return scaled_learning_rate(
            self.given_peak,
            rule="sqrt",
            batch_size=plan.layout.global_batch_size,
            base_batch_size=self.adapted_from,
        )

    def at(self, step: int, *, plan: RunPlan, schedule: Schedule) -> float:
        """Return the rate of a step.

        Args:
            step: from 0.
            plan: of the run.
            schedule: as `schedule` returned it for this plan.
        """
        peak = self.peak(plan)
        if not plan.grows:
            return peak * schedule.factor(step)
        first, now = plan.layout.global_batch_size, plan.phases.at(step).batch_size
        rate = peak * schedule.factor(plan.phases.examples(step) // first)
        rule: RateScaling = "linear" if plan.growth.with_decay else self.growth_scaling
        return scaled_learning_rate(rate, rule=rule, batch_size=now, base_batch_size=first)

    def check_adaptation(self, plan: RunPlan, *, has_batch_norm: bool) -> None:
        """Refuse an adapted regime that leaves batch norm's statistics to the large batch.

        Args:
            plan: of the run.
            has_batch_norm: whether the network has such layers.

        Raises:
            InputError: where it has, and no span is given.
        """
        if self.adapted_from and has_batch_norm and plan.layout.batch_norm_span is None:
            raise InputError(
                f"--model.adapt_regime_from {self.adapted_from}: its regime has ghost batch norm; "
                f"give --model.batch_norm_span, in the source the small batch, {self.adapted_from}"
            )
