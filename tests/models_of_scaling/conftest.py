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
