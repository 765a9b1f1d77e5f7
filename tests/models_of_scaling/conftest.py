"""Fixtures: simulated data sets, and the command line as a function."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from models_of_scaling.__main__ import main


@pytest.fixture(scope="session")
def simulated() -> ModuleType:
    """The module `simulated.py` beside this file; pytest's importlib mode has no path to it."""
    path = Path(__file__).with_name("simulated.py")
    spec = importlib.util.spec_from_file_location("simulated", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_command_line(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; returns exit code, standard output and error."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def fit(tmp_path: Path, run_command_line: Callable[..., tuple[int, str, str]]) -> Path:
    """A fit of six rows that halve at first, `fit.json`, beside its `table.csv`."""
    steps = {8: 1000, 16: 520, 32: 280, 64: 160, 128: 110, 256: 90}
    rows = "".join(f"{size},{count}\n" for size, count in steps.items())
    (tmp_path / "table.csv").write_text(f"batch_size,steps\n{rows}")
    path = tmp_path / "fit.json"
    run_command_line("fit", tmp_path / "table.csv", "--out", path, "--replicates", 50)
    return path


@pytest.fixture
def refused() -> Callable[..., None]:
    """Check what a command answered: nothing but one line that has these parts, and code 2."""

    def check(result: tuple[int, str, str], *parts: str) -> None:
        code, out, error = result
        assert (code, out) == (2, "")
        assert len(error.splitlines()) == 1
        for part in parts:
            assert part in error

    return check
