"""The unit of work of a sweep: the next stage of one batch size, on any machine that sees DIR.

Finished trials are written in parts while the rest still runs (`trial_parts`). A lock keeps two
processes of one machine from running the same batch size at once; where the file system has no
locks, the work may be done twice, and the reader keeps one row of each trial.
"""

import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from models_of_scaling.trials import Trial
from surrogate.protocol import Plan, Stage
from surrogate.search import next_stage
from surrogate.trial_parts import (
    finished_trials,
    held_lock,
    join_shares,
    lock_path,
    locks_folder,
    share_name,
    shares_folder,
    trials_folder,
    waiting_trials,
    without,
    write_part,
)

# A killed process loses at most what finished in so many seconds, and every member still running.
_FLUSH_SECONDS = 0.5

Report = Callable[["CellNews"], None]


@dataclass(frozen=True, kw_only=True)
class CellNews:
    """What a running cell says of itself.

    Attributes:
        batch_size: whose stage runs.
        stage: its name.
        statuses: how the trials that just finished ended, with counts.
        fewest_steps: to target, of the search trials among them; None where none reached it.
    """

    batch_size: int
    stage: str
    statuses: dict[str, int] = field(default_factory=dict)
    fewest_steps: int | None = None


def news_of(batch_size: int, stage: str, trials: list[Trial]) -> CellNews:
    """Return what to say of trials that just finished."""
    reached = [t.steps for t in trials if t.status == "reached" and t.phase == "search"]
    return CellNews(
        batch_size=batch_size,
        stage=stage,
        statuses=dict(Counter(trial.status for trial in trials)),
        fewest_steps=min(reached, default=None),
    )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one worker is asked to do; it travels to other machines.

    Attributes:
        plan: the study.
        batch_size: examples per step.
        folder: of the sweep, as every worker sees it.
        share: the part of a split stage to run; None for the next stage, whole.
    """

    plan: Plan
    batch_size: int
    folder: Path
    share: Stage | None = None

    def run(
        self,
        *,
        stopping: Callable[[], bool] = lambda: False,
        report: Report = lambda news: None,
    ) -> bool:
        """Run it.

        Args:
            stopping: asked after each evaluation; once it says true, what is finished is written
                and the rest is left for the next call.
            report: told of progress.

        Returns:
            Whether nothing is to run here any more: the batch size is complete, or the sweep stops.

        Raises:
            FileNotFoundError: where this machine does not see the sweep's folder.
        """
        if not trials_folder(self.folder).is_dir():
            raise FileNotFoundError(
                errno.ENOENT,
                f"not seen by the worker on {socket.gethostname()}: every worker must see the "
                "sweep's folder at the same path",
                os.fspath(self.folder),
            )
        if self.share is not None:
            return _run_share(self, self.share, stopping, report)
        return run_cell(self.plan, self.batch_size, self.folder, stopping=stopping, report=report)


def run_cell(
    plan: Plan,
    batch_size: int,
    folder: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
    report: Report = lambda news: None,
) -> bool:
    """Run the next stage of a batch size; see `Cell.run`.

    Args:
        plan: the study.
        batch_size: examples per step.
        folder: of the sweep.
        stopping: see `Cell.run`.
        report: see `Cell.run`.

    Returns:
        Whether nothing is to run here any more.
    """
    with held_lock(lock_path(folder, plan.study, batch_size), stopping) as held:
        if not held or stopping():
            return True
        stage = next_stage(plan, batch_size, finished_trials(plan, batch_size, folder))
        if stage is None:
            return True
        # A sweep that was killed may have left a stage that it had split.
        rest = without(stage, plan, batch_size, waiting_trials(plan, batch_size, folder))
        cell = Cell(plan=plan, batch_size=batch_size, folder=folder)
        if rest == stage:
            return _run_candidates(cell, stage, trials_folder(folder), stopping, report)
        stopped = rest is not None and _run_candidates(
            cell, rest, shares_folder(folder), stopping, report
        )
        if not stopped:
            join_shares(plan, batch_size, folder, stage)
        return stopped


def _run_share(cell: Cell, share: Stage, stopping: Callable[[], bool], report: Report) -> bool:
    """Run a share of a stage whose lock the sweep's own process holds."""
    plan, batch_size, folder = cell.plan, cell.batch_size, cell.folder
    # The worker of a sweep that was killed may still be at it.
    path = locks_folder(folder) / f"{share_name(plan, batch_size, share)}.lock"
    with held_lock(path, stopping) as held:
        if not held or stopping():
            return True
        rest = without(share, plan, batch_size, waiting_trials(plan, batch_size, folder))
        return rest is not None and _run_candidates(
            cell, rest, shares_folder(folder), stopping, report
        )


def _run_candidates(
    cell: Cell, stage: Stage, room: Path, stopping: Callable[[], bool], report: Report
) -> bool:
    """Run candidates and write what finishes; return whether they were stopped."""
    from surrogate.engines import run_stage

    report(CellNews(batch_size=cell.batch_size, stage=stage.name))
    unwritten: list[Trial] = []
    flushed = time.monotonic()
    try:
        for finished in run_stage(cell.plan, cell.batch_size, stage):
            unwritten += finished
            if finished:
                report(news_of(cell.batch_size, stage.name, finished))
            if unwritten and time.monotonic() - flushed > _FLUSH_SECONDS:
                part, unwritten = unwritten, []
                write_part(room, cell.plan, cell.batch_size, part)
                flushed = time.monotonic()
            if stopping():
                return True
    finally:
        if unwritten:
            write_part(room, cell.plan, cell.batch_size, unwritten)
    return False
