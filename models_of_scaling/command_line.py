"""What every command line of the project shares: one line for wrong input, and its exit code."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn

from models_of_scaling.errors import InputError

EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130
EXIT_UNREAD = 141  # 128 + SIGPIPE: as a program that the signal ended
# Not the arguments' fault: full, over a quota or a limit of size, broken.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


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


def _fail_on_a_file(error: OSError) -> int:
    """Print what is wrong with a file as one line; return the exit code."""
    name = error.filename2 or error.filename
    print(f"error: {name}: {error.strerror}", file=sys.stderr)
    return EXIT_FAILED if error.errno in _DISK_ERRORS else EXIT_INPUT


def run_command(command: Callable[[], int | None]) -> int:
    """Run a command; wrong input leaves with one line and code 2, Ctrl-C with code 130.

    A file that can't be read or written is named in one line too: code 1 where the disk is full or
    broken, 2 where another name would do.

    Where the reader of its output has gone (`... | head`), it leaves without a word.

    Args:
        command: does the work and returns its exit code; None means 0.

    Returns:
        The exit code.

    Raises:
        OSError: of something else than a file.
    """
    try:
        code = command() or 0
        if sys.stdout is not None:  # None: closed by whoever started the command
            with output_named():
                sys.stdout.flush()  # else a reader that has gone is noticed after the last `except`
        return code
    except InputError as error:
        fail_with_one_line(error)
    except BrokenPipeError:
        _drop_output()
        return EXIT_UNREAD
    except OSError as error:
        if error.filename is None or error.errno is None:
            raise
        return _fail_on_a_file(error)
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED


@contextmanager
def output_named() -> Generator[None]:
    """Name standard output in an error that names no file, of a command that has no socket.

    Yields:
        Nothing.

    Raises:
        BrokenPipeError: as it came.
        InputError: of a library that says no more than its message.
        OSError: naming the file, or standard output.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno is None:  # pyarrow's own
            raise InputError(str(error)) from error
        _drop_output()
        raise OSError(error.errno, error.strerror, "standard output") from error


def _drop_output() -> None:
    """Send the rest of standard output nowhere: Python flushes once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
