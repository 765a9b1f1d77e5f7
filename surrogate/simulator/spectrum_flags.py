"""The flags that the simulator's commands share: the spectrum, the batch sizes, the target."""

import argparse
import math
from pathlib import Path
from typing import Any

from models_of_scaling.errors import InputError
from surrogate.rungs import rung_name

_SPECTRUM_FLAGS = ("modes", "curvature", "noise")
_MOST_BATCH_SIZE = 2**50


def add_spectrum_flags(parser: argparse.ArgumentParser, *, default_sizes: str) -> None:
    """Add the flags.

    Args:
        parser: of a command.
        default_sizes: in words.
    """
    add = parser.add_argument
    add("--spectrum", type=Path, metavar="FILE", help="CSV or NPZ: curvature, noise of each mode")
    add("--modes", type=float, metavar="N", help="dimensions (default: 10000)")
    add("--curvature", type=float, metavar="X", help="exponent of its fall (default: 1)")
    add("--noise", type=float, metavar="X", help="noise over curvature (default: 1)")
    add(
        "--batch-sizes",
        default="",
        metavar="LIST",
        help=f"such as 1,8,64 (default: {default_sizes})",
    )
    add("--target-risk", type=float, default=0.01, metavar="X", help="ends a run (default: 0.01)")


def pop_spectrum(arguments: dict[str, Any], *, default_sizes: tuple[int, ...]) -> dict[str, Any]:
    """Take the flags out of the arguments.

    Args:
        arguments: by name; those of `add_spectrum_flags` are removed.
        default_sizes: batch sizes where none are given.

    Returns:
        `workload`, `spectrum`, `batch_sizes` and `target_risk` of `Forecast`.

    Raises:
        InputError: naming the flag that breaks its rule.
    """
    shape = {name: arguments.pop(name) for name in _SPECTRUM_FLAGS}
    given = {name: value for name, value in shape.items() if value is not None}
    spectrum, target = arguments.pop("spectrum"), arguments.pop("target_risk")
    if given and spectrum is not None:
        raise InputError(f"--{next(iter(given))} says nothing about a --spectrum from a file")
    if not math.isfinite(target):
        raise InputError(f"--target-risk {target} must be a finite number")
    return {
        "workload": rung_name("noisy_quadratic", given),
        "spectrum": spectrum,
        "batch_sizes": _batch_sizes(arguments.pop("batch_sizes")) or default_sizes,
        "target_risk": target,
    }


def _batch_sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(f"--batch-sizes {text!r} is not a list such as 1,8,64") from None
    if any(not 1 <= size <= _MOST_BATCH_SIZE for size in sizes) or len(set(sizes)) < len(sizes):
        raise InputError(f"--batch-sizes {text!r} must be in 1..2^50, each once")
    return sizes
