"""How each study of a sweep's folder stands, from its trials, locks and records; writes nothing."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models_of_scaling.errors import InputError
from models_of_scaling.trials import Trial
from models_of_scaling.tuning_cost import TuningCost, tuning_cost
from surrogate.protocol import Plan
from surrogate.search import next_stage
from surrogate.study_record import StudyRecord, planned_trials, read_study_records
from surrogate.trial_parts import (
    is_locked,
    lock_path,
    part_prefix,
    read_part,
    shares_folder,
    trials_folder,
)


@dataclass(frozen=True, kw_only=True)
class BatchSizeStatus:
    """One batch size of a study.

    Attributes:
        batch_size: examples per step.
        stage: what runs or comes next, or `complete`; None where the folder does not say what was
            asked for.
        num_finished: trials.
        num_planned: trials without those of a widening yet to come; None where unknown.
        num_reached: trials that reached the target.
        num_not_reached: trials that did not.
        num_diverged: trials whose loss grew out of bounds.
        fewest_steps: to target, of the search; None where none reached it.
        last_write_age_s: seconds since a trial was written; None where none was.
        is_worked_on: whether a process holds the batch size's lock now.
        tuning_cost: examples processed; None before the first trial.
    """

    batch_size: int
    stage: str | None
    num_finished: int
    num_planned: int | None
    num_reached: int
    num_not_reached: int
    num_diverged: int
    fewest_steps: int | None
    last_write_age_s: float | None
    is_worked_on: bool
    tuning_cost: TuningCost | None


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """One study of a folder.

    Attributes:
        study: its name.
        workload: its workload.
        optimizer: its optimizer.
        target: what stops a run.
        batch_sizes: increasing.
    """

    study: str
    workload: str
    optimizer: str
    target: str
    batch_sizes: tuple[BatchSizeStatus, ...]


def read_status(folder: Path) -> list[StudyStatus]:
    """Return how the studies of a sweep's folder stand.

    Args:
        folder: that the sweep was given as --out.

    Returns:
        One for each study, by name.

    Raises:
        InputError: where there is no trial, or a file is damaged (it is named).
    """
    records = read_study_records(folder)
    files = list(trials_folder(folder).glob("*.parquet"))
    if not files and not records:
        wanted = trials_folder(folder) / "*.parquet"
        raise InputError(f"{folder}: holds no trials of a sweep ({wanted})")
    found = _trials_by_study(folder)
    return [
        _study_status(folder, study, found.get(study, []), records.get(study))
        for study in sorted({*found, *records})
    ]


def _trials_by_study(folder: Path) -> dict[str, list[Trial]]:
    """Return the trials of both rooms; those of the table count where one stands in both.

    Shares come first: what is joined while they are read is found in the table then.
    """
    trials: dict[str, Trial] = {}
    for room in (shares_folder(folder), trials_folder(folder)):
        for path in sorted(room.glob("*.parquet")):
            trials |= {trial.trial_id: trial for trial in read_part(path)}
    studies: dict[str, list[Trial]] = {}
    for trial in trials.values():
        studies.setdefault(trial.study, []).append(trial)
    return studies


def _study_status(
    folder: Path, study: str, trials: Sequence[Trial], record: StudyRecord | None
) -> StudyStatus:
    sizes = {trial.batch_size for trial in trials} | set(record.batch_sizes if record else ())
    plan = record.plan(folder) if record else None
    return StudyStatus(
        study=study,
        workload=str(record.settings["workload"]) if record else trials[0].workload,
        optimizer=str(record.settings["optimizer"]) if record else trials[0].optimizer,
        target=record.target if record else trials[0].target,
        batch_sizes=tuple(
            _batch_size_status(
                folder,
                study,
                size,
                [trial for trial in trials if trial.batch_size == size],
                (record, plan),
            )
            for size in sorted(sizes)
        ),
    )


def _batch_size_status(
    folder: Path,
    study: str,
    size: int,
    trials: Sequence[Trial],
    asked: tuple[StudyRecord | None, Plan | None],
) -> BatchSizeStatus:
    record, plan = asked
    stage, planned = None, record.planned_trials if record else None
    if plan is not None:
        missing = next_stage(plan, size, trials)
        stage = missing.name if missing else "complete"
        widenings = {t.settings.get("stage", "") for t in trials} | {stage}
        added = sum(name.startswith("widen") for name in widenings)
        planned = planned_trials(plan) + added * plan.protocol.widening_trials
        # Where nothing reached the target there is nothing to repeat.
        planned = planned if missing else len(trials)
    statuses = Counter(trial.status for trial in trials)
    reached = [t.steps for t in trials if t.status == "reached" and t.phase == "search"]
    return BatchSizeStatus(
        batch_size=size,
        stage=stage,
        num_finished=len(trials),
        num_planned=planned,
        num_reached=statuses["reached"],
        num_not_reached=statuses["not_reached"],
        num_diverged=statuses["diverged"],
        fewest_steps=min(reached, default=None),
        last_write_age_s=_last_write_age(folder, study, size),
        is_worked_on=is_locked(lock_path(folder, study, size)),
        tuning_cost=next(iter(tuning_cost(trials)), None),
    )


def _last_write_age(folder: Path, study: str, size: int) -> float | None:
    times = []
    for room in (trials_folder(folder), shares_folder(folder)):
        for path in room.glob(f"{part_prefix(study, size)}*.parquet"):
            try:
                times.append(path.stat().st_mtime)
            except FileNotFoundError:
                continue
    return max(time.time() - max(times), 0.0) if times else None


def status_in_words(status: StudyStatus) -> str:
    """Return a study's table: a line for each batch size.

    Args:
        status: of the study.

    Returns:
        Lines of text, at most 96 columns but for long names.
    """
    head = (
        f"{'batch':>9} {'done':>9} {'reached':>7} {'not':>5} {'div.':>5} {'fewest':>8}  "
        f"{'stage':<10} {'written':>8}  examples: search, shortlist, repeats"
    )
    title = f"{status.study}: {status.workload}, {status.optimizer}, to {status.target}"
    return "\n".join([title, head, *map(_line, status.batch_sizes)])


def _line(row: BatchSizeStatus) -> str:
    done = f"{row.num_finished}/{'?' if row.num_planned is None else row.num_planned}"
    best = "-" if row.fewest_steps is None else f"{row.fewest_steps:,}"
    age = "-" if row.last_write_age_s is None else _age_in_words(row.last_write_age_s)
    cost = row.tuning_cost
    spent = f"{cost.search:,}, {cost.shortlist:,}, {cost.repeat:,}" if cost else "-"
    return (
        f"{row.batch_size:>9,} {done:>9} {row.num_reached:>7} {row.num_not_reached:>5} "
        f"{row.num_diverged:>5} {best:>8}  {row.stage or '?':<10} {age:>8}  {spent}"
        + ("  <- runs now" if row.is_worked_on else "")
    )


def _age_in_words(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
