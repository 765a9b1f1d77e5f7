"""At which steps a run is evaluated: a geometric grid, so that the resolution is relative.

A screened run (`surrogate/training/screen.py`) is fully evaluated at every fourth step of the grid
and, between those, only where it could have met its target.
"""

from collections.abc import Callable

RATIO = 1.05  # a step to target is known to 5 %, or to one step where that is more

FULL_EVERY = 4  # of the grid's steps, in a screened run: 20 % apart

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


def first_full_evaluation(step: int) -> int:
    """Return the first step, not before `step`, at which every screened run is evaluated fully.

    Args:
        step: optimizer steps, at least 1.

    >>> [first_full_evaluation(step) for step in (1, 4, 5, 21, 100)]
    [4, 4, 8, 24, 108]
    """
    reached = number = 0
    while reached < step or number % FULL_EVERY:
        reached, number = next_evaluation(reached), number + 1
    return reached


def end_of_slow_runs(limit: int, *, screened: bool) -> int:
    """Return where runs stop that have not reached a target within `limit` steps.

    Where all of them are evaluated, so that runs that train apart can be cut alike afterwards.

    Args:
        limit: optimizer steps, at least 1.
        screened: whether the runs are screened; they are then let go on to the next full
            evaluation, so that whoever reaches the target within the limit still does.
    """
    return first_full_evaluation(limit) if screened else last_evaluation(limit)
