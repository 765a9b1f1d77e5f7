"""Every notebook runs from top to bottom in its fast mode, and is an essay that calls functions."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def code_cells(path):
    """Return the code of each cell; what stands before the first is the header."""
    cells = re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [cell.partition("\n")[2] for cell in cells if not cell.startswith(" [markdown]")]


def lines_of_code(cell):
    """Count the lines that do something: no imports, which a formatter sets, and no comments."""
    imports = {
        line
        for node in ast.parse(cell).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in imports
        for number, line in enumerate(cell.splitlines(), 1)
    )


def is_module_of_ones_own(node):
    """A LightningModule shows what a user's own program looks like; it is what 02 and 06 are of."""
    return isinstance(node, ast.ClassDef) and [ast.unparse(b) for b in node.bases] == [
        "LightningModule"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(path, tmp_path):
    environment = {**os.environ, "NOTEBOOK_FAST": "1", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout and not list(tmp_path.iterdir())


def test_there_are_six_notebooks_and_each_is_text_that_jupytext_pairs():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]
    listed = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert "formats: py:percent" in text and "# %% [markdown]" in text
        assert f"`{path.name}`" in listed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_cells_that_call_functions(path):
    cells = code_cells(path)
    assert len(cells) <= 15
    for cell in cells:
        nodes = ast.parse(cell).body
        if any(map(is_module_of_ones_own, nodes)):
            continue
        assert lines_of_code(cell) <= 10, cell
        for node in ast.walk(ast.parse(cell)):
            assert not isinstance(node, ast.ClassDef), cell
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 5, cell


def test_a_notebook_has_no_output_and_no_magic_but_matplotlib():
    assert not list((ROOT / "notebooks").glob("*.ipynb"))
    for path in NOTEBOOKS:
        magics = re.findall(r"^# *[%!](?!%).*$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(magics) <= {"# %matplotlib inline"}
