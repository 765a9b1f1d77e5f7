"""The methods whose best is looked for: what is searched, on which scale, and what stays fixed.

Each axis is the logarithm of a coordinate: the effective learning rate in units of the highest
curvature, lr k_max / (1 - m); 1 - m; 1 - decay of the average. The search may leave an axis' range
but where nature ends it.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models_of_scaling.errors import InputError
from surrogate.simulator.configuration import MAX_DELAY, Averaging, Configuration

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One searched number.

    Attributes:
        name: `learning_rate`, or a field of `Configuration` whose coordinate is 1 - value.
        low: of the coordinate, where the first grid begins.
        high: where it ends.
        points: of the first grid.
        is_bounded: whether nature ends the coordinate at `high`.
    """

    name: str
    low: float
    high: float
    points: int
    is_bounded: bool

    @property
    def spacing(self) -> float:
        """Distance of the first grid's points, in logarithms."""
        return math.log(self.high / self.low) / (self.points - 1)

    def grid(self, *, lowest: float = math.inf) -> Floats:
        """Return logarithms of the coordinate, evenly spaced.

        Args:
            lowest: a coordinate that the grid must reach down to.
        """
        more = max(0.0, math.log(self.low / lowest)) / self.spacing if lowest < self.low else 0.0
        places = np.arange(-math.ceil(more), self.points)
        return np.minimum(math.log(self.low) + self.spacing * places, math.log(self.high))


_RATE = Axis(name="learning_rate", low=1e-6, high=300.0, points=40, is_bounded=False)
_MOMENTUM = Axis(name="momentum", low=1e-6, high=1.0, points=23, is_bounded=True)
_DECAY = Axis(name="averaging_decay", low=1e-7, high=1.0, points=16, is_bounded=True)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method to tune.

    Attributes:
        name: by which the command line calls it.
        axes: what is searched.
        nesterov: see `Configuration`.
        averaging: see `Configuration`.
        preconditioning: see `Configuration`.
        gradient_delay: see `Configuration`.
    """

    name: str
    axes: tuple[Axis, ...] = field(default=(_RATE,))
    nesterov: bool = False
    averaging: Averaging = "none"
    preconditioning: float = 0.0
    gradient_delay: int = 0

    def values(self, place: Floats, *, highest_curvature: float) -> dict[str, Floats]:
        """Return hyper-parameters at places in the space.

        Args:
            place: logarithms of the coordinates, one column an axis, shape (K, axes).
            highest_curvature: k_max.

        Returns:
            By field of `Configuration`, shape (K,).
        """
        coordinate = {a.name: np.exp(place[:, i]) for i, a in enumerate(self.axes)}
        values = {k: 1 - v for k, v in coordinate.items() if k != "learning_rate"}
        rate = coordinate["learning_rate"] / highest_curvature
        return {"learning_rate": rate * coordinate.get("momentum", 1.0), **values}

    def configuration(self, values: Mapping[str, float | Floats]) -> Configuration:
        """Return the configuration with these hyper-parameters.

        Args:
            values: single numbers, or columns of shape (K, 1), by field.
        """
        return Configuration(
            nesterov=self.nesterov,
            averaging=self.averaging,
            preconditioning=self.preconditioning,
            gradient_delay=self.gradient_delay,
            **values,
        )

    def changed(self, *, preconditioning: float | None, gradient_delay: int) -> "Method":
        """Return the method on a preconditioned problem, or with late gradients.

        Args:
            preconditioning: p; None leaves it.
            gradient_delay: d.

        Returns:
            The method, of the same name.

        Raises:
            InputError: naming the flag that breaks its rule.
        """
        if preconditioning is None:
            preconditioning = self.preconditioning
        if not 0 <= preconditioning <= 1:
            raise InputError(f"--preconditioning {preconditioning:g} must be in 0..1")
        if not 0 <= gradient_delay <= MAX_DELAY:
            raise InputError(f"--gradient-delay {gradient_delay} must be in 0..{MAX_DELAY}")
        return dataclasses.replace(
            self, preconditioning=preconditioning, gradient_delay=gradient_delay
        )


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(name="sgd"),
        Method(name="momentum", axes=(_RATE, _MOMENTUM)),
        Method(name="nesterov", axes=(_RATE, _MOMENTUM), nesterov=True),
        Method(name="preconditioned", axes=(_RATE, _MOMENTUM), preconditioning=0.5),
        Method(name="averaged", axes=(_RATE, _DECAY), averaging="exponential"),
        Method(name="running_average", averaging="running"),
    )
}


def get_method(name: str) -> Method:
    """Return the method of this name.

    Raises:
        InputError: where there is none; those that there are are listed.
    """
    if name not in METHODS:
        raise InputError(f"--method {name!r} is not one of {', '.join(METHODS)}")
    return METHODS[name]
