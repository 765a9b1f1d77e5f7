"""Words that commands share: which rows of a table."""

import argparse
from typing import TYPE_CHECKING

from models_of_scaling.errors import InputError

if TYPE_CHECKING:
    from models_of_scaling.study_source import TableChoice


def add_table_choice(parser: argparse.ArgumentParser) -> None:
    """Add the words that choose one study of a table.

    Args:
        parser: of a command that reads a table.
    """
    parser.add_argument("--workload", help="which one, where the table has several")
    parser.add_argument("--optimizer", help="which one, where a folder of trials has several")
    parser.add_argument(
        "--target",
        help="asked of the trials' stored curves, for example 'validation_accuracy>=0.95' "
        "(default: the one that the trials carry)",
    )
    parser.add_argument(
        "--num-train-examples",
        type=int,
        metavar="N",
        help="size of the training set, to turn a column of epochs into steps",
    )


def table_choice(arguments: argparse.Namespace) -> "TableChoice":
    """Return the choice that the words of `add_table_choice` make.

    Args:
        arguments: with those words.

    Returns:
        The choice.

    Raises:
        InputError: for a number of examples below 1 or a target that is none.
    """
    from models_of_scaling.study_source import TableChoice
    from models_of_scaling.targets import Target

    count = arguments.num_train_examples
    if count is not None and count < 1:
        raise InputError(f"--num-train-examples {count} must be at least 1")
    return TableChoice(
        workload=arguments.workload,
        optimizer=arguments.optimizer,
        target=None if arguments.target is None else Target.parse(arguments.target),
        num_train_examples=count,
    )
