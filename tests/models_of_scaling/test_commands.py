import json
import os
import subprocess
import sys

import numpy as np
import pytest

from models_of_scaling.commands.fit import LAWS
from models_of_scaling.fit_record import read_fit
from models_of_scaling.laws import LAW_NAMES, Hyperbola
from models_of_scaling.trials import write_trials

LAW = Hyperbola(min_steps=100, critical_batch_size=300)
SIZES = 2 ** np.arange(3, 12)
FIELDS = ["batch_size", "steps", "steps_low", "steps_high", "examples", "efficiency"]


@pytest.fixture
def table(tmp_path):
    lines = [f"{size},{float(LAW.steps_to_target(size))}" for size in SIZES]
    path = tmp_path / "measured.csv"
    path.write_text("\n".join(["batch_size,steps", *lines]) + "\n")
    return path


@pytest.fixture
def fitted(table, tmp_path, run_command_line):
    path = tmp_path / "fit.json"
    code, _, error = run_command_line("fit", table, "--out", path, "--holdout-above", 512)
    assert (code, error) == (0, "")
    return path


def test_fit_prints_what_it_found(table, tmp_path, run_command_line):
    code, out, _ = run_command_line("fit", table, "--out", tmp_path / "fit.json")
    assert code == 0
    assert "Best law: hyperbola" in out
    assert "steps are twice the fewest possible, is 300 (90 % interval" in out
    assert "Result code: converged (" in out


def test_predict_prints_one_json_array_and_nothing_else(fitted, run_command_line):
    code, out, error = run_command_line(
        "predict", fitted, "--batch-size", 1024, "--batch-size", 4096, "--json"
    )
    answers = json.loads(out)
    assert (code, error) == (0, "")
    assert [list(answer) for answer in answers] == [FIELDS, FIELDS]
    assert [answer["batch_size"] for answer in answers] == [1024, 4096]
    for answer in answers:
        truth = float(LAW.steps_to_target(answer["batch_size"]))
        assert answer["steps_low"] < truth < answer["steps_high"]
        # a row without noise counts as one of about 1 %: see priors.TYPICAL_NOISE
        assert answer["steps"] == pytest.approx(truth, rel=0.01)


def test_predict_puts_the_held_out_measurement_beside_the_prediction(fitted, run_command_line):
    _, out, _ = run_command_line("predict", fitted, "--batch-size", 64, 2048)
    within, beyond = out.splitlines()[1:3]
    assert "extrapolated" not in within and "measured" not in within
    assert "extrapolated 4x; measured (held out): 115, inside the interval" in beyond


def test_an_extrapolation_that_nobody_checked_is_refused(fitted, run_command_line):
    code, out, error = run_command_line("predict", fitted, "--batch-size", 10**6, "--json")
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1 and "more than 64x" in error
    assert run_command_line("predict", fitted, "--batch-size", 64 * 512)[0] == 0


def test_limit_prints_the_verdict_in_words_and_as_json(fitted, run_command_line):
    _, words, _ = run_command_line("limit", fitted)
    assert "at least 1.6 up to a batch size of 100 (90 % interval" in words
    _, out, _ = run_command_line("limit", fitted, "--json", "--level", 0.5)
    verdict = json.loads(out)
    # a median of draws; with its prior the noise of noise-free rows is drawn at about 1.5 %
    assert verdict["critical_batch_size"]["batch_size"]["estimate"] == pytest.approx(300, rel=5e-3)
    assert verdict["critical_batch_size"]["batch_size"]["level"] == 0.5


def test_report_writes_a_page_from_the_record_alone_or_with_the_table(
    fitted, table, tmp_path, run_command_line
):
    for words in ([], ["--table", table]):
        page = tmp_path / "report.html"
        code, _, error = run_command_line("report", fitted, "--out", page, *words)
        assert (code, error) == (0, "")
        assert page.stat().st_size > 1000
        page.unlink()


def test_a_folder_of_trials_goes_from_fit_to_report(simulated, tmp_path, run_command_line):
    rng = np.random.default_rng(0)
    trials = simulated.study_trials(LAW, [8, 16, 32, 64, 128, 256, 512], rng, searched=16)
    write_trials(tmp_path / "trials", trials)
    fit, page = tmp_path / "fit.json", tmp_path / "report.html"
    code, out, _ = run_command_line("fit", tmp_path / "trials", "--out", fit)
    assert code == 0
    assert "21 rows at 7 batch sizes, 8 to 512" in out and "from 133 trials, 0 diverged" in out
    code, _, error = run_command_line("report", fit, "--out", page, "--table", tmp_path / "trials")
    assert (code, error) == (0, "") and page.exists()


def test_epochs_and_examples_are_other_units_of_the_same_table(table, tmp_path, run_command_line):
    steps = LAW.steps_to_target(SIZES)
    for column, values in (("examples", steps * SIZES), ("epochs", steps * SIZES / 50_000)):
        lines = [f"{size},{value}" for size, value in zip(SIZES, values, strict=True)]
        path = tmp_path / f"{column}.csv"
        path.write_text("\n".join([f"batch_size,{column}", *lines]))
        fit = tmp_path / "fit.json"
        code, _, _ = run_command_line("fit", path, "--out", fit, "--num-train-examples", 50_000)
        _, out, _ = run_command_line("predict", fit, "--batch-size", 300, "--json")
        assert code == 0
        assert json.loads(out)[0]["steps"] == pytest.approx(200, rel=0.01)  # as above


def test_every_law_can_be_asked_for_by_name():
    # `commands.fit` may not import `laws`, which loads numpy, for its help.
    assert ("auto", *LAW_NAMES) == LAWS


def test_one_law_can_be_asked_for(table, tmp_path, run_command_line):
    fit = tmp_path / "fit.json"
    code, out, _ = run_command_line("fit", table, "--out", fit, "--law", "power_with_floor")
    assert code == 0 and "Best law: power_with_floor (weight 1.00" in out


def test_the_module_fits_from_a_cold_start(table, tmp_path):
    words = [sys.executable, "-m", "models_of_scaling", "fit", str(table), "--out", "fit.json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fit.json").exists()


def test_help_loads_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom models_of_scaling.__main__ import main\n"
        "try:\n    main(['fit', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'scipy', 'pyarrow', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_gone_is_no_error(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("batch_size,steps\n8,100\n16,60\n32,40\n64,30\n")
    out = tmp_path / "fit.json"
    read_end, write_end = os.pipe()
    os.close(read_end)
    words = ["fit", str(path), "--out", str(out), "--replicates", "50"]
    done = subprocess.run(
        [sys.executable, "-m", "models_of_scaling", *words],
        stdout=write_end, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")
    assert read_fit(out).smallest_batch_size == 8


@pytest.mark.parametrize("ending", ["svg", "pdf", "PNG"])
def test_predict_draws_its_picture_without_an_anchor(fitted, tmp_path, run_command_line, ending):
    picture = tmp_path / f"steps.{ending}"
    code, out, _ = run_command_line("predict", fitted, "--batch-size", 64, "--plot", picture)
    assert code == 0 and "90 % interval" in out
    start = {"svg": b"<?xml", "pdf": b"%PDF", "PNG": b"\x89PNG"}[ending]
    assert picture.read_bytes().startswith(start)


def test_a_picture_at_another_level_than_the_fits_is_refused(fitted, tmp_path, run_command_line):
    picture = tmp_path / "steps.svg"
    words = ("predict", fitted, "--batch-size", 64, "--plot", picture, "--level", 0.8)
    code, out, error = run_command_line(*words)
    assert (code, out) == (2, "") and "fit again with --level 0.8" in error
    assert not picture.exists()
