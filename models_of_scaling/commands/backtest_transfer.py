"""`backtest-transfer`: how well a ladder's own rungs are predicted when they are left out.

A command of its own and no flag of `backtest`: that one judges laws on published series, this one
judges a user's own ladder before it is believed about full scale.
"""

import argparse
import json
from pathlib import Path
from typing import Final

from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError

HELP: Final = "how well a ladder predicts its own rungs, left out"
EXAMPLE: Final = "ladder.csv --hold-out workload"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument(
        "ladder",
        type=Path,
        metavar="LADDER.CSV",
        help="table of surrogate studies (docs/transfer.md)",
    )
    parser.add_argument(
        "--covariates",
        nargs="+",
        metavar="NAME",
        help="columns of the ladder (default: the known ones that vary)",
    )
    parser.add_argument(
        "--hold-out",
        default="rung",
        metavar="COLUMN",
        help="left out together: workload, rung, or a covariate's equal values (default: rung)",
    )
    parser.add_argument(
        "--level", type=float, default=0.9, help="share that intervals shall hold (default: 0.9)"
    )
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Leave parts of the ladder out, predict them and print how well that went.

    Args:
        arguments: what `add_arguments` asked for.

    Raises:
        InputError: for a picture of a ladder without covariates.
    """
    picture_format = check_picture_file(arguments.plot)
    from models_of_scaling.intervals import check_level
    from models_of_scaling.transfer.backtest import back_test_transfer
    from models_of_scaling.transfer.ladder_table import read_ladder
    from models_of_scaling.transfer.scores import transfer_as_json, transfer_scores, transfer_table

    level, hold_out = check_level(arguments.level), arguments.hold_out
    ladder = read_ladder(arguments.ladder, arguments.covariates)
    if arguments.plot is not None:
        from models_of_scaling.atomic_write import whole_file
        from models_of_scaling.plots.transfer import ladder_picture

        if not ladder.covariates:
            raise InputError(f"--plot {arguments.plot}: the ladder has no covariate to draw over")
        with whole_file(arguments.plot) as stream:
            stream.write(ladder_picture(ladder, picture_format=picture_format, level=level))
    outcomes = back_test_transfer(ladder, hold_out=hold_out, level=level)
    scores = transfer_scores(outcomes)
    if arguments.json:
        how = {"ladder": str(arguments.ladder), "hold_out": hold_out, "level": level}
        print(json.dumps(transfer_as_json(scores, outcomes, **how), allow_nan=False))
        return
    covariates = ", ".join(ladder.covariates) or "none"
    print(
        f"{len(ladder)} rungs of {len(set(ladder.workload))} workloads, covariates: {covariates}; "
        f"left out together: {hold_out}.\n"
    )
    print(transfer_table(scores, level=level))
