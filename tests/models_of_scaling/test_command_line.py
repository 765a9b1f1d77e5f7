"""What every command does with an error that is not its own."""

import errno

import pytest

from models_of_scaling.command_line import run_command


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EISDIR, 2), (errno.EACCES, 2), (errno.EROFS, 2), (errno.ENOSPC, 1), (errno.EFBIG, 1)],
)
def test_a_file_that_cannot_be_written_is_named_in_one_line(capsys, number, code):
    def write():
        raise OSError(number, "the reason", "table.csv")

    assert run_command(write) == code
    assert capsys.readouterr().err == "error: table.csv: the reason\n"


def test_an_error_that_names_no_file_is_a_fault_of_ours_and_is_not_hidden():
    def fail():
        raise ConnectionError("of a socket")

    with pytest.raises(ConnectionError):
        run_command(fail)
