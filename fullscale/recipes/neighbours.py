"""Which published settings a run is compared with, and how they are said."""

from collections.abc import Callable, Sequence
from typing import Final

from fullscale.recipes.on_record import PublishedSetting
from fullscale.recipes.run_settings import RunSettings
from models_of_scaling.wording import number_in_words

FACTOR: Final = 2.0
# A batch size this near counts as the same: 33,280 beside 32,768.
_SAME: Final = 1.03


def neighbours(run: RunSettings, pool: Sequence[PublishedSetting]) -> list[PublishedSetting]:
    """Return the settings within a factor of 2 of the run's batch size."""
    return [each for each in pool if _ratio(run.batch_size, each.batch_size) <= FACTOR]


def at_same_batch_size(
    run: RunSettings, pool: Sequence[PublishedSetting]
) -> list[PublishedSetting]:
    """Return the settings at the run's batch size, or within 3 % of it."""
    return [each for each in pool if _ratio(run.batch_size, each.batch_size) <= _SAME]


def _ratio(one: float, other: float) -> float:
    """How far apart two positive numbers are, as a factor of at least 1."""
    return max(one / other, other / one)


def distance_from(run: RunSettings) -> Callable[[PublishedSetting], float]:
    """Return how far a setting is from the run, in batch size and rate."""
    rate = run.quantities["peak_learning_rate"]

    def distance(setting: PublishedSetting) -> float:
        theirs = setting.quantities["peak_learning_rate"]
        # Squared: a rate can be scaled, and another batch size is another problem.
        return _ratio(run.batch_size, setting.batch_size) ** 2 * _ratio(rate, theirs)

    return distance


def sizes_in_words(pool: Sequence[PublishedSetting]) -> str:
    """Return the smallest and the largest batch size."""
    sizes = sorted({each.batch_size for each in pool})
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"


def number(value: float) -> str:
    """Return a setting as its owner would write it.

    >>> number(2.5e-05), number(0.951807), number(51.0), number(0.0)
    ('2.5e-05', '0.952', '51', '0')

    Args:
        value: any.

    Returns:
        Three digits.
    """
    return f"{value:.3g}" if abs(value) < 1000 else number_in_words(value)


def times_in_words(ratio: float) -> str:
    """Return a ratio with two digits, or three near 1.

    >>> times_in_words(1.5454), times_in_words(1.0444)
    ('1.5x', '1.04x')

    Args:
        ratio: positive.

    Returns:
        The ratio and an x.
    """
    return f"{ratio:.3g}x" if 0.9 < ratio < 1.1 else f"{ratio:.2g}x"
