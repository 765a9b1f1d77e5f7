"""What two sweeps differ by: ratios of critical batch sizes and of fewest steps, with intervals."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from models_of_scaling.intervals import weighted_quantile
from models_of_scaling.mixture import (
    critical_batch_sizes,
    mixed,
    not_told_apart,
    with_a_floor,
)
from models_of_scaling.quantities import Floats
from paper.numbers.quoted import LEVEL, Quoted
from paper.numbers.sweep_records import Sweep

_DRAWS: Final = 20_000


def num_runs(sweep: Sweep) -> int:
    """Return how many fresh runs a sweep's laws were fitted to."""
    return len(sweep.fit.measured.steps)


def critical_draws(sweep: Sweep, rng: np.random.Generator) -> Floats:
    """Return draws of B_crit, inf where the rows tell no floor.

    Args:
        sweep: with its fit.
        rng: of the draws.
    """
    ends = sweep.fit.smallest_batch_size, sweep.fit.largest_batch_size
    laws = with_a_floor(sweep.fit.laws)

    def of_law(law: Any) -> Floats:
        no_floor, _ = not_told_apart(law.curves, law.noise_of_draws, ends)
        return np.asarray(np.where(no_floor, np.inf, critical_batch_sizes(law.curves)))

    return _resampled(*mixed(laws, of_law), rng)


def min_steps_draws(sweep: Sweep, rng: np.random.Generator) -> Floats:
    """Return draws of S_min.

    Args:
        sweep: with its fit.
        rng: of the draws.
    """
    laws = with_a_floor(sweep.fit.laws)
    return _resampled(*mixed(laws, lambda law: np.asarray(law.curves.min_steps)), rng)


def _resampled(values: Floats, weights: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(rng.choice(values, size=_DRAWS, p=weights / weights.sum()))


def ratio(
    sweep: Sweep, base: Sweep, draws: Callable[[Sweep, np.random.Generator], Floats]
) -> Quoted:
    """Return a quantity of one sweep over that of another; their errors are independent.

    Args:
        sweep: above the line.
        base: below it.
        draws: of the quantity.
    """
    rng = np.random.default_rng(0)
    above, below = draws(sweep, rng), draws(base, rng)
    with np.errstate(invalid="ignore"):
        values = above / below
    # Both open: nothing is known of the ratio.
    low = np.where(np.isnan(values), 0.0, values)
    high = np.where(np.isnan(values), np.inf, values)
    ones = np.ones(len(values))
    tail = (1 - LEVEL) / 2
    ends = float(weighted_quantile(low, ones, [tail])[0])
    top, middle = (float(each) for each in weighted_quantile(high, ones, [1 - tail, 0.5]))
    return Quoted(
        estimate=middle, low=ends, high=top, n=num_runs(sweep) + num_runs(base), nothing=1.0
    )
