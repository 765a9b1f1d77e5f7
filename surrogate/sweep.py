"""Sweep a workload over batch sizes: python -m surrogate.sweep --workload digits --out DIR."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.run_sweep import SweepFailedError, SweepSettings, run_sweep
from surrogate.rungs import add_workload_arguments, pop_workload


def _batch_sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--batch-sizes {text!r} is not a list such as 1,8,64") from None


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m surrogate.sweep", description=__doc__)
    add_workload_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, help="trials go to OUT/trials/*.parquet")
    parser.add_argument("--batch-sizes", help="such as 1,8,64,512")
    parser.add_argument("--target", help="such as 'validation_loss<=0.2'")
    parser.add_argument("--trials", type=int, help="searched at each batch size (64; quick: 32)")
    parser.add_argument("--repeats", type=int, help="fresh seeds of the best (5; quick: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the whole sweep")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: all cores)")
    parser.add_argument("--quick", action="store_true", help="fewer batch sizes and trials")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def _run(argv: Sequence[str] | None) -> int:
    arguments = vars(_parser().parse_args(argv))
    as_json, target, sizes = (arguments.pop(name) for name in ("json", "target", "batch_sizes"))
    arguments["workload"] = pop_workload(arguments)
    arguments["target"] = None if target is None else Target.parse(target)
    arguments["batch_sizes"] = () if sizes is None else _batch_sizes(sizes)
    try:
        summary = run_sweep(SweepSettings(**arguments), progress=True)
    except SweepFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(summary), default=str) if as_json else summary.in_words())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())
