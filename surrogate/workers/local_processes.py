"""Processes of this machine: one pool of one process each, so that a death takes no other along.

They ignore Ctrl-C and SIGTERM, which may reach them too but are their parent's to handle; told to
stop, they write what is finished and return. They end when the parent dies, however it dies.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from surrogate.cells import Cell, CellNews
from surrogate.executors import WorkerKind, Workers

# Sent to a whole process group by a terminal or a scheduler; the parent handles them.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(kw_only=True)
class _Lines:
    """A worker process's ends of the two lines to its parent."""

    stop: Any = None
    news: Any = None
    watch: threading.Thread | None = field(default=None)


_LINES = _Lines()


def _initialise(stop: Any, news: Any, gpu: str | None) -> None:
    """Prepare a worker process, before torch is imported."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
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


def _run_beside(cell: Cell, line: object) -> bool:
    del line
    stop, news = _LINES.stop, _LINES.news
    return cell.run(stopping=lambda: stop.value != 0, report=news.put)


class _Place:
    """One worker process, made anew when it died."""

    def __init__(self, stop: Any, gpu: str | None) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._stop, self._gpu = stop, gpu
        self.last: Future[Any] | None = None
        self._start()

    def _start(self) -> None:
        # A queue of its own: one that is killed while it writes may leave a lock held.
        self.news = self._context.Queue()
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=self._context,
            initializer=_initialise,
            initargs=(self._stop, self.news, self._gpu),
        )
        with _signals_ignored():
            self._pool.submit(int)  # starts the process

    @property
    def is_idle(self) -> bool:
        return self.last is None or self.last.done()

    def submit(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> "Future[Any]":
        try:
            self.last = self._pool.submit(call, *arguments, **named)
        except BrokenExecutor:
            self.close()
            self._start()
            self.last = self._pool.submit(call, *arguments, **named)
        return self.last

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.news.close()
        self.news.cancel_join_thread()


class LocalProcesses(Executor):
    """An executor of single processes, each of which may have a GPU of its own."""

    def __init__(self, count: int, *, gpus: Sequence[str] = ()) -> None:
        """Start the processes; spawned, for torch's threads and locks do not survive a fork.

        Args:
            count: processes.
            gpus: what each sees as CUDA_VISIBLE_DEVICES, in turn; none leaves it as it is.
        """
        self.stop = multiprocessing.get_context("spawn").RawValue("b", 0)
        self._places = [
            _Place(self.stop, gpus[number % len(gpus)] if gpus else None) for number in range(count)
        ]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run a call in the first idle process, or behind what another runs.

        Args:
            fn: a function that can be pickled.
            *args: its arguments.
            **kwargs: its named ones.

        Returns:
            The future; it raises `BrokenExecutor` where the process died.
        """
        place = next((each for each in self._places if each.is_idle), self._places[0])
        return place.submit(fn, *args, **kwargs)

    def read_news(self) -> list[CellNews]:
        """Return what cells said since the last call."""
        said: list[CellNews] = []
        for place in self._places:
            try:
                while True:
                    said.append(place.news.get_nowait())
            except queue.Empty:
                continue
        return said

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Tell running cells to end, and wait for them.

        Args:
            wait: as in `concurrent.futures`; it is always waited.
            cancel_futures: as there; calls that wait are always cancelled.
        """
        del wait, cancel_futures
        self.stop.value = 1
        for place in self._places:
            place.close()


@contextmanager
def local_processes(count: int, *, gpus: Sequence[str] = ()) -> Generator[Workers, None, None]:
    """Give processes on this machine.

    Args:
        count: how many.
        gpus: what each sees as CUDA_VISIBLE_DEVICES, in turn; none leaves it as it is.

    Yields:
        The workers; on leaving, running cells are told to end and waited for.
    """
    executor = LocalProcesses(count, gpus=gpus)

    def end(running: Any) -> None:
        if running:  # else they may serve another sweep
            executor.stop.value = 1

    try:
        yield Workers(
            executor=executor,
            count=lambda: count,
            kind=WorkerKind(name="worker process"),
            run=_run_beside,
            read_news=executor.read_news,
            end=end,
        )
    finally:
        executor.shutdown()
