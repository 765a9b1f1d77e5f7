"""Makes the forecast for ResNet-50 on ImageNet: steps, accuracy and machine at 131,072 and beyond.

Nobody has published such runs to top-1 75.9 %; the forecast is written so that one can prove it
wrong. Written twice over: from everything that MLPerf's reference points show (largest batch size
67,840), and from those up to 8,192 alone, as someone would have to who has no larger machine; what
was then measured at 13,056 to 67,840 stands beside that. Evidence beside the small batch sizes:

- noise_scale: B_crit 15,000 within a factor of 3, McCandlish et al. 2018's for ImageNet averaged
  over training, second-hand (`published/mccandlish2018_table1.csv`);
- surrogates: the shape of the knee from our sweeps of digits and Fashion-MNIST, its place free.

Accuracy at 90 epochs: LARS, LAMB and Akiba's rows with 90 epochs stated
(`lars_90_epochs_table.csv`, `imagenet_resnet50_published.csv`), by `fixed_epochs`, each author a
group of his own. The machine: nodes of 8 A100 by data sheet; the attainable share of the peak, 0.2,
is an assumption, wrong by a factor of 1.5 in 10 % of cases.

    python paper/forecast.py --out paper/results      (one core, about a minute)
"""

import argparse
import contextlib
import csv
import io
import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from models_of_scaling.__main__ import main as models_of_scaling
from models_of_scaling.fit_record import FitRecord, write_fit
from models_of_scaling.intervals import Interval
from models_of_scaling.knee_evidence import KneeEvidence
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.measurements import Measurements
from models_of_scaling.prediction import SILLY_EXTRAPOLATION, Prediction, predict
from models_of_scaling.published.csv_files import read_published
from models_of_scaling.published.loader import steps_series
from models_of_scaling.published.series import IMAGENET_TRAIN_EXAMPLES
from models_of_scaling.study_source import TableChoice, read_measurements
from models_of_scaling.transfer.anchors import anchors_of
from models_of_scaling.transfer.full_scale import from_surrogate, predict_full_scale, shapes_of

RESULTS: Final = Path(__file__).parent / "results"
ASKED: Final = (131_072, 262_144, 655_360, IMAGENET_TRAIN_EXAMPLES)
SMALL: Final = 8_192
NOISE_SCALE: Final = KneeEvidence(critical_batch_size=15_000, factor=3.0)
# The place of the knee is then the anchors' business: the surrogates' own lie 100 times lower.
ANYWHERE: Final = 1_000.0
# A100: dense bf16 peak, NVLink and 8 adapters of 200 Gbit/s; ResNet-50 takes 3 x 8.2 GFLOPs, and
# keeps 256 images of 224 x 224 in 80 GB with room to spare.
MACHINE: Final = {
    "--devices-per-node": 8,
    "--max-per-device-batch-size": 256,
    "--flops-per-example": 2.46e10,
    "--peak-flops": 3.12e14,
    "--attainable": 0.2,
    "--roofline-error": 1.5,
    "--parameter-bytes": 5.11e7,  # gradients in 16 bits
    "--bandwidth-within": 3e11,
    "--bandwidth-between": 2e11,
    "--all-reduce": "hierarchical",
}
NODES: Final = (16, 64, 128, 256, 512, 640, 1_024, 2_048)
Row = dict[str, Any]


def steps_rows(series: Measurements, whole: FitRecord) -> list[Row]:
    """Return steps to top-1 75.9 % by each kind of evidence."""
    small = series.take(series.batch_size <= SMALL)
    larger = sorted({int(b) for b in series.batch_size if b > SMALL})
    predicted: dict[str, Sequence[Prediction]] = {
        "all": predict(whole, ASKED),
        "small": predict(fit_laws(small, FitChoice()), _near([*larger, *ASKED])),
        "small+noise_scale": predict(
            fit_laws(small, FitChoice(knee=NOISE_SCALE)), _near([*larger, *ASKED])
        ),
        "small+surrogates": predict_full_scale(
            from_surrogate(
                shapes_of([_surrogate("ladder_digits.csv"), _surrogate("fashion_mnist.csv")]),
                anchors_of(small),
                knee_factor=ANYWHERE,
            ),
            _near([*larger, *ASKED]),
            level=whole.level,
        ),
    }
    return [
        {
            "quantity": "steps_to_75.9",
            "evidence": evidence,
            "batch_size": each.batch_size,
            **_bounds(each.steps),
            "epochs": each.steps.estimate * each.batch_size / IMAGENET_TRAIN_EXAMPLES,
            "measured": _measured(series, each.batch_size),
            "beyond_fitted": each.extrapolation,
        }
        for evidence, found in predicted.items()
        for each in found
    ]


def _near(batch_sizes: Iterable[int]) -> list[int]:
    """Return those that are not too far beyond the small ones for any statement."""
    return [b for b in batch_sizes if b <= SMALL * SILLY_EXTRAPOLATION]


def _surrogate(name: str) -> FitRecord:
    """Return the fit of a table of results; of a ladder, its largest rung."""
    workload = "digits_subset1024_width48" if name.startswith("ladder") else None
    rows = read_measurements(RESULTS / name, TableChoice(workload=workload))
    return fit_laws(rows, FitChoice())


def _measured(series: Measurements, batch_size: int) -> float | None:
    here = series.steps[series.batch_size == batch_size]
    return float(np.exp(np.mean(np.log(here)))) if len(here) else None


def _bounds(interval: Interval) -> Row:
    return {
        "estimate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
    }


def accuracy_rows(folder: Path) -> list[Row]:
    """Return top-1 per cent after 90 epochs; batch sizes of the table with what was measured."""
    table = [
        {"batch_size": row["batch_size"], "accuracy_percent": row["top1_percent"], "group": "lars"}
        for row in read_published("lars_90_epochs_table.csv")
    ] + [
        {
            "batch_size": row["batch_size"],
            "accuracy_percent": row["top1_percent"],
            "group": row["paper"],
        }
        for row in read_published("imagenet_resnet50_published.csv")
        if row["epochs"].split(" ")[0] == "90"
        and "(" not in row["epochs"].replace("(3519 steps)", "")
        and row["batch_size"].isdigit()
    ]
    _write_csv(folder / "accuracies.csv", table)
    asked = [str(b) for b in (65_536, *ASKED)]
    answer = _json_of([
        "fixed-epochs",
        str(folder / "accuracies.csv"),
        "--batch-size",
        *asked,
        "--json",
    ])
    largest = max(int(row["batch_size"]) for row in table)
    return [
        {
            "quantity": "top1_percent_at_90_epochs",
            "evidence": f"{len(table)} rows, {len({row['group'] for row in table})} authors",
            "batch_size": each["batch_size"],
            "estimate": 100 * each["accuracy"],
            "low": 100 * each["accuracy_low"],
            "high": 100 * each["accuracy_high"],
            "level": answer["level"],
            "epochs": 90.0,
            "measured": None,
            "beyond_fitted": each["batch_size"] / largest,
        }
        for each in answer["predictions"]
    ]


def machine_rows(whole: FitRecord, folder: Path) -> list[Row]:
    """Return time and cost of each batch size on each number of nodes."""
    path = folder / "fit.json"
    write_fit(path, whole)
    words = [str(word) for pair in MACHINE.items() for word in pair]
    answer = _json_of([
        "machine",
        str(path),
        *("--nodes", *map(str, NODES)),
        *("--batch-size", *map(str, (65_536, *ASKED))),
        *words,
        "--json",
        "--all",
    ])
    return list(answer["options"])


def _json_of(arguments: Sequence[str]) -> Any:
    """Return what a command prints with --json."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        models_of_scaling(list(arguments))
    return json.loads(printed.getvalue())


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([_cell(value) for value in row.values()])


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    (series,) = [each for each in steps_series() if each.name == "mlperf_reference"]
    whole = fit_laws(series.measurements, FitChoice())
    with tempfile.TemporaryDirectory() as folder:
        accuracies = accuracy_rows(Path(folder))
        options = machine_rows(whole, Path(folder))
    _write_csv(
        out / "forecast_imagenet.csv", [*steps_rows(series.measurements, whole), *accuracies]
    )
    _write_csv(out / "forecast_machine.csv", options)


if __name__ == "__main__":
    main()
