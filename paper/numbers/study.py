"""All records of the study, read and fitted once, and all numbers of the paper made from them."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from models_of_scaling.diffusion.study import DiffusionStudy
from models_of_scaling.published.series import IMAGENET_TRAIN_EXAMPLES
from paper.numbers.back_test import back_test_numbers
from paper.numbers.claims import check_claims
from paper.numbers.easier_targets import target_numbers
from paper.numbers.forecast import forecast_numbers
from paper.numbers.full_batch import full_batch_numbers
from paper.numbers.growth import growth_numbers
from paper.numbers.less_noise import less_noise_numbers
from paper.numbers.noise import noise_numbers
from paper.numbers.quoted import LEVEL, percent
from paper.numbers.rates import rate_numbers
from paper.numbers.regime import regime_numbers
from paper.numbers.reproduction import reproduction_rows
from paper.numbers.sweep_numbers import sweep_numbers
from paper.numbers.sweep_records import HELD_OUT, Sweep, read_sweep, sweep_files
from paper.numbers.walks import ADAPTED, WALKS, study_walks, walk_numbers

PAPER = Path(__file__).parents[1]
RESULTS = PAPER / "results"
# What the abstract of the seed study says (You et al. 2020), and the set that it speaks of.
KNOWN = {
    "imagenet": f"{IMAGENET_TRAIN_EXAMPLES:,}",
    "seed_points": "18",
    "seed_times": "ten",
    "batch_before": "64K",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """The records.

    Attributes:
        results: the folder of records.
        sweeps: those to a target, with their fits.
        walks: distances from the start, at constant rates.
        adapted: the same with Hoffer's regime adaptation.
    """

    results: Path
    sweeps: list[Sweep]
    walks: DiffusionStudy
    adapted: DiffusionStudy


def read_study(results: Path = RESULTS, *, processes: int = 2) -> Study:
    """Return the records with the laws fitted to them.

    Args:
        results: the folder of records.
        processes: that share the fits; 1 for this one alone.
    """
    files, folders = sweep_files(results), [results / WALKS, results / ADAPTED]
    if processes == 1:
        walks, adapted = map(study_walks, folders)
        return Study(
            results=results,
            sweeps=[read_sweep(file) for file in files],
            walks=walks,
            adapted=adapted,
        )
    # Forked from a process with threads (pyarrow has some) a worker can hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        studies = [pool.submit(study_walks, folder) for folder in folders]  # the longest, first
        sweeps = list(pool.map(read_sweep, files))
        walks, adapted = (each.result() for each in studies)
    return Study(results=results, sweeps=sweeps, walks=walks, adapted=adapted)


def numbers_of(study: Study) -> dict[str, Any]:
    """Return every number of the paper.

    Args:
        study: the records.

    Returns:
        Plain data, the same for the same records. Where a sentence of the paper no longer holds
        they are refused (`claims.check_claims`).
    """
    numbers = {
        "level": percent(LEVEL),
        "held_out_sizes": HELD_OUT,
        "measured": _newest(study),
        "sweeps": sweep_numbers(study.sweeps),
        "targets": target_numbers(study.sweeps),
        "full_batch": full_batch_numbers(study.results),
        "walks": walk_numbers(study.walks),
        "regime": regime_numbers(study.walks, study.adapted),
        "noise": noise_numbers(study.results, study.sweeps),
        "growth": growth_numbers(study.results),
        "rates": rate_numbers(study.sweeps),
        "forecast": forecast_numbers(study.results),
        "known": KNOWN,
        "back_test": back_test_numbers(study.results),
        "less_noise": less_noise_numbers(study.results),
        "reproduction": reproduction_rows(study.results, study.sweeps),
    }
    check_claims(numbers)
    return numbers


def _newest(study: Study) -> str:
    days: list[date] = [
        max(each.trials["start_time"].to_pylist()).date()
        for each in study.sweeps
        if each.file.has_trials
    ]
    return f"{max(days):%B %Y}" if days else ""


def as_text(numbers: dict[str, Any]) -> str:
    """Return the numbers as the text of a JSON file."""
    return json.dumps(numbers, indent=1, allow_nan=False) + "\n"
