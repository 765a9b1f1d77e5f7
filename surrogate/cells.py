"""The unit of work of a sweep: the next stage of one batch size, on any machine that sees DIR.

Finished trials are written in parts while the rest still runs. A part's file is named for its
study, its batch size and a hash of the trials in it: the same trials written twice are the same
file, and two writers never replace each other's. A lock keeps two processes of one machine from
running the same batch size at once; where the file system has no locks, the work may be done
twice, and the reader keeps one row of each trial.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from models_of_scaling.trials import Trial, read_trials, table_to_trials, write_trials
from surrogate.protocol import Plan
from surrogate.search import next_stage

try:
    import fcntl
except ImportError:  # not POSIX: work may be done twice, nothing is lost
    fcntl = None  # type: ignore[assignment]

# A killed process loses at most what finished in so many seconds, and every member still running.
_FLUSH_SECONDS = 0.5
_POLL_SECONDS = 0.1

Report = Callable[["CellNews"], None]


@dataclass(frozen=True, kw_only=True)
class CellNews:
    """What a running cell says of itself.

    Attributes:
        batch_size: whose stage runs.
        stage: its name.
        statuses: how the trials that just finished ended, with counts.
        num_running: runs that go on.
    """

    batch_size: int
    stage: str
    statuses: dict[str, int] = field(default_factory=dict)
    num_running: int = 0


def trials_folder(folder: Path) -> Path:
    """Return where a sweep's folder keeps its trial files."""
    return folder / "trials"


def finished_trials(plan: Plan, batch_size: int, folder: Path) -> list[Trial]:
    """Read the trials of a study at one batch size."""
    trials: list[Trial] = []
    seen: set[str] = set()
    for path in sorted(trials_folder(folder).glob(f"{_prefix(plan, batch_size)}*.parquet")):
        for trial in table_to_trials(read_trials(path)):
            if trial.trial_id not in seen:
                seen.add(trial.trial_id)
                trials.append(trial)
    return trials


def _prefix(plan: Plan, batch_size: int) -> str:
    return f"{plan.study}.b{batch_size:08d}."


def _write_part(plan: Plan, batch_size: int, folder: Path, trials: Sequence[Trial]) -> None:
    text = "".join(sorted(trial.trial_id for trial in trials))
    name = _prefix(plan, batch_size) + hashlib.sha256(text.encode()).hexdigest()[:12]
    write_trials(trials_folder(folder), trials, name=name)


@contextmanager
def _lock(path: Path, stopping: Callable[[], bool]) -> Generator[bool, None, None]:
    """Hold a file lock, which the kernel frees when its holder dies, however it dies.

    Yields:
        Whether to work: False where the sweep stops before the lock is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        while fcntl is not None and not stopping():
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_POLL_SECONDS)
        yield not stopping()


def run_cell(
    plan: Plan,
    batch_size: int,
    folder: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
    report: Report = lambda news: None,
) -> bool:
    """Run the next stage of a batch size.

    Args:
        plan: the study.
        batch_size: examples per step.
        folder: of the sweep.
        stopping: asked after each evaluation; once it says true, what is finished is written and
            the rest is left for the next call.
        report: told of progress.

    Returns:
        Whether the batch size is complete, or the sweep stops: nothing to run here any more.
    """
    with _lock(folder / "locks" / f"{_prefix(plan, batch_size)}lock", stopping) as held:
        if not held:
            return True
        done = finished_trials(plan, batch_size, folder)
        stage = next_stage(plan, batch_size, done)
        if stage is None:
            return True
        from surrogate.engines import run_stage

        running = len(stage.candidates)
        report(CellNews(batch_size=batch_size, stage=stage.name, num_running=running))
        unwritten: list[Trial] = []
        flushed = time.monotonic()
        try:
            for finished in run_stage(plan, batch_size, stage):
                unwritten += finished
                running -= len(finished)
                if finished:
                    report(
                        CellNews(
                            batch_size=batch_size,
                            stage=stage.name,
                            statuses=dict(Counter(trial.status for trial in finished)),
                            num_running=running,
                        )
                    )
                if unwritten and time.monotonic() - flushed > _FLUSH_SECONDS:
                    part, unwritten = unwritten, []
                    _write_part(plan, batch_size, folder, part)
                    flushed = time.monotonic()
                if stopping():
                    return True
        finally:
            if unwritten:
                _write_part(plan, batch_size, folder, unwritten)
    return False
