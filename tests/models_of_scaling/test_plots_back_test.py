"""The back-test's picture says what it shows: forecasters, distances, coverage beside its claim."""

import math

import pytest
from matplotlib.figure import Figure

from models_of_scaling.backtest.cases import FACTORS, Case
from models_of_scaling.backtest.forecasters import FORECASTERS, Forecast
from models_of_scaling.backtest.scores import Outcome, scores
from models_of_scaling.plots.back_test import (
    back_test_picture,
    draw_back_test,
    draw_coverage,
    draw_errors,
    draw_widths,
)

LEVEL = 0.9


def outcome(forecaster, factor, series, *, error, width, design="rolling", part="workload"):
    low, high = (None, None) if width is None else (100 / width**0.5, 100 * width**0.5)
    return Outcome(
        series=series,
        part=part,
        forecaster=forecaster,
        case=Case(design=design, factor=factor, largest_fitted=64, batch_size=64 * factor),
        forecast=Forecast(steps=100 * (1 + error), low=low, high=high),
        measured=100.0,
        measured_at_least=0.0,
        level=LEVEL,
    )


@pytest.fixture
def outcomes():
    return [
        outcome(
            name, factor, series,
            error=0.02 * factor * place, width=None if name == "todays_practice" else 1.1 * factor,
        )
        for name in FORECASTERS
        for factor in FACTORS
        for place, series in enumerate(("one", "two", "three"), start=1)
    ]  # fmt: skip


@pytest.fixture
def ax():
    return Figure().add_subplot()


def rows(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def markers(ax, label):
    return [line.get_xdata()[0] for line in ax.get_lines() if line.get_label() == label]


def test_every_forecaster_is_a_named_row_the_two_to_compare_on_top(ax, outcomes):
    draw_errors(ax, scores(outcomes), outcomes)
    assert rows(ax)[:2] == ["averaged laws", "today's practice"]
    assert len(rows(ax)) == len(FORECASTERS) and "Gaussian process" in rows(ax)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert "error" in ax.get_xlabel() and ax.get_xscale() == "log"


def test_errors_are_the_scores_medians_and_each_case_is_a_dot(ax, outcomes):
    draw_errors(ax, scores(outcomes), outcomes)
    for factor in FACTORS:
        assert markers(ax, f"{factor}x") == pytest.approx([0.04 * factor] * len(FORECASTERS))
    assert sum(line.get_marker() == "." for line in ax.get_lines()) == len(outcomes)


def test_coverage_stands_beside_what_was_claimed_and_a_forecaster_without_says_so(ax, outcomes):
    draw_coverage(ax, scores(outcomes), level=LEVEL)
    (claimed,) = [line for line in ax.get_lines() if line.get_label() == "claimed: 90%"]
    assert claimed.get_xdata()[0] == LEVEL
    assert markers(ax, "2x") == [1.0] * (len(FORECASTERS) - 1)
    (words,) = ax.texts
    assert words.get_text() == "gives no interval" and words.xy[1] == rows(ax).index(
        "today's practice"
    )


def test_widths_are_high_over_low_and_those_off_the_axis_have_an_arrow(ax, outcomes):
    wide = [
        outcome("hyperbola", 2, name, error=0.0, width=300.0, design="largest") for name in "ab"
    ]
    draw_widths(ax, [score for score in scores(outcomes + wide) if score.design == "largest"])
    assert [line.get_marker() for line in ax.get_lines() if line.get_marker() == ">"] == [">"]
    ax.clear()
    draw_widths(ax, scores(outcomes))
    at = sorted({
        round(line.get_xdata()[0], 9) for line in ax.get_lines() if line.get_marker() in "osD"
    })
    assert at == pytest.approx([2.2, 4.4, 8.8])
    assert "high over low" in ax.get_xlabel()


def test_distances_differ_by_marker_as_well_as_by_colour(outcomes):
    figure = Figure(layout="constrained")
    draw_back_test(figure, scores(outcomes), outcomes, level=LEVEL)
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    assert [text.get_text() for text in legend.get_texts()] == ["2x away", "4x away", "8x away"]
    shown = legend.legend_handles
    assert (
        len({line.get_marker() for line in shown}) == len({line.get_color() for line in shown}) == 3
    )


def test_each_part_and_design_that_was_tested_has_its_panels_and_no_other(outcomes):
    more = [
        outcome("hyperbola", 8, name, error=0.1, width=3.0, design="one_more", part="own_table")
        for name in ("one", "two")
    ]
    figure = Figure(layout="constrained")
    draw_back_test(figure, scores(outcomes + more), outcomes + more, level=LEVEL)
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == [
        "One series of each workload: fitted below, predicted beyond",
        "The table: 8x beyond, where a few runs at about 4x are known too",
    ]
    assert len(figure.axes) == 6


def test_a_case_without_a_measured_value_is_left_out_of_the_errors(ax):
    known = [outcome("hyperbola", 2, name, error=0.1, width=2.0) for name in ("one", "two")]
    unknown = Outcome(**{
        **{field: getattr(known[0], field) for field in known[0].__dataclass_fields__},
        "measured": math.inf, "measured_at_least": 50.0,
    })  # fmt: skip
    draw_errors(ax, scores([*known, unknown]), [*known, unknown])
    assert sum(line.get_marker() == "." for line in ax.get_lines()) == 2


def test_the_picture_is_the_same_bytes_every_time(outcomes):
    one, two = (back_test_picture(outcomes, level=LEVEL, picture_format="svg") for _ in range(2))
    assert one == two and one.startswith(b"<?xml")


def test_the_command_draws_ones_own_table_and_refuses_another_ending(tmp_path, run_command_line):
    path, picture = tmp_path / "own.csv", tmp_path / "own.png"
    lines = [f"{size},{100 * (1 + 256 / size):.1f}" for size in (16, 32, 64, 128, 256, 512)]
    path.write_text("batch_size,steps\n" + "\n".join(lines) + "\n")
    words = ("backtest", "--table", path, "--law", "todays_practice", "--plot")
    code, out, error = run_command_line(*words, picture)
    assert (code, error) == (0, "")
    assert out.endswith(f"Written: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, out, error = run_command_line(*words, tmp_path / "own.gif")
    assert (code, out) == (2, "") and "--plot" in error


def test_a_table_too_short_to_hold_anything_out_has_no_picture(tmp_path, run_command_line):
    path, picture = tmp_path / "own.csv", tmp_path / "own.svg"
    path.write_text("batch_size,steps\n16,1000\n32,520\n")
    code, _, error = run_command_line(
        "backtest", "--table", path, "--law", "todays_practice", "--plot", picture
    )
    assert code == 2 and "nothing to draw" in error and len(error.splitlines()) == 1
    assert not picture.exists()
