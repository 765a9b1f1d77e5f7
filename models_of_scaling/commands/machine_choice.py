"""Words that `machine` and `plan` share: the machines, the time of a step, and what it costs."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from models_of_scaling.fit_record import FitRecord
    from models_of_scaling.machine.machines import Machines
    from models_of_scaling.machine.step_time_belief import StepTimeBelief

# In any unit of this file nothing that exists is farther from 1; products of such numbers overflow.
_NO_MACHINE: Final = 1e30
_ALGORITHMS: Final = ("ring", "tree", "hierarchical", "torus")
# Flag, default, rule, help. A default of None means that a roofline must give it.
_ROOFLINE: Final[tuple[tuple[str, float | None, str, str], ...]] = (
    ("--flops-per-example", None, "positive", "FLOPs of one forward and backward of an example"),
    ("--peak-flops", None, "positive", "FLOP/s of one device at the precision used"),
    ("--attainable", 0.3, "share", "share of the peak that real training gets"),
    ("--memory-bytes-per-example", 0.0, "not negative", "to and from a device's memory"),
    ("--memory-bandwidth", math.inf, "positive", "of one device's memory, bytes/s"),
    ("--seconds-per-forward", 0.0, "not negative", "fixed time of one forward and backward"),
    ("--overlap", 0.5, "share", "share of the backward pass that hides the all-reduce"),
    ("--latency-within", 5e-6, "not negative", "seconds per message inside a node"),
    ("--bandwidth-within", 5e10, "positive", "bytes/s of one device's link inside a node"),
    ("--latency-between", 2e-5, "not negative", "seconds per message between nodes"),
    ("--bandwidth-between", 1.2e10, "positive", "bytes/s of one node's links to the others"),
    ("--roofline-error", 1.5, "at least 1", "90 %% of real step times lie within this factor"),
)


@dataclass(frozen=True, kw_only=True)
class MachineChoice:
    """What the words say.

    Attributes:
        machines: to choose from.
        belief: about the step's time; None where neither throughput nor a roofline was given.
        batch_sizes: to choose from.
        price_per_device_hour: money, or None.
        watts_per_device: power, or None.
        level: of the intervals.
    """

    machines: "Machines"
    belief: "StepTimeBelief | None"
    batch_sizes: list[int]
    price_per_device_hour: float | None
    watts_per_device: float | None
    level: float


def add_machine_choice(parser: argparse.ArgumentParser) -> None:
    """Add the words.

    Args:
        parser: of a command.
    """
    parser.add_argument(
        "--nodes",
        type=int,
        nargs="+",
        required=True,
        metavar="M",
        help="numbers of nodes to choose from, such as 1 2 4 8",
    )
    parser.add_argument(
        "--devices-per-node", type=int, required=True, metavar="K", help="such as 8 GPUs"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        nargs="+",
        metavar="B",
        help="examples per step to choose from (default: powers of two from the smallest fitted to "
        "4x the largest)",
    )
    parser.add_argument(
        "--max-per-device-batch-size",
        type=int,
        metavar="B",
        help="examples that fit on a device at a time; more is accumulated (default: any number)",
    )
    parser.add_argument(
        "--throughput",
        type=Path,
        metavar="CSV",
        help="measured step times: columns nodes, devices (per node), per_device_batch_size, "
        "seconds_per_step; optional accumulate_grad_batches",
    )
    parser.add_argument(
        "--parameter-bytes",
        type=float,
        metavar="BYTES",
        help="of the gradients that a step all-reduces: 4 bytes a parameter in float32, 1.02e8 for "
        "ResNet-50",
    )
    parser.add_argument(
        "--all-reduce", choices=_ALGORITHMS, default="tree", help="algorithm (default: tree)"
    )
    parser.add_argument(
        "--price-per-device-hour", type=float, metavar="MONEY", help="in any currency"
    )
    parser.add_argument(
        "--watts-per-device", type=float, metavar="W", help="to tell the energy, kWh"
    )
    parser.add_argument(
        "--level", type=float, help="share that intervals shall hold (default: the fit's, 0.9)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    roofline = parser.add_argument_group("a data sheet (roofline), instead of --throughput")
    for flag, default, _, words in _ROOFLINE:
        shown = "" if default is None else f" (default: {default:g})"
        roofline.add_argument(flag, type=float, metavar="X", help=words + shown)


def machine_choice(
    arguments: argparse.Namespace, fit: "FitRecord", *, device_limit: int | None = None
) -> MachineChoice:
    """Return what the words say, throughput read and fitted.

    Args:
        arguments: with the words of `add_machine_choice`.
        fit: the record of the laws.
        device_limit: examples that a device holds, where --max-per-device-batch-size is not given.

    Returns:
        The choice. Wrong words end in an InputError that names flag, value and rule.
    """
    from models_of_scaling.intervals import check_level
    from models_of_scaling.machine.machines import (
        Machines,
        candidate_batch_sizes,
        check_batch_sizes,
    )

    _check_counts(arguments)
    for flag in ("--price-per-device-hour", "--watts-per-device"):
        _checked(arguments, flag, "positive")
    level = check_level(fit.level if arguments.level is None else arguments.level)
    machines = Machines(
        nodes=tuple(sorted(set(arguments.nodes))),
        devices_per_node=arguments.devices_per_node,
        max_per_device_batch_size=arguments.max_per_device_batch_size or device_limit,
    )
    sizes = (
        candidate_batch_sizes(fit)
        if arguments.batch_size is None
        else check_batch_sizes(fit, arguments.batch_size)
    )
    return MachineChoice(
        machines=machines,
        belief=_belief(arguments, machines, level),
        batch_sizes=sizes,
        price_per_device_hour=arguments.price_per_device_hour,
        watts_per_device=arguments.watts_per_device,
        level=level,
    )


def _check_counts(arguments: argparse.Namespace) -> None:
    for flag, values in (
        ("--nodes", arguments.nodes),
        ("--devices-per-node", [arguments.devices_per_node]),
        ("--max-per-device-batch-size", [arguments.max_per_device_batch_size or 1]),
    ):
        for value in values:
            if value < 1:
                raise InputError(f"{flag} {value} must be at least 1")
    if arguments.max_per_device_batch_size == 0:
        raise InputError("--max-per-device-batch-size 0 must be at least 1")
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed} must be at least 0")


def _value(arguments: argparse.Namespace, flag: str) -> Any:
    return getattr(arguments, flag.removeprefix("--").replace("-", "_"))


def _checked(arguments: argparse.Namespace, flag: str, rule: str) -> float | None:
    """Return a number that keeps its rule; None where it was not given."""
    value: float | None = _value(arguments, flag)
    if value is None:
        return None
    kept = {
        "positive": value > 0,
        "not negative": value >= 0,
        "share": 0 < value <= 1 if flag == "--attainable" else 0 <= value <= 1,
        "at least 1": value >= 1,
    }[rule]
    if not kept or not (math.isfinite(value) or flag == "--memory-bandwidth"):
        words = (
            f"a finite number, {rule}" if rule != "share" else "a share, at most 1 (0.3 for 30 %)"
        )
        raise InputError(f"{flag} {value:g} must be {words}")
    if math.isfinite(value) and value != 0 and not 1 / _NO_MACHINE <= value <= _NO_MACHINE:
        raise InputError(f"{flag} {value:g} must lie in {1 / _NO_MACHINE:g} .. {_NO_MACHINE:g}")
    return value


def _belief(
    arguments: argparse.Namespace, machines: "Machines", level: float
) -> "StepTimeBelief | None":
    given = [flag for flag, *_ in _ROOFLINE if _value(arguments, flag) is not None]
    if arguments.throughput is not None and given:
        raise InputError(f"{given[0]}: give either --throughput or a roofline, not both")
    if arguments.throughput is None and not given:
        return None
    parameter_bytes = _checked(arguments, "--parameter-bytes", "positive")
    if arguments.throughput is not None:
        return _measured(arguments, machines, parameter_bytes, level)
    for flag in ("--flops-per-example", "--peak-flops"):
        if flag not in given:
            raise InputError(f"{flag} is missing: a roofline needs it (given: {', '.join(given)})")
    if parameter_bytes is None and max(machines.nodes) * machines.devices_per_node > 1:
        raise InputError("--parameter-bytes is missing: what several devices all-reduce per step")
    return _data_sheet(arguments, parameter_bytes or 1.0)


def _measured(
    arguments: argparse.Namespace,
    machines: "Machines",
    parameter_bytes: float | None,
    level: float,
) -> "StepTimeBelief":
    from models_of_scaling.machine.step_time_belief import belief_from_fit
    from models_of_scaling.machine.step_time_fit import fit_step_time
    from models_of_scaling.machine.throughput import read_throughput

    measured = read_throughput(arguments.throughput)
    devices = int((measured.nodes * measured.devices_per_node).max())
    devices = max(devices, max(machines.nodes) * machines.devices_per_node)
    if parameter_bytes is None and devices > 1:
        raise InputError("--parameter-bytes is missing: what several devices all-reduce per step")
    fitted = fit_step_time(
        measured,
        parameter_bytes=parameter_bytes or 1.0,
        algorithm=arguments.all_reduce,
        level=level,
        seed=arguments.seed,
    )
    return belief_from_fit(fitted, seed=arguments.seed)


def _data_sheet(arguments: argparse.Namespace, parameter_bytes: float) -> "StepTimeBelief":
    from models_of_scaling.machine.all_reduce import Link, Network
    from models_of_scaling.machine.cluster import Roofline
    from models_of_scaling.machine.step_time_belief import belief_from_roofline

    number: dict[str, float] = {}
    for flag, default, rule, _ in _ROOFLINE:
        value = _checked(arguments, flag, rule)
        number[flag] = (default or 0.0) if value is None else value
    roofline = Roofline(
        flops_per_example=number["--flops-per-example"],
        peak_flops_per_s=number["--peak-flops"],
        attainable_fraction=number["--attainable"],
        memory_bytes_per_example=number["--memory-bytes-per-example"],
        memory_bandwidth=number["--memory-bandwidth"],
        seconds_per_forward=number["--seconds-per-forward"],
    )
    point = roofline.step_time(
        network=Network(
            within=Link(
                latency_s=number["--latency-within"], bandwidth=number["--bandwidth-within"]
            ),
            between=Link(
                latency_s=number["--latency-between"], bandwidth=number["--bandwidth-between"]
            ),
        ),
        parameter_bytes=parameter_bytes,
        overlap=number["--overlap"],
        algorithm=arguments.all_reduce,
    )
    return belief_from_roofline(
        roofline, point, error_factor=number["--roofline-error"], seed=arguments.seed
    )
