"""The one error for wrong input: what the user gave breaks a rule, and nothing was done.

Every command line of the project turns it into one line on standard error and exit code 2.
"""

import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_INPUT = 2


class InputError(ValueError):
    """Input or arguments are wrong.

    The message is one line that names the file or flag, the row, the value and the rule.
    """


def fail_with_one_line(error: Exception) -> NoReturn:
    """Print the error as one line and leave with exit code 2.

    Args:
        error: what was wrong; line breaks in its message become spaces.

    Raises:
        SystemExit: always, with code 2.
    """
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(EXIT_INPUT)


def run_command(command: Callable[[], int | None]) -> int:
    """Run a command; wrong input leaves with one line and code 2, Ctrl-C with code 130.

    Args:
        command: does the work and returns its exit code; None means 0.

    Returns:
        The exit code.
    """
    try:
        return command() or 0
    except InputError as error:
        fail_with_one_line(error)
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept", file=sys.stderr)
        return 130
