"""Learning-rate schedules: pure functions of the step. Standard library only.

Linear warm-up (Goyal et al. 2017, arXiv:1706.02677, section 2.2), then polynomial decay (You et al.
2017, arXiv:1708.03888, section 5, power 2):

    factor(t) = (t + 1) / W                                 t < W
    factor(t) = e + (1 - e) ((T - t) / (T - W))^p           W <= t < T

for warm-up W, run length T, power p, end factor e. Differs from the sources: the first step is
(t + 1) / W, not 0, so that no step is lost; the last step's rate is therefore one grid point above
the end factor. Power 0 is a constant rate after the warm-up.
"""

from dataclasses import dataclass

from models_of_scaling.errors import InputError


@dataclass(frozen=True, kw_only=True)
class WarmupPolynomial:
    """Linear warm-up to the peak, then polynomial decay to the run's end.

    Attributes:
        warmup_steps: W, optimizer steps; 0 for none.
        num_train_steps: T, the planned length of the run in optimizer steps.
        decay_power: p; 0 keeps the peak.
        end_factor: e, the rate at the end as a share of the peak, in [0, 1].
    """

    warmup_steps: int
    num_train_steps: int
    decay_power: float = 2.0
    end_factor: float = 0.0

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the value and the rule.
        """
        if self.num_train_steps < 1:
            raise InputError(f"num_train_steps {self.num_train_steps} must be at least 1")
        if not 0 <= self.warmup_steps < self.num_train_steps:
            raise InputError(
                f"warm-up of {self.warmup_steps} steps must be shorter than the run of "
                f"{self.num_train_steps} steps"
            )
        if not 0 <= self.decay_power < float("inf"):
            raise InputError(f"decay_power {self.decay_power} must be finite and not negative")
        if not 0 <= self.end_factor <= 1:
            raise InputError(f"end_factor {self.end_factor} must be in [0, 1]")

    def factor(self, step: int) -> float:
        """Return the learning rate at a step as a share of its peak.

        Args:
            step: from 0; at and after the planned end the end factor holds (power 0: the peak).

        Returns:
            A number in [0, 1].

        >>> schedule = WarmupPolynomial(warmup_steps=4, num_train_steps=8, decay_power=1.0)
        >>> [schedule.factor(step) for step in range(9)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = max(0, self.num_train_steps - step) / (self.num_train_steps - self.warmup_steps)
        # 0.0 ** 0.0 is 1.0: a constant rate.
        decay: float = left**self.decay_power
        return self.end_factor + (1 - self.end_factor) * decay
