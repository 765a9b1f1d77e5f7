"""What the person at the keyboard sees of a sweep."""

import io
import re

import pytest

from surrogate import progress
from surrogate.cells import CellNews
from surrogate.progress import SweepProgress

NEWS = [
    CellNews(batch_size=8, stage="wide", num_running=4),
    CellNews(batch_size=8, stage="wide", statuses={"reached": 2, "diverged": 1}, num_running=1),
    CellNews(batch_size=64, stage="widen-1", num_running=2),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(stream):
    with SweepProgress(title="digits", total=10, shown=True, stream=stream) as bar:
        bar.hear(NEWS)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_a_terminal_of_80_columns_shows_counts_time_left_and_what_runs(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    last = show(Terminal()).rstrip().splitlines()[-2:]
    # The widening's two runs were not known before.
    assert "3/12" in last[0]
    assert "time left" in last[0]
    assert last[1] == "2 reached, 0 not reached, 1 diverged; running B=8 wide, B=64 widen-1"


def test_elsewhere_a_plain_line_says_the_same(monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    text = show(io.StringIO())
    assert text.startswith("digits: 3/12 runs, 2 reached, 0 not reached, 1 diverged; running B=8")
    assert text.rstrip().endswith("s left")


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_nothing_is_shown_unless_asked(stream):
    with SweepProgress(title="digits", total=10, shown=False, stream=stream) as bar:
        bar.hear(NEWS)
    assert stream.getvalue() == ""
