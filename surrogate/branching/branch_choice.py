"""The flags of surrogate.branch: what can be asked, and what is refused before any work."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from models_of_scaling.command_line import OneLineParser
from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out
from surrogate.branching.plan import check_choice
from surrogate.rungs import add_workload_arguments, pop_workload
from surrogate.workload import Workload
from surrogate.workloads import get_workload

_SEEDS = 6


@dataclass(frozen=True, kw_only=True)
class BranchChoice:
    """What is asked of the command.

    Attributes:
        workload: of the sweep and of the base run.
        optimizer: its name.
        out: folder of the table and the picture.
        trials: a sweep's; None for a quick sweep.
        batch_size: of the base run; None for the sweep's own choice.
        max_batch_size: of the branches; None for the workload's.
        checkpoints: of the base run.
        rules: how the learning rate goes with the batch size.
        seeds: of each branch; 0 where losses are expected ones.
        tolerance: share of the loss that a branch may lose.
        workers: processes of a quick sweep; 0 for all cores.
    """

    workload: Workload
    optimizer: str
    out: Path
    trials: Path | None
    batch_size: int | None
    max_batch_size: int | None
    checkpoints: int
    rules: tuple[str, ...]
    seeds: int
    tolerance: float
    workers: int


def branch_parser(description: str) -> argparse.ArgumentParser:
    """Return the command's parser.

    Args:
        description: what the command does.
    """
    parser = OneLineParser(prog="python -m surrogate.branch", description=description)
    add_workload_arguments(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="of the table and picture"
    )
    parser.add_argument(
        "--trials", type=Path, help="a sweep's folder of trials (default: a quick sweep is run)"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="B", help="of the base run; one that was tuned"
    )
    parser.add_argument(
        "--max-batch-size",
        type=int,
        metavar="B",
        help="of the branches; checkpoints are multiples of it",
    )
    parser.add_argument(
        "--checkpoints", type=int, default=5, metavar="N", help="of the base run (default: 5)"
    )
    parser.add_argument(
        "--rules",
        default="linear,sqrt,none",
        help="how the learning rate goes with the batch size (default: linear,sqrt,none)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help=f"of each branch, at least 3 (default: {_SEEDS}); none of the simulator",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.05,
        metavar="X",
        help="share of the loss that a branch may lose (default: 0.05)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes of the quick sweep (default: all cores)",
    )
    return parser


def branch_choice(parsed: argparse.Namespace) -> BranchChoice:
    """Check what was asked, before any work.

    Args:
        parsed: by `branch_parser`.

    Returns:
        What is asked.

    Raises:
        InputError: naming the flag, the value and the rule.
    """
    arguments = vars(parsed)
    workload = get_workload(pop_workload(arguments))
    if workload.engine == "population":
        arguments["seeds"] = _SEEDS if parsed.seeds is None else parsed.seeds
        if parsed.seeds < 3:
            raise InputError(
                f"--seeds {parsed.seeds} must be at least 3: the interval is from them"
            )
    elif parsed.seeds is None:
        arguments["seeds"] = 0
    else:
        raise InputError(
            f"--seeds {parsed.seeds}: {workload.name} gives expected losses, which have no seeds"
        )
    arguments["rules"] = tuple(rule.strip() for rule in arguments["rules"].split(","))
    check_choice(checkpoints=parsed.checkpoints, rules=arguments["rules"])
    if parsed.max_batch_size is not None and parsed.max_batch_size < 2:
        raise InputError(f"--max-batch-size {parsed.max_batch_size} must be at least 2")
    if parsed.max_batch_size is not None and parsed.max_batch_size > workload.max_batch_size:
        raise InputError(
            f"--max-batch-size {parsed.max_batch_size} must be at most {workload.max_batch_size} "
            f"({workload.name})"
        )
    if parsed.workers < 0:
        raise InputError(f"--workers {parsed.workers} must be at least 1")
    check_out(parsed.out, is_folder=True)
    if not arguments["tolerance"] > 0:
        raise InputError(f"--tolerance {arguments['tolerance']:g} must be positive")
    if workload.check_data is not None:
        workload.check_data()
    return BranchChoice(workload=workload, **arguments)
