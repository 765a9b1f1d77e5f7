"""At which steps a run is evaluated: a geometric grid, so that the resolution is relative."""

from collections.abc import Callable

RATIO = 1.05  # a step to target is known to 5 %, or to one step where that is more

EvaluationGrid = Callable[[int], int]  # a step -> the first evaluated step after it


def next_evaluation(step: int) -> int:
    """Return the first evaluated step after `step`: every step up to 20, then 5 % apart.

    Args:
        step: optimizer steps done, not negative.

    Returns:
        A larger step. The grid is the same for every run, whatever its budget.

    >>> [next_evaluation(step) for step in (0, 1, 19, 40, 1000)]
    [1, 2, 20, 42, 1050]
    """
    return max(step + 1, int(step * RATIO))
