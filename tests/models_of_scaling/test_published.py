import tomllib
from pathlib import Path

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.published.csv_files import (
    published_files,
    read_published,
    sha256_of_published,
)
from models_of_scaling.published.fixed_epochs import (
    PublishedRange,
    accuracy_series,
    critical_batch_sizes,
    mnist_full_batch_runs,
    published_range,
)
from models_of_scaling.published.loader import choose_series, steps_series
from models_of_scaling.published.reference_points import of_newest_version
from models_of_scaling.published.reference_workloads import _evaluation_gaps
from models_of_scaling.published.series import (
    IMAGENET_TRAIN_EXAMPLES,
    PublishedRun,
    imagenet_measurements,
    median_runs,
)
from models_of_scaling.published.submitted_runs import (
    epochs_before,
    epochs_without_target,
    submitted_series,
)

# As many as the README beside the collected tables says.
ROWS = {
    "cifar10_fixed_epochs_table.csv": 16,
    "goyal2017_tables.csv": 13,
    "imagenet_resnet50_published.csv": 31,
    "lars_90_epochs_table.csv": 4,
    "mccandlish2018_table1.csv": 10,
    "mlperf_rcp_resnet_seeds.csv": 238,
    "mlperf_rcp_resnet_summary.csv": 19,
    "mlperf_results_resnet_by_batch.csv": 69,
    "mlperf_results_resnet_runs.csv": 1810,
    "mlperf_rcp_other_seeds.csv": 2495,
    "small_scale_batch_tables.csv": 26,
    "you_lamb32k_train_loss.csv": 18,
    "you_mnist_tpu_fullbatch_best.csv": 14,
    "you_mnist_tpu_fullbatch_logs.csv": 1772,
}


@pytest.fixture(scope="module")
def by_name():
    return {series.name: series for series in steps_series()}


def test_every_published_table_is_there_with_all_its_rows():
    assert {file: len(read_published(file)) for file in published_files()} == ROWS


def test_the_tables_are_installed_with_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    package_data = project["tool"]["setuptools"]["package-data"]
    assert "published/*.csv" in package_data["models_of_scaling"]


def test_cells_from_memory_are_missing_and_other_cells_of_their_row_are_not():
    rows = read_published("imagenet_resnet50_published.csv")
    numbers = [
        cell for row in rows for name, cell in row.items() if name not in {"source", "status"}
    ]
    assert not any("from memory" in cell for cell in numbers)
    (row,) = [row for row in rows if row["paper"] == "Liu et al. 2021 ConAdv"]
    assert (row["epochs"], row["top1_percent"]) == ("", "75.3")


def test_a_file_that_nobody_published_is_refused_with_the_list_of_those_there_are():
    with pytest.raises(ValueError, match="'runs.csv' is not one of cifar10_fixed_epochs_table"):
        read_published("runs.csv")


def test_42_series_have_at_least_4_batch_sizes(by_name):
    assert len(by_name) == 42
    assert min(len(series.batch_sizes) for series in by_name.values()) == 4
    assert sum(name.startswith("mlperf_reference") for name in by_name) == 3
    assert sum(name.startswith("mlperf_v") for name in by_name) == 11
    assert sum(name.startswith("mlperf_by_") for name in by_name) == 12
    workloads = [series for series in by_name.values() if series.part == "workload"]
    assert len({series.measurements.workload for series in workloads}) == len(workloads) == 17


def test_the_gap_between_evaluations_is_what_all_lengths_are_multiples_of(by_name):
    rows = by_name["mlperf_llama2_70b_lora"].measurements
    gap = (rows.steps_high - rows.steps_low) * rows.batch_size
    np.testing.assert_allclose(gap, 384)  # the reference evaluates every 384 examples
    rows = by_name["mlperf_retinanet"].measurements
    np.testing.assert_allclose((rows.steps_high - rows.steps_low) * rows.batch_size, 1e6)
    # deepseekv3_671b, dlrm, gpt_oss_20b, oc20, openfold and qwen35 have too few batch sizes.
    assert len(read_published("mlperf_rcp_other_seeds.csv")) == 2495


def test_a_batch_size_whose_seeds_all_agree_takes_the_gap_of_the_others():
    rows = [
        {"batch_size": size, "length": length}
        for size, length in (("8", "0.75"), ("8", "0.85"), ("16", "0.8"), ("16", "0.8"))
    ]
    assert _evaluation_gaps(rows) == {"8": 0.05, "16": 0.05}


def test_every_series_says_where_it_was_read(by_name):
    for series in [*by_name.values(), *accuracy_series()]:
        header = read_published(series.source.file)[0]
        assert set(series.source.columns) <= set(header), series.name
        assert series.source.origin, series.name
    for series in by_name.values():
        assert all(len(commit) == 40 for commit in series.source.commits)
        assert series.source.commits
        assert series.measurements.source.sha256 == sha256_of_published(series.source.file)


def test_seeds_that_stand_in_two_versions_of_the_rules_count_once(by_name):
    series = by_name["mlperf_reference"]
    assert len(series.measurements) == 130
    assert series.num_left_out == 20  # 2,048 and 64,480, ten seeds each
    versions = of_newest_version([{"version": "4.0.0"}, {"version": "10.0.0"}])
    assert versions == [{"version": "10.0.0"}]  # numbers, not words


def test_reference_seeds_have_the_mean_epochs_of_the_published_summary(by_name):
    rows = by_name["mlperf_reference"].measurements
    summary = [
        row
        for row in read_published("mlperf_rcp_resnet_summary.csv")
        if row["versions"].endswith("4.0.0")
    ]
    assert len(summary) == 10
    for row in summary:
        size = int(row["batch_size"])
        epochs = rows.steps[rows.batch_size == size] * size / IMAGENET_TRAIN_EXAMPLES
        assert len(epochs) == int(row["n_seeds"])
        assert epochs.mean() == pytest.approx(float(row["mean_epochs"]), abs=1e-5)  # as printed


def test_a_reference_seed_met_its_target_within_the_epoch_before_its_evaluation(by_name):
    rows = by_name["mlperf_reference"].measurements
    width = (rows.steps_high - rows.steps_low) * rows.batch_size / IMAGENET_TRAIN_EXAMPLES
    np.testing.assert_allclose(width, 1.0, rtol=1e-12)


def test_each_creator_of_reference_points_has_a_series_of_its_own(by_name):
    assert by_name["mlperf_reference_google"].batch_sizes == (4096, 8192, 32768, 65536)
    assert by_name["mlperf_reference_nvidia"].batch_sizes[:3] == (1632, 3264, 13056)


def test_the_first_round_keeps_its_own_target(by_name):
    targets = {
        name: series.measurements.target
        for name, series in by_name.items()
        if series.measurements.workload == "resnet50_imagenet"
    }
    assert targets.pop("mlperf_v0.5_sgd") == "validation_accuracy>=0.749"
    assert set(targets.values()) == {"validation_accuracy>=0.759"}


def test_rounds_with_other_targets_or_rules_are_in_no_series_over_rounds(by_name):
    for name, series in by_name.items():
        if name.startswith("mlperf_by_"):
            rounds = {group.split(":")[0] for group in series.measurements.group}
            assert not rounds & {"v0.5", "v0.6"}


def test_batch_sizes_logged_per_worker_are_left_out(by_name):
    assert by_name["mlperf_v0.5_sgd"].batch_sizes == (1024, 2048, 4096, 16384)
    cuts = [series for series in by_name.values() if series.part == "resnet50_cut"]
    assert min(min(series.batch_sizes) for series in cuts) == 408


def test_the_open_division_is_left_out_even_where_a_log_calls_it_closed(by_name):
    rows = by_name["mlperf_v0.7_lars"].measurements
    assert 16384 not in rows.batch_size  # one open system, four of its five logs say closed
    assert not any("_open" in group for group in rows.group)
    assert not any("thor" in series.name for series in submitted_series())


def test_runs_short_of_their_target_are_censored_and_none_is_dropped(by_name):
    rows = by_name["mlperf_v3.0_lars"].measurements
    assert len(rows) == 315
    assert (~rows.reached).sum() == 21
    assert np.isinf(rows.steps_high[~rows.reached]).all()
    np.testing.assert_array_equal(rows.steps_low[~rows.reached], rows.steps[~rows.reached])


def test_a_log_without_any_evaluation_is_left_out_and_counted(by_name):
    series = by_name["mlperf_v2.1_lars"]
    assert (series.num_left_out, series.left_out) == (1, "no evaluation in the log")


def test_a_log_that_was_sent_in_again_counts_once_over_rounds():
    by_round, by_submitter = 0, 0
    for series in submitted_series():
        if series.name.startswith("mlperf_by_"):
            by_submitter += len(series.measurements) + series.num_left_out
        elif series.name.endswith("_lars") and "v0.6" not in series.name:
            by_round += len(series.measurements) + series.num_left_out
    # 1,585 LARS logs of v0.7 and later are usable; 200 of them are copies of another one.
    assert (by_round, by_round - by_submitter) == (1585, 200)


def test_one_company_is_one_submitter_however_it_is_written(by_name):
    sizes = by_name["mlperf_by_supermicro"].batch_sizes
    assert {1600, 4096} <= set(sizes)  # "Supermicro" and "SUPERMICRO"


@pytest.mark.parametrize(
    ("epoch", "num_evals", "reached_alike", "before"),
    [
        (35.0, 9, [], 31.0),  # every 4 epochs from epoch 3
        (60.0, 30, [], 58.0),  # every 2
        (34.0, 34, [], 33.0),
        (37.0, 13, [(12, 36.0)], 36.0),  # a like run shows the evaluation before
        (39.0, 11, [(10, 39.0)], 35.0),  # one that shows nothing earlier is no help
        (90.0, 20, [(19, 60.0)], 86.0),  # nor one that is further off than the rules allow
    ],
)
def test_the_evaluation_before_comes_from_a_like_run_or_the_usual_distance(
    epoch, num_evals, reached_alike, before
):
    assert epochs_before(epoch, num_evals, reached_alike) == before


def test_a_run_short_of_its_target_went_on_at_least_as_long_as_like_runs_with_fewer_evaluations():
    assert epochs_without_target(9, [(8, 31.0), (9, 35.0), (10, 39.0)]) == 35.0
    assert epochs_without_target(9, [(10, 39.0)]) == 9.0


def imagenet_run(batch_size, epochs, *, reached=True, group="a"):
    return PublishedRun(
        batch_size=batch_size, epochs=epochs, epochs_before=epochs - 1, reached=reached, group=group
    )


def test_a_submissions_median_run_counts_those_short_of_the_target_as_slowest():
    runs = [
        *(imagenet_run(1024, epochs) for epochs in (40.0, 36.0, 44.0)),
        *(imagenet_run(2048, 9.0, reached=False, group="b") for _ in range(2)),
        imagenet_run(2048, 50.0, group="b"),
        imagenet_run(2048, 60.0, group="c"),
    ]
    rows = median_runs(
        imagenet_measurements(
            runs,
            file="mlperf_results_resnet_runs.csv",
            workload="w",
            optimizer="lars",
            target=0.759,
        )
    )
    np.testing.assert_array_equal(rows.batch_size, [1024, 2048, 2048])
    np.testing.assert_array_equal(rows.reached, [True, False, True])
    epochs = rows.steps * rows.batch_size / IMAGENET_TRAIN_EXAMPLES
    np.testing.assert_allclose(epochs, [40.0, 9.0, 60.0], rtol=1e-12)


def test_series_are_chosen_by_name_in_their_own_order():
    names = ["mlperf_v0.6_lars", "mlperf_reference"]
    assert [series.name for series in choose_series(names)] == names[::-1]
    with pytest.raises(InputError, match="--series 'imagenet' is not one of: mlperf_reference, "):
        choose_series(["imagenet"])


def test_tables_at_fixed_epochs_are_loaded_as_shares_of_right_answers():
    series = {each.name: each for each in accuracy_series()}
    assert len(series) == 8
    cifar = series["cifar10_resnet20_200_epochs"]
    np.testing.assert_array_equal(cifar.batch_size, [128, 512, 1024, 2048, 4096])
    assert cifar.accuracy[0] == pytest.approx(1 - 0.0809)  # printed as an error of 8.09 %
    assert cifar.steps[0] == 200 * 50_000 / 128
    assert all(((each.accuracy > 0.5) & (each.accuracy < 1)).all() for each in series.values())
    assert all(each.kind == "accuracy_at_fixed_epochs" for each in series.values())


def test_ranges_and_bounds_of_critical_batch_sizes_stay_ranges_and_bounds():
    rows = {row.task: row for row in critical_batch_sizes()}
    assert rows["Atari"].b_crit_start == PublishedRange(low=100.0, high=1000.0)
    assert rows["Dota 5v5"].b_crit_start is None
    assert published_range(">8000000 (est.)") == PublishedRange(low=8e6, high=np.inf)
    assert all("secondary" in row.caveat for row in rows.values())


def test_full_batch_logs_without_a_result_are_kept_without_one():
    runs = mnist_full_batch_runs("momentum_lars")
    assert len(runs) == sum(
        row["optimizer_dir"] == "momentum_lars"
        for row in read_published("you_mnist_tpu_fullbatch_logs.csv")
    )
    best = max(run.test_accuracy for run in runs if run.test_accuracy is not None)
    assert best == 0.9935  # as you_mnist_tpu_fullbatch_best.csv has it, at batch size 8,192
    assert any(run.test_accuracy is None for run in mnist_full_batch_runs("lamb"))
    with pytest.raises(ValueError, match="optimizer 'sgd' is not one of adam, adamw, lamb"):
        mnist_full_batch_runs("sgd")
