"""Forecast steps to target without a run: python -m surrogate.simulate --method momentum.

The noisy quadratic model (docs/simulator.md): the fewest steps of a method at each batch size, and
the hyper-parameters that need so few; `python -m models_of_scaling fit` reads the table.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from surrogate.rungs import rung_name
from surrogate.simulator.forecast import Forecast, as_csv, forecast
from surrogate.simulator.methods import METHODS

_SPECTRUM_FLAGS = ("modes", "curvature", "noise")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m surrogate.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    methods = ", ".join([*METHODS, "schedule"])
    parser.add_argument("--method", default="momentum", help=f"{methods} (default: momentum)")
    parser.add_argument(
        "--spectrum", type=Path, metavar="FILE", help="CSV or NPZ: curvature, noise"
    )
    parser.add_argument("--modes", type=float, help="dimensions (default: 10000)")
    parser.add_argument("--curvature", type=float, help="exponent of its fall (default: 1)")
    parser.add_argument("--noise", type=float, help="noise over curvature (default: 1)")
    parser.add_argument("--batch-sizes", default="", help="such as 1,8,64 (default: 1 ... 2^18)")
    parser.add_argument("--target-risk", type=float, default=0.01, help="default: 0.01")
    parser.add_argument("--preconditioning", type=float, help="p of h^-p, 0..1")
    parser.add_argument(
        "--gradient-delay", type=int, default=0, help="steps that gradients are late"
    )
    parser.add_argument("--pieces", type=int, default=20, help="of a schedule (default: 20)")
    parser.add_argument("--max-steps", type=int, default=2**40, help="budget of a run")
    parser.add_argument("--out", type=Path, metavar="TABLE.CSV", help="(default: print it)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _batch_sizes(text: str) -> tuple[int, ...]:
    if not text:
        return tuple(2**power for power in range(19))
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--batch-sizes {text!r} is not a list such as 1,8,64") from None
    if min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise InputError(f"--batch-sizes {text!r} must be positive, each once")
    return sizes


def _run(argv: Sequence[str] | None) -> None:
    arguments = vars(_parser().parse_args(argv))
    out, as_json = arguments.pop("out"), arguments.pop("json")
    shape = {name: arguments.pop(name) for name in _SPECTRUM_FLAGS}
    given = {name: value for name, value in shape.items() if value is not None}
    if given and arguments["spectrum"] is not None:
        raise InputError(f"--{next(iter(given))} says nothing about a --spectrum from a file")
    if not math.isfinite(arguments["target_risk"]):
        raise InputError(f"--target-risk {arguments['target_risk']} must be a finite number")
    workload = rung_name("noisy_quadratic", given)
    rows = forecast(
        Forecast(
            workload=workload,
            **arguments | {"batch_sizes": _batch_sizes(arguments["batch_sizes"])},
        )
    )
    text = as_csv(rows)
    if out is not None:
        with whole_file(out) as stream:
            stream.write(text.encode())
    if as_json:
        print(json.dumps(rows))
    else:
        print(f"Written: {out}" if out is not None else text, end="\n" if out else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())
