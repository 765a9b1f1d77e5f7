"""The command line's words. Standard library only, so that `--help` is quick."""

import argparse
from pathlib import Path

from models_of_scaling.command_line import OneLineParser

LAWS = ("auto", "hyperbola", "power_with_floor", "p_norm_knee")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of fit, predict, limit, report and backtest."""
    parser = OneLineParser(
        prog="python -m models_of_scaling",
        description="How far can the batch size be raised before it stops paying, and how sure?",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_fit(commands.add_parser("fit", help="fit laws to a table of measurements or trials"))
    _add_predict(commands.add_parser("predict", help="steps at other batch sizes, with intervals"))
    _add_limit(commands.add_parser("limit", help="the verdict: how far raising the batch pays"))
    _add_report(commands.add_parser("report", help="one HTML page with plots and the verdict"))
    _add_backtest(commands.add_parser("backtest", help="how well published series are predicted"))
    return parser


def _add_table_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workload", help="which one, where the table holds several")
    parser.add_argument("--optimizer", help="which one, where a folder of trials holds several")
    parser.add_argument(
        "--target",
        help="asked of the trials' stored curves, for example 'validation_accuracy>=0.95' "
        "(default: the one that the trials carry)",
    )
    parser.add_argument(
        "--num-train-examples",
        type=int,
        metavar="N",
        help="size of the training set; needed for a column of epochs",
    )


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", type=Path, metavar="TABLE", help="CSV or parquet file, or folder of trials"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FIT.JSON")
    _add_table_choice(parser)
    parser.add_argument(
        "--holdout-above",
        type=int,
        metavar="B",
        help="leave larger batch sizes out of the fit, to compare with predictions",
    )
    parser.add_argument(
        "--law", choices=LAWS, default="auto", help="auto fits all and averages by held-out error"
    )
    parser.add_argument("--replicates", type=int, default=1000, metavar="R")
    parser.add_argument("--level", type=float, default=0.9, help="of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the replicates")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", type=Path, metavar="FIT.JSON")
    parser.add_argument(
        "--batch-size",
        type=int,
        nargs="+",
        action="extend",
        required=True,
        metavar="B",
        help="may be given several times",
    )
    parser.add_argument("--level", type=float, help="of the intervals (default: the fit's)")
    parser.add_argument("--json", action="store_true", help="print one JSON array, nothing else")


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", type=Path, metavar="FIT.JSON")
    parser.add_argument(
        "--saving",
        type=float,
        default=1.6,
        help="what a doubling must divide the steps by to pay (default: 1.6)",
    )
    parser.add_argument(
        "--stop-saving",
        type=float,
        default=1.1,
        help="where a doubling divides the steps by less, it has stopped paying (default: 1.1)",
    )
    parser.add_argument("--level", type=float, help="of the intervals (default: the fit's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", type=Path, metavar="FIT.JSON")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT.HTML")
    parser.add_argument(
        "--table",
        type=Path,
        help="the fitted table or folder of trials, for the plots that need single runs",
    )
    _add_table_choice(parser)


def _add_backtest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--series", nargs="+", action="extend", metavar="NAME", help="only these series"
    )
    parser.add_argument(
        "--law",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="only these: a law, averaged (over all laws) or todays_practice",
    )
    parser.add_argument("--replicates", type=int, default=300, metavar="R")
    parser.add_argument("--level", type=float, default=0.9, help="of the intervals")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
