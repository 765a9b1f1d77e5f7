"""Forecast steps to target without a run: python -m surrogate.simulate --method momentum.

The noisy quadratic model (docs/simulator.md): the fewest steps of a method at each batch size, and
the hyper-parameters that need so few; `python -m models_of_scaling fit` reads the table.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.output_file import check_out
from surrogate.simulator.forecast import Forecast, as_csv, forecast
from surrogate.simulator.methods import METHODS
from surrogate.simulator.spectrum_flags import add_spectrum_flags, pop_spectrum

_BATCH_SIZES = tuple(2**power for power in range(19))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m surrogate.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    methods = ", ".join([*METHODS, "schedule"])
    add("--method", default="momentum", help=f"{methods} (default: momentum)")
    add_spectrum_flags(parser, default_sizes="1 ... 2^18")
    add(
        "--preconditioning",
        type=float,
        metavar="P",
        help="of h^-P, in 0 .. 1 (default: 0, but 0.5 of preconditioned)",
    )
    add(
        "--gradient-delay",
        type=int,
        default=0,
        metavar="N",
        help="steps that gradients are late (default: 0)",
    )
    add("--pieces", type=int, default=20, metavar="N", help="of a schedule (default: 20)")
    add(
        "--max-steps",
        type=int,
        default=2**40,
        metavar="N",
        help="of a run; more is a row not reached (default: 2^40)",
    )
    add("--out", type=Path, metavar="TABLE.CSV", help="(default: print it)")
    add("--json", action="store_true", help="print JSON")
    return parser


def _run(argv: Sequence[str] | None) -> None:
    arguments = vars(_parser().parse_args(argv))
    out, as_json = arguments.pop("out"), arguments.pop("json")
    if out is not None:
        check_out(out)
    spectrum = pop_spectrum(arguments, default_sizes=_BATCH_SIZES)
    rows = forecast(Forecast(**spectrum, **arguments))
    text = as_csv(rows)
    if out is not None:
        with whole_file(out) as stream:
            stream.write(text.encode())
    if as_json:
        print(json.dumps(rows))
    else:
        print(text if out is None else f"Written: {out}\n", end="")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())
