"""The pictures say what they show: axes, scales, censored and held-out rows."""

import dataclasses
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from models_of_scaling.intervals import Interval
from models_of_scaling.plots.definitions import draw_definitions
from models_of_scaling.plots.examples import draw_efficiency, draw_examples_to_target
from models_of_scaling.plots.learning_rates import SearchPoints, draw_learning_rates
from models_of_scaling.plots.residuals import draw_residuals
from models_of_scaling.plots.steps_to_target import (
    MeasuredSteps,
    StepsCurve,
    draw_saving_per_doubling,
    draw_steps_to_target,
)
from models_of_scaling.residuals import BatchSizeResidual

SIZES = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
STEPS = 100 * (1 + 64 / SIZES)
CURVE = StepsCurve(batch_size=SIZES, steps=STEPS, steps_low=STEPS * 0.9, steps_high=STEPS * 1.1)


@pytest.fixture
def ax():
    return Figure().add_subplot()


MEASURED = MeasuredSteps(
    batch_size=SIZES,
    steps=STEPS,
    reached=np.array([True, True, True, True, False]),
    held_out=SIZES > 32,
)


def draw(ax, curve=CURVE):
    draw_steps_to_target(
        ax, MEASURED, curve, largest_fitted=32, critical_batch_size=(64.0, 50.0, 90.0)
    )


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_steps_to_target_plot_names_its_axes_and_uses_log_scales(ax):
    draw(ax)
    assert ax.get_xlabel() == "batch size (examples)"
    assert ax.get_ylabel() == "steps to target (optimizer steps)"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["8", "16", "32", "64", "128"]


def test_the_law_is_dashed_beyond_the_largest_fitted_batch_size_only(ax):
    draw(ax)
    assert lines(ax)["law, fitted"].get_xdata().max() == 32
    dashed = lines(ax)["law, extrapolated"]
    assert dashed.get_linestyle() == "--"
    assert dashed.get_xdata().tolist() == [32, 64, 128]


def test_perfect_scaling_halves_the_steps_with_each_doubling(ax):
    draw(ax)
    steps = lines(ax)["perfect scaling: half the steps per doubling"].get_ydata()
    np.testing.assert_allclose(steps[:-1] / steps[1:], 2, rtol=1e-12)


def test_rows_that_did_not_reach_the_target_are_open_markers_with_an_arrow_up(ax):
    draw(ax)
    censored = lines(ax)["not reached by then (needs more)"]
    assert censored.get_markerfacecolor() == "none"
    assert censored.get_xdata().tolist() == [128]
    arrows = [text for text in ax.texts if text.arrow_patch is not None]
    assert len(arrows) == 1
    assert arrows[0].xy[1] > arrows[0].get_position()[1]


def test_held_out_rows_have_a_marker_of_their_own(ax):
    draw(ax)
    assert lines(ax)["measured, fitted"].get_xdata().tolist() == [8, 16, 32]
    assert lines(ax)["measured, held out from the fit"].get_xdata().tolist() == [64]


def test_the_saving_plot_draws_each_stated_limit(ax):
    saving = StepsCurve(
        batch_size=SIZES, steps=STEPS / STEPS.max() + 1, steps_low=STEPS * 0, steps_high=STEPS * 0
    )
    draw_saving_per_doubling(ax, saving, largest_measured=64, thresholds=((1.6, "still pays"),))
    assert ax.get_ylabel() == "steps at B / steps at 2B"
    assert lines(ax)["still pays"].get_ydata()[0] == 1.6


def test_the_heat_map_rings_the_best_learning_rate_of_each_batch_size(ax):
    points = SearchPoints(
        batch_size=np.repeat([8.0, 64.0], 3),
        learning_rate=np.tile([0.1, 1.0, 10.0], 2),
        steps=np.array([50, 40, np.inf, 30, 60, 20.0]),
    )
    draw_learning_rates(ax, points)
    best = lines(ax)["best trial"]
    assert list(best.get_ydata()) == [1.0, 10.0]
    linear = lines(ax)["linear scaling"].get_ydata()
    assert linear[1] / linear[0] == pytest.approx(8, rel=1e-12)


def test_each_laws_own_curve_is_named_dashed_and_of_its_own_colour(ax):
    laws = {"hyperbola, weight 60 %": STEPS * 1.02, "p-norm knee, weight 40 %": STEPS * 0.97}
    draw(ax, dataclasses.replace(CURVE, laws=laws))
    own = [lines(ax)[name] for name in laws]
    assert own[0].get_ydata().tolist() == (STEPS * 1.02).tolist()
    assert own[0].get_color() != own[1].get_color()
    assert own[0].get_linestyle() == own[1].get_linestyle() == "--"
    assert "laws' average, fitted" in lines(ax)


def test_a_curve_that_rises_beyond_all_numbers_does_not_squeeze_the_rows_flat(ax):
    draw(ax, dataclasses.replace(CURVE, steps=np.append(STEPS[:-1], 1e30)))
    assert ax.get_ylim()[1] < 100 * STEPS.max()
    assert ax.get_ylim()[0] < STEPS.min()
    numbers = [tick.get_text() for tick in ax.get_yticklabels()]
    assert "1,000" in numbers and not any("$" in number for number in numbers)


def test_examples_are_steps_times_batch_size_and_needless_ones_show_as_efficiency(ax):
    draw_examples_to_target(ax, MEASURED, CURVE, largest_fitted=32)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch size (examples)", "examples to target")
    assert lines(ax)["fitted"].get_ydata().tolist() == (SIZES * STEPS)[:3].tolist()
    assert lines(ax)["extrapolated"].get_xdata().tolist() == [32, 64, 128]
    assert lines(ax)["as many as at the smallest batch size"].get_ydata()[0] == 8 * STEPS[0]


def test_efficiency_is_drawn_from_nought_with_what_each_overhead_leaves(ax):
    share = 8 * STEPS[0] / (SIZES * STEPS)
    curve = StepsCurve(batch_size=SIZES, steps=share, steps_low=share, steps_high=share)
    draw_efficiency(ax, MEASURED, curve, reference_examples=8 * STEPS[0], largest_fitted=32)
    assert ax.get_ylabel() == "efficiency" and ax.get_ylim()[0] == 0
    points = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert points[0].get_ydata().tolist() == pytest.approx(share[:3].tolist())
    levels = [line.get_ydata()[0] for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert 1 / 1.2 in levels and 0.5 in levels
    # What did not reach the target is worth at most so much: its arrow points down.
    (arrow,) = [text for text in ax.texts if text.arrow_patch is not None]
    assert arrow.xy[1] < arrow.get_position()[1]


def interval(estimate, low, high):
    return Interval(estimate=estimate, low=low, high=high, level=0.9, method="")


def test_definitions_are_named_rows_and_an_end_without_bound_is_an_arrow(ax):
    claims = [
        ("first", interval(64.0, 50.0, 90.0)),
        ("second", interval(math.inf, 200.0, math.inf)),
        ("third", interval(0.0, 0.0, 40.0)),
    ]
    draw_definitions(ax, claims, measured=(8.0, 128.0))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["first", "second", "third"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # from top to bottom
    assert [text.get_text() for text in ax.texts] == ["64", "more than 200", "less than 40"]
    assert [line.get_ydata()[0] for line in ax.get_lines() if line.get_marker() == ">"] == [1]
    assert [line.get_ydata()[0] for line in ax.get_lines() if line.get_marker() == "<"] == [2]
    # An open estimate has no point: no bare number.
    assert [line.get_ydata()[0] for line in ax.get_lines() if line.get_marker() == "o"] == [0]
    assert ax.get_xlabel() == "batch size (examples)" and ax.get_xscale() == "log"


def test_residuals_name_the_outlier_and_leave_open_what_never_reached(ax):
    def residual(batch_size, in_noise, reached=True):
        return BatchSizeResidual(
            batch_size=batch_size, log_ratio=0.1 * in_noise, in_noise=in_noise, reached=reached
        )

    draw_residuals(
        ax, [residual(8, 0.5), residual(16, 4.0), residual(32, -1.0), residual(64, -50.0, False)]
    )
    assert "in units of noise" in ax.get_ylabel()
    assert lines(ax)["outlier"].get_xdata().tolist() == [16]
    assert lines(ax)["as the curve says"].get_xdata().tolist() == [8, 32]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["16: +49 % steps"]
    # A run stopped far below the curve tells nothing and must not stretch the axis.
    assert -10 < ax.get_ylim()[0] < lines(ax)["not reached: the truth is higher"].get_ydata()[0]
