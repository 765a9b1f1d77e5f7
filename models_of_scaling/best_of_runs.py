"""What the best of n runs can be expected to be, so that searches of unequal size can be compared.

A best of 500 runs is not to be held against a best of 200: more runs find better ones by luck
alone. With N runs in all, x_(1) <= ... <= x_(N), the mean of the best over every choice of n is

    E[best of n] = sum_i C(i - 1, n - 1) / C(N, n) x_(i)

is an unbiased estimate for n independent runs (a U-statistic). Source: Tang et al. 2020,
arXiv:2004.13705, eq. 5, after Dodge et al. 2019, arXiv:1909.03004, who draw with replacement and so
come out too low.

It speaks of runs like those that were made, drawn at random. Where people refined a grid by what
they had seen, n runs of such a grid are not n runs of theirs. And a run that was chosen by its
value on a test set is still flattered by it: this makes searches comparable, not selection honest.

Shapes: N runs, R resamples, J numbers of runs.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from models_of_scaling.intervals import Interval, check_level
from models_of_scaling.quantities import Floats

METHOD: Final = "bootstrap over runs"
# The bootstrap of a largest value is too sure near n = N: on 400 simulated sets of 50, 200 and 500
# skewed values 90 % intervals held the truth in 0.84 to 0.91 up to n = N / 4, in 0.80 to 0.86 at
# N / 2, in 0.60 to 0.64 at N (a shorter one: tests/models_of_scaling/test_best_of_runs.py).
LARGEST_SHARE: Final = 0.25


def expected_best(values: Sequence[float] | Floats, num_runs: Sequence[int]) -> Floats:
    """Return the expected largest value of so many runs.

    Args:
        values: of the N runs, larger is better (minus the steps, where fewer are); a run that
            failed counts with the value that it is worth, not as missing.
        num_runs: J numbers n, each in 1 .. N.

    Returns:
        (J,), in the unit of the values. A value that is not finite and a number out of range are
        refused with a ValueError.

    >>> expected_best([2.0, 4.0, 7.0], [1, 2, 3]).round(6).tolist()  # of pairs: 4, 7 and 7
    [4.333333, 6.0, 7.0]
    """
    sorted_N = np.sort(_checked(values, num_runs))
    return np.asarray(_weights(len(sorted_N), num_runs) @ sorted_N)


def resampled_best(
    values: Sequence[float] | Floats,
    num_runs: Sequence[int],
    *,
    replicates: int = 2000,
    rng: np.random.Generator,
) -> Floats:
    """Return `expected_best` of resampled runs, for intervals of it and of differences.

    Args:
        values: of the N runs, larger is better.
        num_runs: J numbers n, each in 1 .. N.
        replicates: R, resamples of N runs with replacement.
        rng: source of randomness.

    Returns:
        (R, J). A value that is not finite and a number out of range are refused as by
        `expected_best`.
    """
    values_N = _checked(values, num_runs)
    drawn_RN = np.sort(rng.choice(values_N, size=(replicates, len(values_N))), axis=1)
    return np.asarray(drawn_RN @ _weights(len(values_N), num_runs).T)


def expected_best_interval(
    values: Sequence[float] | Floats,
    num_runs: int,
    *,
    level: float = 0.9,
    replicates: int = 2000,
    rng: np.random.Generator,
) -> Interval:
    """Return the expected largest value of n runs with an interval.

    Args:
        values: of the N runs, larger is better.
        num_runs: n, at most a quarter of N.
        level: of the interval.
        replicates: resamples.
        rng: source of randomness.

    Returns:
        The estimate, with the quantiles of its resamples.

    Raises:
        ValueError: as `expected_best`, and for more than a quarter of the runs.
    """
    check_level(level)
    if num_runs > LARGEST_SHARE * len(values):
        raise ValueError(
            f"num_runs {num_runs}: an interval is for at most a quarter of the {len(values)} runs"
        )
    drawn_R = resampled_best(values, [num_runs], replicates=replicates, rng=rng)[:, 0]
    low, high = np.quantile(drawn_R, [(1 - level) / 2, (1 + level) / 2])
    estimate = float(expected_best(values, [num_runs])[0])
    return Interval(
        estimate=estimate,
        low=min(float(low), estimate),
        high=max(float(high), estimate),
        level=level,
        method=METHOD,
    )


def _checked(values: Sequence[float] | Floats, num_runs: Sequence[int]) -> Floats:
    values_N = np.asarray(values, dtype=float)
    if not np.isfinite(values_N).all():
        raise ValueError("values must be finite: give a run that failed the value that it is worth")
    for number in num_runs:
        if not 1 <= number <= len(values_N):
            raise ValueError(f"num_runs {number} must be in 1 .. {len(values_N)}")
    return values_N


def _weights(count: int, num_runs: Sequence[int]) -> Floats:
    """Return the probability that run i of the sorted ones is the best of n, (J, N)."""
    place_N = np.arange(count, 0.0, -1.0)  # i from N down
    rows = []
    for number in num_runs:
        # w_N = n / N and w_(i-1) = w_i (i - n) / (i - 1): no factorial, and 0 below i = n.
        down = np.maximum(place_N[:-1] - number, 0.0) / place_N[1:]
        rows.append(number / count * np.cumprod([1.0, *down])[::-1])
    return np.stack(rows)
