"""What the README promises is what the commands do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models_of_scaling.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_readmes_table_gets_a_verdict_a_page_a_figure_and_a_plan_that_the_trainer_takes(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fullscale").symlink_to(ROOT / "fullscale")
    for name, rows in re.findall(r"\$ cat (\w+\.csv)\n(.*?)\n\n", README, re.DOTALL):
        Path(name).write_text(f"{rows}\n", encoding="utf-8")
    joined = README.replace("\\\n", " ")
    commands = re.findall(r"\$ \.venv/bin/python -m models_of_scaling (.*)", joined)
    names = ["fit", "predict", "limit", "report", "machine", "plan"]
    assert [command.split()[0] for command in commands] == names
    for command in commands:
        assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert "1 did not (censored)" in out
    assert "It stops paying" in out
    assert Path("report.html").exists() and Path("steps.pdf").exists()
    (dry_run,) = re.findall(r"\$ \.venv/bin/python (-m fullscale.fit .*)", joined)
    done = subprocess.run(
        [sys.executable, *dry_run.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "dry run: nothing was started" in done.stdout


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"[(\s](docs/[\w/.]+|[A-Z]+\.\w+)\)", README)))
)
def test_every_page_that_the_readme_names_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:fullscale|tests)/[\w/.]+\.\w+", README)))
)
def test_every_file_in_a_readme_command_exists(path):
    assert (ROOT / path).exists()
