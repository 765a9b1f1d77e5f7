"""Runs a sweep: every batch size of a workload through the search protocol, resumably.

The state of a sweep is its trial table: each batch size asks `search.next_stage` what is missing.
"""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from models_of_scaling.tuning_cost import tuning_cost
from surrogate.executors import SweepFailedError, Workers, folder_workers
from surrogate.progress import SweepProgress
from surrogate.protocol import Evaluations, Plan, Protocol, ShortlistBy
from surrogate.protocol_flags import RunChoice
from surrogate.search import next_stage
from surrogate.study_record import planned_trials, write_study_record
from surrogate.sweep_loop import SweepLoop
from surrogate.sweep_summary import SweepSummary
from surrogate.training.training_device import visible_gpus
from surrogate.trial_parts import finished_trials, make_rooms, trials_folder, waiting_trials
from surrogate.workers.local_processes import local_processes
from surrogate.workloads import get_workload

__all__ = ["SweepFailedError", "SweepSettings", "SweepSummary", "run_sweep"]
QUICK_PROTOCOL = Protocol(trials=32, repeats=2, shortlist=3, shortlist_seeds=2)


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
        shortlist_by: what says which configurations are compared on fresh seeds.
        evaluations: at which steps the runs that choose are evaluated fully.
        run: how long a run is, its schedule and weight decay.
        seed: of the sweep.
        workers: processes; 0 for one per core, or per GPU where those are given.
        gpus: each process trains on one of them, in turn (its CUDA_VISIBLE_DEVICES); none for those
            that this process's CUDA_VISIBLE_DEVICES names, or the CPU.
        quick: fewer batch sizes, trials and repeats where they are not given.
    """

    workload: str
    out: Path
    optimizer: str = "momentum"
    batch_sizes: tuple[int, ...] = ()
    target: Target | None = None
    trials: int | None = None
    repeats: int | None = None
    shortlist_by: ShortlistBy = "runs"
    evaluations: Evaluations = "all"
    run: RunChoice = field(default_factory=RunChoice)
    seed: int = 0
    workers: int = 0
    gpus: tuple[str, ...] = ()
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
        if twice := sorted({n for n in self.batch_sizes if self.batch_sizes.count(n) > 1}):
            raise InputError(f"--batch-sizes: {twice[0]} is given twice")
        workload.check_target(self.target or workload.target)
        if workload.engine != "population" and self.run.schedule.has_length:
            raise InputError(f"--schedule: {self.workload} has a constant rate only")
        if workload.engine != "population" and (chosen := self.run.ingredients.chosen):
            flag = next(iter(chosen)).replace("_", "-")
            raise InputError(f"--{flag}: {self.workload} is a simulator, without network or loss")
        if workload.deterministic and self.shortlist_by != "runs":
            raise InputError(f"--shortlist-by {self.shortlist_by}: {self.workload} has no luck")
        if workload.engine != "population" and self.evaluations != "all":
            raise InputError(f"--evaluations {self.evaluations}: {self.workload} has no images")
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
            ingredients=self.run.ingredients,
            protocol=replace(
                base,
                trials=trials,
                # A second seed of a simulator would give the same run.
                repeats=1 if workload.deterministic else repeats,
                shortlist=1 if workload.deterministic else min(base.shortlist, max(trials, 1)),
                shortlist_by=self.shortlist_by,
                evaluations=self.evaluations,
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


MakeWorkers = Callable[[Plan, Path], AbstractContextManager[Workers]]


def run_sweep(
    settings: SweepSettings,
    *,
    progress: bool,
    workers: Workers | Executor | MakeWorkers | None = None,
) -> SweepSummary:
    """Run what is missing of a sweep.

    Args:
        settings: what to sweep.
        progress: whether to tell how it goes, on standard error.
        workers: where cells run: any `concurrent.futures.Executor` whose workers are processes that
            see the folder (`settings.workers` says how many; 0 for one per batch size), workers
            with lines of their own, or what makes them; None for processes of this machine.
            `ThreadPoolExecutor(1)` runs all in this process, as a notebook or a script without a
            main guard must.

    Returns:
        The summary.

    An `InputError` says that the folder can't be written or holds a damaged trial file, a
    `SweepFailedError` that a cell failed. Ctrl-C and SIGTERM come out as KeyboardInterrupt, after
    what was finished has been written.
    """
    started = time.monotonic()
    plan, folder = settings.plan, settings.out.resolve()
    if check_data := get_workload(settings.workload).check_data:
        check_data()
    before = {size: finished_trials(plan, size, folder) for size in settings.sizes}
    missing = [size for size, done in before.items() if next_stage(plan, size, done)]
    found = sum(len(done) for done in before.values())
    if missing:
        there = {s: len(before[s]) + len(waiting_trials(plan, s, folder)) for s in missing}
        with (
            _terminate_as_interrupt(),
            SweepProgress(
                title=settings.workload,
                planned={size: max(planned_trials(plan), there[size]) for size in missing},
                found=there,
                widening_trials=plan.protocol.widening_trials,
                shown=progress,
            ) as bar,
            # First, so that a scheduler that does not answer leaves no folder behind.
            _workers(settings, plan, folder, len(missing), workers) as made,
        ):
            _check_writable(settings)
            SweepLoop(plan, missing, folder, made, bar).run()
    after = [trial for size in settings.sizes for trial in finished_trials(plan, size, folder)]
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
        tuning_cost=tuple(tuning_cost(after)),
    )


def local_workers(settings: SweepSettings) -> tuple[int, tuple[str, ...]]:
    """Return how many processes of this machine a sweep takes, and the GPUs they train on.

    Args:
        settings: of the sweep.
    """
    trains = get_workload(settings.workload).engine == "population"
    gpus = settings.gpus or (visible_gpus() if trains else ())
    return settings.workers or len(gpus) or os.cpu_count() or 1, gpus


def _workers(
    settings: SweepSettings,
    plan: Plan,
    folder: Path,
    num_missing: int,
    given: Workers | Executor | MakeWorkers | None,
) -> AbstractContextManager[Workers]:
    """Return where the cells run."""
    if isinstance(given, Workers):
        return nullcontext(given)
    if isinstance(given, Executor):
        count = settings.workers or num_missing
        return nullcontext(folder_workers(given, plan, folder, count=lambda: count))
    if given is not None:
        return given(plan, folder)
    count, gpus = local_workers(settings)
    # A stage can be dealt out, but not into less than one candidate a process.
    most = num_missing * plan.protocol.trials
    return local_processes(min(count, most), gpus=gpus)


def _check_writable(settings: SweepSettings) -> None:
    """Try the folder before any work, and record there what is asked for.

    Raises:
        InputError: where it can't be made or written.
    """
    folder = settings.out
    try:
        make_rooms(folder)
        with tempfile.TemporaryFile(dir=trials_folder(folder)):
            pass
        write_study_record(settings)
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
