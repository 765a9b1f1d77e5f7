"""The pictures of targets and of fixed epochs say what they show."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from models_of_scaling.fixed_epochs.accuracy_table import accuracy_rows
from models_of_scaling.fixed_epochs.averaged import fit_fixed_epochs
from models_of_scaling.intervals import Interval
from models_of_scaling.over_targets.target_curve import TargetPoint, fit_target_law
from models_of_scaling.plots.fixed_epochs import curves_of, draw_accuracy, fixed_epochs_picture
from models_of_scaling.plots.targets import draw_critical_batch_size_against_target
from models_of_scaling.targets import Target

LOSSES = (0.8, 0.4, 0.2, 0.1)


@pytest.fixture
def ax():
    return Figure().add_subplot()


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def interval(estimate, low, high):
    return Interval(estimate=estimate, low=low, high=high, level=0.9, method="test")


def point(loss, batch, *, metric="train_loss"):
    target = (
        Target(metric=metric, direction=">=", value=1 - loss)
        if metric == "validation_accuracy"
        else Target(metric=metric, direction="<=", value=loss)
    )
    return TargetPoint(
        target=target, loss=loss, num_batch_sizes=8, num_reached=8, critical_batch_size=batch,
        min_steps=interval(10, 9, 11), min_examples=interval(100, 90, 110),
    )  # fmt: skip


def bounded_points(**words):
    return [point(loss, interval(32 / loss, 24 / loss, 40 / loss), **words) for loss in LOSSES]


def law():
    draws = np.log(32 / np.array(LOSSES)) + 0.1 * np.random.default_rng(0).standard_normal((99, 4))
    return fit_target_law(LOSSES, draws, correlation=0.5)


def test_the_targets_plot_names_its_axes_and_runs_from_easy_to_hard(ax):
    draw_critical_batch_size_against_target(ax, bounded_points(), law(), largest_batch_size=1024)
    assert ax.get_xlabel() == "training loss of the target (easy to hard)"
    assert ax.get_ylabel() == "critical batch size (examples)"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    left, right = ax.get_xlim()
    assert left > max(LOSSES) > min(LOSSES) / 2 > right
    draw_critical_batch_size_against_target(
        ax, bounded_points(metric="validation_accuracy"), None, largest_batch_size=1024
    )
    assert ax.get_xlabel() == "error (1 - accuracy) of the target (easy to hard)"


def test_the_law_is_dashed_beyond_the_hardest_target_only(ax):
    draw_critical_batch_size_against_target(ax, bounded_points(), law(), largest_batch_size=1024)
    fitted, beyond = lines(ax)["B_* / L^(1/alpha), fitted"], lines(ax)["extrapolated"]
    assert (fitted.get_linestyle(), beyond.get_linestyle()) == ("-", "--")
    assert fitted.get_xdata().min() == pytest.approx(0.1)
    assert beyond.get_xdata().max() == pytest.approx(0.1)
    assert beyond.get_xdata().min() == pytest.approx(0.05)


def test_each_bounded_target_is_drawn_with_its_interval(ax):
    draw_critical_batch_size_against_target(ax, bounded_points(), None, largest_batch_size=1024)
    (bars,) = ax.containers
    assert bars.get_label() == "one target, 90% interval"
    assert list(bars[0].get_ydata()) == [32 / loss for loss in LOSSES]
    ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
    np.testing.assert_allclose(ends[0], [24 / 0.8, 40 / 0.8])
    assert lines(ax)["largest batch size measured"].get_ydata()[0] == 1024


def test_a_target_with_an_open_end_is_an_open_marker_with_an_arrow_at_its_bound(ax):
    points = [*bounded_points(), point(0.05, interval(math.inf, 700, math.inf))]
    draw_critical_batch_size_against_target(ax, points, None, largest_batch_size=1024)
    bound = lines(ax)["only a bound is known"]
    assert bound.get_markerfacecolor() == "none"
    assert bound.get_ydata() == [700]
    (arrow,) = [text for text in ax.texts if text.arrow_patch is not None]
    assert arrow.xy[1] > 700


@pytest.fixture(scope="module")
def fit():
    sizes = 2 ** np.arange(7, 14)
    accuracy = 0.93 - 0.03 * (sizes / 8192)
    return fit_fixed_epochs(
        accuracy_rows(sizes, accuracy, path="simulated"), np.random.default_rng(0)
    )


def draw(ax, fit, drops):
    rows = (fit.rows.batch_size.astype(float), 100 * fit.rows.accuracy)
    draw_accuracy(ax, rows, curves_of(fit), drops)


def test_the_accuracy_plot_names_its_axes_and_every_law(ax, fit):
    draw(ax, fit, {})
    assert ax.get_xlabel() == "batch size (examples)"
    assert ax.get_ylabel() == "accuracy (percent)"
    assert ax.get_xscale() == "log"
    labels = set(lines(ax))
    for name in ("hinge (weight", "power rise (weight", "learning curve (weight"):
        assert any(label.startswith(name) for label in labels)
    assert lines(ax)["measured"].get_xdata().tolist() == fit.rows.batch_size.tolist()
    assert lines(ax)["largest batch size fitted"].get_xdata()[0] == 8192
    assert ax.collections[0].get_label() == "90% interval for one run"


def test_the_averaged_curve_passes_by_the_rows_inside_its_interval(fit):
    curves = curves_of(fit)
    assert (curves.low < curves.accuracy).all()
    assert (curves.accuracy < curves.high).all()
    measured = np.interp(fit.rows.batch_size, curves.batch_size, curves.accuracy)
    np.testing.assert_allclose(measured, 100 * fit.rows.accuracy, atol=0.1)  # points, of 3 lost


def test_a_drop_is_marked_at_its_batch_size_and_an_open_one_runs_off(ax, fit):
    drops = {0.2: interval(600, 500, 700), 1.0: interval(math.inf, 4000, math.inf)}
    draw(ax, fit, drops)
    assert [text.get_text() for text in ax.texts] == ["0.2 points lost", "1 point lost"]
    bars = [line for line in ax.get_lines() if line.get_linewidth() == 2]
    assert [list(bar.get_xdata()) for bar in bars] == [[500, 700], [4000, 16384]]
    marks = {line.get_marker(): line.get_xdata()[0] for line in ax.get_lines()}
    assert marks["|"] == 600
    assert marks[">"] == 16384


@pytest.mark.parametrize(("picture_format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_is_the_same_bytes_twice(fit, picture_format, start):
    drops = {1.0: fit.drop_batch_size(1.0)}
    one, other = (
        fixed_epochs_picture(fit, drops, level=0.9, picture_format=picture_format) for _ in range(2)
    )
    assert one == other
    assert one.startswith(start)
