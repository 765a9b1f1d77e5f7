"""The pictures say what they show: axes, scales, censored and held-out rows."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from models_of_scaling.plots.steps_to_target import (
    MeasuredSteps,
    SearchPoints,
    StepsCurve,
    draw_learning_rates,
    draw_saving_per_doubling,
    draw_steps_to_target,
)

SIZES = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
STEPS = 100 * (1 + 64 / SIZES)
CURVE = StepsCurve(batch_size=SIZES, steps=STEPS, steps_low=STEPS * 0.9, steps_high=STEPS * 1.1)


@pytest.fixture
def ax():
    return Figure().add_subplot()


def draw(ax, **changes):
    rows = {
        "batch_size": SIZES,
        "steps": STEPS,
        "reached": np.array([True, True, True, True, False]),
        "held_out": SIZES > 32,
    }
    measured = MeasuredSteps(**{**rows, **changes})
    draw_steps_to_target(
        ax, measured, CURVE, largest_fitted=32, critical_batch_size=(64.0, 50.0, 90.0)
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
