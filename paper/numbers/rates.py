"""Linear or square-root scaling? The tuned learning rate against the batch size, of the winners.

    log2 rate = a + power log2 B

by least squares over the winners of a sweep's batch sizes: 1 is linear scaling, 1/2 the square
root, 0 none. The rate is the effective one, learning rate / (1 - momentum), where momentum sums
gradients; the batch sizes are those up to the critical one, where the rules are meant to hold, and
apart from them those beyond it. The scatter about the line is the luck of the searches, so the
interval holds it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy.stats import linregress, t

from models_of_scaling.quantities import Floats
from paper.numbers.quoted import LEVEL, Quoted
from paper.numbers.sweep_records import Sweep, optimizer_title, short_title, workload_title

# Whose momentum sums gradients: the rate that acts is the learning rate over 1 - momentum.
_SUMS: Final = ("momentum", "nesterov", "lars", "kfac", "adascale", "sam")
_FEWEST: Final = 4
RULES: Final = {"linear": 1.0, "square root": 0.5, "none": 0.0}


def effective_rates(sweep: Sweep) -> tuple[Floats, Floats]:
    """Return the winners' batch sizes and effective learning rates.

    Args:
        sweep: one with trials.
    """
    sizes, rates = [], []
    for batch_size, numbers in sweep.winners():
        momentum = numbers.get("momentum", 0.0) if sweep.file.optimizer in _SUMS else 0.0
        sizes.append(float(batch_size))
        rates.append(numbers["learning_rate"] / (1 - momentum))
    return np.array(sizes), np.array(rates)


def power_of(sizes: Floats, rates: Floats) -> Quoted | None:
    """Return the power by which rates grow with batch sizes.

    Args:
        sizes: batch sizes.
        rates: effective learning rates.

    Returns:
        The slope in logs with Student's t interval; None for fewer than four batch sizes.
    """
    if len(sizes) < _FEWEST:
        return None
    line = linregress(np.log2(sizes), np.log2(rates))
    half = float(t.ppf(0.5 + LEVEL / 2, len(sizes) - 2)) * float(line.stderr)
    slope = float(line.slope)
    return Quoted(
        estimate=slope, low=slope - half, high=slope + half, n=len(sizes), of="batch sizes"
    )


def parts_of(sweep: Sweep) -> dict[str, Quoted | None]:
    """Return the power up to the critical batch size and beyond it."""
    sizes, rates = effective_rates(sweep)
    knee = sweep.fit.critical_batch_size.estimate
    below = sizes <= knee
    return {
        "below": power_of(sizes[below], rates[below]),
        "beyond": power_of(sizes[~below], rates[~below]),
    }


def rules_left(power: Quoted) -> list[str]:
    """Return the rules of scaling that an interval does not exclude."""
    return [name for name, value in RULES.items() if not power.excludes(value)]


def rate_numbers(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Return the section's numbers.

    Args:
        sweeps: all.
    """
    rows = []
    for sweep in sweeps:
        if not sweep.file.has_trials:
            continue
        row: dict[str, Any] = {
            "workload": workload_title(sweep.file.workload),
            "optimizer": optimizer_title(sweep.file.optimizer),
            "short": short_title(sweep.file.optimizer),
        }
        for part, power in parts_of(sweep).items():
            row[part] = None if power is None else power.as_json()
            row[f"{part}_rules"] = [] if power is None else rules_left(power)
        rows.append(row)
    told = [row for row in rows if row["below"] is not None]
    counts = {name: sum(name in row["below_rules"] for row in told) for name in RULES}
    return {
        "rows": rows,
        "of": len(told),
        "allow_linear": counts["linear"],
        "allow_square_root": counts["square root"],
        "allow_none": counts["none"],
        "allow_neither": sum(
            not {"linear", "square root"} & set(row["below_rules"]) for row in told
        ),
    }
