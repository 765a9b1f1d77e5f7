"""Where a sweep's trials lie while it runs: parts by study and batch size, shares, locks.

Finished trials are written in parts while the rest still runs. A part's file is named for its
study, its batch size and a hash of the trials in it: the same trials written twice are the same
file, and two writers never replace each other's.

Trials of a stage that is split among several workers wait in `shares/` until all are there: where a
search trial is cut depends on the fastest of them all, wherever that one runs.
"""

import hashlib
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from models_of_scaling.errors import InputError
from models_of_scaling.trials import Trial, read_trials, table_to_trials, write_trials
from surrogate.evaluation_grid import end_of_slow_runs
from surrogate.protocol import Plan, Stage
from surrogate.race import cut_trial
from surrogate.workloads import get_workload

try:
    import fcntl
except ImportError:  # not POSIX: work may be done twice, nothing is lost
    fcntl = None  # type: ignore[assignment]

_POLL_SECONDS = 0.1


def trials_folder(folder: Path) -> Path:
    """Return where a sweep's folder keeps its trial files."""
    return folder / "trials"


def shares_folder(folder: Path) -> Path:
    """Return where trials of a split stage wait for the rest of it."""
    return folder / "shares"


def locks_folder(folder: Path) -> Path:
    """Return where the locks on batch sizes lie."""
    return folder / "locks"


def make_rooms(folder: Path) -> None:
    """Make the folders in which a sweep's files lie."""
    for room in (trials_folder(folder), shares_folder(folder), locks_folder(folder)):
        room.mkdir(parents=True, exist_ok=True)


def part_prefix(study: str, batch_size: int) -> str:
    """Return how the names of a study's files at one batch size begin."""
    return f"{study}.b{batch_size:08d}."


def lock_path(folder: Path, study: str, batch_size: int) -> Path:
    """Return the file that is locked while a batch size is worked on."""
    return locks_folder(folder) / f"{part_prefix(study, batch_size)}lock"


def _read_parts(room: Path, study: str, batch_size: int) -> list[Trial]:
    trials: dict[str, Trial] = {}
    for path in sorted(room.glob(f"{part_prefix(study, batch_size)}*.parquet")):
        for trial in read_part(path):
            trials.setdefault(trial.trial_id, trial)
    return list(trials.values())


def read_part(path: Path) -> list[Trial]:
    """Return the trials of a file that was there a moment ago; none where it is gone by now.

    Shares go when their stage is joined, be it by another sweep in the same folder.

    Args:
        path: of the file.

    Raises:
        InputError: naming the file, where it is damaged.
    """
    try:
        return table_to_trials(read_trials(path))
    except InputError as error:
        if not os.path.lexists(path):
            return []
        raise InputError(f"{error}; remove it: its runs are run again") from error


def finished_trials(plan: Plan, batch_size: int, folder: Path) -> list[Trial]:
    """Read the trials of a study at one batch size."""
    return _read_parts(trials_folder(folder), plan.study, batch_size)


def waiting_trials(plan: Plan, batch_size: int, folder: Path) -> list[Trial]:
    """Read the trials that wait for the rest of their stage."""
    return _read_parts(shares_folder(folder), plan.study, batch_size)


def share_name(plan: Plan, batch_size: int, stage: Stage) -> str:
    """Return the name of a file that is about a stage's candidates, or a share of them."""
    names = (candidate.trial_id(plan, batch_size) for candidate in stage.candidates)
    return part_prefix(plan.study, batch_size) + _hash(names)


def _hash(trial_ids: Sequence[str] | Generator[str, None, None]) -> str:
    return hashlib.sha256("".join(sorted(trial_ids)).encode()).hexdigest()[:12]


def write_part(room: Path, plan: Plan, batch_size: int, trials: Sequence[Trial]) -> Path:
    """Write finished trials of one batch size into `trials/` or `shares/`; return the file."""
    name = part_prefix(plan.study, batch_size) + _hash([trial.trial_id for trial in trials])
    return write_trials(room, trials, name=name)


def without(stage: Stage, plan: Plan, batch_size: int, trials: Sequence[Trial]) -> Stage | None:
    """Return what is left of a stage after some of its trials, or None."""
    known = {trial.trial_id for trial in trials}
    rest = tuple(c for c in stage.candidates if c.trial_id(plan, batch_size) not in known)
    return replace(stage, candidates=rest) if rest else None


def split(stage: Stage, count: int) -> list[Stage]:
    """Deal a stage's candidates out into shares, none of them empty."""
    shares = (replace(stage, candidates=stage.candidates[first::count]) for first in range(count))
    return [share for share in shares if share.candidates]


def join_shares(plan: Plan, batch_size: int, folder: Path, stage: Stage) -> bool:
    """Move the trials of a split stage to the table, if all of them are there.

    Each is what it would have been beside all others: cut at the same multiple of the fewest steps.

    Args:
        plan: the study.
        batch_size: examples per step.
        folder: of the sweep.
        stage: what was missing when it was split.

    Returns:
        Whether all were there.
    """
    by_id = {trial.trial_id: trial for trial in waiting_trials(plan, batch_size, folder)}
    wanted = [candidate.trial_id(plan, batch_size) for candidate in stage.candidates]
    if not all(name in by_id for name in wanted):
        return False
    trials = cut_alike([by_id[name] for name in wanted], plan, stage)
    write_part(trials_folder(folder), plan, batch_size, trials)
    for path in shares_folder(folder).glob(f"{part_prefix(plan.study, batch_size)}*.parquet"):
        path.unlink(missing_ok=True)
    return True


def cut_alike(trials: Sequence[Trial], plan: Plan, stage: Stage) -> list[Trial]:
    """Cut trials that went on for longer than the fastest of their stage allows.

    Args:
        trials: all of a stage.
        plan: the study; its protocol says which multiple of the fewest steps is allowed.
        stage: theirs; nothing is cut in `repeat`, at fixed epochs, nor by the simulator.

    Returns:
        The trials; one that went further is `not_reached` at the last evaluation allowed.
    """
    simulated = get_workload(plan.workload).engine == "noisy_quadratic"
    known = [] if stage.fewest_steps is None else [stage.fewest_steps]
    known += [trial.steps for trial in trials if trial.status == "reached"]
    uncut = simulated or stage.name == "repeat" or plan.budget.epochs is not None
    if uncut or not known:
        return list(trials)
    limit = int(plan.protocol.slowest_factor * min(known))
    budget = end_of_slow_runs(limit, screened=plan.screens(stage.name))
    return [cut_trial(trial, budget) if trial.steps > budget else trial for trial in trials]


@contextmanager
def held_lock(path: Path, stopping: Callable[[], bool]) -> Generator[bool, None, None]:
    """Hold a file lock, which the kernel frees when its holder dies, however it dies.

    Args:
        path: of the lock file.
        stopping: asked while another holds the lock; once it says true, no more waiting.

    Yields:
        Whether it is held. Where the file system has no locks: True, and work may be done twice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        while fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if stopping():
                    yield False
                    return
                time.sleep(_POLL_SECONDS)
            except OSError:  # no locks here
                break
            else:
                break
        yield True


def is_locked(path: Path) -> bool:
    """Return whether some process of this machine (or of a file system with locks) holds a lock."""
    if fcntl is None or not path.exists():
        return False
    try:
        with path.open(encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here, or no file to lock
        return False
    return False
