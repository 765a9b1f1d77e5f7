"""The flags of a sweep: what is swept, how it is searched, where it runs."""

import argparse
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models_of_scaling.command_line import OneLineParser
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.active.sweep import DesignChoice, add_design_arguments, pop_design
from surrogate.ladder_sweep import rung_settings
from surrogate.protocol_flags import add_run_arguments, pop_run_choice
from surrogate.run_sweep import MakeWorkers, SweepSettings
from surrogate.rungs import add_workload_arguments, pop_workload
from surrogate.trial_parts import trials_folder


def sweep_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of `python -m surrogate.sweep`.

    Args:
        description: of the command.

    Returns:
        The parser.
    """
    parser = OneLineParser(prog="python -m surrogate.sweep", description=description)
    add_workload_arguments(parser)
    parser.add_argument(
        "--ladder",
        action="append",
        default=[],
        metavar="NAME=A,B,C",
        help="sweep a parameter's values, such as subset=64,128; given twice, they are crossed",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=_folder,
        metavar="DIR",
        help="trials go to DIR/trials/*.parquet; the same command goes on with what is there",
    )
    parser.add_argument(
        "--batch-sizes",
        metavar="LIST",
        help="examples per step, such as 1,8,64,512 (default: the workload's)",
    )
    parser.add_argument(
        "--target",
        help="what ends a run, such as 'train_loss<=0.2', or validation_loss, or "
        "validation_accuracy>=0.95 (default: the workload's)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="runs searched at each batch size (default: 64; --quick: 32)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="N",
        help="runs of the winner with fresh seeds, which are the measurement (default: 5; "
        "--quick: 2)",
    )
    parser.add_argument(
        "--shortlist-by",
        default="runs",
        metavar="{runs,surface}",
        help="what chooses the best of the search: their own runs, or a surface through all "
        "(default: runs)",
    )
    parser.add_argument(
        "--evaluations",
        default="all",
        metavar="{all,screened}",
        help="of the runs that choose: at all steps, or where 256 images can't rule the target out "
        "(default: all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the whole sweep (default: 0)")
    add_run_arguments(parser)
    add_design_arguments(parser)
    parser.add_argument("--quick", action="store_true", help="fewer batch sizes and trials")
    parser.add_argument("--dry-run", action="store_true", help="say what it would cost; run none")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    where = parser.add_argument_group("where it runs (docs/where_it_runs.md)")
    where.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes (default: all cores)"
    )
    where.add_argument(
        "--gpus",
        metavar="LIST",
        help="such as 0,1: each process trains on one of them (default: the CPU)",
    )
    where.add_argument(
        "--executor", default="processes", help="processes, dask or submitit (default: processes)"
    )
    where.add_argument("--scheduler", help="dask: tcp://host:port, or a scheduler file")
    where.add_argument(
        "--submitit",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="submitit: slurm_partition=gpu timeout_min=60 gpus_per_node=1 ...",
    )
    return parser


@dataclass(frozen=True, kw_only=True)
class SweepArguments:
    """What the command line asked for.

    Attributes:
        settings: of the sweep.
        design: an active one; None for every batch size.
        rungs: the sweeps of a ladder, in its place; none where no ladder is asked for.
        workers: what makes its workers; None for processes of this machine.
        as_json: whether to print JSON.
        dry_run: whether only to say what it would cost.
    """

    settings: SweepSettings
    design: DesignChoice | None
    rungs: tuple[SweepSettings, ...]
    workers: MakeWorkers | None
    as_json: bool
    dry_run: bool


def read_arguments(parsed: argparse.Namespace) -> SweepArguments:
    """Turn what `sweep_parser` parsed into settings.

    Args:
        parsed: its namespace.

    Returns:
        What was asked for.

    Raises:
        InputError: naming the flag that breaks its rule.
    """
    arguments = vars(parsed)
    as_json, dry_run = arguments.pop("json"), arguments.pop("dry_run")
    target, sizes, gpus = (arguments.pop(name) for name in ("target", "batch_sizes", "gpus"))
    executor, scheduler, given = (
        arguments.pop(name) for name in ("executor", "scheduler", "submitit")
    )
    arguments["workload"] = pop_workload(arguments)
    arguments["run"] = pop_run_choice(arguments)
    arguments["target"] = None if target is None else Target.parse(target)
    arguments["batch_sizes"] = () if sizes is None else _batch_sizes(sizes)
    arguments["gpus"] = () if gpus is None else _gpus(gpus)
    ladder = arguments.pop("ladder")
    design = pop_design(arguments)
    if design is not None and (ladder or dry_run):
        raise InputError("--design active goes with neither --ladder nor --dry-run")
    if ladder and dry_run:
        raise InputError("--dry-run is for one sweep; give a rung instead of --ladder")
    settings = SweepSettings(**arguments)
    workers = _workers(settings, executor, scheduler, given)
    return SweepArguments(
        settings=settings,
        design=design,
        rungs=rung_settings(settings, ladder) if ladder else (),
        workers=workers,
        as_json=as_json,
        dry_run=dry_run,
    )


def next_command(settings: SweepSettings) -> str:
    """Return the command that answers from the trials of a sweep.

    Args:
        settings: of the sweep.
    """
    command = "fit" if settings.run.epochs is None else "fixed-epochs"
    out = settings.out / ("fit.json" if command == "fit" else "fixed_epochs.json")
    words = ["python", "-m", "models_of_scaling", command, str(trials_folder(settings.out))]
    return f"Next: {shlex.join([*words, '--out', str(out)])}"


def _folder(text: str) -> Path:
    if not text.strip():  # an unset variable of a script: Path("") is the folder at hand
        raise argparse.ArgumentTypeError("'' names no folder")
    return Path(text)


def _batch_sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--batch-sizes {text!r} is not a list such as 1,8,64") from None


def _gpus(text: str) -> tuple[str, ...]:
    gpus = tuple(part.strip() for part in text.split(","))
    if not all(gpus) or len(set(gpus)) < len(gpus):
        raise InputError(f"--gpus {text!r} is not a list of different GPUs such as 0,1")
    return gpus


def _workers(
    settings: SweepSettings, executor: str, scheduler: str | None, given: list[str]
) -> MakeWorkers | None:
    if executor not in {"processes", "dask", "submitit"}:
        raise InputError(f"--executor {executor!r} is not one of processes, dask, submitit")
    if (scheduler is not None) != (executor == "dask"):
        raise InputError("--scheduler ADDRESS and --executor dask belong together")
    if given and executor != "submitit":
        raise InputError("--submitit belongs to --executor submitit")
    if settings.gpus and executor != "processes":
        raise InputError(f"--gpus is for processes of this machine, not --executor {executor}")
    if scheduler is not None:
        from surrogate.workers.dask_workers import dask_workers

        return partial(dask_workers, scheduler)
    if executor == "submitit":
        from surrogate.workers.submitit_workers import submitit_workers

        count = settings.workers or len(settings.sizes)
        return partial(submitit_workers, _pairs(given), count=count)
    return None


def _pairs(given: list[str]) -> dict[str, Any]:
    pairs = dict(text.partition("=")[::2] for text in given)
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"--submitit {text!r} is not KEY=VALUE")
        if pairs[name] != value:
            raise InputError(f"--submitit {name} is given twice: {value} and {pairs[name]}")
    return pairs
