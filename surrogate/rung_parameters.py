"""Which parameters each workload has: the rungs of its ladders, and the split of its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models_of_scaling.errors import InputError

# Those of `fullscale.models`; a test holds it. Naming a sweep needs no torch.
MLP_WIDTHS: Final = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
CONVOLUTION_WIDTHS: Final = (4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One number that a rung may set.

    Attributes:
        name: on the command line and in the workload's name.
        help: of the command line.
        low: smallest value.
        high: largest value.
        is_whole: whether only whole numbers are meant.
        choices: the only values; empty for all.
        is_covariate: whether a ladder's rungs are told apart by it.
    """

    name: str
    help: str
    low: float
    high: float
    is_whole: bool = True
    choices: tuple[int, ...] = ()
    is_covariate: bool = True

    def check(self, value: float, workload: str) -> None:
        """Refuse a value outside the rule.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.choices and value not in self.choices:
            listed = ", ".join(map(str, self.choices))
            raise InputError(f"--{self.name} {value:g} ({workload}) is not one of {listed}")
        if not self.low <= value <= self.high or (self.is_whole and value != int(value)):
            kind = "a whole number" if self.is_whole else "a number"
            raise InputError(
                f"--{self.name} {value:g} ({workload}) must be {kind} in "
                f"{self.low:g}..{self.high:g}"
            )

    def in_name(self, value: float) -> str:
        """Return a value as a workload's name has it; a whole number with all its digits."""
        return f"{self.name}{value:.0f}" if self.is_whole else f"{self.name}{value:.6g}"


def _subset(high: int) -> Parameter:
    return Parameter(name="subset", help="only the first X training images", low=16, high=high)


_UNITS = Parameter(name="width", help="hidden units", low=8, high=256, choices=MLP_WIDTHS)
_FILTERS = Parameter(
    name="width",
    help="filters of the first convolution",
    low=4,
    high=64,
    choices=CONVOLUTION_WIDTHS,
)


def _images(width: Parameter, *, size: int, side: int) -> tuple[Parameter, ...]:
    return (
        Parameter(
            name="holdout",
            help="training images kept apart for validation",
            low=10,
            high=size // 2,
            is_covariate=False,
        ),
        _subset(size),
        width,
        Parameter(name="resolution", help="side of the images, pixels", low=4, high=side),
    )


_IMAGENET = 1_281_167
PARAMETERS: Final[Mapping[str, tuple[Parameter, ...]]] = {
    "digits": (_subset(1024), _UNITS),
    "digits_cnn": (_subset(1024),),
    "mnist": _images(_UNITS, size=60_000, side=28),
    "mnist_cnn": _images(_FILTERS, size=60_000, side=28),
    "fashion_mnist": _images(_UNITS, size=60_000, side=28),
    "fashion_mnist_cnn": _images(_FILTERS, size=60_000, side=28),
    "cifar10": _images(_FILTERS, size=50_000, side=32),
    "cifar10_cnn": _images(_FILTERS, size=50_000, side=32),
    "cifar100": _images(_FILTERS, size=50_000, side=32),
    "imagenet_subset": (
        Parameter(
            name="list",
            help="number of a class list in DATA/imagenet_subset/lists; see --class-list",
            low=0,
            high=2**32 - 1,
            is_covariate=False,
        ),
        Parameter(name="perclass", help="training images of each class", low=1, high=1300),
        *_images(_FILTERS, size=_IMAGENET, side=256),
    ),
    "gaussian_mixture": (
        Parameter(name="dimension", help="numbers in an example", low=2, high=4096),
        Parameter(name="classes", help="number of classes", low=2, high=1000),
        Parameter(
            name="noise",
            help="spread of a class over the distance of two",
            low=0.01,
            high=100,
            is_whole=False,
        ),
        _subset(8192),
        _UNITS,
    ),
    "noisy_quadratic": (
        Parameter(name="modes", help="dimensions", low=10, high=100_000),
        Parameter(
            name="curvature",
            help="exponent of the falling curvature",
            low=0.5,
            high=2.0,
            is_whole=False,
        ),
        Parameter(name="noise", help="noise over curvature", low=1e-3, high=1e3, is_whole=False),
    ),
}


def flags() -> dict[str, str]:
    """Return every parameter's name and help; what several workloads share is said once."""
    meanings: dict[str, dict[str, list[str]]] = {}
    for workload, parameters in PARAMETERS.items():
        for each in parameters:
            meanings.setdefault(each.name, {}).setdefault(each.help, []).append(workload)
    return {
        name: "; ".join(f"{', '.join(of)}: {help}" for help, of in by_help.items())
        if len(by_help) > 1 or sum(map(len, by_help.values())) == 1
        else next(iter(by_help))
        for name, by_help in meanings.items()
    }
