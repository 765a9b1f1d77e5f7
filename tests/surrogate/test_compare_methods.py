"""The comparison of methods: its table, its picture and its refusals."""

import json

import pytest
from matplotlib.figure import Figure

from models_of_scaling.plots.methods import draw_methods
from surrogate.compare_methods import _summary, main

QUICK = ["--modes", "12", "--batch-sizes", "4096,1,64"]


def test_a_law_of_known_knee_has_its_critical_batch_size():
    """S(B) = 10 (1 + 100 / B) at powers of 2: twice the fewest, 10 (1 + 100 / 2^16), near 100."""
    sizes = [2**power for power in range(17)]
    found = _summary("x", [round(1e4 * (1 + 100 / b)) for b in sizes], sizes)
    assert found.critical_batch_size == pytest.approx(100, rel=0.02)
    assert (found.min_steps, found.min_examples) == (10_015, 1_010_000)


def test_a_flat_curve_has_its_knee_below_the_smallest_batch_size():
    assert _summary("x", [19, 12, 10], [8, 16, 32]).critical_batch_size is None


def test_the_table_has_a_row_for_each_method_and_the_picture_is_the_same_twice(tmp_path, capsys):
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    assert main([*QUICK, "--plot", str(pictures[0])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 8 and lines[2].startswith("| SGD | ")
    assert main([*QUICK, "--json", "--plot", str(pictures[1])]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in rows] == [line.split(" | ")[0][2:] for line in lines[2:]]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_the_picture_names_its_axes_and_curves():
    ax = Figure().add_subplot()
    draw_methods(ax, [1, 16, 256], {"SGD": [100, 20, 9], "momentum": [99, 15, 3]})
    assert (ax.get_xlabel(), ax.get_xscale()) == ("batch size (examples)", "log")
    assert (ax.get_ylabel(), ax.get_yscale()) == ("fewest steps to target", "log")
    assert [line.get_label() for line in ax.get_lines()] == ["SGD", "momentum"]
    assert ax.get_lines()[1].get_ydata().tolist() == [99, 15, 3]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch-sizes", "8"], "must be two at least"),
        (["--plot", "picture.gif"], "--plot picture.gif"),
        (["--spectrum", "missing.csv"], "missing.csv"),
    ],
)
def test_bad_input_is_one_line_and_code_2(flags, words, capsys):
    with pytest.raises(SystemExit) as left:
        main(flags)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and words in said
