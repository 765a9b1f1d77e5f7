"""`targets` and `fixed-epochs` on the command line: answers, files, and wrong input in one line."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from models_of_scaling.trials import write_trials

SIZES = (2, 4, 8, 16, 32, 64, 128)


def curves(simulated, *, workload="digits", optimizer="sgd"):
    """Exact runs with B_crit(L) = 16 / L^0.5, L from 2 to 0.05, an evaluation at every loss."""
    losses = np.geomspace(2.0, 0.05, 80)
    for size in SIZES:
        steps = 40 * losses**-0.8 * (1 + 16 * losses**-0.5 / size)
        at = np.rint(steps).astype(int)
        keep = np.append(np.diff(at) > 0, True)
        for seed in (0, 1):
            curve = [
                (step, 1 - loss / 4) for step, loss in zip(at[keep], losses[keep], strict=True)
            ]
            trial = simulated.trial(
                batch_size=size, curve=curve, phase="single", seed=seed, workload=workload,
                optimizer=optimizer, target="train_loss<=0.05",
            )  # fmt: skip
            yield dataclasses.replace(trial, curve_train_loss=losses[keep].tolist())


@pytest.fixture
def trials(simulated, tmp_path):
    write_trials(tmp_path / "trials", list(curves(simulated)))
    return tmp_path / "trials"


@pytest.fixture
def accuracies(tmp_path):
    path = tmp_path / "accuracies.csv"
    path.write_text(
        "batch_size,accuracy_percent,epochs\n128,92.0,90\n256,92.1,90\n512,92.0,90\n"
        "1024,91.8,90\n2048,91.0,90\n4096,89.6,90\n128,90.1,30\n256,89.9,30\n512,89.0,30\n"
    )
    return path


def test_targets_prints_the_table_and_the_law(run_command_line, trials):
    code, out, err = run_command_line(
        "targets", trials, "--target", "1", "0.4", "0.15", "--target", "0.05", "--replicates", 100
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == [
        "train_loss<=1.0", "train_loss<=0.4", "train_loss<=0.15", "train_loss<=0.05",
    ]  # fmt: skip
    assert all("7 of 7" in line for line in lines[2:6])
    assert "Law: B_crit(L) = " in out
    assert "extrapolated, and only if the law goes on" in out
    assert "tuned for train_loss<=0.05 alone" in out


def test_targets_json_holds_the_planted_exponent_and_nothing_else_is_printed(
    run_command_line, trials, tmp_path
):
    words = ("targets", trials, "--num-targets", 4, "--replicates", 100)
    _, out, _ = run_command_line(*words, "--json", "--out", tmp_path / "t.csv")
    answer = json.loads(out)
    exponent = answer["law"]["one_over_alpha"]
    assert exponent["low"] <= 0.5 <= exponent["high"]
    assert answer["targets"][-1]["target"] == "train_loss<=0.05" == answer["carried_target"]
    with (tmp_path / "t.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["target"] for row in rows] == [each["target"] for each in answer["targets"]]
    for row, each in zip(rows, answer["targets"], strict=True):
        assert float(row["critical_batch_size"]) == pytest.approx(
            each["critical_batch_size"]["estimate"], rel=1e-5
        )


def test_targets_of_an_accuracy_are_in_its_error(run_command_line, trials):
    _, out, _ = run_command_line(
        "targets", trials, "--metric", "validation_accuracy", "--num-targets", 3, "--json",
        "--replicates", 100,
    )  # fmt: skip
    for each in json.loads(out)["targets"]:
        accuracy = float(each["target"].removeprefix("validation_accuracy>="))
        assert each["loss"] == pytest.approx(1 - accuracy, rel=1e-12)


def test_too_few_targets_give_a_table_without_a_law(run_command_line, trials):
    code, out, _ = run_command_line("targets", trials, "--target", 0.5, 0.1, "--replicates", 100)
    assert code == 0
    assert "No law over targets: 2 of 2" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "accuracy"], "--metric 'accuracy' is not one of"),
        (["--target", "zero"], "train_loss<=zero"),
        (["--target", "0"], "must be more than 0"),
        (["--target", "0.5", "0.50"], "the same target is there twice"),
        (["--target", "validation_loss<=0.5"], "of one metric, here train_loss"),
        (["--target", "0.0001"], "none of the 14 rows reached"),
        (["--target", "0.5", "--num-targets", "4"], "--num-targets 4"),
        (["--num-targets", "0"], "--num-targets 0"),
        (["--metric", "validation_loss"], "hold no value of it"),
        (["--workload", "mnist"], "'mnist'"),
        (["--plot", "picture.jpeg"], "picture.jpeg: its ending"),
        (["--level", "2"], "--level 2"),
    ],
)
def test_targets_refuses_with_one_line(run_command_line, trials, words, said):
    code, out, err = run_command_line("targets", trials, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


def test_targets_refuses_a_table_and_a_mixed_folder(
    run_command_line, simulated, trials, accuracies
):
    code, _, err = run_command_line("targets", accuracies)
    assert code == 2
    assert "is no table of trials" in err
    write_trials(trials, list(curves(simulated, workload="mnist")))
    code, _, err = run_command_line("targets", trials)
    assert code == 2
    assert "choose with --workload" in err


def test_fixed_epochs_says_where_accuracy_falls(run_command_line, accuracies, tmp_path):
    out_file = tmp_path / "answer.json"
    code, out, err = run_command_line(
        "fixed-epochs", accuracies, "--epochs", 90, "--drop", 0.5, 1, "--batch-size", 8192,
        "--out", out_file, "--plot", tmp_path / "p.svg",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "6 rows, batch sizes 128 to 4,096" in out
    assert "Accuracy is 0.5 points below that of batch size 128" in out
    assert "Batch size 8,192: accuracy" in out
    answer = json.loads(out_file.read_text())
    half, one = (each["batch_size"] for each in answer["drops"])
    assert 1024 < half["estimate"] < one["estimate"] < 4096
    assert half["low"] <= half["estimate"] <= half["high"]
    run = answer["predictions"][0]
    assert run["accuracy_low"] < run["accuracy"] < run["accuracy_high"] <= 1
    assert run["extrapolation"] == 2
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")


def test_an_open_end_is_null_and_said_in_words(run_command_line):
    words = ("fixed-epochs", "--published", "imagenet_resnet50_lars_90_epochs")
    _, out, _ = run_command_line(*words, "--json")
    drop = json.loads(out)["drops"][1]
    assert drop["points"] == 1.0
    assert drop["batch_size"]["high"] is None
    assert drop["batch_size"]["low"] > 8192
    assert "to infinity" in run_command_line(*words)[1]


def test_shares_and_percent_give_the_same_answer(run_command_line, tmp_path):
    answers = []
    for name, values in (("accuracy", (0.92, 0.918, 0.91)), ("accuracy_percent", (92, 91.8, 91))):
        path = tmp_path / f"{name}.csv"
        rows = "".join(f"{64 * 4**k},{value}\n" for k, value in enumerate(values))
        path.write_text(f"batch_size,{name}\n{rows}")
        _, out, _ = run_command_line("fixed-epochs", path, "--json")
        answers.append({**json.loads(out), "source": ""})
    assert answers[0]["num_rows"] == 3
    for one, other in zip(answers[0]["drops"], answers[1]["drops"], strict=True):
        # The last digit of a share and of a percentage over 100 may differ.
        assert one["batch_size"]["low"] == pytest.approx(other["batch_size"]["low"], rel=1e-6)


def test_the_back_test_counts_its_cases(run_command_line):
    code, out, _ = run_command_line("fixed-epochs", "--backtest")
    assert code == 0
    assert "largest batch size, from all smaller      8       8" in out
    _, out, _ = run_command_line(
        "fixed-epochs", "--backtest", "--published", "imagenet_resnet50_lars_90_epochs", "--json"
    )
    answer = json.loads(out)
    assert [case["batch_size"] for case in answer["outcomes"]] == [8192]
    assert answer["scores"][0]["num_cases"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch_size,accuracy\n64,0.9\n128,1.2\n", "row 2 (line 3), column accuracy: 1.2"),
        ("batch_size,accuracy_percent\n64,101\n", "must lie in 0 .. 100"),
        ("batch_size,accuracy_percent\n64,0.9\n128,0.9\n256,0.9\n", "named accuracy"),
        ("batch_size,accuracy\n64,high\n", "column accuracy: high must be a finite number"),
        ("batch_size,accuracy\n64.5,0.9\n", "column batch_size: 64.5"),
        ("batch_size,accuracy\n64,0.9\n128,0.9\n", "2 different batch sizes"),
        ("batch_size,error\n64,0.1\n", "one of accuracy"),
        ("batch_size,accuracy,accuracy_percent\n64,0.9,90\n", "one of accuracy"),
        ("batch_size,accuracy,epochs\n64,0.9,30\n128,0.9,90\n", "choose with --epochs"),
        ("batch_size,accuracy,epochs\n64,0.9,-1\n", "column epochs: -1 must be more than 0"),
        ("batch_size,accuracy,num_test_examples\n64,0.9,0\n", "num_test_examples: 0"),
        ("batch_size,accuracy\n", "the table has no rows"),
    ],
)
def test_fixed_epochs_refuses_a_bad_table_with_one_line(run_command_line, tmp_path, text, said):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    code, out, err = run_command_line("fixed-epochs", path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert "bad.csv" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either TABLE or --published"),
        (["--published", "nothing"], "--published 'nothing' is not one of"),
        (["no_such.csv"], "no_such.csv: no such file"),
        (["--published", "mnist_cnn_sgd_10_epochs", "--drop", "0"], "--drop 0.0"),
        (["--published", "mnist_cnn_sgd_10_epochs", "--batch-size", "0"], "--batch-size 0"),
        (["--published", "mnist_cnn_sgd_10_epochs", "--epochs", "3"], "--epochs 3"),
        (["table.csv", "--backtest"], "leave out table.csv"),
    ],
)
def test_fixed_epochs_refuses_wrong_words_with_one_line(run_command_line, words, said):
    code, out, err = run_command_line("fixed-epochs", *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


def test_epochs_that_are_not_in_the_table_are_refused(run_command_line, accuracies):
    code, _, err = run_command_line("fixed-epochs", accuracies, "--epochs", 60)
    assert code == 2
    assert "--epochs '60' is not in the table, which has: 30, 90" in err
