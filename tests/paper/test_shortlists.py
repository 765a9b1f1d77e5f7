"""What a shortlist by a surface does: planted searches; the docs say what the record says."""

import csv
import re
from pathlib import Path

import numpy as np

from paper.back_test_records import RESULTS
from paper.shortlists import NAME, SEEDS, summaries

ROOT = Path(__file__).resolve().parents[2]


def planted(*, runs, surface, gain, searches=400, seeds=0.14):
    rng = np.random.default_rng(0)

    def mean(spread):
        return rng.normal(0.0, np.hypot(spread, seeds / np.sqrt(SEEDS)))

    return [
        {
            "workload": "digits", "optimizer": "momentum", "seed": seed, "batch_size": size,
            "runs_log_steps": 5 + gain + mean(runs), "runs_sd": seeds, "runs_not_reached": 0,
            "surface_log_steps": 5 + mean(surface), "surface_sd": seeds, "surface_not_reached": 0,
        }
        for seed in range(searches)
        for size in (8, 64)
    ]  # fmt: skip


def test_tuning_is_told_from_seeds_and_the_gain_is_found():
    [line] = summaries(planted(runs=0.05, surface=0.02, gain=0.03))
    gain, error, by_runs, by_surface = map(float, re.findall(r"([\d.]+) %", line)[:4])
    # 800 searches: the gain's standard error is 0.2 %, a spread's 2.5 % of the whole 6 or 4 %.
    assert abs(gain - 3.0) < 4 * error < 1.0
    assert abs(by_runs - 5.0) < 0.6
    assert abs(by_surface - 2.0) < 0.8


def test_a_search_whose_winner_misses_is_counted_and_left_out():
    rows = planted(runs=0.05, surface=0.02, gain=0.03, searches=10)
    rows[0] |= {"runs_not_reached": 3, "runs_log_steps": 99.0}
    [line] = summaries(rows)
    assert line.startswith("digits by momentum: 19 searches;")
    assert line.endswith("1 and 0 of 20")


def test_the_page_says_what_the_record_says():
    page = (ROOT / "docs/search_protocol.md").read_text(encoding="utf-8")
    with (RESULTS / NAME).open(encoding="utf-8", newline="") as stream:
        lines = list(summaries(list(csv.DictReader(stream))))
    assert len(lines) == 7
    for line in lines:
        assert line in page
