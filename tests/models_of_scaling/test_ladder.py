import dataclasses
import math

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import write_fit
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola
from models_of_scaling.transfer.ladder import Ladder, distance_in_logs, values_of_fit
from models_of_scaling.transfer.ladder_table import read_ladder

HEADER = (
    "workload,width,critical_batch_size,critical_batch_size_low,critical_batch_size_high,"
    "min_steps,min_steps_low,min_steps_high"
)
ROWS = ["mlp,16,100,80,125,40,36,44", "mlp,64,200,160,250,40,36,44", "cnn,16,300,200,450,50,40,60"]
LAW = Hyperbola(min_steps=100, critical_batch_size=300)


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def fit(simulated):
    sizes = 2 ** np.arange(3, 12)
    rows = simulated.measurements(*simulated.noisy_rows(LAW, sizes, np.random.default_rng(1)))
    return fit_laws(rows, FitChoice(replicates=300))


def test_a_table_of_numbers_gives_logs_and_the_spread_that_its_intervals_mean(tmp_path):
    ladder = read_ladder(write(tmp_path / "ladder.csv", HEADER, ROWS))
    assert ladder.workload == ("mlp", "mlp", "cnn")
    assert list(ladder.covariates) == ["width"]
    np.testing.assert_allclose(ladder.log_values[1], np.log([200, 40]), rtol=1e-12)
    # A 90 % interval of a normal distribution is 2 x 1.6448536 standard deviations wide.
    spread = math.log(125 / 80) / (2 * 1.6448536269514722)
    np.testing.assert_allclose(ladder.covariances[0, 0, 0], spread**2, rtol=1e-12)
    assert ladder.covariances[0, 0, 1] == 0


def test_the_level_column_says_what_the_intervals_hold(tmp_path):
    rows = [f"{row},0.6826894921370859" for row in ROWS]
    ladder = read_ladder(write(tmp_path / "ladder.csv", f"{HEADER},level", rows))
    # +- one standard deviation
    np.testing.assert_allclose(
        ladder.covariances[0, 0, 0], (math.log(125 / 80) / 2) ** 2, rtol=1e-12
    )


def test_a_fit_gives_its_draws_median_and_spread_and_knows_their_sum_best(fit):
    values, covariance = values_of_fit(fit)
    np.testing.assert_allclose(values, np.log([300, 100]), atol=0.25)
    by_sum = covariance.sum()  # variance of log E_min
    assert covariance[0, 1] < 0 and by_sum < covariance[0, 0]


def test_a_fit_is_read_from_a_path_relative_to_the_table(fit, tmp_path):
    (tmp_path / "fits").mkdir()
    write_fit(tmp_path / "fits" / "a.json", fit)
    rows = ["mlp,16,fits/a.json", "mlp,32,fits/a.json", "mlp,64,fits/a.json"]
    ladder = read_ladder(write(tmp_path / "ladder.csv", "workload,width,fit", rows))
    assert all(each is not None for each in ladder.fits)
    np.testing.assert_allclose(ladder.log_values[0], values_of_fit(fit)[0], rtol=1e-12)


def test_measurements_of_several_rungs_are_fitted_rung_by_rung(tmp_path):
    rows = []
    for width, critical in ((16, 100), (64, 200), (256, 400)):
        law = Hyperbola(min_steps=50, critical_batch_size=critical)
        rows += [
            f"{size},{float(law.steps_to_target(size))},w{width},mlp,{width}"
            for size in 2 ** np.arange(2, 12)
        ]
    path = write(tmp_path / "runs.csv", "batch_size,steps,workload,family,width", rows)
    ladder = read_ladder(path)
    assert ladder.rung == ("w16", "w64", "w256") and set(ladder.workload) == {"mlp"}
    # Exact rows: what is left is the spread of draws that can't exclude a little noise.
    np.testing.assert_allclose(ladder.log_values[:, 0], np.log([100, 200, 400]), atol=0.02)
    assert all(len(each) == 10 for each in ladder.measurements)


def test_a_covariate_that_is_alike_in_all_rungs_is_left_out_unless_asked_for(tmp_path):
    rows = [f"{row},32" for row in ROWS]
    path = write(tmp_path / "ladder.csv", f"{HEADER},resolution", rows)
    assert list(read_ladder(path).covariates) == ["width"]
    with pytest.raises(InputError, match="column resolution: every rung has 32"):
        read_ladder(path, ["resolution"])


def test_any_numeric_column_is_a_covariate_when_named(tmp_path):
    rows = [f"{row},{depth}" for row, depth in zip(ROWS, (2, 4, 8), strict=True)]
    path = write(tmp_path / "ladder.csv", f"{HEADER},depth", rows)
    assert list(read_ladder(path, ["depth"]).covariates) == ["depth"]


def test_the_distance_to_a_rung_is_that_of_the_logs(tmp_path):
    ladder = read_ladder(write(tmp_path / "ladder.csv", HEADER, ROWS))
    np.testing.assert_allclose(
        distance_in_logs(ladder, {"width": 64}), [math.log(4), 0, math.log(4)], rtol=1e-12
    )


BAD = [
    ("batch,width", ["1,2"], "column workload is missing; it has: batch, width"),
    (HEADER, ROWS[:1], "1 rung; a ladder needs at least 2"),
    (HEADER, ["mlp,0,100,80,125,40,36,44", *ROWS], "(line 2), column width: 0 must be a finite"),
    (HEADER, ["mlp,x,100,80,125,40,36,44", *ROWS], "column width: x must be a finite number"),
    (HEADER, [*ROWS, "mlp,8,100,120,125,40,36,44"], "row 4 (line 5), column critical_batch_size"),
    (HEADER, [*ROWS, "mlp,8,100,80,inf,40,36,44"], "critical_batch_size_high: inf must be a finit"),
    (HEADER, [*ROWS, "mlp,8,100,80,125,-4,-6,44"], "column min_steps: -6, -4, 44 must be"),
    ("workload,width", ["mlp,1", "mlp,2", "mlp,3"], "column critical_batch_size is missing, and"),
    ("workload,width,fit", ["a,1,no.json", "a,2,no.json", "a,3,b"], "row 1 (line 2), column fit: "),
    (HEADER, ROWS[:2], "1 covariates (width) for 2 rungs; at most 0"),
    (
        "workload,batch_size,steps,width",
        ["a,1,9,1", "a,2,5,2", "b,1,9,3", "b,2,5,3", "c,1,9,4", "c,2,5,4"],
        "row 2 (line 3), column width: 2, but workload a had 1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("header", "rows", "message"), BAD)
def test_a_bad_ladder_is_refused_with_file_row_and_rule(tmp_path, header, rows, message):
    path = write(tmp_path / "ladder.csv", header, rows)
    with pytest.raises(InputError) as refusal:
        read_ladder(path)
    assert str(path) in str(refusal.value) and message in str(refusal.value)


def test_a_covariate_that_is_no_column_is_refused(tmp_path):
    path = write(tmp_path / "ladder.csv", HEADER, ROWS)
    with pytest.raises(InputError, match="--covariates 'depth' is no column; it has: workload"):
        read_ladder(path, ["depth"])


def test_a_ladder_checks_its_columns(tmp_path):
    ladder = read_ladder(write(tmp_path / "ladder.csv", HEADER, ROWS))
    for change in (
        {"workload": ("a",)},
        {"log_values": np.full((3, 2), np.nan)},
        {"covariances": -np.tile(np.eye(2), (3, 1, 1))},
    ):
        with pytest.raises(ValueError, match=next(iter(change))):
            dataclasses.replace(ladder, **change)
    assert isinstance(ladder.take(np.array([True, False, True])), Ladder)
