"""Our full-batch runs: searches are the unit, momentum the baseline, the test split apart."""

from datetime import UTC, datetime

import numpy as np
import pytest

from models_of_scaling.trials import Trial, write_trials
from paper.numbers.full_batch import full_batch_numbers, own_rows, own_setting
from paper.numbers.reproduction import reproduction_rows
from paper.numbers.study import RESULTS

ACCURACIES = {
    "momentum": ((0.90, 0.92), (0.91, 0.91), (0.90, 0.91)),
    "lamb": ((0.95, 0.97), (0.96, 0.96), (0.95, 0.96)),
}


def trial(optimizer, search, phase, seed, accuracy):
    return Trial(
        study=f"mnist_holdout10000-{optimizer}-{search}", phase=phase,
        workload="mnist_holdout10000", dataset="mnist", num_train_examples=50_000, model="mlp",
        num_parameters=101_770, optimizer=optimizer, hyper_parameters={"learning_rate": 0.1},
        settings={"epochs": "35", "schedule": "linear"}, batch_size=50_000, seed=seed,
        target="train_loss<=0.3", status="not_reached", steps=35, examples=35 * 50_000,
        wall_time_s=30.0, curve_steps=[1, 35], curve_train_loss=[2.3, 0.4],
        curve_validation_loss=[2.3, 0.4], curve_validation_accuracy=[0.1, accuracy],
        commit="c" * 40, dirty=False, versions={}, device="a core",
        start_time=datetime(2026, 11, 26, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "full_batch"
    lines = ["study,workload,optimizer,seed,test_accuracy"]
    for optimizer, searches in ACCURACIES.items():
        for search, values in enumerate(searches):
            repeats = [
                trial(optimizer, search, "repeat", seed, accuracy)
                for seed, accuracy in enumerate(values)
            ]
            found = [trial(optimizer, search, phase, 9, 0.99) for phase in ("search", "shortlist")]
            write_trials(folder, [*found, *repeats], name=f"mnist_{optimizer}_{search}")
            lines += [
                f"{each.study},mnist_holdout10000,{optimizer},{each.seed},"
                f"{each.curve_validation_accuracy[-1] - 0.01}"
                for each in repeats
            ]
    (folder / "test.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_an_optimizers_accuracy_is_the_mean_over_searches_of_fresh_seeds(results):
    momentum, lamb = own_rows(results)
    assert (momentum["optimizer"], lamb["optimizer"]) == ("SGD with momentum", "LAMB")
    np.testing.assert_allclose(momentum["accuracy"]["value"], np.mean([0.91, 0.91, 0.905]))
    assert momentum["accuracy"]["n"] == 3
    assert momentum["accuracy"]["of"] == "searches"
    np.testing.assert_allclose(lamb["test"]["value"], np.mean([0.95, 0.95, 0.945]))


def test_others_are_compared_with_momentum_in_points_with_an_interval(results):
    momentum, lamb = own_rows(results)
    assert "over_momentum" not in momentum
    np.testing.assert_allclose(lamb["over_momentum"]["value"], 5.0, rtol=1e-9)
    assert lamb["over_momentum"]["low"] > 4
    assert lamb["word"] == "better"


def test_where_one_search_is_all_the_unit_is_the_seed(results):
    for path in (results / "full_batch").glob("*_[12].parquet"):
        path.unlink()
    _, lamb = own_rows(results)
    assert (lamb["accuracy"]["of"], lamb["accuracy"]["n"]) == ("seeds", 2)
    assert (lamb["over_momentum"]["of"], lamb["over_momentum"]["n"]) == ("seeds", 2)


def test_the_setting_and_the_cost_are_read_from_the_trials(results):
    assert own_setting(results) == {
        "batch_size": "50,000", "examples": "50,000", "epochs": "35", "schedule": "linear",
        "trials": "24",
    }  # fmt: skip
    (results / "costs.csv").write_text((RESULTS / "costs.csv").read_text())
    rows = reproduction_rows(results, [])
    row = next(each for each in rows if "full_batch" in each["names"])
    assert row["minutes"] == "12"  # 24 runs of 30 s
    assert row["commands"][1].startswith("python -m surrogate.final_test")


def test_without_records_of_ours_the_published_logs_stand_alone(tmp_path):
    numbers = full_batch_numbers(tmp_path)
    assert (numbers["own"], numbers["setting"], numbers["recipes"]) == ([], {}, [])
    assert len(numbers["published"]["rows"]) == 3
