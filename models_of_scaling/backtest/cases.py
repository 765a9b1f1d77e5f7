"""Which batch sizes a back-test predicts from which: held-out cases of one series.

Three designs, none of which looks at a value of steps:

- "rolling": an origin is a batch size with at least 3 fitted ones up to it; from each origin the
  batch sizes nearest to 2x, 4x and 8x are predicted, nearest in log2 and within half an octave.
- "largest": only the largest batch size is predicted, from those at most 1/2, 1/4 and 1/8 of it.
  It may lie further away than that: each case keeps its true ratio.
- "one_more": as rolling at 8x, but a handful of runs at the batch size nearest to 4x is fitted too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np

from models_of_scaling.measurements import Measurements

Design = Literal["rolling", "largest", "one_more"]

DESIGNS: Final[tuple[Design, ...]] = get_args(Design)
FACTORS: Final = (2, 4, 8)
# One more than the simplest law has parameters; four would lose 5 of the 21 series.
FEWEST_FITTED: Final = 3
# Batch sizes closer together than a doubling show no slope, only who tuned them.
_SMALLEST_SPAN: Final = 2.0
# Nobody plans from 3,200 to 3,264: an origin has a gap of a quarter octave after it.
_SMALLEST_GAP: Final = 2.0**0.25


@dataclass(frozen=True, kw_only=True)
class Case:
    """One prediction to make and check.

    Attributes:
        design: "rolling", "largest" or "one_more".
        factor: 2, 4 or 8, how far it is counted to be from the data.
        largest_fitted: batch sizes up to this one are fitted.
        batch_size: is predicted.
        also_fitted: one more batch size of which a handful of runs are fitted, or None.
    """

    design: Design
    factor: int
    largest_fitted: int
    batch_size: int
    also_fitted: int | None = None

    @property
    def ratio(self) -> float:
        """How far it truly is from the data."""
        return self.batch_size / self.largest_fitted


def cases_of(measurements: Measurements) -> list[Case]:
    """Return every case of a series.

    Args:
        measurements: all its rows.

    Returns:
        Cases in the order of their origins; none where the series is too short or too narrow.
    """
    sizes = [int(size) for size in np.unique(measurements.batch_size)]
    reached = {int(size) for size in np.unique(measurements.batch_size[measurements.reached])}
    usable = [size for size in sizes if _is_origin(sizes, reached, size)]
    rolling = list(_rolling(sizes, usable))
    return [*rolling, *_largest(sizes, usable), *_one_more(rolling)]


def _is_origin(sizes: list[int], reached: set[int], origin: int) -> bool:
    fitted = [size for size in sizes if size <= origin and size in reached]
    return len(fitted) >= FEWEST_FITTED and fitted[-1] >= _SMALLEST_SPAN * fitted[0]


def _rolling(sizes: list[int], usable: list[int]) -> Iterator[Case]:
    for origin in usable:
        beyond = [size for size in sizes if size > origin]
        if not beyond or beyond[0] < _SMALLEST_GAP * origin:
            continue
        octaves = np.log2(np.array(beyond) / origin)
        for factor in FACTORS:
            distance = np.abs(octaves - np.log2(factor))
            nearest = int(np.argmin(distance))
            if distance[nearest] < 0.5:
                yield Case(
                    design="rolling",
                    factor=factor,
                    largest_fitted=origin,
                    batch_size=beyond[nearest],
                )


def _largest(sizes: list[int], usable: list[int]) -> Iterator[Case]:
    for factor in FACTORS:
        below = [size for size in sizes if factor * size <= sizes[-1]]
        if below and below[-1] in usable:
            yield Case(
                design="largest",
                factor=factor,
                largest_fitted=below[-1],
                batch_size=sizes[-1],
            )


def _one_more(rolling: list[Case]) -> Iterator[Case]:
    """Yield each case at 8x that has one at 4x between, whose batch size is then known too."""
    between = {case.largest_fitted: case.batch_size for case in rolling if case.factor == 4}
    for case in rolling:
        known = between.get(case.largest_fitted)
        if case.factor == 8 and known is not None and known < case.batch_size:
            yield replace(case, design="one_more", also_fitted=known)
