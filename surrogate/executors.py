"""Where cells run: any concurrent.futures.Executor; by default processes of this machine.

The default pool can be told to stop: its workers then write what is finished and return. They
ignore Ctrl-C and SIGTERM, which may reach them too but are their parent's to handle, and end when
the parent dies, however it dies.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Generator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from surrogate.cells import CellNews, run_cell
from surrogate.protocol import Plan

# Sent to a whole process group by a terminal or a scheduler; the parent handles them.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Workers:
    """An executor with its two lines of talk.

    Attributes:
        executor: runs the cells.
        count: cells that it runs at once.
        stop: a shared number, not 0 once running cells are to end; None where the executor has
            none. No lock guards it, so a killed worker can't leave one held.
        news: a queue of `CellNews`; None where the executor has none.
    """

    executor: Executor
    count: int
    stop: Any = None
    news: Any = None

    def submit(self, plan: Plan, batch_size: int, folder: Path) -> "Future[bool]":
        """Run the next stage of a batch size; the future is `cells.run_cell`'s answer."""
        return self.executor.submit(_run_in_worker, plan, batch_size, folder)

    def read_news(self) -> list[CellNews]:
        """Return what cells said since the last call."""
        said: list[CellNews] = []
        while self.news is not None:
            try:
                said.append(self.news.get_nowait())
            except queue.Empty:
                break
        return said

    def end(self) -> None:
        """Tell running cells to write what is finished and return."""
        if self.stop is not None:
            self.stop.value = 1


@dataclass(kw_only=True)
class _Lines:
    """A worker process's ends of the two lines."""

    stop: Any = None
    news: Any = None
    watch: threading.Thread | None = field(default=None)


_LINES = _Lines()


def _initialise(stop: Any, news: Any) -> None:
    """Prepare a worker process, before torch is imported."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    _LINES.stop, _LINES.news = stop, news
    # What nobody reads any more must not keep the process from ending.
    news.cancel_join_thread()
    _LINES.watch = threading.Thread(target=_die_with_parent, daemon=True)
    _LINES.watch.start()


@contextmanager
def _signals_ignored() -> Generator[None, None, None]:
    """Ignore signals while processes start: they inherit it, so none dies in its imports."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _run_in_worker(plan: Plan, batch_size: int, folder: Path) -> bool:
    stop, news = _LINES.stop, _LINES.news
    return run_cell(
        plan,
        batch_size,
        folder,
        stopping=lambda: stop is not None and stop.value != 0,
        report=(lambda said: None) if news is None else news.put,
    )


@contextmanager
def local_processes(count: int) -> Generator[Workers, None, None]:
    """Give a pool of processes on this machine.

    Spawned, not forked: torch's threads and locks do not survive a fork.

    Args:
        count: processes.

    Yields:
        The workers; on leaving, running cells are told to end and waited for.
    """
    context = multiprocessing.get_context("spawn")
    stop, news = context.RawValue("b", 0), context.Queue()
    executor = ProcessPoolExecutor(
        count, mp_context=context, initializer=_initialise, initargs=(stop, news)
    )
    try:
        with _signals_ignored():
            executor.submit(int)  # starts every process
        yield Workers(executor=executor, count=count, stop=stop, news=news)
    finally:
        stop.value = 1
        executor.shutdown(wait=True, cancel_futures=True)
        news.close()
        news.cancel_join_thread()
