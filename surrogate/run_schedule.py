"""The learning-rate schedule of a sweep's runs: tied to each run's planned length.

A constant rate needs no length. Any other schedule has one, `num_train_steps`, which the search
chooses like a learning rate (Shallue et al. 2018, arXiv:1811.03600, section 4: the length of the
decay is tuned at each batch size), or which a number of epochs gives. A run ends with its schedule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models_of_scaling.errors import InputError
from surrogate.search_space import Dimension

if TYPE_CHECKING:
    from fullscale.schedules import Schedule

LENGTH: Final = "num_train_steps"
# The shortest searched schedule, as a share of a run's budget, which is ten times a tuned run's.
_SHORTEST: Final = 0.03


@dataclass(frozen=True, kw_only=True)
class RunSchedule:
    """What all runs of a study have in common of their schedules.

    Attributes:
        name: a name of `fullscale.schedule_registry`.
        warmup_share: of the planned length, in [0, 1).
    """

    name: str = "constant"
    warmup_share: float = 0.0

    def __post_init__(self) -> None:
        """Check each field, with the names that the command line has.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        from fullscale.schedule_registry import SCHEDULES

        if self.name not in SCHEDULES or self.name == "piecewise":
            known = ", ".join(name for name in SCHEDULES if name != "piecewise")
            raise InputError(f"--schedule {self.name!r} is not one of {known}")
        if not 0 <= self.warmup_share < 1:
            raise InputError(f"--warmup-share {self.warmup_share:g} must be at least 0, below 1")

    @property
    def has_length(self) -> bool:
        """Whether the rate changes along a run, so that a run has a planned length."""
        return self.name != "constant" or self.warmup_share > 0

    def dimension(self, budget_steps: int) -> Dimension:
        """Return the range of the planned length; no run can be longer than its budget.

        Args:
            budget_steps: of a run.

        Raises:
            InputError: where the budget leaves nothing to choose.
        """
        low = max(2.0, _SHORTEST * budget_steps)
        if budget_steps <= low:
            raise InputError(
                f"--schedule {self.name}: a budget of {budget_steps} steps leaves no choice of its "
                "length; raise --max-steps or --max-examples"
            )
        return Dimension(
            name=LENGTH, low=low, high=float(budget_steps), bounds=("high",), is_whole=True
        )

    def numbers(self, num_train_steps: int) -> dict[str, float]:
        """Return the schedule's numbers, as the trainer's records have them.

        Args:
            num_train_steps: the planned length.

        Returns:
            By name; none for a constant rate.
        """
        if not self.has_length:
            return {}
        schedule = self._build(num_train_steps)
        return {
            LENGTH: float(num_train_steps),
            "warmup_steps": float(schedule.warmup_steps),
            **schedule.shape_numbers,
        }

    def _build(self, num_train_steps: int) -> "Schedule":
        from fullscale.schedule_registry import build_schedule

        # A warm-up must leave a step after it, and a run of one step has none.
        warmup = min(round(self.warmup_share * num_train_steps), num_train_steps - 1)
        return build_schedule(
            self.name, warmup_steps=warmup, num_train_steps=num_train_steps, numbers={}
        )


def split_numbers(
    hyper_parameters: Mapping[str, float], settings: Mapping[str, str]
) -> "tuple[dict[str, float], Schedule | None]":
    """Tell the update rule's numbers from the schedule's.

    Args:
        hyper_parameters: of a candidate.
        settings: of a candidate; `schedule` names its schedule, where it has one.

    Returns:
        The rule's numbers, and the schedule; None for a constant rate.
    """
    from fullscale.schedule_registry import build_schedule

    if LENGTH not in hyper_parameters:
        return dict(hyper_parameters), None
    length, warmup = (int(hyper_parameters[name]) for name in (LENGTH, "warmup_steps"))
    schedule = build_schedule(
        settings["schedule"], warmup_steps=warmup, num_train_steps=length, numbers={}
    )
    own = {LENGTH, "warmup_steps", *schedule.shape_numbers}
    return {name: x for name, x in hyper_parameters.items() if name not in own}, schedule
