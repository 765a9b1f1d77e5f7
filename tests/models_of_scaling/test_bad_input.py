"""Every way to be wrong: exit code 2, one line on standard error that says why, nothing written."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models_of_scaling.fit_record import read_fit
from models_of_scaling.trials import write_trials

GOOD = "batch_size,steps\n8,1000\n16,520\n32,280\n64,160\n"

BAD_TABLES = {
    "no batch_size": ("size,steps\n8,100\n16,60\n", ["column batch_size is missing", "size, st"]),
    "batch_size by another name": ("BS,steps\n8,100\n16,60\n", ["rename 'BS' to batch_size"]),
    "steps by another name": ("batch_size,step\n8,100\n16,60\n", ["rename 'step' to steps"]),
    "accuracies": ("batch_size,accuracy\n8,0.9\n16,0.8\n", ["column steps", "`fixed-epochs`"]),
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
    "zero steps": ("batch_size,steps\n8,0\n16,60\n", ["row 1", "steps: 0 must", "more than 0"]),
    "minus infinity": ("batch_size,steps\n8,-inf\n16,6\n", ["row 1", "-inf must be a finite"]),
    "a suffix": ("batch_size,steps\n512,100\n4k,60\n", ["row 2 (line 3)", "4k", "4000 or 4096"]),
    "another suffix": ("batch_size,steps\n512,100\n2 MiB,60\n", ["2 MiB", "written out"]),
    "thousands": ('batch_size,steps\n8,100\n"1,024",60\n', ["1,024", "without separators: 1024"]),
    "thousands of steps": ('batch_size,steps\n8,"12,100"\n16,60\n', ["separators: 12100"]),
    "underscores": ("batch_size,steps\n8,100\n1_024,60\n", ["1_024", "without separators: 1024"]),
    "a decimal comma": ('batch_size,steps\n8,"100,5"\n16,6\n', ["100,5", "decimal point"]),
    "beyond 2^53": (
        "batch_size,steps\n8,100\n9007199254740994,60\n",
        ["row 2", "9007199254740994 must be at most 2^53"],
    ),
    "an absurd power": ("batch_size,steps\n8,100\n1e300,60\n", ["1e300 must be at most 2^53"]),
    "reached and not": (
        "batch_size,steps,reached\n8,9,true\n16,5,yes\n16,5,no\n",
        ["row 3 (line 4)", "reached: false, but true in row 2", "seed"],
    ),
    "reached and not, in one group": (
        "batch_size,steps,reached,group\n8,9,true,a\n16,5,no,a\n8,9,no,b\n8,9,0,a\n",
        ["row 4", "reached: false, but true in row 1"],
    ),
    "reached and not, one seed": (
        "batch_size,steps,reached,seed\n8,9,true,1\n16,5,no,1\n8,9,no,2\n8,9,no,1\n",
        ["row 4", "true in row 1"],
    ),
    "a high end below 0": (
        "batch_size,steps,steps_high\n8,9,9\n16,5,-1\n", ["row 2", "steps_high: -1 must be more"],
    ),
    "mixed optimizers": (
        "batch_size,steps,optimizer\n8,9,sgd\n16,5,lars\n", ["lars, sgd", "--optimizer"],
    ),
    "mixed targets": (
        "batch_size,steps,target\n8,9,validation_loss<=0.2\n16,5,validation_loss<=0.3\n",
        ["column target", "2 different values", "--target"],
    ),
    "mixed training sets": (
        "batch_size,epochs,num_train_examples\n8,9,1000\n16,5,1000\n32,4,2000\n",
        ["row 3", "num_train_examples: 2000, but 1000 in row 1"],
    ),
    "a training set of no size": (
        "batch_size,epochs,num_train_examples\n8,9,1000\n16,5,0\n", ["row 2", "0 must be a whole"],
    ),
    "semicolons": ("batch_size;steps\n8;100\n16;60\n", ["separated by semicolons", "commas"]),
    "tabs": ("batch_size\tsteps\n8\t100\n16\t60\n", ["separated by tabs"]),
    "a separator that is not quoted": (
        "batch_size,steps\n8,100\n1,024,60\n", ["row 2 (line 3)", "3 fields", "header has 2"],
    ),
    "a quote that never ends": ('batch_size,steps\n8,"100\n16,60\n', ["not a readable CSV"]),
    "steps beyond any run": ("batch_size,steps\n8,100\n16,1e300\n", ["row 2", "1e300 must make"]),
    "examples beyond any run": (
        "batch_size,examples\n8,100\n16,1e308\n", ["row 2", "examples: 1e308 must make"],
    ),
    "steps below any run": ("batch_size,steps\n8,1e-320\n16,5\n", ["row 1", "1e-320 must make"]),
    "steps above their interval": (
        "batch_size,steps,steps_low,steps_high\n8,9,5,9\n16,500,4,5\n",
        ["row 2", "steps: 500 must lie in steps_low .. steps_high"],
    ),
    "steps below their interval": (
        "batch_size,steps,steps_low,steps_high\n8,9,5,9\n16,3,4,5\n", ["row 2", "3 must lie"],
    ),
    "met by the first evaluation everywhere": (
        "batch_size,steps,steps_low\n8,9,0\n16,9,0\n", ["every row that reached its target"],
    ),
    "a status in other words": (
        "batch_size,steps,status\n8,9,reached\n16,5,failed\n",
        ["row 2", "status: failed must be one of reached, not_reached, diverged", "reached"],
    ),
    "only empty lines": ("\n\n,\n\n", ["no rows"]),
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
        (["--optimizer", "sgd"], ["--optimizer 'sgd'", "column optimizer is missing", "trials"]),
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
        (["limit", "missing.json"], ["missing.json: no such file; `fit TABLE --out missing.json`"]),
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


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("batch_size,steps\n512.0,1000\n1e3,520\n2048,280\n", [512, 1000, 2048]),
        ("\ufeffbatch_size,steps\r\n8,1000\r\n\r\n16,520\r\n32,280", [8, 16, 32]),
        ("\n batch_size , steps \n\n 8 , 1000\n16,520 \n,\n32,280\n\n", [8, 16, 32]),
        ('"batch_size","steps"\n"8","1000"\n"16","520"\n"32","280"\n', [8, 16, 32]),
    ],
    ids=["numbers as programs write them", "BOM and CRLF", "blanks and empty lines", "quotes"],
)
def test_tables_that_programs_write_are_read(text, rows, tmp_path, run_command_line):
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    table.write_bytes(text.encode())
    code, _, error = run_command_line("fit", table, "--out", fit, "--replicates", 50)
    assert (code, error) == (0, "")
    assert list(read_fit(fit).measured.batch_size) == rows


def test_the_same_steps_with_and_without_the_target_are_two_runs_when_seeds_differ(
    tmp_path, run_command_line
):
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    rows = "8,1000,true,1\n8,1000,false,2\n16,520,true,1\n32,280,true,1\n"
    table.write_text("batch_size,steps,reached,seed\n" + rows)
    code, _, _ = run_command_line("fit", table, "--out", fit, "--replicates", 50)
    assert code == 0 and read_fit(fit).measured.reached.count(False) == 1


def test_a_status_says_which_runs_reached_where_no_column_reached_does(tmp_path, run_command_line):
    """A run that diverged at step 7 did not reach its target in 7 steps."""
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    rows = "8,1000,reached\n16,520,not_reached\n32,7,diverged\n64,150,Reached\n128,9,interrupted\n"
    table.write_text("batch_size,steps,status\n" + rows)
    code, _, _ = run_command_line("fit", table, "--out", fit, "--replicates", 50)
    assert code == 0
    assert read_fit(fit).measured.reached == (True, False, False, True, False)
    table.write_text("batch_size,steps,status,reached\n8,9,kept,yes\n16,5,kept,yes\n32,3,x,yes\n")
    code, _, _ = run_command_line("fit", table, "--out", fit, "--replicates", 50)
    assert code == 0 and all(read_fit(fit).measured.reached)


def test_one_optimizer_and_target_of_a_table_are_chosen_and_recorded(tmp_path, run_command_line):
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    lines = [
        f"{size},{steps},{optimizer},{target}"
        for size, steps in ((8, 1000), (16, 520), (32, 280))
        for optimizer in ("sgd", "lars")
        for target in ("validation_accuracy>=0.9", "validation_accuracy>=0.95")
    ]
    table.write_text("\n".join(["batch_size,steps,optimizer,target", *lines]))
    words = ["--optimizer", "lars", "--target", "validation_accuracy>=0.95"]
    code, _, _ = run_command_line("fit", table, "--out", fit, "--replicates", 50, *words)
    assert code == 0
    got = read_fit(fit)
    assert (got.optimizer, got.target) == ("lars", "validation_accuracy>=0.95")
    assert len(got.measured.batch_size) == 3
    before = sorted(tmp_path.rglob("*"))
    refuse = ["fit", table, "--out", tmp_path / "new.json", "--optimizer", "adam"]
    parts = ["column optimizer", "--optimizer 'adam'", "lars, sgd"]
    refused(run_command_line(*refuse), parts=parts, folder=tmp_path, before=before)


def test_a_column_gives_the_size_of_the_training_set_and_a_flag_must_agree(
    tmp_path, run_command_line
):
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    table.write_text("batch_size,epochs,num_train_examples\n8,2,4000\n16,2.1,4000\n32,3,4000\n")
    code, _, _ = run_command_line("fit", table, "--out", fit, "--replicates", 50)
    assert code == 0
    got = read_fit(fit)
    assert got.num_train_examples == 4000 and got.measured.steps[0] == 1000
    before = sorted(tmp_path.rglob("*"))
    words = ["fit", table, "--out", tmp_path / "new.json", "--num-train-examples", 5000]
    parts = ["row 1", "4000, but --num-train-examples 5000"]
    refused(run_command_line(*words), parts=parts, folder=tmp_path, before=before)


def test_one_bad_row_of_a_huge_table_is_named_by_its_place_in_the_file(tmp_path, run_command_line):
    table = tmp_path / "table.csv"
    lines = [f"{8 * 2 ** (row % 8)},{1000 + row},{'ab'[row % 2]}" for row in range(200_000)]
    lines[123_457] = "64,many,b"
    table.write_text("\n".join(["batch_size,steps,workload", *lines]))
    words = ["fit", table, "--out", tmp_path / "fit.json", "--workload", "b"]
    parts = ["table.csv: row 123458 (line 123459), column steps: many"]
    refused(run_command_line(*words), parts=parts, folder=tmp_path, before=[table])


def test_a_chosen_row_of_a_parquet_table_keeps_its_number(tmp_path, run_command_line):
    table = tmp_path / "table.parquet"
    columns = {"batch_size": [8, 16, 32, 64], "steps": [9, 8, 7, -1], "workload": list("abab")}
    pq.write_table(pa.table(columns), table)
    words = ["fit", table, "--out", tmp_path / "fit.json", "--workload", "b"]
    parts = ["row 4, column steps: -1"]
    refused(run_command_line(*words), parts=parts, folder=tmp_path, before=[table])


def test_a_parquet_file_cut_short_is_refused_as_a_table_and_as_trials(
    simulated, tmp_path, run_command_line
):
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"batch_size": [8, 16] * 500, "steps": [9.0, 5.0] * 500}), table)
    folder = folder_of(simulated, tmp_path, {}, {"seed": 1})
    for path in (table, next(folder.iterdir())):
        path.write_bytes(path.read_bytes()[:-20])
    before = sorted(tmp_path.rglob("*"))
    for path in (table, folder):
        result = run_command_line("fit", path, "--out", tmp_path / "fit.json")
        parts = [".parquet: not a readable parquet file"]
        refused(result, parts=parts, folder=tmp_path, before=before)


def test_a_folder_with_other_files_but_no_parquet_is_refused(tmp_path, run_command_line):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "table.csv").write_text(GOOD)
    before = sorted(tmp_path.rglob("*"))
    result = run_command_line("fit", tmp_path / "trials", "--out", tmp_path / "fit.json")
    refused(result, parts=["no readable trial file"], folder=tmp_path, before=before)


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
