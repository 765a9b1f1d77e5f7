"""Cold starts of the command line: `--help`, and a fit from CSV to JSON."""

import os
import subprocess
import sys
import time

import pytest

from models_of_scaling.laws import PNormKnee

# One command each, at its best of a few, as a busy machine only ever adds.
HELP_SECONDS, FIT_SECONDS, TRIES = 0.5, 3.0, 4


def best_seconds(*words, within):
    """Seconds of the quickest of a few cold starts; stops at the first that is quick enough."""
    seconds = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(TRIES):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "models_of_scaling", *map(str, words)],
            check=True, capture_output=True, env=environment,
        )  # fmt: skip
        seconds.append(time.perf_counter() - started)
        if seconds[-1] < within:
            break
    return min(seconds)


@pytest.mark.slow
def test_help_appears_within_half_a_second(capsys):
    seconds = best_seconds("--help", within=HELP_SECONDS)
    with capsys.disabled():
        print(f"\n--help: {seconds:.2f} s")
    assert seconds < HELP_SECONDS


@pytest.mark.slow
def test_a_fit_with_1000_replicates_takes_three_seconds_from_csv_to_json(tmp_path, capsys):
    law = PNormKnee(min_steps=100, critical_batch_size=256, sharpness=1.3)
    lines = [
        f"{2**power},{float(law.steps_to_target(2**power)) * factor:.0f}"
        for power in range(3, 11)
        for factor in (0.97, 1.0, 1.04)
    ]
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    table.write_text("\n".join(["batch_size,steps", *lines]))
    seconds = best_seconds("fit", table, "--out", fit, "--replicates", 1000, within=FIT_SECONDS)
    with capsys.disabled():
        print(f"\nfit, 24 rows, all laws, 1,000 replicates: {seconds:.2f} s")
    assert fit.exists()
    assert seconds < FIT_SECONDS
