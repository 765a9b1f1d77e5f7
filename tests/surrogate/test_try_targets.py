"""A few runs by which a workload's target is set."""

import json

import pytest

from surrogate.try_targets import Tried, fewest_steps, main


def test_each_loss_has_the_fewest_steps_of_any_run():
    curves = {0.1: ([2, 4, 6], [2.0, 1.0, 0.4]), 0.2: ([2, 4, 6], [2.5, 0.9, 0.6])}
    found = fewest_steps(curves, [0.5, 1.0, 0.1], 64)
    assert found == [
        Tried(batch_size=64, loss=1.0, steps=4, learning_rate=0.1),
        Tried(batch_size=64, loss=0.5, steps=6, learning_rate=0.1),
        Tried(batch_size=64, loss=0.1, steps=None, learning_rate=None),
    ]


def test_the_command_trains_and_prints_a_line_for_each_loss(capsys):
    arguments = ["--workload", "digits", "--batch-sizes", "256", "--losses", "1.0,0.5", "--json"]
    assert main([*arguments, "--learning-rates", "0.02,0.05", "--max-steps", "60"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["loss"] for row in rows] == [1.0, 0.5]
    assert 0 < rows[0]["steps"] < rows[1]["steps"] <= 60
    # The run that is first at the smallest loss ends the other.
    assert "reached" in said.err
    assert "not_reached" in said.err


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--workload", "noisy_quadratic"], "simulator"),
        (["--batch-sizes", "0"], "positive"),
        (["--batch-sizes", "1.5"], "whole"),
        (["--batch-sizes", "4096"], "1..1024"),
        (["--losses", "a"], "positive"),
        (["--momentum", "1"], "below 1"),
        (["--max-steps", "0"], "--max-steps"),
    ],
)
def test_wrong_input_is_one_line(flags, word, capsys):
    given = {"--workload": "digits", "--batch-sizes": "64", "--losses": "1"}
    given |= {"--learning-rates": "0.1"} | dict(zip(flags[::2], flags[1::2], strict=True))
    with pytest.raises(SystemExit) as stop:
        main([each for pair in given.items() for each in pair])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1
