"""What the person at the keyboard sees of a sweep."""

import io
import re

import pytest

from surrogate import progress
from surrogate.cells import CellNews
from surrogate.progress import SweepProgress

NEWS = [
    CellNews(batch_size=8, stage="wide"),
    CellNews(batch_size=8, stage="wide", statuses={"reached": 2, "diverged": 1}, fewest_steps=1234),
    CellNews(batch_size=64, stage="widen-1"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(stream, shown=True):
    with SweepProgress(
        title="digits",
        planned={8: 7, 64: 5, 512: 5},
        found={8: 0, 64: 2, 512: 0},
        widening_trials=2,
        shown=shown,
        stream=stream,
    ) as bar:
        bar.begin(8)
        bar.begin(64)
        bar.hear(NEWS)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_a_terminal_of_80_columns_shows_a_line_per_batch_size_and_the_time_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    last = show(Terminal()).rstrip().splitlines()[-5:]
    assert last[0].split("  ")[0] == "batch size"
    assert last[1].split() == ["8", "3/7", "2", "0", "1", "1,234", "wide"]
    # The widening's two runs were not known before.
    assert last[2].split() == ["64", "2/7", "0", "0", "0", "widen-1"]
    assert last[3].split() == ["512", "0/5", "0", "0", "0", "waits"]
    assert "3/17" in last[4]
    assert last[4].endswith("time left not known yet")


def test_elsewhere_a_plain_line_says_the_same(monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    text = show(io.StringIO())
    assert text.startswith("digits: 3/17 runs, 2 reached, 0 not reached, 1 diverged; running B=8 w")
    assert text.rstrip().endswith("time left not known yet")


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_time_left_is_told_once_a_stage_has_ended(monkeypatch, stream):
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    clock = iter([100.0] + [110.0] * 100)  # ten seconds after it began, all the time
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with SweepProgress(title="d", planned={8: 7, 64: 5}, shown=True, stream=stream) as bar:
        bar.begin(8)
        # The one that diverged took no time: nine more would not take ten times as long.
        bar.hear([CellNews(batch_size=8, stage="wide", statuses={"diverged": 1})])
        assert "time left not known yet" in stream.getvalue()
        bar.hear([CellNews(batch_size=8, stage="wide", statuses={"reached": 3})])
        bar.hear([CellNews(batch_size=8, stage="repeats")])
    assert "about 20 s left" in stream.getvalue().splitlines()[-2 if stream.isatty() else -1]


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_nothing_is_shown_unless_asked(stream):
    assert show(stream, shown=False) == ""
