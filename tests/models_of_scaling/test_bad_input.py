"""Every way to be wrong: exit code 2, one line on standard error that says why, nothing written."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models_of_scaling.trials import write_trials

GOOD = "batch_size,steps\n8,1000\n16,520\n32,280\n64,160\n"

BAD_TABLES = {
    "no batch_size": ("size,steps\n8,100\n16,60\n", ["column batch_size is missing", "size, st"]),
    "no length": ("batch_size,loss\n8,1\n16,2\n", ["column steps", "is missing"]),
    "batch size 0": ("batch_size,steps\n8,100\n0,60\n", ["row 2 (line 3)", "batch_size: 0 must"]),
    "negative batch size": ("batch_size,steps\n-8,100\n16,60\n", ["row 1 (line 2)", "-8"]),
    "batch size in words": ("batch_size,steps\n8,100\nbig,60\n", ["row 2", "big", "whole number"]),
    "fractional batch size": ("batch_size,steps\n8,100\n16.5,60\n", ["row 2", "16.5"]),
    "empty batch size": ("batch_size,steps\n8,100\n,60\n", ["row 2", "(empty)"]),
    "NaN steps": ("batch_size,steps\n8,nan\n16,60\n", ["row 1", "column steps: nan must"]),
    "negative steps": ("batch_size,steps\n8,100\n\n16,-60\n", ["row 2 (line 4)", "-60"]),
    "infinite steps": ("batch_size,steps\n8,inf\n16,60\n", ["row 1", "inf must be a finite"]),
    "steps in words": ("batch_size,steps\n8,many\n16,60\n", ["row 1", "many"]),
    "one batch size": ("batch_size,steps\n8,100\n8,110\n", ["every row has 8", "at least 2"]),
    "all censored": ("batch_size,steps,reached\n8,9,false\n16,9,0\n", ["none of the 2 rows"]),
    "reached in words": ("batch_size,steps,reached\n8,9,maybe\n16,9,yes\n", ["reached: maybe"]),
    "low above high": (
        "batch_size,steps,steps_low,steps_high\n8,9,5,9\n16,5,6,5\n",
        ["row 2", "steps_low: 6 must not exceed"],
    ),
    "negative low": ("batch_size,steps,steps_low\n8,9,-1\n16,5,4\n", ["row 1", "steps_low: -1"]),
    "weight 0": ("batch_size,steps,weight\n8,9,0\n16,5,1\n", ["row 1", "weight: 0 must"]),
    "epochs without size": ("batch_size,epochs\n8,9\n16,5\n", ["--num-train-examples"]),
    "mixed workloads": (
        "batch_size,steps,workload\n8,9,a\n16,5,b\n",
        ["column workload", "2 different values (a, b)", "--workload"],
    ),
    "a row too short": ("batch_size,steps\n8,9\n16\n", ["row 2 (line 3)", "1 fields"]),
    "a column twice": ("steps,batch_size,steps\n8,9,1\n", ["'steps' stands there twice"]),
    "no rows": ("batch_size,steps\n", ["no rows"]),
    "an empty file": ("", ["no rows"]),
    "not text": ("\x00\xff\xfe", ["not a readable CSV"]),
}  # fmt: skip


def refused(result, *, parts, folder, before):
    code, out, error = result
    assert code == 2
    assert out == ""
    assert len(error.splitlines()) == 1
    for part in parts:
        assert part in error
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_line(case, tmp_path, run_command_line):
    text, parts = BAD_TABLES[case]
    table = tmp_path / "table.csv"
    table.write_bytes(text.encode("latin-1"))
    before = sorted(tmp_path.rglob("*"))
    result = run_command_line("fit", table, "--out", tmp_path / "new" / "fit.json")
    refused(result, parts=["table.csv", *parts], folder=tmp_path, before=before)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--law", "cubic"], ["--law", "cubic"]),
        (["--replicates", "3"], ["--replicates 3"]),
        (["--replicates", "few"], ["--replicates", "few"]),
        (["--level", "1.5"], ["--level 1.5"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--holdout-above", "8"], ["--holdout-above 8", "every row has 8"]),
        (["--holdout-above", "1"], ["--holdout-above 1", "0 rows"]),
        (["--workload", "digits"], ["--workload 'digits'", "missing"]),
        (["--optimizer", "sgd"], ["--optimizer sgd", "trials"]),
        (["--target", "validation_accuracy>=0.9"], ["--target"]),
        (["--target", "nonsense"], ["nonsense"]),
        (["--num-train-examples", "0"], ["--num-train-examples 0"]),
        (["--surprise"], ["--surprise"]),
    ],
)
def test_a_bad_argument_of_fit_is_refused_in_one_line(words, parts, tmp_path, run_command_line):
    table = tmp_path / "table.csv"
    table.write_text(GOOD)
    before = sorted(tmp_path.rglob("*"))
    result = run_command_line("fit", table, "--out", tmp_path / "fit.json", *words)
    refused(result, parts=parts, folder=tmp_path, before=before)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["required"]),
        (["frobnicate"], ["frobnicate"]),
        (["fit", "missing.csv", "--out", "x.json"], ["missing.csv", "no such file"]),
        (["fit", "missing.csv"], ["--out"]),
        (["predict", "missing.json", "--batch-size", "8"], ["missing.json"]),
        (["predict", "missing.json"], ["--batch-size"]),
        (["predict", "missing.json", "--batch-size", "8.5"], ["8.5"]),
        (["limit", "missing.json"], ["missing.json"]),
        (["report", "missing.json", "--out", "x.html"], ["missing.json"]),
    ],
)
def test_other_bad_arguments_are_refused_in_one_line(
    words, parts, tmp_path, monkeypatch, run_command_line
):
    monkeypatch.chdir(tmp_path)
    refused(run_command_line(*words), parts=parts, folder=tmp_path, before=[])


def test_a_batch_size_of_zero_cannot_be_predicted(tmp_path, run_command_line):
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    table.write_text(GOOD)
    run_command_line("fit", table, "--out", fit)
    before = sorted(tmp_path.rglob("*"))
    for command in (["predict", fit, "--batch-size", 0], ["limit", fit, "--saving", 3]):
        refused(run_command_line(*command), parts=["error"], folder=tmp_path, before=before)


def test_parquet_tables_are_checked_alike(tmp_path, run_command_line):
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"batch_size": [8, 16, 0], "steps": [100.0, np.nan, 5.0]}), table)
    result = run_command_line("fit", table, "--out", tmp_path / "fit.json")
    refused(result, parts=["table.parquet: row 3", "0 must"], folder=tmp_path, before=[table])
    table.write_bytes(b"PAR1 not really")
    result = run_command_line("fit", table, "--out", tmp_path / "fit.json")
    refused(result, parts=["table.parquet", "parquet"], folder=tmp_path, before=[table])


def test_an_output_that_is_a_folder_is_refused(tmp_path, run_command_line):
    table = tmp_path / "table.csv"
    table.write_text(GOOD)
    result = run_command_line("fit", table, "--out", tmp_path)
    refused(result, parts=["--out", "is a folder"], folder=tmp_path, before=[table])


def folder_of(simulated, tmp_path, *changes):
    trials = [
        simulated.trial(batch_size=size, learning_rate=0.1 + size, **change)
        for size in (8, 16)
        for change in changes
    ]
    write_trials(tmp_path / "trials", trials)
    return tmp_path / "trials"


def test_mixed_trials_are_refused_until_one_kind_is_chosen(simulated, tmp_path, run_command_line):
    folder = folder_of(
        simulated, tmp_path, {}, {"optimizer": "lars"}, {"workload": "noisy_quadratic"}
    )
    before = sorted(tmp_path.rglob("*"))
    fit = ["fit", folder, "--out", tmp_path / "fit.json"]
    for words, parts in (
        ([], ["column workload", "digits, noisy_quadratic", "--workload"]),
        (["--workload", "imagenet"], ["--workload 'imagenet'", "digits"]),
        (["--workload", "digits"], ["column optimizer", "lars, sgd", "--optimizer"]),
        (["--workload", "digits", "--optimizer", "adam"], ["--optimizer 'adam'"]),
    ):
        refused(run_command_line(*fit, *words), parts=parts, folder=tmp_path, before=before)
    code, _, _ = run_command_line(*fit, "--workload", "digits", "--optimizer", "sgd")
    assert code == 0


def test_a_target_that_no_trial_reached_is_refused(simulated, tmp_path, run_command_line):
    folder = folder_of(simulated, tmp_path, {})
    before = sorted(tmp_path.rglob("*"))
    words = [
        "fit",
        folder,
        "--out",
        tmp_path / "fit.json",
        "--target",
        "validation_accuracy>=0.999",
    ]
    refused(run_command_line(*words), parts=["none of the 2 rows"], folder=tmp_path, before=before)


def test_trials_with_different_targets_need_one_chosen(simulated, tmp_path, run_command_line):
    folder = folder_of(simulated, tmp_path, {}, {"target": "validation_accuracy>=0.5", "seed": 1})
    before = sorted(tmp_path.rglob("*"))
    result = run_command_line("fit", folder, "--out", tmp_path / "fit.json")
    refused(result, parts=["column target", "--target"], folder=tmp_path, before=before)


def test_a_folder_without_trials_or_with_a_damaged_file_is_refused(
    simulated, tmp_path, run_command_line
):
    (tmp_path / "trials").mkdir()
    result = run_command_line("fit", tmp_path / "trials", "--out", tmp_path / "fit.json")
    assert result[0] == 2 and "no readable trial file" in result[2]
    folder = folder_of(simulated, tmp_path, {})
    (folder / "zz.parquet").write_bytes(b"half a file")
    before = sorted(tmp_path.rglob("*"))
    result = run_command_line("fit", folder, "--out", tmp_path / "fit.json")
    refused(result, parts=["zz.parquet"], folder=tmp_path, before=before)
