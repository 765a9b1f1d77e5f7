"""python -m models_of_scaling fit | predict | limit | plan | ...: from rows to a verdict."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from models_of_scaling.command_line import OneLineParser, output_named, run_command

_NAMES: Final = (
    *("fit", "predict", "limit", "machine", "plan", "report", "targets", "fixed-epochs"),
    *("diffusion", "sharpness"),
)
_NAMES_OF_CHECKS: Final = ("backtest", "backtest-transfer")
# A command's file imports what is heavy inside `run`, so that --help is quick.
_COMMANDS: Final = {
    name: import_module(f"models_of_scaling.commands.{name.replace('-', '_')}")
    for name in (*_NAMES, *_NAMES_OF_CHECKS)
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = OneLineParser(
        prog="python -m models_of_scaling",
        description="How far can the batch size be raised before it stops paying, and how sure?",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        parser_of_it = commands.add_parser(
            name,
            help=command.HELP,
            description=f"{command.HELP[0].upper()}{command.HELP[1:]}.",
            epilog=f"example: {parser.prog} {name} {command.EXAMPLE}",
        )
        command.add_arguments(parser_of_it)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words after the program's name; those of this process when None.

    Returns:
        The exit code: 0 done, 2 wrong input (by SystemExit), 130 interrupted.
    """
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    arguments = build_parser().parse_args(argv)
    with output_named():
        _COMMANDS[arguments.command].run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
