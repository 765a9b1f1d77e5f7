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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_of_scaling.errors import InputError
from surrogate.data_root import add_data_root_argument
from surrogate.image_subset import register_class_list
from surrogate.image_workloads import image_rung, mixture_rung, up_to
from surrogate.rung_parameters import MLP_WIDTHS as MLP_WIDTHS  # part of this module's face
from surrogate.rung_parameters import PARAMETERS as PARAMETERS
from surrogate.rung_parameters import flags
from surrogate.user_workload import is_class_path

if TYPE_CHECKING:
    from fullscale.data.image_arrays import ImageArrays
    from surrogate.workloads import Workload


def add_workload_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what is swept.

    Args:
        parser: of the sweep's command.
    """
    add_data_root_argument(parser)
    known = ", ".join(PARAMETERS)
    parser.add_argument(
        "--workload",
        required=True,
        help=f"{known}; or MODULE.CLASS of your own; docs/workloads.md has them",
    )
    parser.add_argument(
        "--class-list", type=Path, metavar="FILE", help="imagenet_subset: its classes, one a line"
    )
    parser.add_argument(
        "--optimizer",
        default="momentum",
        help="a name of docs/optimizers.md, or MODULE.RULE of your own (docs/workloads.md; "
        "default: momentum)",
    )
    group = parser.add_argument_group("a built-in workload's parameters (default: its own)")
    for name, meaning in flags().items():
        group.add_argument(f"--{name}", type=float, metavar="X", help=meaning)


def pop_workload(arguments: dict[str, Any]) -> str:
    """Take the flags of `add_workload_arguments` and --workload out of the arguments.

    Args:
        arguments: by name; --workload and the parameters are removed.

    Returns:
        The workload's name, with the parameters that were given.

    Raises:
        InputError: for a class list where none belongs, or what `rung_name` refuses.
    """
    workload = str(arguments.pop("workload"))
    arguments.pop("data_root")  # has been set where it was parsed
    class_list = arguments.pop("class_list")
    values = {name: arguments.pop(name) for name in flags()}
    given = {name: value for name, value in values.items() if value is not None}
    if class_list is not None:
        if workload != "imagenet_subset" or "list" in given:
            raise InputError(f"--class-list {class_list}: is for imagenet_subset without --list")
        given["list"] = register_class_list(class_list)
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
            parts.append(parameter.in_name(values[name]))
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
    if is_class_path(name):  # a user's own workload has no parameters
        return name, {}
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
    elif workload.dataset == "gaussian_mixture":
        changed = mixture_rung
    else:
        changed = _digits_rung if workload.dataset == "digits" else image_rung
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
