"""Runs a sweep: every batch size of a workload through the search protocol, resumably.

The state of a sweep is its trial table: each batch size asks `search.next_stage` what is missing.
"""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.cells import finished_trials, trials_folder
from surrogate.executors import Workers, local_processes
from surrogate.progress import SweepProgress
from surrogate.protocol import Plan, Protocol
from surrogate.protocol_flags import RunChoice
from surrogate.search import next_stage
from surrogate.workloads import get_workload

_POLL_SECONDS = 0.2
QUICK_PROTOCOL = Protocol(trials=32, repeats=2, shortlist=3, shortlist_seeds=2)


class SweepFailedError(RuntimeError):
    """The work failed, for a reason that is not the input's: one line says which."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What to sweep; the same settings in the same folder go on where they stopped.

    Attributes:
        workload: a name of `workloads.WORKLOADS`.
        out: the folder; trials go to `out/trials/*.parquet`.
        optimizer: a name of `fullscale.optimizers`.
        batch_sizes: examples per step; empty for the workload's own.
        target: None for the workload's own.
        trials: configurations searched at each batch size; None for 64, or 32 in a quick sweep.
        repeats: fresh seeds of the best; None for 5, or 2 in a quick sweep.
        run: how long a run is, its schedule and weight decay.
        seed: of the sweep.
        workers: processes.
        quick: fewer batch sizes, trials and repeats where they are not given.
    """

    workload: str
    out: Path
    optimizer: str = "momentum"
    batch_sizes: tuple[int, ...] = ()
    target: Target | None = None
    trials: int | None = None
    repeats: int | None = None
    run: RunChoice = field(default_factory=RunChoice)
    seed: int = 0
    workers: int = 0
    quick: bool = False

    def __post_init__(self) -> None:
        """Check every field, with names as the command line has them.

        Raises:
            InputError: naming the flag, the value and the rule.
        """
        if self.workers < 0:
            raise InputError(f"--workers {self.workers} must be at least 1")
        workload = get_workload(self.workload)
        workload.space(self.optimizer)
        for batch_size in self.batch_sizes:
            workload.check_batch_size(batch_size)
        if len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise InputError("--batch-sizes: a batch size is given twice")
        workload.check_target(self.target or workload.target)
        if workload.engine != "population" and self.run.schedule.has_length:
            raise InputError(f"--schedule: {self.workload} has a constant rate only")
        for size in self.sizes:
            _ = self.plan.space_at(size)

    @property
    def plan(self) -> Plan:
        """The study that these settings name."""
        workload = get_workload(self.workload)
        base = QUICK_PROTOCOL if self.quick else Protocol()
        default = base.trials * workload.search_effort
        trials = default if self.trials is None else self.trials
        repeats = base.repeats if self.repeats is None else self.repeats
        return Plan(
            workload=workload.name,  # a user's own is named with its version
            optimizer=self.optimizer,
            target=self.target or workload.target,
            space=self.run.space(workload.space(self.optimizer)),
            budget=self.run.budget(workload),
            schedule=self.run.schedule,
            protocol=replace(
                base,
                trials=trials,
                # A second seed of a simulator would give the same run.
                repeats=1 if workload.deterministic else repeats,
                shortlist=1 if workload.deterministic else min(base.shortlist, max(trials, 1)),
                zoom_widths=workload.zoom_widths,
                seed=self.seed,
            ),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes, increasing."""
        workload = get_workload(self.workload)
        default = workload.quick_batch_sizes if self.quick else workload.batch_sizes
        return tuple(sorted(self.batch_sizes or default))


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """What a call did, and what now stands in the folder for its study.

    Attributes:
        study: its name, a value of the table's column `study`.
        trials_folder: of the parquet files.
        num_found: trials that were there before.
        num_run: trials that this call ran.
        num_reached: of all trials now there.
        num_not_reached: of all trials now there.
        num_diverged: of all trials now there.
        wall_time_s: seconds that this call took.
    """

    study: str
    trials_folder: Path
    num_found: int
    num_run: int
    num_reached: int
    num_not_reached: int
    num_diverged: int
    wall_time_s: float

    def in_words(self) -> str:
        """Return one line: what was run, and what stands there now."""
        ran = f"ran {self.num_run} trials" if self.num_run else "nothing to run"
        return (
            f"{self.study}: {ran} in {self.wall_time_s:.1f} s, {self.num_found} were there; "
            f"{self.num_reached} reached, {self.num_not_reached} not reached, "
            f"{self.num_diverged} diverged; {self.trials_folder}"
        )


def run_sweep(
    settings: SweepSettings, *, progress: bool, workers: Workers | None = None
) -> SweepSummary:
    """Run what is missing of a sweep.

    Args:
        settings: what to sweep.
        progress: whether to tell how it goes, on standard error.
        workers: where cells run; None for processes of this machine.

    Returns:
        The summary.

    An `InputError` says that the folder can't be written or holds a damaged trial file, a
    `SweepFailedError` that a cell failed. Ctrl-C and SIGTERM come out as KeyboardInterrupt, after
    what was finished has been written.
    """
    started = time.monotonic()
    plan = settings.plan
    if check_data := get_workload(settings.workload).check_data:
        check_data()
    _check_writable(settings.out)
    before = {size: finished_trials(plan, size, settings.out) for size in settings.sizes}
    missing = [size for size, done in before.items() if next_stage(plan, size, done)]
    found = sum(len(done) for done in before.values())
    if missing:
        per_size = plan.protocol.planned_trials
        total = sum(max(per_size - len(before[size]), 1) for size in missing)
        with (
            _terminate_as_interrupt(),
            SweepProgress(title=settings.workload, total=total, shown=progress) as bar,
        ):
            if workers is None:
                count = min(settings.workers or os.cpu_count() or 1, len(missing))
                with local_processes(count) as pool:
                    _run_cells(plan, missing, settings.out, pool, bar)
            else:
                _run_cells(plan, missing, settings.out, workers, bar)
    after = [t for size in settings.sizes for t in finished_trials(plan, size, settings.out)]
    statuses = Counter(trial.status for trial in after)
    return SweepSummary(
        study=plan.study,
        trials_folder=trials_folder(settings.out),
        num_found=found,
        num_run=len(after) - found,
        num_reached=statuses["reached"],
        num_not_reached=statuses["not_reached"],
        num_diverged=statuses["diverged"],
        wall_time_s=time.monotonic() - started,
    )


def _run_cells(
    plan: Plan, sizes: Sequence[int], folder: Path, workers: Workers, bar: SweepProgress
) -> None:
    """Keep the workers busy until every batch size is complete."""
    try:
        _drive(plan, sizes, folder, workers, bar)
    except BrokenProcessPool as error:
        raise SweepFailedError(
            "a worker process died (out of memory, or killed); what was finished is kept: the same "
            "command goes on"
        ) from error
    except OSError as error:
        raise SweepFailedError(f"{folder}: {error.strerror or error}") from error
    finally:
        workers.end()


def _drive(
    plan: Plan, sizes: Sequence[int], folder: Path, workers: Workers, bar: SweepProgress
) -> None:
    # Small batches first: they take the most steps, and a batch size's stages follow each other.
    waiting = sorted(sizes)
    running: dict[Future[bool], int] = {}
    while waiting or running:
        while waiting and len(running) < workers.count:
            size = waiting.pop(0)
            running[workers.submit(plan, size, folder)] = size
        done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        bar.hear(workers.read_news())
        for future in done:
            size = running.pop(future)
            if not future.result():
                waiting = sorted([*waiting, size])
    bar.hear(workers.read_news())


def _check_writable(folder: Path) -> None:
    """Try the folder before any work.

    Raises:
        InputError: where it can't be made or written.
    """
    try:
        trials_folder(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=trials_folder(folder)):
            pass
    except OSError as error:
        raise InputError(f"--out {folder}: can't be written: {error.strerror or error}") from error


@contextmanager
def _terminate_as_interrupt() -> Generator[None, None, None]:
    """Treat SIGTERM as Ctrl-C while a sweep runs."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
