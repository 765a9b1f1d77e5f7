"""`backtest`: how well held-out parts of published series, or of a table, are predicted."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_of_scaling.backtest.scores import Outcome

HELP: Final = "how well published series, or your own, are predicted"
EXAMPLE: Final = "--table my_runs.csv --plot picture.svg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument(
        "--series",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="only these of the published ones",
    )
    parser.add_argument(
        "--table",
        type=Path,
        nargs="+",
        action="extend",
        metavar="TABLE",
        help="tables, trial files or folders of trials of your own in place of the published "
        "series, one series per workload and optimizer",
    )
    parser.add_argument(
        "--law",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="only these: a law, averaged (over all laws) or todays_practice",
    )
    parser.add_argument(
        "--more-runs",
        type=int,
        metavar="N",
        help="so many runs are known of the one more batch size (default: 5)",
    )
    parser.add_argument(
        "--evidence",
        type=Path,
        metavar="TABLE",
        help="CSV with workload, critical_batch_size and knee_factor: what is known of B_crit "
        "beside the rows, used beside the plain average (see docs/laws.md)",
    )
    parser.add_argument(
        "--replicates",
        type=int,
        default=300,
        metavar="R",
        help="draws that the intervals are made of (default: 300)",
    )
    parser.add_argument(
        "--level", type=float, default=0.9, help="share that intervals shall hold (default: 0.9)"
    )
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Predict held-out parts of the published series and print how well that went.

    Args:
        arguments: what `add_arguments` asked for.

    Raises:
        InputError: for a word that names nothing, or a table that can't be read.
    """
    from models_of_scaling.backtest.evidence_table import read_evidence
    from models_of_scaling.backtest.run import HANDFUL, BeyondRows, back_test, check_forecasters
    from models_of_scaling.backtest.scores import scores
    from models_of_scaling.backtest.table_series import table_series
    from models_of_scaling.backtest.tables import back_test_as_json, score_table
    from models_of_scaling.published.loader import choose_series

    picture_format = check_picture_file(arguments.plot)
    replicates, level = arguments.replicates, arguments.level
    forecasters = check_forecasters(arguments.law)
    if arguments.table is not None and arguments.series:
        raise InputError("--series: names published series; leave it out with --table")
    own = arguments.table is not None
    series = table_series(arguments.table) if own else choose_series(arguments.series)
    beyond = BeyondRows(
        more_runs=HANDFUL if arguments.more_runs is None else arguments.more_runs,
        knee={}
        if arguments.evidence is None
        else read_evidence(arguments.evidence, [each.name for each in series]),
    )
    outcomes = back_test(
        series, forecasters=forecasters, replicates=replicates, level=level, beyond=beyond
    )
    summary_of_all = scores(outcomes)
    if arguments.plot is not None:
        _draw(arguments.plot, outcomes, level, picture_format)
    if arguments.json:
        answer = back_test_as_json(
            series, outcomes, summary_of_all, replicates=replicates, level=level
        )
        print(json.dumps(answer, allow_nan=False))
        return
    tested = len({outcome.series for outcome in outcomes})
    print(
        f"{len(series)} {'own' if own else 'published'} series of steps to target; {tested} are "
        "long and wide enough to hold a batch size out.\n"
    )
    print(score_table(summary_of_all, level=level))
    if arguments.plot is not None:
        print(f"Written: {arguments.plot}")


def _draw(path: Path, outcomes: "Sequence[Outcome]", level: float, picture_format: str) -> None:
    from models_of_scaling.atomic_write import whole_file
    from models_of_scaling.plots.back_test import back_test_picture

    if all(outcome.error is None for outcome in outcomes):
        raise InputError(
            f"--plot {path}: no batch size that reached its target could be held out, so there is "
            "nothing to draw"
        )
    picture = back_test_picture(outcomes, level=level, picture_format=picture_format)
    with whole_file(path) as stream:
        stream.write(picture)
