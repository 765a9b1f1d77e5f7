"""A box of hyper-parameters on log scales: quasi-random points, zooming, widening.

Only numpy and scipy, so that planning a sweep needs no torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from models_of_scaling.errors import InputError

Side = Literal["low", "high"]
_DIGITS = 6  # significant digits of a hyper-parameter: as written is as run, on any machine


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One searched number, uniform in the logarithm of a coordinate.

    Attributes:
        name: of the hyper-parameter.
        low: lower end of the coordinate, positive.
        high: upper end.
        complement: the coordinate is 1 - value (momentum) and not the value itself.
        bounds: sides that nature sets (momentum can't go below 0): no optimum there is
            suspicious, and nothing is widened beyond.
        is_whole: whether values are whole numbers.
    """

    name: str
    low: float
    high: float
    complement: bool = False
    bounds: tuple[Side, ...] = ()
    is_whole: bool = False

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            InputError: where it is not 0 < low < high, or a complement reaches above 1.
        """
        if not 0 < self.low < self.high < math.inf:
            raise InputError(f"search space: {self.name} wants 0 < low < high < infinity")
        if self.complement and self.high > 1:
            raise InputError(f"search space: 1 - {self.name} must not exceed 1, not {self.high}")

    @property
    def log_range(self) -> float:
        """Natural logarithm of high / low."""
        return math.log(self.high / self.low)

    def value(self, place: float) -> float:
        """Return the hyper-parameter at a place in [0, 1] of the range."""
        coordinate = self.low * math.exp(place * self.log_range)
        if self.is_whole:
            return float(round(coordinate))
        return _rounded(1 - coordinate if self.complement else coordinate)

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at `low`, 1 at `high`, beyond them outside [0, 1]."""
        coordinate = 1 - value if self.complement else value
        return math.log(coordinate / self.low) / self.log_range

    def around(self, value: float, *, width: float) -> "Dimension":
        """Return the part of the range, `width` of it long, around a value; clipped to it."""
        middle = self.place(value)
        start, stop = max(middle - width / 2, 0.0), min(middle + width / 2, 1.0)
        return replace(
            self,
            low=self.low * math.exp(start * self.log_range),
            high=self.high if stop == 1 else self.low * math.exp(stop * self.log_range),
        )

    def beyond(self, side: Side, *, width: float) -> "Dimension":
        """Return the stretch outside a side, `width` of the range long."""
        factor = math.exp(width * self.log_range)
        if side == "low":
            return replace(self, low=self.low / factor, high=self.low)
        return replace(self, low=self.high, high=self.high * factor)

    def hull(self, other: "Dimension") -> "Dimension":
        """Return the range that holds both."""
        return replace(self, low=min(self.low, other.low), high=max(self.high, other.high))


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A box of searched numbers, and numbers that stay fixed.

    Attributes:
        dimensions: the searched numbers, `learning_rate` among them. Where there is a velocity,
            the range of the learning rate is that of the effective one,
            learning_rate / (1 - momentum), as in Shallue et al. 2018, arXiv:1811.03600, section 4:
            what is good at small batches depends on it alone, so its range is covered evenly
            whatever the momentum.
        fixed: the others, by name.
        velocity_decay: the number by which a velocity that sums its gradients decays. "" where the
            method has none: a first moment that is a mean (Adam's beta1) does not lengthen a step.
    """

    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, float] = field(default_factory=dict)
    velocity_decay: str = "momentum"

    def _hyper_parameters(self, coordinates: Mapping[str, float]) -> dict[str, float]:
        found = {**self.fixed, **coordinates}
        rate = found["learning_rate"] * (1 - found.get(self.velocity_decay, 0.0))
        return found | {"learning_rate": _rounded(rate)}

    def _coordinates(self, point: Mapping[str, float]) -> dict[str, float]:
        effective = point["learning_rate"] / (1 - point.get(self.velocity_decay, 0.0))
        return {**point, "learning_rate": effective}

    def points(self, count: int, *, seed: tuple[int, ...]) -> list[dict[str, float]]:
        """Return a scrambled Sobol sequence's first points (Owen 1998, as scipy has it).

        Args:
            count: how many; a sequence for fewer is a prefix of one for more.
            seed: of the scrambling, numbers that are not negative.

        Returns:
            Hyper-parameters by name, the fixed ones too.
        """
        from scipy.stats import qmc  # takes as long to import as all else of `--help`

        sobol = qmc.Sobol(len(self.dimensions), rng=np.random.default_rng(seed))
        places = sobol.random_base2(max(count - 1, 0).bit_length())[:count]
        return [
            self._hyper_parameters({
                dimension.name: dimension.value(float(place))
                for dimension, place in zip(self.dimensions, row, strict=True)
            })
            for row in places
        ]

    def places(self, point: Mapping[str, float]) -> list[float]:
        """Return where a point lies in each searched number's log range: 0 to 1 inside.

        Args:
            point: hyper-parameters by name.
        """
        at = self._coordinates(point)
        return [each.place(at[each.name]) for each in self.dimensions]

    def around(self, point: Mapping[str, float], *, width: float) -> "SearchSpace":
        """Return the box around a point that is `width` of each range long, clipped to this."""
        at = self._coordinates(point)
        around = tuple(each.around(at[each.name], width=width) for each in self.dimensions)
        return replace(self, dimensions=around)

    def border(self, point: Mapping[str, float], *, margin: float) -> tuple[str, Side] | None:
        """Return the side that a point lies at, or None.

        Args:
            point: hyper-parameters by name.
            margin: share of a log range that counts as the border.

        Returns:
            The dimension's name and the side; sides that nature sets do not count. Of several, the
            nearest.
        """
        at = self._coordinates(point)
        near: list[tuple[float, str, Side]] = []
        for each in self.dimensions:
            place = each.place(at[each.name])
            sides: list[tuple[float, Side]] = [(place, "low"), (1 - place, "high")]
            near += [
                (gap, each.name, side)
                for gap, side in sides
                if gap < margin and side not in each.bounds
            ]
        return min(near)[1:] if near else None

    def widened(self, name: str, side: Side, *, width: float) -> tuple["SearchSpace", Dimension]:
        """Return the space with one side moved out, and the stretch that was added."""
        old = next(each for each in self.dimensions if each.name == name)
        added = old.beyond(side, width=width)
        grown = tuple(each.hull(added) if each.name == name else each for each in self.dimensions)
        return replace(self, dimensions=grown), added

    def with_dimension(self, dimension: Dimension) -> "SearchSpace":
        """Return the space with the dimension of that name replaced."""
        return replace(
            self,
            dimensions=tuple(
                dimension if each.name == dimension.name else each for each in self.dimensions
            ),
        )

    def searching(self, dimension: Dimension) -> "SearchSpace":
        """Return the space with one number more that is searched, be it fixed so far or new."""
        fixed = {name: value for name, value in self.fixed.items() if name != dimension.name}
        others = tuple(each for each in self.dimensions if each.name != dimension.name)
        return replace(self, dimensions=(*others, dimension), fixed=fixed)

    def fixing(self, **values: float) -> "SearchSpace":
        """Return the space with numbers that stay fixed, be they searched so far or new."""
        others = tuple(each for each in self.dimensions if each.name not in values)
        return replace(self, dimensions=others, fixed={**self.fixed, **values})

    def in_words(self) -> dict[str, str]:
        """Return each range as text, by the name of its coordinate."""
        names = {each.name: f"1 - {each.name}" for each in self.dimensions if each.complement}
        if self.velocity_decay in {*names, *self.fixed}:
            names["learning_rate"] = f"learning_rate / (1 - {self.velocity_decay})"
        return {
            names.get(each.name, each.name): f"{each.low:.4g} to {each.high:.4g}"
            for each in self.dimensions
        }
