"""The sizes that a population of members may have: few, so that few programs are traced."""


def population_size(members: int) -> int:
    """Return the stacked size for so many members: 2, 3, 4, 6, 8, 12, 16, 24, ...

    Few sizes, because each is traced anew; at most a third of the places is idle. Of size 1,
    convolutions take another path on a CPU, so 2 is the smallest.

    >>> [population_size(members) for members in (1, 5, 13, 64)]
    [2, 6, 16, 64]
    """
    size = 2
    while size < members:
        size = _next_size(size)
    return size


def _next_size(size: int) -> int:
    return size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3


def largest_size(places: int) -> int:
    """Return the largest stacked size that is not above a number of places; at least 2.

    >>> [largest_size(places) for places in (0, 5, 13, 64)]
    [2, 4, 12, 64]
    """
    size = 2
    while _next_size(size) <= places:
        size = _next_size(size)
    return size


def part_sizes(members: int, at_once: int, *, exact: bool = False) -> list[int]:
    """Return the stacked sizes of the parts that members are cut into.

    Args:
        members: at least one.
        at_once: the largest part, one of the sizes above.
        exact: no place idles; for members that share no traced program of their number.

    Returns:
        Full parts, and a last one for the rest.

    >>> part_sizes(21, 8)
    [8, 8, 6]
    >>> part_sizes(21, 8, exact=True)
    [8, 8, 5]
    """
    full, rest = divmod(members, at_once)
    return [at_once] * full + ([rest if exact else population_size(rest)] if rest else [])
