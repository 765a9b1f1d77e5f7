"""The simulator's command, and spectra from files."""

import csv
import io
import json

import numpy as np
import pytest

from models_of_scaling.__main__ import main as models_of_scaling
from surrogate.cells import finished_trials, run_cell
from surrogate.noisy_quadratic import zhang_spectrum
from surrogate.run_sweep import SweepSettings
from surrogate.simulate import main
from surrogate.simulator.spectrum_file import read_spectrum

QUICK = ["--method", "sgd", "--batch-sizes", "1,16,256,1024,4096,65536", "--modes", "300"]


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_says_the_fewest_steps_and_a_fit_reads_it(tmp_path, capsys):
    out = tmp_path / "steps.csv"
    assert main([*QUICK, "--out", str(out)]) == 0
    rows = table(out.read_text())
    assert list(rows[0]) == ["batch_size", "steps", "reached", "learning_rate", "momentum"]
    steps = [int(row["steps"]) for row in rows]
    assert steps == sorted(steps, reverse=True) and {row["reached"] for row in rows} == {"true"}
    fit = tmp_path / "fit.json"
    assert models_of_scaling(["fit", str(out), "--out", str(fit)]) == 0
    assert fit.exists()


def test_json_is_one_array_with_the_same_numbers_and_nothing_else(capsys):
    assert main([*QUICK[:2], "--batch-sizes", "64", "--modes", "100", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert main([*QUICK[:2], "--batch-sizes", "64", "--modes", "100"]) == 0
    (line,) = table(capsys.readouterr().out)
    assert row["steps"] == int(line["steps"]) and row["reached"] is True
    assert row["learning_rate"] == float(line["learning_rate"])


def test_runs_out_of_budget_are_rows_that_say_more_than_so_many(capsys):
    assert (
        main([*QUICK[:2], "--batch-sizes", "1,4096", "--modes", "100", "--max-steps", "900"]) == 0
    )
    rows = table(capsys.readouterr().out)
    assert [row["reached"] for row in rows] == ["false", "true"]
    assert (rows[0]["steps"], rows[0]["learning_rate"]) == ("900", "")


def test_a_schedule_lists_its_rates(capsys):
    words = ["--method", "schedule", "--pieces", "4", "--batch-sizes", "64", "--modes", "50"]
    assert main([*words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert len(row["learning_rates"]) == 4
    assert row["learning_rates"][0] == row["learning_rate"] > row["learning_rates"][-1]


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_spectrum_from_a_file_gives_what_the_same_modes_by_name_give(kind, tmp_path, capsys):
    modes, path = zhang_spectrum(100), tmp_path / f"spectrum.{kind}"
    columns = {"curvature": modes.curvature_P, "noise": modes.noise_P}
    if kind == "csv":
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        path.write_text("curvature,noise\n" + "".join(f"{h!r},{c!r}\n" for h, c in rows))
    else:
        np.savez(path, **columns)
    answers = []
    for words in (["--spectrum", str(path)], ["--modes", "100"]):
        assert main(["--method", "sgd", "--batch-sizes", "8,512", *words]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]


def test_weights_and_starts_of_a_file_scale_the_variances(tmp_path):
    path = tmp_path / "spectrum.csv"
    path.write_text("noise,curvature,weight,initial\n0.5,2,10,3\n0,1e-3,0.5,0\n")
    spectrum = read_spectrum(path)
    np.testing.assert_allclose(spectrum.curvature_P, [2, 1e-3])
    np.testing.assert_allclose(spectrum.noise_P, [5, 0])
    np.testing.assert_allclose(spectrum.initial_P, [30, 0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no column curvature"),
        ("curvature,noise\n", "has no row"),
        ("curvature\n1\n", "has no column noise"),
        ("curvature,noise,colour\n1,1,1\n", "column 'colour'"),
        ("curvature,noise\n1,1\n-0.2,1\n", "row 2: curvature -0.2 must be a positive number"),
        ("curvature,noise\n1,one\n", "row 1: noise 'one' must be a number"),
        ("curvature,noise\n1,nan\n", "row 1: noise nan must be"),
        ("curvature,noise\n1,1,1\n", "row 1: has 3 values, not 2"),
        ("curvature,noise,weight\n1,1,0\n", "row 1: weight 0 must be a positive number"),
    ],
)
def test_a_bad_spectrum_is_one_line_with_file_row_and_rule(text, words, tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    refused(["--spectrum", str(path)], words, tmp_path, capsys, str(path))


def test_a_bad_npz_is_one_line(tmp_path, capsys):
    path = tmp_path / "bad.npz"
    path.write_bytes(b"PK not")
    refused(["--spectrum", str(path)], "can't be read as NPZ", tmp_path, capsys, str(path))
    np.savez(path, curvature=np.ones(3), noise=np.ones(2))
    refused(["--spectrum", str(path)], "noise has 2 values", tmp_path, capsys, str(path))
    np.savez(path, curvature=np.ones((3, 1)), noise=np.ones(3))
    refused(["--spectrum", str(path)], "curvature must be one row", tmp_path, capsys, str(path))
    np.savez(path, curvature=np.array(["a"]), noise=np.ones(1))
    refused(["--spectrum", str(path)], "curvature must be one row", tmp_path, capsys, str(path))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--method", "adam"], "--method 'adam' is not one of sgd"),
        (["--spectrum", "missing.csv"], "missing.csv: can't be read"),
        (["--spectrum", "x.csv", "--modes", "5"], "--modes says nothing"),
        (["--modes", "3"], "--modes 3"),
        (["--batch-sizes", "0,1"], "--batch-sizes '0,1'"),
        (["--batch-sizes", "1,x"], "--batch-sizes '1,x'"),
        (["--target-risk", "0"], "--target-risk 0"),
        (["--target-risk", "nan"], "--target-risk nan"),
        (["--target-risk", "9"], "--target-risk 9"),
        (["--preconditioning", "2"], "--preconditioning 2"),
        (["--gradient-delay", "-1"], "--gradient-delay -1"),
        (["--method", "schedule", "--gradient-delay", "1"], "--gradient-delay"),
        (["--pieces", "0"], "--pieces 0"),
        (["--max-steps", "0"], "--max-steps 0"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_line_and_code_2_and_writes_nothing(flags, words, tmp_path, capsys):
    refused(flags, words, tmp_path, capsys)


def test_a_table_that_could_not_be_written_is_refused_before_the_work(tmp_path, capsys):
    (tmp_path / "file").touch()
    for out, words in [(tmp_path, "is a folder"), (tmp_path / "file" / "in.csv", "is no folder")]:
        with pytest.raises(SystemExit) as left:
            main(["--out", str(out)])
        assert left.value.code == 2
        said = capsys.readouterr().err
        assert f"--out {out}: " in said and words in said and said.count("\n") == 1


def refused(flags, words, tmp_path, capsys, *also):
    out = tmp_path / "out.csv"
    with pytest.raises(SystemExit) as left:
        main([*flags, "--out", str(out)])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    for each in (words, *also):
        assert each in said.err
    assert not out.exists()


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "preconditioned", "averaged"])
def test_a_sweep_of_the_simulator_finds_nearly_the_fewest_steps_of_each_method(
    optimizer, tmp_path, capsys
):
    # Averaging has its best at the edge of stability at large batches: a needle for a search.
    name, sizes = "noisy_quadratic_modes200", (16 if optimizer == "averaged" else 4096,)
    settings = SweepSettings(workload=name, optimizer=optimizer, out=tmp_path, batch_sizes=sizes)
    plan = settings.plan  # with as many trials as the workload has by default
    while not run_cell(plan, *sizes, tmp_path):
        pass
    trials = finished_trials(plan, *sizes, tmp_path)
    (tuned,) = {trial.steps for trial in trials if trial.phase == "repeat"}
    asked = ["--method", optimizer, "--modes", "200", "--batch-sizes", str(sizes[0]), "--json"]
    assert main(asked) == 0
    (best,) = json.loads(capsys.readouterr().out)
    assert best["steps"] <= tuned <= 1.1 * best["steps"] + 1
