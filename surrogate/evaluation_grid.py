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


def last_evaluation(step: int) -> int:
    """Return the last evaluated step that is not after `step`.

    A run that is cut there is what a run that went further says of itself up to there.

    Args:
        step: optimizer steps, at least 1.

    Returns:
        A step of the grid from 0.

    >>> [last_evaluation(step) for step in (1, 20, 41, 42, 1000)]
    [1, 20, 40, 42, 964]
    """
    reached = 0
    while next_evaluation(reached) <= step:
        reached = next_evaluation(reached)
    return reached
