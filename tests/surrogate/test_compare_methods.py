"""The comparison of methods: its table, its picture and its refusals."""

import json

import pytest
from matplotlib.figure import Figure

from models_of_scaling.plots.methods import draw_methods, methods_picture
from surrogate.compare_methods import _summary, main

QUICK = ["--modes", "12", "--batch-sizes", "4096,1,64"]


def test_a_law_of_known_knee_has_its_critical_batch_size():
    """S(B) = 1e4 (1 + 100 / B) at powers of 2; a chord of a convex curve reads 4 % high at most."""
    sizes = [2**power for power in range(17)]
    found = _summary("x", [round(1e4 * (1 + 100 / b)) for b in sizes], sizes)
    assert found.critical_batch_size == pytest.approx(100, rel=0.04)
    assert (found.min_steps, found.min_examples) == (10_015, 1_010_000)


def test_a_flat_curve_has_its_knee_below_the_smallest_batch_size():
    assert _summary("x", [19, 12, 10], [8, 16, 32]).critical_batch_size is None


def test_the_table_has_a_row_for_each_method_and_a_picture_is_made(tmp_path, capsys):
    picture = tmp_path / "methods.svg"
    assert main([*QUICK, "--json", "--plot", str(picture)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 8 and rows[0]["method"] == "SGD"
    assert all(row["min_steps"] >= 1 for row in rows)
    assert picture.read_bytes().startswith(b"<?xml")


def test_a_row_of_the_table_is_rounded_as_it_says():
    row = _summary("SGD", [123_456, 1_000, 900], [1, 512, 4_096])
    assert row.in_words().startswith("| SGD | 900 | 123,500 | 239 |")


def test_the_same_curves_are_the_same_picture_byte_by_byte():
    curves = {"SGD": [100, 20], "momentum": [99, 15]}
    one, two = (methods_picture([1, 16], curves, picture_format="svg") for _ in range(2))
    assert one == two


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
