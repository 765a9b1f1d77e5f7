"""One row per evaluation, beside the trial record: what can be looked at while a run goes on."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.callbacks.line_file import LineFile
from fullscale.callbacks.measurements import measurements_of
from fullscale.callbacks.record_trial import RecordTrial
from fullscale.callbacks.throughput import Throughput
from fullscale.module import Classifier

COLUMNS = (
    "steps",
    "examples",
    "epochs",
    "learning_rate",
    "batch_size",
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "wall_time_s",
    "images_per_s",
    "images_per_s_per_device",
    "step_time_s",
)


def evaluation_row(
    trainer: Trainer, module: Classifier, record: RecordTrial, throughput: Throughput
) -> dict[str, float]:
    """Return what is known at an evaluation.

    Args:
        trainer: of the run.
        module: just evaluated.
        record: knows the time spent.
        throughput: knows the speed.

    Returns:
        One number a column of `COLUMNS`, then what callbacks measure; NaN where there is none yet.
        Learning rate and batch size are those of the step that was done last.
    """
    point, plan = module.evaluation, module.data.plan
    assert point is not None
    examples, last_step = plan.examples(point.steps), max(point.steps - 1, 0)
    speed = throughput.latest
    return {
        "steps": point.steps,
        "examples": examples,
        "epochs": examples / plan.num_train_examples,
        "learning_rate": module.rate_of_step(last_step),
        "batch_size": plan.phases.at(last_step).batch_size,
        "train_loss": point.train_loss,
        "validation_loss": point.validation_loss,
        "validation_accuracy": point.validation_accuracy,
        "wall_time_s": record.wall_time_s(),
        "images_per_s": speed.images_per_s,
        "images_per_s_per_device": speed.images_per_s_per_device,
        "step_time_s": speed.step_time_s,
        **measurements_of(trainer),
    }


class MetricsCsv(Callback):
    """Writes `<trial's name>.metrics.csv` into the folder of the trial table, on rank zero.

    A resumed run goes on in the same file: rows of evaluations that a kill undid are taken out.
    """

    def __init__(self, record: RecordTrial, throughput: Throughput) -> None:
        """Know the sources.

        Args:
            record: names the file.
            throughput: knows the speed; it must come before.
        """
        self._record = record
        self._throughput = throughput
        self._file: LineFile | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the evaluation."""
        assert isinstance(pl_module, Classifier)
        path = self._record.metrics_path
        if trainer.sanity_checking or pl_module.evaluation is None or path is None:
            return
        row = evaluation_row(trainer, pl_module, self._record, self._throughput)
        line = _csv_line([_text(value) for value in row.values()])
        if self._file is None:
            self._file = LineFile(path)
            columns = _csv_line(list(row))
            earlier = _rows_before(path, columns, steps=pl_module.evaluation.steps)
            self._file.begin([columns, *earlier, line])
        else:
            self._file.add([line])


def _text(value: Any) -> str:
    """Return a number as it is read back exactly; nothing for one that is not known."""
    return "" if math.isnan(value) else repr(value)


def _csv_line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(cells)
    return stream.getvalue()


def _rows_before(path: Path, columns: str, *, steps: int) -> list[str]:
    """Return the whole rows of an earlier part of the run, up to a step."""
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    if header != columns:
        return []
    kept = []
    for line in lines:
        cells = line.split(",")
        if len(cells) == columns.count(",") + 1 and cells[0].isdigit() and int(cells[0]) < steps:
            kept.append(line)
    return kept
