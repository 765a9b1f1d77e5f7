"""A full-scale run among the fitted trials: its prediction beside what came of it, in one line."""

import pytest

from models_of_scaling.full_scale_runs import FullScaleRun
from models_of_scaling.intervals import Interval

PREDICTED = Interval(estimate=1200.0, low=1000.0, high=1500.0, level=0.9, method="")


def words(**values):
    known = {"batch_size": 4096, "steps": 1300, "status": "reached", "predicted": PREDICTED}
    return FullScaleRun(**{**known, **values}).in_words()


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ({}, "predicted 1,200 steps (1,000 to 1,500), took 1,300: inside the interval."),
        (
            {"steps": 1501},
            "predicted 1,200 steps (1,000 to 1,500), took 1,501: outside the interval.",
        ),
        (
            {"status": "not_reached"},
            "predicted 1,200 steps (1,000 to 1,500), not reached after 1,300.",
        ),
        ({"predicted": None}, "too far for a prediction, took 1,300."),
        (
            {"predicted": None, "status": "interrupted"},
            "too far for a prediction, interrupted after 1,300.",
        ),
    ],
)
def test_a_run_is_said_beside_its_prediction(values, end):
    assert words(**values) == f"Full-scale run at batch size 4,096: {end}"
