"""Tables of walks: which runs are repeats of one setting, and which cells count."""

import csv

import numpy as np
import pytest

from models_of_scaling.diffusion.walk_table import WalkChoice, read_walks
from models_of_scaling.errors import InputError

STEPS = range(1, 41)


def write(path, columns, rows):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def test_seeds_of_a_table_without_a_learning_rate_are_repeats_of_one_setting(tmp_path):
    rows = [(t, t**0.5, seed, 16) for seed in range(3) for t in STEPS]
    path = write(tmp_path / "walks.csv", ("steps", "distance", "seed", "batch_size"), rows)
    [(setting, walks)] = read_walks(path, WalkChoice()).items()
    assert (len(walks), setting.batch_size) == (3, 16)
    assert np.isnan(setting.learning_rate)


def test_settings_with_and_without_a_rate_are_told_apart_and_sorted(tmp_path):
    for name, rate in (("a", 0.2), ("b", None), ("c", 0.1)):
        columns = ("steps", "distance") + (() if rate is None else ("learning_rate",))
        rows = [(t, t**0.5) + (() if rate is None else (rate,)) for t in STEPS]
        write(tmp_path / f"{name}.csv", columns, rows)
    rates = [setting.learning_rate for setting in read_walks(tmp_path, WalkChoice())]
    np.testing.assert_array_equal(rates, [np.nan, 0.1, 0.2])


def test_a_run_that_diverged_is_read_up_to_there(tmp_path):
    rows = [(t, t**0.5 if t < 39 else "", 0.1 if t < 39 else "") for t in STEPS]
    path = write(tmp_path / "walk.csv", ("steps", "distance", "learning_rate"), rows)
    with pytest.raises(InputError, match=r"row 39 .*distance: \(empty\) must be a finite number"):
        read_walks(path, WalkChoice())
    [(setting, [walk])] = read_walks(path, WalkChoice(to_steps=38)).items()
    assert (setting.learning_rate, walk.steps[-1]) == (0.1, 38)
