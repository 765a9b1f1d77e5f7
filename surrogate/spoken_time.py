"""Seconds as a person says them."""


def spoken_time(seconds: float) -> str:
    """Return seconds, minutes or hours, as few digits as tell them apart.

    Args:
        seconds: 0 or more.

    Returns:
        Such as 40 s, 12 min or 2.5 h.
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"
