"""What each study of a folder was asked for, in `studies/STUDY.json`: for status, without flags."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_of_scaling.atomic_write import whole_file
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target
from surrogate.ingredients import Ingredients
from surrogate.protocol import Plan
from surrogate.protocol_flags import RunChoice
from surrogate.run_schedule import RunSchedule

if TYPE_CHECKING:
    from surrogate.run_sweep import SweepSettings


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as it was last asked for.

    Attributes:
        study: its name.
        settings: fields of `SweepSettings` by name.
        batch_sizes: every one that was asked for, increasing.
        planned_trials: of each, before any widening.
        target: what stops a run.
    """

    study: str
    settings: dict[str, Any]
    batch_sizes: tuple[int, ...]
    planned_trials: int
    target: str

    def plan(self, folder: Path) -> Plan | None:
        """Return the study's plan, or None where this release would plan it otherwise."""
        from surrogate.run_sweep import SweepSettings

        try:
            run = dict(self.settings["run"])
            run["schedule"] = RunSchedule(**run["schedule"])
            run["ingredients"] = Ingredients(**run.get("ingredients", {}))
            fields = {
                **self.settings,
                "run": RunChoice(**run),
                "target": Target.parse(self.target),
                "out": folder,
            }
            plan = SweepSettings(**fields).plan
        except (InputError, TypeError, KeyError):
            return None
        return plan if plan.study == self.study else None


def planned_trials(plan: Plan) -> int:
    """Return a batch size's trials, without widenings, if every question has its own best runs."""
    protocol = plan.protocol
    again = protocol.planned_trials - protocol.trials
    return protocol.trials + len(plan.questions) * again


def _path(folder: Path, study: str) -> Path:
    return folder / "studies" / f"{study}.json"


def write_study_record(settings: "SweepSettings") -> None:
    """Record what is asked for; batch sizes of earlier calls stay.

    Args:
        settings: of the sweep.
    """
    plan = settings.plan
    path = _path(settings.out, plan.study)
    earlier = read_study_record(path).batch_sizes if path.exists() else ()
    content = {
        "study": plan.study,
        "settings": {
            name: getattr(settings, name)
            for name in (
                "workload",
                "optimizer",
                "trials",
                "repeats",
                "shortlist_by",
                "evaluations",
                "seed",
                "quick",
            )
        }
        | {"run": asdict(settings.run)},
        "batch_sizes": sorted({*earlier, *settings.sizes}),
        "planned_trials": planned_trials(plan),
        "target": str(plan.target),
    }
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as stream:
        stream.write(json.dumps(content, indent=1).encode())


def read_study_record(path: Path) -> StudyRecord:
    """Read a record.

    Args:
        path: of the file.

    Returns:
        The record.

    Raises:
        InputError: naming the file, where it is none.
    """
    try:
        return _record(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a study's record: {error}; remove it, the same sweep makes it anew"
        ) from error


def _record(content: Any) -> StudyRecord:
    names = sorted(each.name for each in fields(StudyRecord))
    if not isinstance(content, dict) or sorted(content) != names:
        raise ValueError(f"it must have {', '.join(names)} and nothing else")
    settings, sizes = content["settings"], content["batch_sizes"]
    if not isinstance(settings, dict) or not isinstance(sizes, list):
        raise ValueError("settings must be an object and batch_sizes a list")
    texts = [
        content["study"],
        content["target"],
        settings.get("workload"),
        settings.get("optimizer"),
    ]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("study, target and the settings' workload and optimizer must be texts")
    if not all(type(number) is int for number in [*sizes, content["planned_trials"]]):
        raise ValueError("batch_sizes and planned_trials must be whole numbers")
    return StudyRecord(**content | {"batch_sizes": tuple(sizes)})


def read_study_records(folder: Path) -> dict[str, StudyRecord]:
    """Return the records of a sweep's folder, by study."""
    records = (read_study_record(path) for path in sorted((folder / "studies").glob("*.json")))
    return {record.study: record for record in records}


def other_studies_in_words(settings: "SweepSettings") -> str | None:
    """Return a note where a folder holds the same workload and optimizer otherwise searched.

    Args:
        settings: of the sweep that begins.

    Returns:
        One line, or None: other settings are easily given by mistake, and make another study.
    """
    plan = settings.plan
    others = [
        f"{record.study} (to {record.target}, {record.planned_trials} trials a batch size)"
        for record in read_study_records(settings.out).values()
        if record.study != plan.study
        and (record.settings["workload"], record.settings["optimizer"])
        == (plan.workload, plan.optimizer)
    ]
    return f"note: {settings.out} also holds {', '.join(others)}" if others else None
