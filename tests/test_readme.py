"""What the README promises is what the commands do."""

import re
from pathlib import Path

import pytest

from models_of_scaling.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_in_the_readme_gets_a_verdict(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = re.search(r"\$ cat my_runs.csv\n(.*?)\n\n", README, re.DOTALL)
    assert rows is not None
    Path("my_runs.csv").write_text(rows[1] + "\n", encoding="utf-8")
    commands = re.findall(r"\$ \.venv/bin/python -m models_of_scaling (.*)", README)
    assert [command.split()[0] for command in commands] == ["fit", "predict", "limit", "report"]
    for command in commands:
        assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert "1 did not (censored)" in out
    assert "It stops paying" in out
    assert Path("report.html").exists()


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
