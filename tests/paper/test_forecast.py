"""The forecast's record is what its command makes, and says what its claims need."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

PAPER = Path(__file__).parents[2] / "paper"


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("forecast")
    given, sys.argv = sys.argv, ["forecast.py", "--out", str(out)]
    try:
        runpy.run_path(str(PAPER / "forecast.py"), run_name="__main__")
    finally:
        sys.argv = given
    return out


@pytest.mark.parametrize("name", ["forecast_imagenet.csv", "forecast_machine.csv"])
def test_the_record_is_what_the_command_makes(made, name):
    again, kept = rows_of(made / name), rows_of(PAPER / "results" / name)

    assert len(again) == len(kept)
    for one, other in zip(again, kept, strict=True):
        for column, cell in other.items():
            try:
                number = float(cell)
            except ValueError:
                assert one[column] == cell
            else:
                # Draws are seeded; another processor's last bits may move a draw in or out.
                np.testing.assert_allclose(float(one[column]), number, rtol=0.02)


def test_what_was_measured_beyond_the_small_batch_sizes_lies_in_the_interval():
    rows = [row for row in rows_of(PAPER / "results" / "forecast_imagenet.csv") if row["measured"]]

    assert len(rows) == 3 * 6  # kinds of evidence x batch sizes above 8,192
    for row in rows:
        assert float(row["low"]) <= float(row["measured"]) <= float(row["high"])
