"""The largest batch sizes of each sweep, predicted from the others, beside what was measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models_of_scaling.interval_scores import Estimated, over_series, share_over_series
from models_of_scaling.prediction import Prediction
from models_of_scaling.wording import number_in_words
from paper.numbers.quoted import Quoted, quoted
from paper.numbers.sweep_records import Sweep, optimizer_title, workload_title


def held_out_rows(sweeps: Sequence[Sweep]) -> list[tuple[Sweep, Prediction]]:
    """Return every held-out batch size's prediction that has a measurement."""
    return [
        (sweep, each) for sweep in sweeps for each in sweep.predictions if each.measured is not None
    ]


def _over_sweeps(found: Estimated, cases: int, **more: Any) -> dict[str, Any]:
    return Quoted(
        estimate=found.value, low=min(found.low, found.value), high=max(found.high, found.value),
        n=cases, of="batch sizes", **more,
    ).as_json()  # fmt: skip


def held_out_numbers(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Return how the predictions of the held-out batch sizes went."""
    found = held_out_rows(sweeps)
    rows = []
    for sweep, each in found:
        known = 0 if sweep.held is None else len(sweep.held.measured.steps)
        said = quoted(each.steps, known)
        rows.append({
            "workload": workload_title(sweep.file.workload),
            "optimizer": optimizer_title(sweep.file.optimizer),
            "batch_size": f"{each.batch_size:,}",
            "away": f"{each.extrapolation:.3g}x",
            "predicted": said.as_json(),
            "measured": number_in_words(float(each.measured or 0.0)),
            "inside": bool(each.is_inside),
        })
    inside = sum(bool(each.is_inside) for _, each in found)
    errors = [abs(each.steps.estimate / (each.measured or 1.0) - 1) for _, each in found]
    names = [sweep.file.title for sweep, _ in found]
    held = error = None
    if found:
        covered = np.array([float(bool(each.is_inside)) for _, each in found])
        # A sweep counts as one: its batch sizes share their fit.
        held = _over_sweeps(share_over_series(covered, names), len(found))
        middle = over_series(np.array(errors), names, np.median)
        error = _over_sweeps(middle, len(found), unit="%", scale=100.0)
    return {
        "rows": rows,
        "held": held,
        "inside": inside,
        "cases": len(found),
        "median_error": error,
        "not_identified": [each.file.title for each in sweeps if each.held is None],
    }
