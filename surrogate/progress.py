"""Tells the person at the keyboard how a sweep goes, on standard error.

On a terminal a small table with a line per batch size, and a bar with the time left; elsewhere a
plain line every few seconds.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from surrogate.cells import CellNews
from surrogate.spoken_time import spoken_time

_PLAIN_SECONDS = 5.0


@dataclass(kw_only=True)
class _Row:
    """What is known of a batch size."""

    planned: int
    found: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    stages: list[str] = field(default_factory=list)
    fewest_steps: int | None = None
    runs: bool = False

    @property
    def done(self) -> int:
        return self.found + self.statuses.total()

    @property
    def ended_a_stage(self) -> bool:
        ran = self.statuses.total() > 0
        return ran and (len(self.stages) > 1 or not self.runs)

    @property
    def stage(self) -> str:
        if self.runs:
            return self.stages[-1] if self.stages else "starts"
        return "complete" if self.done >= self.planned else "waits"


class SweepProgress(AbstractContextManager["SweepProgress"]):
    """Counts what cells say and shows it."""

    def __init__(
        self,
        *,
        title: str,
        planned: Mapping[int, int],
        found: Mapping[int, int] | None = None,
        widening_trials: int = 0,
        shown: bool,
        stream: TextIO | None = None,
    ) -> None:
        """Begin.

        Args:
            title: what is swept.
            planned: trials of each batch size, with those that are there, as far as is known now.
            found: those of each that are there.
            widening_trials: that a widening adds.
            shown: whether to show anything.
            stream: where; standard error by default.
        """
        self._title = title
        there = found or {}
        self._rows = {
            size: _Row(planned=count, found=there.get(size, 0)) for size, count in planned.items()
        }
        self._widening_trials = widening_trials
        self._stream = stream or sys.stderr
        self._started = self._said = time.monotonic()
        self._shown = shown
        self._live: Live | None = None
        if shown and self._stream.isatty():
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._task = self._bar.add_task(title, total=self._total, left=self._left())
            console = Console(file=self._stream)
            self._live = Live(self._picture(), console=console, auto_refresh=False)

    def __enter__(self) -> "SweepProgress":
        """Show the table.

        Returns:
            Itself.
        """
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state standing."""
        if self._live:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def begin(self, batch_size: int) -> None:
        """Say that a batch size has a worker now."""
        self._rows[batch_size].runs = True

    def finish(self, batch_size: int) -> None:
        """Say that a batch size is complete."""
        row = self._rows[batch_size]
        row.runs = False
        row.planned = row.done

    def warn(self, text: str) -> None:
        """Print a warning, whether or not progress is shown."""
        if self._live:
            self._live.console.print(f"warning: {text}", markup=False, highlight=False)
        else:
            print(f"warning: {text}", file=self._stream, flush=True)

    def hear(self, news: list[CellNews]) -> None:
        """Count what cells said, and show it where it is time to."""
        for said in news:
            if row := self._rows.get(said.batch_size):
                self._count(row, said)
        if self._live:
            self._bar.update(
                self._task, completed=self._completed, total=self._total, left=self._left()
            )
            self._live.update(self._picture(), refresh=True)
        elif self._shown and time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._say()

    def _count(self, row: _Row, said: CellNews) -> None:
        if said.stage not in row.stages:
            row.stages.append(said.stage)
            # The runs of a widening, which nobody could know of before.
            row.planned += self._widening_trials if said.stage.startswith("widen") else 0
        row.statuses.update(said.statuses)
        steps = [each for each in (row.fewest_steps, said.fewest_steps) if each is not None]
        row.fewest_steps = min(steps, default=None)

    @property
    def _completed(self) -> int:
        return sum(row.statuses.total() for row in self._rows.values())

    @property
    def _total(self) -> int:
        """Trials for this call to run."""
        return sum(max(row.planned, row.done) - row.found for row in self._rows.values())

    def _left(self) -> str:
        # The members of a stage train together: while none has come to its end, those that are done
        # are the ones that left early, and would make the rest seem to take for ever.
        done, elapsed = self._completed, time.monotonic() - self._started
        if not done or not any(row.ended_a_stage for row in self._rows.values()):
            return "time left not known yet"
        return f"about {spoken_time(elapsed / done * (self._total - done))} left"

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("batch size", "done", "reached", "not", "diverged", "fewest steps"):
            table.add_column(name, justify="right")
        table.add_column("stage")
        for size, row in sorted(self._rows.items()):
            counts = (row.statuses[name] for name in ("reached", "not_reached", "diverged"))
            best = "" if row.fewest_steps is None else f"{row.fewest_steps:,}"
            done = f"{row.done}/{max(row.planned, row.done)}"
            table.add_row(f"{size:,}", done, *map(str, counts), best, row.stage)
        return Group(table, self._bar)

    def _say(self) -> None:
        statuses = sum((row.statuses for row in self._rows.values()), Counter[str]())
        counts = ", ".join(
            f"{statuses[status]} {status.replace('_', ' ')}"
            for status in ("reached", "not_reached", "diverged")
        )
        running = ", ".join(
            f"B={size} {row.stage}" for size, row in sorted(self._rows.items()) if row.runs
        )
        print(
            f"{self._title}: {self._completed}/{self._total} runs, {counts}; "
            f"running {running or 'nothing'}, {self._left()}",
            file=self._stream,
            flush=True,
        )
        self._said = time.monotonic()
