"""Back-tests of sweeps with little noise: how seeds are dealt; the record is what they say."""

import csv
import math

import numpy as np
import pytest

from models_of_scaling.backtest.forecasters import mean_log_steps
from models_of_scaling.backtest.table_series import table_series
from paper.back_test_records import RESULTS
from paper.fine_sweeps import SEEDS, fine_tables, outcomes_of, parts_of_seeds


def series_of(path):
    [series] = table_series([path])
    return series


@pytest.mark.parametrize("path", fine_tables(), ids=lambda path: path.stem)
def test_parts_share_no_seed_and_are_as_many_as_they_fill(path):
    rows = series_of(path).rows
    rows = rows.take(np.isin(rows.batch_size, rows.batch_size[rows.reached]))
    sizes, counts = np.unique(rows.batch_size, return_counts=True)
    for seeds in SEEDS:
        parts = list(parts_of_seeds(rows, seeds))
        assert len(parts) == counts.min() // seeds
        for part in parts:
            found, of_each = np.unique(part.batch_size, return_counts=True)
            assert found.tolist() == sizes.tolist()
            assert set(of_each.tolist()) == {seeds}
    tens = [part.steps for part in parts_of_seeds(rows, 10)]
    together = np.sort(np.concatenate(tens))
    if (counts % 10 == 0).all() and len(set(counts.tolist())) == 1:
        assert together.tolist() == np.sort(rows.steps).tolist()


def test_the_record_holds_what_its_sweeps_give():
    path = fine_tables()[0]
    series = series_of(path)
    first = next(parts_of_seeds(series.rows, 20))
    with (RESULTS / "backtest_fine_cases.csv").open(encoding="utf-8") as stream:
        recorded = [
            row
            for row in csv.DictReader(stream)
            if (row["forecaster"], row["series"]) == ("averaged", path.stem)
            and (row["seeds"], row["study"]) == ("20", "0")
        ]
    found = [each for each in outcomes_of(series, first) if each.forecaster == "averaged"]
    assert len(found) == len(recorded) > 10
    means = dict(zip(*mean_log_steps(series.rows), strict=True))
    for each, row in zip(found, recorded, strict=True):
        assert math.log(each.measured) == pytest.approx(means[each.case.batch_size])
        for name in ("steps", "low", "high"):
            column = name if name == "steps" else f"steps_{name}"
            # Draws of the posterior: the same on the same machine, elsewhere to Monte Carlo error.
            assert getattr(each.forecast, name) == pytest.approx(float(row[column]), rel=0.05)
