"""The flags of `python -m surrogate.sweep`, and the settings that they give."""

import argparse
from pathlib import Path
from typing import Any

from models_of_scaling.command_line import OneLineParser
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.active_sweep import add_design_arguments
from surrogate.protocol_flags import add_run_arguments, pop_run_choice
from surrogate.run_sweep import SweepSettings
from surrogate.rungs import add_workload_arguments, pop_workload


def sweep_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the sweep's command.

    Args:
        description: of the command.
    """
    parser = OneLineParser(prog="python -m surrogate.sweep", description=description)
    add_workload_arguments(parser)
    add = parser.add_argument
    add("--out", required=True, type=Path, help="trials go to OUT/trials/*.parquet")
    add("--batch-sizes", help="such as 1,8,64,512")
    add("--target", help="such as 'validation_loss<=0.2'")
    add("--trials", type=int, help="searched at each batch size (64; quick: 32)")
    add("--repeats", type=int, help="fresh seeds of the best (5; quick: 2)")
    add_run_arguments(parser)
    add_design_arguments(parser)
    add("--seed", type=int, default=0, help="of the whole sweep")
    add("--workers", type=int, default=0, help="processes (default: all cores)")
    add("--quick", action="store_true", help="fewer batch sizes and trials")
    add("--json", action="store_true", help="print the summary as JSON")
    return parser


def pop_settings(arguments: dict[str, Any]) -> SweepSettings:
    """Take what says what is swept out of the arguments.

    Args:
        arguments: by name; those of the settings are removed.

    Returns:
        The settings, checked.
    """
    target, sizes = arguments.pop("target"), arguments.pop("batch_sizes")
    return SweepSettings(
        workload=pop_workload(arguments),
        run=pop_run_choice(arguments),
        target=None if target is None else Target.parse(target),
        batch_sizes=() if sizes is None else _batch_sizes(sizes),
        **{
            name: arguments.pop(name)
            for name in ("out", "optimizer", "trials", "repeats", "seed", "workers", "quick")
        },
    )


def _batch_sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--batch-sizes {text!r} is not a list such as 1,8,64") from None
