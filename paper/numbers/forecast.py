"""The recorded forecast for ResNet-50 on ImageNet (`paper/forecast.py`), and its check.

From MLPerf's reference points up to their largest batch size; and from those up to 8,192 alone,
where what was measured at larger ones stands beside it.
"""

import csv
from functools import cache
from pathlib import Path
from typing import Any, Final

from models_of_scaling.published.loader import steps_series
from models_of_scaling.published.series import IMAGENET_TRAIN_EXAMPLES
from models_of_scaling.wording import number_in_words
from paper.numbers.quoted import Quoted

FILE: Final = "forecast_imagenet.csv"
MACHINE_FILE: Final = "forecast_machine.csv"
STEPS: Final = "steps_to_75.9"
ACCURACY: Final = "top1_percent_at_90_epochs"
# Evidence to what it is in words, in the order of the pages.
EVIDENCE: Final = {
    "all": "all reference points", "small": "the small ones alone",
    "small+noise_scale": "and a published noise scale", "small+surrogates": "and our surrogates",
}  # fmt: skip
Row = dict[str, str]


def forecast_rows(results: Path, quantity: str, evidence: str | None = None) -> list[Row]:
    """Return the record's rows of one quantity; none without the record.

    Args:
        results: the folder of records.
        quantity: `STEPS` or `ACCURACY`.
        evidence: which; None for any.
    """
    path = results / FILE
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            row for row in csv.DictReader(stream)
            if row["quantity"] == quantity and evidence in {None, row["evidence"]}
        ]  # fmt: skip


@cache
def _reference_sizes() -> tuple[int, ...]:
    """Return the batch size of each reference run."""
    (series,) = [each for each in steps_series() if each.name == "mlperf_reference"]
    return tuple(int(size) for size in series.measurements.batch_size)


def num_reference_runs(up_to: float) -> int:
    """Return how many of MLPerf's reference runs have at most a batch size.

    Args:
        up_to: examples per step.
    """
    return sum(size <= up_to for size in _reference_sizes())


def largest_fitted(row: Row) -> float:
    """Return the largest batch size that a forecast was fitted to."""
    stated = float(row["batch_size"]) / float(row["beyond_fitted"])  # to five digits
    return float(min(_reference_sizes(), key=lambda size: abs(size - stated)))


def said(row: Row, **more: Any) -> Quoted:
    """Return a forecast with its interval.

    Args:
        row: of the record.
        **more: fields of `Quoted`.
    """
    low, estimate, high = (float(row[name]) for name in ("low", "estimate", "high"))
    return Quoted(estimate=estimate, low=low, high=high, level=float(row["level"]), **more)


def _machine(results: Path) -> list[dict[str, Any]]:
    """Return each forecast batch size's fastest option among the recorded ones."""
    with (results / MACHINE_FILE).open(encoding="utf-8", newline="") as stream:
        options = list(csv.DictReader(stream))
    found = []
    for size in dict.fromkeys(row["batch_size"] for row in options):
        best = min(
            (row for row in options if row["batch_size"] == size),
            key=lambda row: float(row["time_s"]),
        )
        low, estimate, high = (float(best[n]) for n in ("time_s_low", "time_s", "time_s_high"))
        found.append({
            "batch_size": f"{int(size):,}",
            "devices": f"{int(best['nodes']) * int(best['devices_per_node']):,}",
            "seconds": Quoted(
                estimate=estimate, low=low, high=high, n=num_reference_runs(float("inf"))
            ).as_json(),
        })
    return found


def _check(results: Path, evidence: str) -> dict[str, Any]:
    """Return how a forecast from the small batch sizes did where something was measured."""
    known = [row for row in forecast_rows(results, STEPS, evidence) if row["measured"]]
    inside = sum(float(r["low"]) <= float(r["measured"]) <= float(r["high"]) for r in known)
    return {
        "evidence": EVIDENCE[evidence],
        "inside": inside,
        "of": len(known),
        "smallest": f"{int(known[0]['batch_size']):,}",
        "largest": f"{int(known[-1]['batch_size']):,}",
        "fitted_to": f"{largest_fitted(known[0]):,.0f}",
        "n": num_reference_runs(largest_fitted(known[0])),
    }


def forecast_numbers(results: Path) -> dict[str, Any] | None:
    """Return the section's numbers; None without the record.

    Args:
        results: the folder of records.
    """
    main = forecast_rows(results, STEPS, "all")
    if not main:
        return None
    accuracy = {row["batch_size"]: row for row in forecast_rows(results, ACCURACY)}
    machine = {row["batch_size"]: row for row in _machine(results)}
    fitted_to = largest_fitted(main[0])
    rows = []
    for row in main:
        size = int(row["batch_size"])
        runs = num_reference_runs(fitted_to)
        epochs = said(row, n=runs, scale=size / IMAGENET_TRAIN_EXAMPLES)
        top1 = accuracy[row["batch_size"]]
        rows.append({
            "batch_size": f"{size:,}",
            "beyond": f"{float(row['beyond_fitted']):.3g}x",
            "steps": said(row, n=runs).as_json(),
            "epochs": epochs.as_json(),
            "accuracy": said(top1, n=int(top1["evidence"].split()[0]), of="rows").as_json(),
            "machine": machine.get(f"{size:,}"),
        })
    return {
        "rows": rows,
        "fitted_to": f"{fitted_to:,.0f}",
        "runs": num_reference_runs(fitted_to),
        "accuracy_epochs": number_in_words(float(next(iter(accuracy.values()))["epochs"])),
        "accuracy_evidence": next(iter(accuracy.values()))["evidence"],
        "checks": [_check(results, each) for each in EVIDENCE if each != "all"],
    }
