"""Tells the person at the keyboard how a sweep goes, on standard error.

On a terminal a bar with the time left and, below it, what runs, what reached and what diverged;
elsewhere a plain line every few seconds.
"""

import sys
import time
from collections import Counter
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from surrogate.cells import CellNews

_PLAIN_SECONDS = 5.0


class SweepProgress(AbstractContextManager["SweepProgress"]):
    """Counts what cells say and shows it."""

    def __init__(
        self, *, title: str, total: int, shown: bool, stream: TextIO | None = None
    ) -> None:
        """Begin.

        Args:
            title: what is swept.
            total: trials to run, as far as it is known now.
            shown: whether to show anything.
            stream: where; standard error by default.
        """
        self._title = title
        self._total = total
        self._statuses: Counter[str] = Counter()
        self._running: dict[int, CellNews] = {}
        self._stream = stream or sys.stderr
        self._started = self._said = time.monotonic()
        self._shown = shown
        self._live: Live | None = None
        if shown and self._stream.isatty():
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("time left"),
                TimeRemainingColumn(),
            )
            self._task = self._bar.add_task(title, total=total)
            # A line of its own: beside the bar it would not fit into 80 columns.
            self._detail = Text("starting", overflow="ellipsis", no_wrap=True)
            console = Console(file=self._stream)
            self._live = Live(Group(self._bar, self._detail), console=console)

    def __enter__(self) -> "SweepProgress":
        """Show the bar.

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
            self._live.stop()

    def hear(self, news: list[CellNews]) -> None:
        """Count what cells said, and show it where it is time to."""
        for said in news:
            known = self._running.get(said.batch_size)
            if known is None or known.stage != said.stage:
                self._grow(said)
            self._statuses.update(said.statuses)
            self._running[said.batch_size] = said
            if not said.num_running:
                del self._running[said.batch_size]
        if self._live:
            self._bar.update(self._task, completed=self._statuses.total(), total=self._total)
            self._detail.plain = self._words()
        elif self._shown and time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._say()

    def _grow(self, said: CellNews) -> None:
        """Count the runs of a widening, which nobody could know of before."""
        if said.stage.startswith("widen"):
            self._total += said.num_running

    def _words(self) -> str:
        running = ", ".join(
            f"B={batch_size} {said.stage}" for batch_size, said in sorted(self._running.items())
        )
        counts = ", ".join(
            f"{self._statuses[status]} {status.replace('_', ' ')}"
            for status in ("reached", "not_reached", "diverged")
        )
        return f"{counts}; running {running or 'nothing'}"

    def _say(self) -> None:
        done, elapsed = self._statuses.total(), time.monotonic() - self._started
        left = f"{elapsed / done * max(self._total - done, 0):.0f} s left" if done else "starting"
        print(
            f"{self._title}: {done}/{self._total} runs, {self._words()}, {left}",
            file=self._stream,
            flush=True,
        )
        self._said = time.monotonic()
