"""What came of full-scale runs whose trials lie among the fitted ones: prediction beside outcome.

A single run changes no row of the fit, which takes repeats of a search's winner; so the prediction
has not seen it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models_of_scaling.fit_record import FitRecord
from models_of_scaling.intervals import Interval
from models_of_scaling.prediction import SILLY_EXTRAPOLATION, predict
from models_of_scaling.trials import read_trials
from models_of_scaling.wording import number_in_words

STUDY: Final = "fullscale"  # what `fullscale.fit` calls its own trials
_ASKED: Final = ("study", "workload", "optimizer", "target", "batch_size", "steps", "status")


@dataclass(frozen=True, kw_only=True)
class FullScaleRun:
    """A run and its prediction.

    Attributes:
        batch_size: examples per step.
        steps: that it took, or was given.
        status: reached, not_reached, diverged or interrupted.
        predicted: steps to target; None beyond what is answered.
    """

    batch_size: int
    steps: int
    status: str
    predicted: Interval | None

    def in_words(self) -> str:
        """Return one line."""
        start = f"Full-scale run at batch size {self.batch_size:,}: "
        if self.predicted is None:
            start += "too far for a prediction"
        else:
            ends = (self.predicted.estimate, self.predicted.low, self.predicted.high)
            middle, low, high = (number_in_words(each) for each in ends)
            start += f"predicted {middle} steps ({low} to {high})"
        if self.status != "reached":
            return f"{start}, {self.status.replace('_', ' ')} after {self.steps:,}."
        if self.predicted is None:
            return f"{start}, took {self.steps:,}."
        inside = "inside" if self.predicted.holds(self.steps) else "outside"
        return f"{start}, took {self.steps:,}: {inside} the interval."


def full_scale_runs(path: Path, fit: FitRecord) -> list[FullScaleRun]:
    """Read the full-scale runs of the fit's workload, optimizer and target.

    Args:
        path: of the trials.
        fit: their fit.

    Returns:
        One for each, batch sizes increasing.
    """
    trials: Sequence[dict[str, Any]] = read_trials(path, columns=_ASKED).to_pylist()
    same = (fit.workload, fit.optimizer, fit.target)
    runs = []
    for trial in trials:
        if trial["study"] != STUDY or same != (
            trial["workload"], trial["optimizer"], trial["target"],
        ):  # fmt: skip
            continue
        batch_size = int(trial["batch_size"])
        far = batch_size > SILLY_EXTRAPOLATION * fit.largest_batch_size
        runs.append(
            FullScaleRun(
                batch_size=batch_size,
                steps=int(trial["steps"]),
                status=str(trial["status"]),
                predicted=None if far else predict(fit, [batch_size])[0].steps,
            )
        )
    return runs
