"""Where cells run: any concurrent.futures.Executor, with a stop line and news through the folder.

Workers of other machines share nothing with the sweep but its folder. So a file there tells them to
stop, and what they finished is read there. Processes of this machine have quicker lines
(`workers/local_processes.py`).
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from models_of_scaling.trials import read_trials, table_to_trials
from surrogate.cells import Cell, CellNews, news_of
from surrogate.protocol import Plan
from surrogate.trial_parts import shares_folder, trials_folder

_LOOK_SECONDS = 1.0  # between two looks at a folder that may lie on a busy file server
_GRACE_SECONDS = 20.0  # for workers to write what is finished
_STALE_SECONDS = 86_400.0


class SweepFailedError(RuntimeError):
    """The work failed, for a reason that is not the input's: one line says which."""


@dataclass(frozen=True, kw_only=True)
class WorkerKind:
    """What a sweep must know of an executor's workers.

    Attributes:
        name: of a worker, for messages.
        deaths: errors that say that a worker died: its cell is run again.
        losses: errors that say that the executor itself is gone.
        whole_batch_sizes: a task is all stages of a batch size, not one: for queues in which every
            task waits.
    """

    name: str = "worker"
    deaths: tuple[type[BaseException], ...] = (BrokenExecutor,)
    losses: tuple[type[BaseException], ...] = (CancelledError,)
    whole_batch_sizes: bool = False


@dataclass(frozen=True, kw_only=True)
class Workers:
    """An executor and how to talk with what it runs.

    Attributes:
        executor: runs the cells.
        count: tells how many cells it runs at once, now.
        kind: what to know of them.
        run: what is submitted, a function of a cell and `line`.
        line: goes with each cell.
        read_news: returns what cells said since the last call.
        end: tells running cells to write what is finished and return; given those that run.
    """

    executor: Executor
    count: Callable[[], int]
    kind: WorkerKind
    run: Callable[..., bool]
    line: object = None
    read_news: Callable[[], list[CellNews]]
    end: Callable[[Collection["Future[bool]"]], None]

    def submit(self, cell: Cell) -> "Future[bool]":
        """Run a cell; the future is `Cell.run`'s answer."""
        return self.executor.submit(self.run, cell, self.line)


@dataclass(frozen=True, kw_only=True)
class FolderLine:
    """What a worker of another machine needs beside its cell.

    Attributes:
        stop_file: running cells end once it exists.
        whole_batch_size: whether to run all stages.
    """

    stop_file: Path
    whole_batch_size: bool = False


# Tracing a population is not safe in threads, and a Dask worker may run several.
_ONE_AT_A_TIME = threading.Lock()


def run_far_away(cell: Cell, line: FolderLine) -> bool:
    """Run a cell in a worker that shares only the folder with the sweep.

    Args:
        cell: what to run.
        line: how it hears of the end.

    Returns:
        `Cell.run`'s answer.
    """
    looked, stopped = -float("inf"), False

    def stopping() -> bool:
        nonlocal looked, stopped
        if time.monotonic() - looked > _LOOK_SECONDS:
            looked, stopped = time.monotonic(), line.stop_file.exists()
        return stopped

    with _ONE_AT_A_TIME:
        complete = False
        while not complete and not stopping():
            complete = cell.run(stopping=stopping)
            if not line.whole_batch_size:
                break
        return complete or stopping()


@dataclass(kw_only=True)
class FolderNews:
    """Reads what workers finished from the parts they wrote."""

    folder: Path
    plan: Plan
    _seen: set[str] = field(default_factory=set)
    _looked: float = -float("inf")

    def __post_init__(self) -> None:
        """Pass over what is there already."""
        self.read()

    def read(self) -> list[CellNews]:
        """Return news of the parts written since the last call, at most once a second."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        news: list[CellNews] = []
        for room in (shares_folder(self.folder), trials_folder(self.folder)):
            for path in sorted(room.glob(f"{self.plan.study}.b*.parquet")):
                news += self._news_of_part(path)
        return news

    def _news_of_part(self, path: Path) -> list[CellNews]:
        if path.name in self._seen:
            return []
        self._seen.add(path.name)
        try:
            trials = table_to_trials(read_trials(path))
        except ValueError:  # joined meanwhile, or damaged: who needs it names it
            return []
        trials = [trial for trial in trials if trial.trial_id not in self._seen]
        self._seen.update(trial.trial_id for trial in trials)
        stages: dict[str, list[int]] = {}
        for place, trial in enumerate(trials):
            searched = trial.phase == "search"
            name = trial.settings.get("stage", "search") if searched else trial.phase
            stages.setdefault(name, []).append(place)
        return [
            news_of(trials[0].batch_size, name, [trials[place] for place in places])
            for name, places in stages.items()
        ]


def folder_workers(
    executor: Executor,
    plan: Plan,
    folder: Path,
    *,
    count: Callable[[], int],
    kind: WorkerKind | None = None,
) -> Workers:
    """Return workers that share only the folder with the sweep.

    Args:
        executor: runs functions in processes that see the folder, and have this package.
        plan: the study.
        folder: of the sweep.
        count: tells how many cells it runs at once, now.
        kind: what to know of its workers; None for any executor's.

    Returns:
        The workers; whoever made the executor shuts it down.
    """
    kind = kind or WorkerKind()
    # A name of its own for each call: what a call left behind never stops the next one.
    stop_file = folder / "locks" / f"{plan.study}.{secrets.token_hex(4)}.stop"
    _forget_old_stop_files(folder)

    def end(running: Collection["Future[bool]"]) -> None:
        if not running:
            return
        stop_file.parent.mkdir(parents=True, exist_ok=True)
        stop_file.touch()
        # Cells that still wait for a worker return at once when they get one.
        _, left = wait(running, timeout=_GRACE_SECONDS)
        for future in left:
            future.cancel()
        if not left:
            stop_file.unlink(missing_ok=True)

    return Workers(
        executor=executor,
        count=count,
        kind=kind,
        run=run_far_away,
        line=FolderLine(stop_file=stop_file, whole_batch_size=kind.whole_batch_sizes),
        read_news=FolderNews(folder=folder, plan=plan).read,
        end=end,
    )


def _forget_old_stop_files(folder: Path) -> None:
    for path in (folder / "locks").glob("*.stop"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            path.unlink(missing_ok=True)
