"""Learning-rate schedules: pure functions of the step. Standard library only.

Every schedule is a warm-up of W steps and a course over the other T - W of the planned length T:

    factor(t) = s + (1 - s) (t + 1) / W        t < W     (gradual warm-up, Goyal et al. 2017,
                                                          arXiv:1706.02677, section 2.2)
    factor(t) = course((t - W) / (T - W))      t >= W

with s the warm-up's start factor: 0 is the plain linear warm-up, 1/k Goyal's, whose first rate is
that of a k times smaller batch. The factor is a share of the peak rate. Differs from the source:
the first step's rate is one grid point above the start, not at it, so that with s = 0 no step is
lost. Schedules are tied to the run's length: a warm-up as long as the run is refused.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Final

from models_of_scaling.errors import InputError

# No run has so many steps.
_LONGEST_CYCLE: Final = 50
_RECORDED_ELSEWHERE: Final = frozenset({"warmup_steps", "num_train_steps", "end_factor"})


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """A learning rate's course over a run, as shares of its peak.

    Attributes:
        warmup_steps: W, optimizer steps; 0 for none.
        num_train_steps: T, the planned length of the run in optimizer steps.
        warmup_start: s, in [0, 1].
    """

    warmup_steps: int
    num_train_steps: int
    warmup_start: float = 0.0

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
        if not 0 <= self.warmup_start <= 1:
            raise InputError(f"warmup_start {self.warmup_start} must be in [0, 1]")

    def factor(self, step: int) -> float:
        """Return the learning rate at a step as a share of its peak.

        Args:
            step: from 0; after the planned end the course's end holds.

        Returns:
            A number in [0, 1].
        """
        if step < self.warmup_steps:
            return self.warmup_start + (1 - self.warmup_start) * (step + 1) / self.warmup_steps
        left = max(0, self.num_train_steps - step) / (self.num_train_steps - self.warmup_steps)
        return self.course(left)

    @property
    def end(self) -> float:
        """The factor at the planned end and after it."""
        return self.factor(self.num_train_steps)

    @property
    def shape_numbers(self) -> dict[str, float]:
        """The numbers that shape the course, by field, for a run's record; the end has its own."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: float(value)
            for name, value in values.items()
            if name not in _RECORDED_ELSEWHERE and isinstance(value, int | float)
        }

    @abstractmethod
    def course(self, left: float) -> float:
        """Return the factor after the warm-up.

        Args:
            left: share of the course that is still to go: 1 at its first step, 0 at its end.
        """


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} {value} must be in [0, 1]")


def _check_cycles(num_cycles: float) -> None:
    if not (1 <= num_cycles < math.inf and num_cycles == int(num_cycles)):
        raise InputError(f"num_cycles {num_cycles} must be a whole number, at least 1")


@dataclass(frozen=True, kw_only=True)
class WarmupPolynomial(Schedule):
    """Polynomial decay: course = e + (1 - e) left^p; You et al. 2017, arXiv:1708.03888, section 5.

    Attributes:
        decay_power: p; 2 as in the source, 1 linear, 0.5 the square root, 0 keeps the peak.
        end_factor: e, the rate at the end as a share of the peak, in [0, 1].

    >>> schedule = WarmupPolynomial(warmup_steps=4, num_train_steps=8, decay_power=1.0)
    >>> [schedule.factor(step) for step in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    decay_power: float = 2.0
    end_factor: float = 0.0

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the value and the rule.
        """
        super().__post_init__()
        if not 0 <= self.decay_power < math.inf:
            raise InputError(f"decay_power {self.decay_power} must be finite and not negative")
        _check_share("end_factor", self.end_factor)
        if self.decay_power == 0 and self.end_factor not in {0, 1}:
            raise InputError(
                "the rate is constant (decay_power 0) and never comes to its end, "
                f"{self.end_factor} of the peak; leave the end out, or take another schedule"
            )

    def course(self, left: float) -> float:
        """Return e + (1 - e) left^p; 0.0 ** 0.0 is 1.0, a constant rate."""
        decay: float = left**self.decay_power
        return self.end_factor + (1 - self.end_factor) * decay


@dataclass(frozen=True, kw_only=True)
class WarmRestarts(Schedule):
    """Cosine from the peak to the end, again and again: SGDR.

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983, eq. (5): within a cycle, with u its elapsed
    share, e + (1 - e) (1 + cos(pi u)) / 2; each cycle is `cycle_growth` times as long as the one
    before, and the last ends with the run. One cycle is the plain cosine decay.

    Attributes:
        num_cycles: in the run.
        cycle_growth: T_mult.
        end_factor: e, in [0, 1].
    """

    num_cycles: int = 1
    cycle_growth: float = 2.0
    end_factor: float = 0.0

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the value and the rule.
        """
        super().__post_init__()
        _check_cycles(self.num_cycles)
        if not 1 <= self.cycle_growth < math.inf:
            raise InputError(f"cycle_growth {self.cycle_growth} must be finite and at least 1")
        if self.num_cycles * math.log(self.cycle_growth) > _LONGEST_CYCLE:
            raise InputError(
                f"num_cycles {self.num_cycles} of cycle_growth {self.cycle_growth}: the last cycle "
                f"is more than exp({_LONGEST_CYCLE}) times the first; the rest has no step"
            )
        _check_share("end_factor", self.end_factor)

    def course(self, left: float) -> float:
        """Return the cosine of the cycle at hand; at the run's end, its end and no restart."""
        lengths = [self.cycle_growth**cycle for cycle in range(int(self.num_cycles))]
        done, start = (1 - left) * sum(lengths), 0.0
        for length in lengths[:-1]:
            # A restart falls on the first step at its place, whatever the last bit of a share says.
            if done < (start + length) * (1 - 1e-12):
                break
            start += length
        else:
            length = lengths[-1]
        elapsed = min(max((done - start) / length, 0.0), 1.0)
        return self.end_factor + (1 - self.end_factor) * (1 + math.cos(math.pi * elapsed)) / 2


@dataclass(frozen=True, kw_only=True)
class Triangular(Schedule):
    """Linear from low to the peak and back, cycle after cycle.

    Source: Smith 2015, arXiv:1506.01186, section 3: the `triangular` policy; with
    `amplitude_decay` 0.5 its `triangular2`.

    Attributes:
        num_cycles: in the run.
        low_factor: the lowest rate as a share of the peak, in [0, 1].
        amplitude_decay: what each cycle's height is multiplied by.
    """

    num_cycles: int = 4
    low_factor: float = 0.1
    amplitude_decay: float = 1.0

    def __post_init__(self) -> None:
        """Check each field; an `InputError` names the value and the rule."""
        super().__post_init__()
        _check_cycles(self.num_cycles)
        _check_share("low_factor", self.low_factor)
        _check_share("amplitude_decay", self.amplitude_decay)

    def course(self, left: float) -> float:
        """Return the triangle at hand."""
        done = (1 - left) * self.num_cycles
        cycle = min(int(done + 1e-12), int(self.num_cycles) - 1)
        height = 1 - abs(2 * (done - cycle) - 1)
        height = min(max(height, 0.0), 1.0) * self.amplitude_decay**cycle
        return self.low_factor + (1 - self.low_factor) * height


@dataclass(frozen=True, kw_only=True)
class Piecewise(Schedule):
    """Constant between boundaries.

    Attributes:
        boundaries: shares of the planned length T, increasing, in (0, 1): there the next factor
            begins. They count from the run's start, as the sources do, not from the warm-up's end.
        factors: one more than boundaries, each in [0, 1].
    """

    boundaries: tuple[float, ...]
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: naming the value and the rule.
        """
        super().__post_init__()
        edges = (0.0, *self.boundaries, 1.0)
        if any(low >= high for low, high in zip(edges, edges[1:], strict=False)):
            raise InputError(f"boundaries {self.boundaries} must increase within (0, 1)")
        if len(self.factors) != len(self.boundaries) + 1:
            raise InputError(f"factors {self.factors} must be one more than {self.boundaries}")
        for factor in self.factors:
            _check_share("factors", factor)

    @property
    def first_steps(self) -> tuple[int, ...]:
        """The step with which each piece begins."""
        starts = (math.ceil(each * self.num_train_steps - 1e-9) for each in self.boundaries)
        return (0, *starts)

    def course(self, left: float) -> float:
        """Return the factor of the piece at hand."""
        course_steps = self.num_train_steps - self.warmup_steps
        # Back to whole steps: the share has rounding errors, the step at a boundary has none.
        step = self.num_train_steps - round(left * course_steps)
        return self.factors[sum(step >= first for first in self.first_steps[1:])]
