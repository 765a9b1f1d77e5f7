import csv
import io

import numpy as np
import pytest

from fullscale.models import MLP_WIDTHS as WIDTHS_OF_MODELS
from fullscale.models import NETWORKS, build_network, count_parameters
from models_of_scaling.errors import InputError
from models_of_scaling.transfer.ladder_table import read_ladder
from surrogate.ladder_rows import main as write_rows
from surrogate.noisy_quadratic import power_law_spectrum, zhang_spectrum
from surrogate.rungs import MLP_WIDTHS, rung_name, values_of_name
from surrogate.sweep import main
from surrogate.workloads import WORKLOADS, get_workload


def test_a_rungs_name_says_its_parameters_and_is_read_back():
    name = rung_name("noisy_quadratic", {"noise": 0.5, "modes": 1000, "curvature": 1.2})
    assert name == "noisy_quadratic_modes1000_curvature1.2_noise0.5"
    assert values_of_name(name) == (
        "noisy_quadratic", {"modes": 1000.0, "curvature": 1.2, "noise": 0.5},
    )  # fmt: skip
    assert get_workload(name).name == name
    assert rung_name("digits", {}) == "digits"


def test_a_subset_is_the_first_images_and_ends_the_batch_sizes():
    rung, whole = get_workload("digits_subset128"), WORKLOADS["digits"]
    data, all_data = rung.load(), whole.load()
    np.testing.assert_array_equal(data.train_images, all_data.train_images[:128])
    np.testing.assert_array_equal(data.validation_images, all_data.validation_images)
    assert rung.batch_sizes == (1, 2, 4, 8, 16, 32, 64, 128)
    assert rung.max_batch_size == 128
    with pytest.raises(InputError, match="256 is not in 1..128"):
        rung.check_batch_size(256)
    assert get_workload("digits_cnn_subset128").model == "small_cnn"
    assert (rung.target, rung.spaces) == (whole.target, whole.spaces)


def test_a_width_is_that_of_the_hidden_layer_and_32_is_the_workloads_own():
    assert MLP_WIDTHS == WIDTHS_OF_MODELS
    for width in (8, 48):
        rung = get_workload(f"digits_width{width}")
        network = build_network(rung.model, image_shape=(1, 8, 8), num_classes=10, seed=0)
        assert count_parameters(network) == (64 + 1) * width + (width + 1) * 10
    sizes = [
        count_parameters(build_network(name, image_shape=(1, 8, 8), num_classes=10, seed=0))
        for name in ("mlp", "mlp_width32", "mlp_wide", "mlp_width128")
    ]
    assert sizes[0] == sizes[1] and sizes[2] == sizes[3]
    assert "mlp_width48" in NETWORKS


def test_the_spectrum_falls_with_the_exponent_and_noise_only_scales_the_variance():
    plain = get_workload("noisy_quadratic_modes50_curvature1.5").spectrum()
    loud = get_workload("noisy_quadratic_modes50_curvature1.5_noise4").spectrum()
    modes = np.arange(1, 51, dtype=float)
    np.testing.assert_allclose(plain.curvature_P, modes**-1.5, rtol=1e-12)
    np.testing.assert_array_equal(plain.noise_P, plain.curvature_P)
    np.testing.assert_allclose(loud.noise_P, 4 * plain.noise_P, rtol=1e-12)
    np.testing.assert_array_equal(
        power_law_spectrum(num_modes=30).curvature_P, zhang_spectrum(30).curvature_P
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--workload", "digits", "--subset", "8"],
            "--subset 8 (digits) must be a whole number in",
        ),
        (["--workload", "digits", "--subset", "100.5"], "--subset 100.5 (digits) must be a whole"),
        (["--workload", "digits", "--width", "31"], "--width 31 (digits) is not one of 8, 16"),
        (["--workload", "digits_cnn", "--width", "32"], "--width is no parameter of --workload"),
        (["--workload", "digits", "--modes", "9"], "which has: --subset, --width"),
        (["--workload", "noisy_quadratic", "--curvature", "9"], "must be a number in 0.5..2"),
        (["--workload", "digits_subset128_foo"], "--foo is no parameter of --workload digits"),
        (["--workload", "digits_width16_subset128"], "should read 'digits_subset128_width16'"),
        (["--workload", "words", "--subset", "64"], "--subset is no parameter of --workload words"),
    ],
)
def test_parameters_against_their_rule_are_refused(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([*words, "--out", str(tmp_path)])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert len(error.splitlines()) == 1 and message in error


@pytest.mark.slow
def test_a_ladder_of_sweeps_becomes_one_table_that_the_ladder_reader_takes(tmp_path, capsys):
    for modes in (20, 60, 180):
        words = ["--workload", "noisy_quadratic", "--modes", str(modes), "--batch-sizes"]
        words += ["16,64,256,1024,4096", "--trials", "8", "--workers", "1", "--out", str(tmp_path)]
        assert main(words) == 0
    table = tmp_path / "ladder.csv"
    assert write_rows([str(tmp_path), "--out", str(table)]) == 0
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == 15
    assert [row["modes"] for row in rows[::5]] == ["20", "60", "180"]
    assert {row["family"] for row in rows} == {"noisy_quadratic"}
    ladder = read_ladder(table)
    assert ladder.rung[0] == "noisy_quadratic_modes20"
    assert ladder.covariates["num_parameters"].tolist() == [20, 60, 180]
    capsys.readouterr()


def test_a_folder_without_trials_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        write_rows([str(tmp_path), "--out", str(tmp_path / "x.csv")])
    assert "has no folder trials" in capsys.readouterr().err
