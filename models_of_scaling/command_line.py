"""What every command line of the project shares: one line for wrong input, and its exit code."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from models_of_scaling.errors import InputError

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130
EXIT_UNREAD = 141  # 128 + SIGPIPE: as a program that the signal ended


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is an `InputError`, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Args:
            message: argparse's own.

        Raises:
            InputError: with that message.
        """
        raise InputError(f"{message}; see `{self.prog} --help`")


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

    Where the reader of its output has gone (`... | head`), it leaves without a word.

    Args:
        command: does the work and returns its exit code; None means 0.

    Returns:
        The exit code.
    """
    try:
        code = command() or 0
        sys.stdout.flush()  # else a reader that has gone is noticed after the last `except`
        return code
    except InputError as error:
        fail_with_one_line(error)
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNREAD
