"""Keeps the workers of a sweep busy until every batch size is complete.

Small batches first: they take the most steps, and the stages of a batch size follow each other.
Where workers would idle, a stage's candidates are dealt out among several. A cell whose worker died
is run again, a few times: what it had written is kept.
"""

import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models_of_scaling.errors import InputError
from surrogate.cells import Cell
from surrogate.executors import SweepFailedError, Workers
from surrogate.progress import SweepProgress
from surrogate.protocol import Plan, Stage
from surrogate.search import next_stage
from surrogate.trial_parts import (
    finished_trials,
    held_lock,
    join_shares,
    lock_path,
    split,
    waiting_trials,
    without,
)
from surrogate.user_workload import is_class_path
from surrogate.user_workload_checks import in_one_line

_POLL_SECONDS = 0.2
_MAX_DEATHS = 3  # of a batch size's workers, one after the other without a finished cell between
# Below so many members a population's fixed cost per step is most of it, and halves gain little.
_MIN_SHARE = 8


@dataclass(kw_only=True)
class _SplitStage:
    """A stage that several workers run; its lock is held here, in the sweep's own process."""

    stage: Stage
    lock: ExitStack
    shares_running: int = 0


class SweepLoop:
    """The cells of one sweep and who runs them."""

    def __init__(
        self,
        plan: Plan,
        sizes: Sequence[int],
        folder: Path,
        workers: Workers,
        bar: SweepProgress,
    ) -> None:
        """Prepare.

        Args:
            plan: the study.
            sizes: batch sizes that are not complete.
            folder: of the sweep.
            workers: where cells run.
            bar: told how it goes.
        """
        self._plan, self._folder, self._workers, self._bar = plan, folder, workers, bar
        self._name = workers.kind.name
        self._waiting = sorted(sizes)
        self._running: dict[Future[bool], Cell] = {}
        self._splits: dict[int, _SplitStage] = {}
        self._deaths: Counter[int] = Counter()

    def run(self) -> None:
        """Run all there is.

        Raises:
            SweepFailedError: where workers die again and again, or the folder can't be written.
        """
        try:
            self._keep_busy()
        except self._workers.kind.losses as error:
            raise SweepFailedError(
                f"the {self._name}s' scheduler is gone; what was finished is kept: the same "
                "command goes on"
            ) from error
        except ImportError as error:
            raise SweepFailedError(
                f"a {self._name} lacks what this process has: {error}"
            ) from error
        except OSError as error:
            where = error.filename or self._folder
            raise SweepFailedError(f"{where}: {error.strerror or error}") from error
        finally:
            self._workers.end(list(self._running))
            for each in self._splits.values():
                each.lock.close()

    def _keep_busy(self) -> None:
        while self._waiting or self._running:
            self._start_cells()
            done, _ = wait(self._running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            self._bar.hear(self._workers.read_news())
            for future in done:
                self._finish(future)
        self._bar.hear(self._workers.read_news())

    def _start_cells(self) -> None:
        while self._waiting:
            idle = self._workers.count() - len(self._running)
            if idle < 1 and not self._workers.kind.whole_batch_sizes:
                return
            shares = math.ceil(idle / len(self._waiting))
            size = self._waiting.pop(0)
            self._bar.begin(size)
            if self._workers.kind.whole_batch_sizes or not self._start_split(size, shares):
                self._submit(Cell(plan=self._plan, batch_size=size, folder=self._folder))

    def _submit(self, cell: Cell) -> None:
        self._running[self._workers.submit(cell)] = cell

    def _start_split(self, size: int, shares: int) -> bool:
        """Deal out a batch size's next stage; False where that is not worth it, or not possible."""
        if shares < 2 or size in self._splits:
            return False
        lock = ExitStack()
        path = lock_path(self._folder, self._plan.study, size)
        # Held by another sweep: a cell of ours waits for it.
        held = lock.enter_context(held_lock(path, lambda: True))
        stage = (
            next_stage(self._plan, size, finished_trials(self._plan, size, self._folder))
            if held
            else None
        )
        rest = stage and without(
            stage, self._plan, size, waiting_trials(self._plan, size, self._folder)
        )
        count = min(shares, len(rest.candidates) // _MIN_SHARE) if rest else 0
        if stage is None or rest is None or count < 2 or self._plan.races(stage.name):
            lock.close()
            return False
        self._splits[size] = _SplitStage(stage=stage, lock=lock, shares_running=count)
        for share in split(rest, count):
            self._submit(Cell(plan=self._plan, batch_size=size, folder=self._folder, share=share))
        return True

    def _finish(self, future: "Future[bool]") -> None:
        cell = self._running.pop(future)
        size = cell.batch_size
        try:
            complete = self._result(future, size)
        except self._workers.kind.deaths as error:
            self._note_death(size, error)
            if cell.share is not None:
                self._submit(cell)
                return
            complete = False
        else:
            del self._deaths[size]
        if cell.share is not None:
            if not self._join(size):
                return
            complete = False
        if complete:
            self._bar.finish(size)
        else:
            self._waiting = sorted([*self._waiting, size])

    def _result(self, future: "Future[bool]", size: int) -> bool:
        """Return what a cell said; what a user's own code raised in it becomes one line."""
        kind = self._workers.kind
        known: tuple[type[BaseException], ...] = (InputError, OSError, ImportError)
        try:
            return future.result()
        except known + kind.deaths + kind.losses:
            raise
        except Exception as error:
            if not is_class_path(self._plan.workload):
                raise
            raise SweepFailedError(
                f"--workload {self._plan.workload}, batch size {size}: {in_one_line(error)}; what "
                "was finished is kept"
            ) from error

    def _join(self, size: int) -> bool:
        """Count a share as done; return whether it was the last, and the stage is joined."""
        found = self._splits[size]
        found.shares_running -= 1
        if found.shares_running:
            return False
        join_shares(self._plan, size, self._folder, found.stage)
        self._splits.pop(size).lock.close()
        return True

    def _note_death(self, size: int, error: BaseException) -> None:
        self._deaths[size] += 1
        if self._deaths[size] >= _MAX_DEATHS:
            raise SweepFailedError(
                f"a {self._name} died (out of memory, or killed) at batch size {size}, "
                f"{_MAX_DEATHS} times; what was finished is kept: the same command goes on"
            ) from error
        self._bar.warn(
            f"a {self._name} died at batch size {size}; what it had not finished is run again"
        )
