"""For the designer of a machine: what limits now, and the largest machine that still helps.

What limits: d log time / d log x at one option, for each property x of machine and workload.

    time = S(B) T:   d log time / d log t = d log T / d log t   for a time constant t (`cluster`)
                     a bandwidth or a rate of FLOPs is one over a time constant: the sign turns
    B_crit at a fixed E_min:   S(B) = (E_min / B_crit) f(B / B_crit), so that
                     d log time / d log B_crit = -(1 + d log S / d log B)

0 where steps still fall as 1/B (more parallelism in the workload would change nothing), -1 where
they no longer fall. By the envelope theorem these also hold after the batch size is chosen anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval, weighted_quantile
from models_of_scaling.machine.machines import Machines
from models_of_scaling.machine.step_time_belief import StepTimeBelief
from models_of_scaling.machine.steps_draws import StepsDraws
from models_of_scaling.machine.time_to_target import Option
from models_of_scaling.prediction import estimated_steps
from models_of_scaling.quantities import Floats

CRITICAL: Final = "critical_batch_size"
# Of time constants, and of rates that are one over a time constant.
_SIGN: Final = {
    "examples": -1,
    "forwards": 1,
    "latency_within": 1,
    "bandwidth_within": -1,
    "latency_between": 1,
    "bandwidth_between": -1,
}
_NAMES: Final = {"examples": "device_speed", "forwards": "seconds_per_forward"}
_LOG_STEP: Final = 1e-4
_METHOD: Final = "posterior draws of steps and of step time"


def elasticities(fit: FitRecord, belief: StepTimeBelief, option: Option) -> dict[str, float]:
    """Return d log time / d log of each property at an option.

    Args:
        fit: the record of the laws.
        belief: about the step's time; its point is taken.
        option: where.

    Returns:
        By "device_speed" (FLOP/s or memory bandwidth of a device, whichever binds),
        "seconds_per_forward", "latency_within", "bandwidth_within", "latency_between",
        "bandwidth_between" and "critical_batch_size".
    """
    shares = belief.point.parts(option.placement).shares()
    found = {_NAMES.get(name, name): _SIGN[name] * float(share) for name, share in shares.items()}
    return found | {CRITICAL: -(1 + log_slope_of_steps(fit, option.placement.batch_size))}


def log_slope_of_steps(fit: FitRecord, batch_size: float) -> float:
    """Return d log S / d log B by a central difference: -1 is perfect scaling, 0 none.

    Args:
        fit: the record.
        batch_size: B.
    """
    up, down = (
        estimated_steps(fit, batch_size * math.exp(sign * _LOG_STEP)) for sign in (1.0, -1.0)
    )
    return math.log(up / down) / (2 * _LOG_STEP)


def limiting(found: dict[str, float]) -> str:
    """Return the property whose improvement by one per cent saves most time.

    Args:
        found: of `elasticities`.
    """
    return max(found, key=lambda name: abs(found[name]))


@dataclass(frozen=True, kw_only=True)
class UsefulMachine:
    """How large a machine may grow before it stops helping.

    Attributes:
        nodes: the largest number whose step up from the one before still cuts the time by
            `saving` per doubling; `high` is inf where that is the largest that was considered.
        saving: stated share of the time.
        best_time_s: at each number of nodes, by the best batch size.
        best_batch_size: at each number of nodes.
        largest_considered: number of nodes.
    """

    nodes: Interval
    saving: float
    best_time_s: dict[int, float]
    best_batch_size: dict[int, int]
    largest_considered: int

    @property
    def is_open(self) -> bool:
        """Whether the largest machine considered still helps."""
        return self.nodes.estimate >= self.largest_considered


def useful_machine(
    fit: FitRecord,
    belief: StepTimeBelief,
    machines: Machines,
    options: Sequence[Option],
    *,
    saving: float,
    level: float,
) -> UsefulMachine:
    """Return the largest machine that still helps.

    Args:
        fit: the record of the laws.
        belief: about the step's time.
        machines: the numbers of nodes to compare.
        options: of `time_options` on them.
        saving: the least share of the time that a doubling must cut, in (0, 1).
        level: of the interval.

    Returns:
        The answer. Each draw chooses its own best batch size.

    Raises:
        ValueError: for a share outside (0, 1).
    """
    if not 0 < saving < 1:
        raise ValueError(f"saving {saving} must be in (0, 1)")
    by_nodes = {
        nodes: [each for each in options if each.placement.nodes == nodes]
        for nodes in machines.nodes
    }
    by_nodes = {nodes: group for nodes, group in by_nodes.items() if group}
    sizes = list(by_nodes)
    best = {
        nodes: min(group, key=lambda each: each.time_s.estimate)
        for nodes, group in by_nodes.items()
    }
    draws = StepsDraws(fit, seed=0)
    certain = {
        size: draws.certain(size) for size in {each.placement.batch_size for each in options}
    }
    times_RM = np.array([
        np.min([_drawn(draws, belief, each, certain) for each in group], axis=0)
        for group in by_nodes.values()
    ]).T
    weights = next(iter(certain.values()))[1]
    largest_R = _largest_that_helps(sizes, times_RM, saving)
    point = np.array([[best[nodes].time_s.estimate for nodes in sizes]])
    estimate = float(_largest_that_helps(sizes, point, saving)[0])
    # The largest machine considered may not be the end: an open upper bound.
    opened = np.where(largest_R >= sizes[-1], np.inf, largest_R)
    low = float(weighted_quantile(largest_R, weights, [(1 - level) / 2])[0])
    high = float(weighted_quantile(opened, weights, [(1 + level) / 2])[0])
    return UsefulMachine(
        nodes=Interval(
            estimate=estimate,
            low=min(low, estimate),
            high=math.inf if estimate >= sizes[-1] else max(high, estimate),
            level=level,
            method=_METHOD,
        ),
        saving=saving,
        best_time_s={nodes: each.time_s.estimate for nodes, each in best.items()},
        best_batch_size={nodes: each.placement.batch_size for nodes, each in best.items()},
        largest_considered=sizes[-1],
    )


def _drawn(
    draws: StepsDraws,
    belief: StepTimeBelief,
    option: Option,
    certain: dict[int, tuple[Floats, Floats]],
) -> Floats:
    steps_R, _ = certain[option.placement.batch_size]
    _, seconds_R = belief.seconds(option.placement)
    return np.asarray(steps_R * draws.paired(seconds_R, len(steps_R)))


def _largest_that_helps(sizes: Sequence[int], times_RM: Floats, saving: float) -> Floats:
    """Return, per draw, the last number of nodes before the first step up that saves too little."""
    doublings = np.diff(np.log2(sizes))
    ratio = times_RM[:, 1:] / times_RM[:, :-1]
    helps = ratio <= (1 - saving) ** doublings
    unbroken = np.cumprod(helps, axis=1).sum(axis=1)
    return np.asarray(np.array(sizes, dtype=float)[unbroken])
