"""What nobody can know is refused in one line, and rows that no law can follow are named."""

import json

import numpy as np
import pytest

from models_of_scaling.advice import steps_rise
from models_of_scaling.errors import InputError
from models_of_scaling.prediction import check_distance

ROOFLINE = (
    "--flops-per-example", "1e9", "--peak-flops", "1e14", "--parameter-bytes", "1e8",
)  # fmt: skip
MACHINE = ("--nodes", 1, 2, "--devices-per-node", 8)
LADDER = (
    "workload,num_train_examples,critical_batch_size,critical_batch_size_low,"
    "critical_batch_size_high,min_steps,min_steps_low,min_steps_high\n"
    "images,20000,420,350,500,2100,1950,2250\nimages,80000,900,760,1070,2700,2500,2900\n"
    "images,320000,1700,1450,2000,3100,2900,3350\n"
)


@pytest.mark.parametrize("size", [256 * 64, 256 * 64 + 1, 10**30])
def test_no_command_answers_for_a_batch_size_beyond_64_times_the_fitted(
    fit, run_command_line, tmp_path, size, refused
):
    commands = (
        ("predict", fit),
        ("machine", fit, *MACHINE, *ROOFLINE),
        ("plan", fit, "--out", tmp_path / "plan.yaml", *MACHINE, *ROOFLINE),
    )
    for command in commands:
        result = run_command_line(*command, "--batch-size", size)
        if size == 256 * 64:
            assert "no honest answer" not in result[2]
        else:
            refused(result, f"--batch-size {size} is more than 64x the largest fitted one (256)")


def test_a_batch_size_far_below_the_rows_is_refused_too():
    check_distance(16, (1024, 4096))
    with pytest.raises(InputError, match=r"--batch-size 15 is less than 1/64 of the smallest"):
        check_distance(15, (1024, 4096))
    with pytest.raises(InputError, match="--batch-size 0 must be at least 1"):
        check_distance(0, (1024, 4096))


def test_an_accuracy_far_beyond_the_table_is_refused(tmp_path, run_command_line, refused):
    table = tmp_path / "accuracies.csv"
    table.write_text("batch_size,accuracy\n8,.95\n16,.95\n32,.949\n64,.94\n128,.91\n256,.8\n")
    result = run_command_line("fixed-epochs", table, "--batch-size", 16_385)
    refused(result, "--batch-size 16385 is more than 64x")
    refused(run_command_line("fixed-epochs", table, "--epochs", "nan"), "--epochs nan must be")


def test_full_scale_is_answered_as_far_as_a_surrogate_was_measured_by_its_knee(
    fit, tmp_path, run_command_line, refused
):
    anchor, ladder = tmp_path / "anchor.csv", tmp_path / "ladder.csv"
    anchor.write_text("batch_size,steps\n8,2000\n")
    ladder.write_text(LADDER)
    words = ("predict", fit, "--anchor", anchor)
    # 64 times the anchor is 512; the surrogate was measured to 256, three times its knee
    assert run_command_line(*words, "--batch-size", 2048)[0] == 0
    far = run_command_line(*words, "--batch-size", 10**9)
    refused(far, "--batch-size 1000000000 is more than 64x", "moved by B_crit to full scale")
    place = ("--ladder", ladder, "--at", "num_train_examples=1e12", "--batch-size", 512)
    refused(run_command_line(*words, *place), "1e+06x outside the ladder's 20000 .. 320000")


@pytest.mark.parametrize(
    "words",
    [
        ("--bandwidth-between", "1e-308"), ("--latency-between", "1e308"), ("--seed", "-1"),
        ("--parameter-bytes", "1e308"), ("--peak-flops", "1e-308"), ("--attainable", "1e-320"),
        ("--roofline-error", "1e308"), ("--seconds-per-forward", "1e308"),
        ("--price-per-device-hour", "1e308"), ("--flops-per-example", "1e308"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_numbers_that_no_machine_has_are_refused_by_their_flag(
    fit, run_command_line, words, refused
):
    command = ("machine", fit, *MACHINE, *ROOFLINE, *words)
    refused(run_command_line(*command), words[0])


@pytest.mark.parametrize("seconds", ["1e308", "1e-320"])
def test_seconds_that_no_step_takes_are_refused_by_their_row(
    fit, tmp_path, run_command_line, seconds, refused
):
    rows = tmp_path / "rows.csv"
    rows.write_text(
        f"nodes,devices,per_device_batch_size,seconds_per_step\n1,8,32,0.1\n2,8,32,{seconds}\n"
    )
    words = ("--throughput", rows, "--parameter-bytes", "1e8")
    refused(run_command_line("machine", fit, *MACHINE, *words), "rows.csv: row 2", seconds)


def test_the_bootstrap_of_a_walk_has_a_seed_and_a_number_of_replicates(
    tmp_path, run_command_line, refused
):
    walk = tmp_path / "walk.csv"
    walk.write_text("steps,distance\n" + "".join(f"{i},{i**0.3}\n" for i in range(1, 20)))
    refused(run_command_line("diffusion", walk, "--seed", -1), "--seed -1")
    refused(run_command_line("diffusion", walk, "--replicates", 10**12), "20 .. 100000")
    walk.write_text("steps,distance\n" + "".join(f"{i},1e300\n" for i in range(1, 20)))
    refused(run_command_line("diffusion", walk), "row 1 (line 2), column distance: 1e300 must")


def test_steps_that_rise_with_the_batch_size_are_inconsistent_and_said_to_be(
    tmp_path, run_command_line
):
    """As where two columns are swapped; every law called it noise of 58 %, and answered."""
    table, fit = tmp_path / "table.csv", tmp_path / "fit.json"
    table.write_text("batch_size,steps\n8,100\n16,200\n32,400\n64,800\n")
    code, out, _ = run_command_line("fit", table, "--out", fit, "--replicates", 50)
    assert code == 0
    assert "Result code: inconsistent (" in out
    assert "Steps rise with the batch size over all the rows" in out
    _, out, _ = run_command_line("limit", fit, "--json")
    assert json.loads(out)["code"] == "inconsistent"
    _, out, _ = run_command_line("limit", fit)
    assert "a batch size that is not known" in out
    assert "infinity. Measure" not in out


@pytest.mark.parametrize(
    ("steps", "rises"),
    [
        ([100.0, 200, 400, 800], True), ([100.0, 90, 120, 160, 300, 500], True),
        ([100.0, 100, 100, 100], False), ([100.0, 98, 103, 99, 104], False),
        ([800.0, 400, 200, 100, 130], False), ([800.0, 1600], False),
    ],
)  # fmt: skip
def test_a_rise_beyond_chance_is_told_from_scatter(simulated, steps, rises):
    sizes = 8 * 2 ** np.arange(len(steps))
    assert steps_rise(simulated.measurements(sizes, steps)) == rises


def test_a_law_without_a_floor_is_said_to_have_none(fit, tmp_path, run_command_line):
    words = ("--law", "smoothly_broken_power", "--replicates", 50)
    _, out, _ = run_command_line("fit", fit.with_name("table.csv"), "--out", tmp_path / "f", *words)
    assert "S_min: 0" not in out
    assert "smoothly_broken_power, has no floor" in out
