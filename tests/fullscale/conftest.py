"""Running the trainer as its users do: in this process, or as commands of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fullscale  # noqa: F401 - its guard must be there before lightning is imported
from models_of_scaling.trials import Trial, read_trials, table_to_trials

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # for what tests import while they are collected
FIT = [sys.executable, "-m", "fullscale.fit"]
_LAUNCHERS = ("MASTER_", "NODE_RANK", "LOCAL_", "RANK", "WORLD_SIZE", "GROUP_", "SLURM_", "TORCHEL")


@pytest.fixture(autouse=True)
def _no_launcher_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_LAUNCHERS):
            monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def environment() -> dict[str, str]:
    """For processes of their own: one thread each, and this folder's callbacks importable."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}


@pytest.fixture
def fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Trial | None, str]]:
    """Run `fullscale.fit` in this process: (exit code, its only trial, standard error)."""

    def run(*flags: str) -> tuple[int, Trial | None, str]:
        from fullscale.fit import main

        folder = tmp_path / "trials"
        arguments = ["--record.folder", str(folder), "--trainer.accelerator", "cpu", *flags]
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(left.code or 0)
        trials = read_only_trial(folder)
        return code, trials, capsys.readouterr().err

    return run


def read_only_trial(folder: Path) -> Trial | None:
    """Return the trial of a folder that must not hold more than one; None without any."""
    files = sorted(folder.glob("*.parquet")) if folder.exists() else []
    assert len(files) <= 1, files
    if not files:
        return None
    (trial,) = table_to_trials(read_trials(files[0]))
    return trial


@pytest.fixture
def only_trial() -> Callable[[Path], Trial | None]:
    return read_only_trial


@pytest.fixture
def command() -> list[str]:
    return FIT


@pytest.fixture
def finish(
    environment: dict[str, str],
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command to its end, with text of both streams."""

    def run(words: list[str], **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
