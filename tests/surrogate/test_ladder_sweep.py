import json

import pytest

from models_of_scaling.errors import InputError
from surrogate.ladder_rows import main as write_rows
from surrogate.ladder_sweep import parse_ladders, rung_names
from surrogate.sweep import main


def test_ladders_given_twice_are_crossed_and_keep_what_is_fixed():
    ladders = parse_ladders(["subset=64,128", "width=16,32"])
    assert rung_names("digits", ladders) == (
        "digits_subset64_width16", "digits_subset64_width32",
        "digits_subset128_width16", "digits_subset128_width32",
    )  # fmt: skip
    assert rung_names("mnist_holdout10000", {"resolution": (7.0,)}) == (
        "mnist_holdout10000_resolution7",
    )


@pytest.mark.parametrize(
    ("ladders", "message"),
    [
        (["subset"], "--ladder 'subset' is not a list such as subset=64,128,256"),
        (["subset=64,x"], "--ladder 'subset=64,x' is not a list"),
        (["subset=64,64"], "a value is given twice"),
        (["subset=64,nan"], "is not a list"),
        (["subset=64", "subset=128"], "subset has a ladder already"),
        (["subset=8,64"], "--subset 8 (digits) must be a whole number in 16..1024"),
        (["modes=10"], "--modes is no parameter of --workload digits"),
        (["width=16"], "--ladder width: --width 32 is given too"),
    ],
)
def test_a_ladder_against_a_rule_is_one_line_and_nothing_is_swept(
    ladders, message, tmp_path, capsys
):
    words = ["--workload", "digits", "--width", "32", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main([*words, *(word for ladder in ladders for word in ("--ladder", ladder))])
    error = capsys.readouterr().err
    assert end.value.code == 2 and len(error.splitlines()) == 1 and message in error
    assert not (tmp_path / "out").exists()


def test_a_workload_of_ones_own_has_no_ladder():
    with pytest.raises(InputError, match="which has: none"):
        rung_names("my_module.Mine@1", {"subset": (64.0,)})


@pytest.mark.slow
def test_one_command_sweeps_all_rungs_and_goes_on_where_it_was(tmp_path, capsys):
    words = ["--workload", "noisy_quadratic", "--batch-sizes", "16,64,256", "--trials", "4"]
    words += ["--workers", "1", "--out", str(tmp_path), "--json"]
    assert main([*words, "--ladder", "modes=20,60"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert [each["study"].split("-")[0] for each in first] == [
        "noisy_quadratic_modes20", "noisy_quadratic_modes60",
    ]  # fmt: skip
    assert main([*words, "--ladder", "modes=20,60,180"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [each["num_run"] for each in again][:2] == [0, 0] and again[2]["num_run"] > 0
    assert write_rows([str(tmp_path), "--out", str(tmp_path / "ladder.csv")]) == 0
    rows = (tmp_path / "ladder.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 3 and "modes" in rows[0]
