"""Where a command writes: whole or not at all, refused in one line, never over its input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out

ROOT = Path(__file__).resolve().parents[2]
ROOFLINE = ("--flops-per-example", "1e9", "--peak-flops", "1e14")


def in_a_process(*words, stdout):
    """Run the command line as a shell does; returns exit code and standard error."""
    command = [sys.executable, "-m", "models_of_scaling", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=environment
    )
    return done.returncode, done.stderr


def test_a_table_is_never_overwritten_by_its_own_fit_nor_a_fit_by_its_report(
    fit, tmp_path, run_command_line, refused
):
    table = tmp_path / "table.csv"
    before = table.read_text(), fit.read_text()
    parts = ["--out", "is what the command reads"]
    refused(run_command_line("fit", table, "--out", table), "table.csv", *parts)
    refused(run_command_line("report", fit, "--out", tmp_path / "." / "fit.json"), *parts)
    (tmp_path / "link.yaml").symlink_to(fit)
    machine = ("--nodes", 1, "--devices-per-node", 1, *ROOFLINE)
    refused(run_command_line("plan", fit, "--out", tmp_path / "link.yaml", *machine), *parts)
    assert (table.read_text(), fit.read_text()) == before


def test_a_place_below_a_file_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"--out .*a.json: .*file is no folder"):
        check_out(tmp_path / "file" / "new" / "a.json")
    with pytest.raises(InputError, match="--plot .*File name too long"):
        check_out(tmp_path / ("x" * 300), flag="--plot")
    with pytest.raises(InputError, match="NUL"):
        check_out(tmp_path / "a\0b")


def test_a_place_that_only_the_work_can_find_closed_is_one_line_with_its_name(
    fit, run_command_line, refused
):
    machine = ("machine", fit, "--nodes", 1, "--devices-per-node", 1, *ROOFLINE)
    result = run_command_line(*machine, "--plot", "/proc/no/machine.svg")
    refused(result, "/proc/no: No such file or directory")


def test_a_device_is_a_place_to_write_to(tmp_path):
    check_out(Path("/dev/null"))
    check_out(tmp_path / "new", is_folder=True)
    with pytest.raises(InputError, match="is no folder"):
        check_out(Path("/dev/null"), is_folder=True)


def test_standard_output_on_a_full_disk_is_one_line_whether_little_or_much_is_printed(fit):
    for sizes in ([512], range(1, 1001)):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            words = ("predict", fit, "--json", "--batch-size", *sizes)
            code, error = in_a_process(*words, stdout=full)
        assert (code, error) == (
            1,
            "error: standard output: No space left on device\n",
        )


def test_a_name_too_long_to_be_a_file_is_one_line(tmp_path, run_command_line, refused):
    result = run_command_line("fit", "x" * 5000, "--out", tmp_path / "fit.json")
    refused(result, "File name too long")
