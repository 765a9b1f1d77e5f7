"""Time to target and its cost for every batch size and number of nodes.

    time = S(B) T(B, M),    device hours = M k time / 3600

S is what a new study would measure (`prediction`), T a step's time (`step_time_belief`). Draws of
both are paired at random: what is not known of the one says nothing about the other. Money and
energy are device hours times a price and a power.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval, interval_of
from models_of_scaling.machine.cluster import Placement
from models_of_scaling.machine.machines import Machines
from models_of_scaling.machine.step_time_belief import StepTimeBelief
from models_of_scaling.machine.steps_draws import StepsDraws

Objective = Literal["fastest", "cheapest", "balanced"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
METHOD: Final = "posterior draws of steps and of step time"
# Options nearer than this to the best are as good; then the other axis decides.
_AS_GOOD: Final = 1.01


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to reach the target.

    Attributes:
        placement: batch size, nodes, devices per node and the memory limit.
        steps: to the target.
        seconds_per_step: of the cluster.
        time_s: to the target.
        extrapolation: batch size over the largest fitted one.
        notes: in what the placement lies beyond the measured throughput.
        is_pareto: whether no other option is both faster and cheaper.
    """

    placement: Placement
    steps: Interval
    seconds_per_step: Interval
    time_s: Interval
    extrapolation: float
    notes: tuple[str, ...]
    is_pareto: bool = False

    @property
    def device_hours(self) -> float:
        """Devices times hours."""
        return self.placement.num_devices * self.time_s.estimate / 3600

    def value(self, objective: Objective) -> float:
        """Return what an objective makes small.

        Args:
            objective: "balanced" is the product of time and device hours, least where a per cent
                more cost buys a per cent of time.
        """
        return {
            "fastest": self.time_s.estimate,
            "cheapest": self.device_hours,
            "balanced": self.time_s.estimate * self.device_hours,
        }[objective]


def time_options(
    fit: FitRecord,
    belief: StepTimeBelief,
    machines: Machines,
    batch_sizes: Sequence[int],
    *,
    level: float,
    seed: int = 0,
) -> list[Option]:
    """Return every way to reach the target, those on the Pareto front marked.

    Args:
        fit: the record of the laws.
        belief: about the step's time.
        machines: to choose from.
        batch_sizes: to choose from.
        level: of the intervals.
        seed: of the pairing of draws.

    Returns:
        By nodes, then batch size. A batch smaller than the number of devices is left out.

    Raises:
        InputError: where no batch size has an example for each device.
    """
    draws = StepsDraws(fit, seed=seed)
    found = [
        _option(draws, belief, placement, fit.largest_batch_size, level)
        for nodes in machines.nodes
        for batch_size in batch_sizes
        if (placement := machines.place(batch_size, nodes)) is not None
    ]
    if not found:
        least = min(machines.nodes) * machines.devices_per_node
        raise InputError(
            f"--nodes {min(machines.nodes)}: {least} devices need a batch size of at least "
            f"{least}, and the largest considered is {max(batch_sizes)}; give --batch-size, "
            "or fewer nodes"
        )
    return mark_pareto(found)


def _option(
    draws: StepsDraws,
    belief: StepTimeBelief,
    placement: Placement,
    largest_fitted: int,
    level: float,
) -> Option:
    steps, weights = draws.predictive(placement.batch_size)
    estimate = draws.estimate(placement.batch_size)
    seconds, seconds_R = belief.seconds(placement)
    paired = draws.paired(seconds_R, len(steps))
    return Option(
        placement=placement,
        steps=interval_of(estimate, steps, weights, level=level, method=METHOD),
        seconds_per_step=interval_of(
            seconds, seconds_R, np.ones(len(seconds_R)), level=level, method=METHOD
        ),
        time_s=interval_of(estimate * seconds, steps * paired, weights, level=level, method=METHOD),
        extrapolation=placement.batch_size / largest_fitted,
        notes=belief.notes(placement),
    )


def mark_pareto(options: Sequence[Option]) -> list[Option]:
    """Return the options, those marked that no other beats in both time and device hours.

    Args:
        options: any.
    """
    order = sorted(
        range(len(options)), key=lambda i: (options[i].time_s.estimate, options[i].device_hours)
    )
    front, cheapest = set(), math.inf
    for place in order:
        if options[place].device_hours < cheapest:
            front.add(place)
            cheapest = options[place].device_hours
    return [replace(each, is_pareto=place in front) for place, each in enumerate(options)]


def choose(options: Sequence[Option], objective: Objective) -> Option:
    """Return the best option.

    Args:
        options: at least one.
        objective: what to make small. Of options within 1 % of the best, the fastest objective
            takes the cheapest, the cheapest the fastest, balanced the smallest batch size.
    """
    best = min(each.value(objective) for each in options)
    as_good = [each for each in options if each.value(objective) <= _AS_GOOD * best]
    second: Objective = {"fastest": "cheapest", "cheapest": "fastest", "balanced": "balanced"}[
        objective
    ]  # type: ignore[assignment]
    if objective == "balanced":
        return min(as_good, key=lambda each: (each.placement.batch_size, each.value("balanced")))
    return min(as_good, key=lambda each: (each.value(second), each.placement.batch_size))


def twice_as_fast(options: Sequence[Option], chosen: Option) -> Option | None:
    """Return the cheapest option that needs at most half the time; None where there is none.

    Args:
        options: to choose from.
        chosen: to be beaten.
    """
    fast = [each for each in options if each.time_s.estimate <= chosen.time_s.estimate / 2]
    return min(fast, key=lambda each: each.device_hours, default=None)
