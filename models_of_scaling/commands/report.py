"""`report`: one HTML page with plots and the verdict."""

import argparse
from pathlib import Path
from typing import Final

from models_of_scaling.commands.table_choice import add_table_choice, table_choice
from models_of_scaling.output_file import check_out

HELP: Final = "one HTML page with plots and the verdict"
EXAMPLE: Final = "fit.json --table my_sweep/trials --out report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument("fit", type=Path, metavar="FIT.JSON", help="what `fit` wrote")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="REPORT.HTML", help="the page; needs no network"
    )
    parser.add_argument(
        "--table",
        type=Path,
        help="the fitted table or folder of trials, for the plots that need single runs",
    )
    along = parser.add_argument_group("along one run (files), or a sweep's runs (folders)")
    along.add_argument(
        "--metrics", type=Path, help="TRIAL.metrics.csv of fullscale.fit: losses and noise scale"
    )
    along.add_argument("--walk", type=Path, help="CSV of the diffusion callback")
    along.add_argument("--sharpness", type=Path, help="CSV of the sharpness callback")
    add_table_choice(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the HTML page.

    Args:
        arguments: what `add_arguments` asked for.
    """
    from models_of_scaling import report
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.study_source import choose_trials, is_trials, read_measurements
    from models_of_scaling.trials import read_trials

    along = (arguments.metrics, arguments.walk, arguments.sharpness)
    check_out(arguments.out, inputs=(arguments.fit, arguments.table, *along))
    fit = read_fit(arguments.fit)
    measurements, trials_table = None, None
    if arguments.table is not None:
        choice = table_choice(arguments)
        measurements = read_measurements(arguments.table, choice)
        if is_trials(arguments.table):
            trials_table = choose_trials(
                read_trials(arguments.table), choice, where=str(arguments.table)
            )
    run_files = report.RunFiles(
        walk=arguments.walk, sharpness=arguments.sharpness, metrics=arguments.metrics
    )
    report.write_report(fit, measurements, trials_table, arguments.out, run_files=run_files)
    print(f"Written: {arguments.out}")
