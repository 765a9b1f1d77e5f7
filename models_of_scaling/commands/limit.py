"""`limit`: the verdict, how far raising the batch size pays."""

import argparse
import json
from pathlib import Path
from typing import Final

HELP: Final = "the verdict: how far raising the batch size pays"
EXAMPLE: Final = "fit.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument("fit", type=Path, metavar="FIT.JSON", help="what `fit` wrote")
    parser.add_argument(
        "--saving",
        type=float,
        default=1.6,
        help="a doubling pays where it divides the steps by this or more, in 1 .. 2 (default: 1.6)",
    )
    parser.add_argument(
        "--stop-saving",
        type=float,
        default=1.1,
        help="where a doubling divides the steps by less, it has stopped paying (default: 1.1)",
    )
    parser.add_argument(
        "--level", type=float, help="share that intervals shall hold (default: the fit's, 0.9)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Print the verdict in words or as JSON.

    Args:
        arguments: what `add_arguments` asked for.
    """
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.limit import judge, verdict_as_json
    from models_of_scaling.limit_words import verdict_in_words

    verdict = judge(
        read_fit(arguments.fit),
        saving=arguments.saving,
        stop_saving=arguments.stop_saving,
        level=arguments.level,
    )
    if arguments.json:
        print(json.dumps(verdict_as_json(verdict), allow_nan=False))
    else:
        print(verdict_in_words(verdict))
