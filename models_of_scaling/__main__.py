"""python -m models_of_scaling fit | predict | limit | report | backtest: from rows to a verdict."""

from collections.abc import Sequence

from models_of_scaling import commands
from models_of_scaling.command_line import run_command
from models_of_scaling.parser import build_parser


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
    run = {
        "fit": commands.run_fit,
        "predict": commands.run_predict,
        "limit": commands.run_limit,
        "report": commands.run_report,
        "backtest": commands.run_backtest,
    }[arguments.command]
    run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
