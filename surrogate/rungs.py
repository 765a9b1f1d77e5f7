"""Rungs of a ladder: a workload with another training set, width or spectrum, by its name.

`digits_subset128_width16` is the digits workload with the first 128 training images and 16 hidden
units; `noisy_quadratic_modes1000_curvature1.2` a smaller simulator with a steeper spectrum. Target,
search spaces and budgets are those of the workload, so that rungs differ in what is named alone.
"""

import argparse
import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models_of_scaling.errors import InputError
from surrogate.data_root import add_data_root_argument
from surrogate.image_data import IMAGE_SETS
from surrogate.image_workloads import image_rung, up_to

if TYPE_CHECKING:
    from fullscale.data.image_arrays import ImageArrays
    from surrogate.workloads import Workload

# Those of `fullscale.models.MLP_WIDTHS`; a test holds it. Naming a sweep needs no torch.
MLP_WIDTHS: Final = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


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
    """

    name: str
    help: str
    low: float
    high: float
    is_whole: bool = True
    choices: tuple[int, ...] = ()

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


_MNIST = (
    Parameter(name="holdout", help="training images kept for validation", low=10, high=30_000),
    Parameter(name="subset", help="its first N training images", low=16, high=60_000),
    Parameter(name="width", help="hidden units", low=8, high=256, choices=MLP_WIDTHS),
    Parameter(name="resolution", help="side of the images, pixels", low=4, high=28),
)
_SUBSET = Parameter(name="subset", help="digits: its first N training images", low=16, high=1024)
PARAMETERS: Final[Mapping[str, tuple[Parameter, ...]]] = {
    "digits": (
        _SUBSET,
        Parameter(name="width", help="digits: hidden units", low=8, high=256, choices=MLP_WIDTHS),
    ),
    "digits_cnn": (_SUBSET,),
    "mnist": _MNIST,
    "fashion_mnist": _MNIST,
    "noisy_quadratic": (
        Parameter(name="modes", help="noisy_quadratic: dimensions", low=10, high=100_000),
        Parameter(
            name="curvature",
            help="noisy_quadratic: exponent of the falling curvature",
            low=0.5,
            high=2.0,
            is_whole=False,
        ),
        Parameter(
            name="noise",
            help="noisy_quadratic: noise over curvature",
            low=1e-3,
            high=1e3,
            is_whole=False,
        ),
    ),
}


def add_workload_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what is swept.

    Args:
        parser: of the sweep's command.
    """
    add_data_root_argument(parser)
    parser.add_argument("--workload", required=True, help=", ".join(PARAMETERS))
    parser.add_argument(
        "--optimizer",
        default="momentum",
        help="momentum (default) or another that the workload has",
    )
    for each in {each.name: each for known in PARAMETERS.values() for each in known}.values():
        parser.add_argument(f"--{each.name}", type=float, help=each.help)


def pop_workload(arguments: dict[str, Any]) -> str:
    """Take the flags of `add_workload_arguments` and --workload out of the arguments.

    Args:
        arguments: by name; --workload and the parameters are removed.

    Returns:
        The workload's name, with the parameters that were given.
    """
    workload = str(arguments.pop("workload"))
    arguments.pop("data_root")  # has been set where it was parsed
    names = dict.fromkeys(each.name for known in PARAMETERS.values() for each in known)
    values = {name: arguments.pop(name) for name in names}
    given = {name: value for name, value in values.items() if value is not None}
    return rung_name(workload, given) if given else workload


def rung_name(workload: str, values: Mapping[str, float]) -> str:
    """Return the name of a workload with parameters.

    >>> rung_name("digits", {"subset": 128, "width": 16})
    'digits_subset128_width16'

    Args:
        workload: a name of `WORKLOADS`.
        values: by parameter; none leaves the name as it is.

    Returns:
        The name; parameters stand in the order of `PARAMETERS`.

    Raises:
        InputError: for a parameter that the workload does not have, or a value against its rule.
    """
    known = {each.name: each for each in PARAMETERS.get(workload, ())}
    for name in values:
        if name not in known:
            listed = ", ".join(f"--{each}" for each in known) or "none"
            raise InputError(
                f"--{name} is no parameter of --workload {workload}, which has: {listed}"
            )
    parts = [workload]
    for name, parameter in known.items():
        if name in values:
            parameter.check(values[name], workload)
            parts.append(f"{name}{values[name]:.6g}")
    return "_".join(parts)


def values_of_name(name: str) -> tuple[str, dict[str, float]]:
    """Return the workload that a name begins with and the parameters that it goes on with.

    >>> values_of_name("digits_subset128_width16")
    ('digits', {'subset': 128.0, 'width': 16.0})

    Args:
        name: as `rung_name` makes it, or a workload's.

    Returns:
        The workload's name, and values by parameter.

    Raises:
        InputError: where the name begins with no workload, or goes on otherwise.
    """
    # The longest name first: digits_cnn_subset128 is no rung of digits.
    for base in sorted(PARAMETERS, key=len, reverse=True):
        if name == base or name.startswith(f"{base}_"):
            break
    else:
        raise InputError(f"--workload {name!r} is not one of {', '.join(PARAMETERS)}")
    values: dict[str, float] = {}
    for part in name.removeprefix(base).split("_")[1:]:
        match = re.fullmatch(r"([a-z]+)([0-9.]+(?:e[-+]?[0-9]+)?)", part)
        try:
            values[match[1] if match else part] = float(match[2]) if match else math.nan
        except ValueError:
            values[part] = math.nan
    if name != rung_name(base, values):
        raise InputError(f"--workload {name!r} should read {rung_name(base, values)!r}")
    return base, values


def rung_of_name(workloads: "Mapping[str, Workload]", name: str) -> "Workload":
    """Return the workload that a name begins with, changed by the parameters it goes on with.

    Args:
        workloads: by name.
        name: as `rung_name` makes it; one that it would not make is refused.

    Returns:
        The rung.
    """
    base, values = values_of_name(name)
    workload = workloads[base]
    if workload.engine == "noisy_quadratic":
        changed = _quadratic_rung
    else:
        changed = image_rung if workload.dataset in IMAGE_SETS else _digits_rung
    return dataclasses.replace(changed(workload, values), name=name)


def _digits_rung(workload: "Workload", values: Mapping[str, float]) -> "Workload":
    if "width" in values:
        workload = dataclasses.replace(workload, model=f"mlp_width{values['width']:.0f}")
    if "subset" not in values:
        return workload
    size = int(values["subset"])
    return dataclasses.replace(
        workload,
        batch_sizes=up_to(workload.batch_sizes, size),
        quick_batch_sizes=up_to(workload.quick_batch_sizes, size),
        max_batch_size=size,
        load=functools.partial(_digits_subset, size),
    )


@functools.cache
def _digits_subset(size: int) -> "ImageArrays":
    """Return digits with its first training images only: smaller sets lie inside larger ones.

    Pixels stay standardised by the whole training set, so that rungs differ in the images alone.
    """
    from fullscale.data.digits import digits_arrays  # scikit-learn takes a second to import

    whole = digits_arrays()
    return dataclasses.replace(
        whole, train_images=whole.train_images[:size], train_labels=whole.train_labels[:size]
    )


def _quadratic_rung(workload: "Workload", values: Mapping[str, float]) -> "Workload":
    from surrogate.noisy_quadratic import NUM_MODES, power_law_spectrum

    return dataclasses.replace(
        workload,
        spectrum=functools.partial(
            power_law_spectrum,
            num_modes=int(values.get("modes", NUM_MODES)),
            curvature_exponent=values.get("curvature", 1.0),
            noise_power=values.get("noise", 1.0),
        ),
    )
