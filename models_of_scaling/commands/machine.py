"""`machine`: time to target and cost for every batch size and number of nodes."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.commands.machine_choice import add_machine_choice, machine_choice
from models_of_scaling.commands.picture_file import add_picture_file, check_picture_file
from models_of_scaling.errors import InputError

HELP: Final = "time and cost on every number of nodes, and what limits them"
EXAMPLE: Final = (
    "fit.json --nodes 1 2 4 8 --devices-per-node 8 --throughput rows.csv --parameter-bytes 1e8"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's words.

    Args:
        parser: of this command.
    """
    parser.add_argument("fit", type=Path, metavar="FIT.JSON", help="what `fit` wrote")
    add_machine_choice(parser)
    parser.add_argument(
        "--saving",
        type=float,
        default=0.1,
        help="a doubling of the nodes helps where it cuts this share off the time (default: 0.1)",
    )
    parser.add_argument("--all", action="store_true", help="list every option, not only the best")
    add_picture_file(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Print the table and the guidance, in words or as JSON.

    Args:
        arguments: what `add_arguments` asked for.

    Raises:
        InputError: where the time of a step is not given, or a word is wrong.
    """
    from models_of_scaling.fit_record import read_fit
    from models_of_scaling.machine.answer import answer_machine
    from models_of_scaling.machine.words import answer_as_json, answer_in_words

    if not 0 < arguments.saving < 1:
        raise InputError(f"--saving {arguments.saving} must be a share between 0 and 1")
    picture_format = check_picture_file(arguments.plot)
    fit = read_fit(arguments.fit)
    words = machine_choice(arguments, fit)
    if words.belief is None:
        raise InputError(
            "machine: the time of a step is not known; give --throughput CSV, or a roofline "
            "(--flops-per-example, --peak-flops, --parameter-bytes)"
        )
    answer = replace(
        answer_machine(
            fit,
            words.belief,
            words.machines,
            words.batch_sizes,
            saving=arguments.saving,
            level=words.level,
        ),
        price_per_device_hour=words.price_per_device_hour,
        watts_per_device=words.watts_per_device,
    )
    if picture_format:
        from models_of_scaling.plots.machine import machine_picture

        picture = machine_picture(
            answer.options,
            answer.chosen,
            useful_nodes=None if answer.useful.is_open else answer.useful.nodes.estimate,
            picture_format=picture_format,
        )
        with whole_file(arguments.plot) as stream:
            stream.write(picture)
    if arguments.json:
        print(json.dumps(answer_as_json(answer), allow_nan=False))
    else:
        print(answer_in_words(answer, every_option=arguments.all))
